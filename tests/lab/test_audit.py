"""The audit: the right words for what happens, refusals before anything is compared."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import isotrain
from isotrain.data.digits import digits
from isotrain.data.sources import batched
from isotrain.errors import BadBuild, BadData, BadOption, CannotRewrite, NotDeterministic, UnknownName
from isotrain.lab.audit import Report, gap_between, reading
from isotrain.train.optimizers import OPTIMIZERS, chosen


def build(seed: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


@pytest.fixture(scope="module")
def batches() -> list[tuple[Tensor, Tensor]]:
    return batched(digits()[0], 50)


@pytest.fixture(scope="module")
def report(batches: list[tuple[Tensor, Tensor]]) -> Report:
    return isotrain.audit(build, batches, ["sgd", "adam", "riemannian"], steps=25, progress=False)


def test_the_rivals_feel_what_isotrain_does_not(report: Report) -> None:
    assert list(report.gaps) == ["sgd 0.1", "adam 0.001", "riemannian"]
    assert report.reading("sgd 0.1", "input-inversion") == "differs"
    assert report.reading("adam 0.001", "sigmoid") == "differs"
    assert report.reading("sgd 0.1", "unit-permutation") == "same"
    for change in report.claims["riemannian"] & set(report.gaps["riemannian"]):
        assert report.gaps["riemannian"][change] < 1e-9


def test_all_curves_start_from_the_same_loss(report: Report) -> None:
    starts = [curve[0] for row in report.curves.values() for curve in row.values()]
    assert max(starts) - min(starts) < 1e-12
    assert {len(curve) for row in report.curves.values() for curve in row.values()} == {25}


def test_the_verdict_says_it_in_words(report: Report) -> None:
    assert report.verdict.startswith("riemannian: another curve under 1 of 7 changes (input-mixing;")
    assert "sgd 0.1: another curve under 6 of 7 changes" in report.verdict
    assert "unit-scale" in report.refused
    assert "please report" not in report.verdict


def test_an_audit_repeats_itself(report: Report, batches: list[tuple[Tensor, Tensor]]) -> None:
    again = isotrain.audit(build, batches, ["adam"], ["sigmoid"], steps=25, progress=False)
    assert again.curves["adam 0.001"]["sigmoid"] == report.curves["adam 0.001"]["sigmoid"]


def test_a_report_is_json(report: Report) -> None:
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["readings"]["sgd 0.1"]["sigmoid"] == "differs"
    assert document["facts"]["dtype"] == "float64"


def test_a_function_of_the_model_is_an_optimizer(batches: list[tuple[Tensor, Tensor]]) -> None:
    def slow(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=1e-6)

    found = isotrain.audit(build, batches, [slow], ["input-inversion"], steps=3, progress=False)
    assert list(found.gaps) == ["slow"]


def test_a_rival_that_diverges_is_a_result(batches: list[tuple[Tensor, Tensor]]) -> None:
    found = isotrain.audit(build, batches, ["sgd@1e308"], ["sigmoid"], steps=8, progress=False)
    assert found.reading("sgd 1e+308", "sigmoid") == "diverged"
    document = json.dumps(found.to_dict(), allow_nan=False)
    assert "diverged" in document
    assert "NaN" not in document


@pytest.mark.parametrize("kind", ["numpy", "counter"])
def test_a_model_that_is_not_deterministic_is_refused(kind: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    calls = []

    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(1)
            noise = np.random.default_rng().normal() if kind == "numpy" else len(calls) * 0.1
            return super().forward(x) * (1 + 0.1 * noise)

    # A subclass of a torch layer under torch's name is a leaf to torch.fx, like the fused layers of extensions.
    Noisy.__module__ = "torch.nn.noisy"

    def noisy() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 8), nn.Tanh(), Noisy(8, 10))

    with pytest.raises((NotDeterministic, CannotRewrite), match=r"chance|differs"):
        isotrain.audit(noisy, batches, ["sgd"], ["input-inversion"], steps=5, progress=False)


def test_dropout_is_random_but_repeats(batches: list[tuple[Tensor, Tensor]]) -> None:
    def dropped() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10))

    found = isotrain.audit(dropped, batches, ["sgd"], steps=5, progress=False)
    assert "unit-permutation" in found.refused
    assert "unit-scale" in found.gaps["sgd 0.1"]


REFUSED = [
    (dict(optimizers=["adamm"]), UnknownName, "Did you mean 'adam'"),
    (dict(changes=["sigmoids"]), UnknownName, "Did you mean 'sigmoid'"),
    (dict(optimizers=[]), BadOption, "at least one"),
    (dict(optimizers=["adam", "adam"]), BadOption, "twice"),
    (dict(optimizers=["adam@fast"]), BadOption, "positive number"),
    (dict(optimizers=["adam@-1"]), BadOption, "positive number"),
    (dict(changes=[]), BadOption, "changes is empty"),
    (dict(steps=0), BadOption, "steps=0"),
    (dict(changes=["unit-scale"]), CannotRewrite, "'1' (Tanh)"),
    (dict(batches=[]), BadData, "empty"),
    (dict(batches=3), BadData, "int"),
    (dict(batches=[torch.rand(3, 64)]), BadData, "pair"),
    (dict(batches=[([1.0], [2])]), BadData, "tensors"),
    (dict(batches=[(torch.rand(0, 64), torch.zeros(0, dtype=torch.long))]), BadData, "no samples"),
    (dict(build=lambda: 3), BadBuild, "returned int"),
    (dict(build=lambda: nn.ReLU()), BadBuild, "no parameters"),
    (dict(build="model"), BadBuild, "str"),
    (dict(build=lambda: nn.Linear(3, 2)), BadBuild, "first batch"),
    (dict(build=lambda: 1 / 0), BadBuild, "test_audit.py, line"),
    (dict(build=lambda: (nn.Linear(64, 10), lambda out, y: out)), BadBuild, "one number"),
    (dict(build=lambda: (nn.Linear(64, 10), "crossentropy")), UnknownName, "loss 'crossentropy'"),
    (dict(build=lambda: {"model": nn.Linear(64, 10), "likelihood": object()}), BadBuild, "return the loss too"),
]


@pytest.mark.parametrize(("options", "error", "words"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refusals(
    options: dict[str, object], error: type[Exception], words: str, batches: list[tuple[Tensor, Tensor]]
) -> None:
    given = {"build": build, "batches": batches, "optimizers": ["sgd"], "steps": 3, "progress": False, **options}
    with pytest.raises(error) as caught:
        isotrain.audit(**given)
    assert words in str(caught.value)


FORMS = {
    "module": nn.Linear(64, 10),
    "pair": lambda: (nn.Linear(64, 10), nn.CrossEntropyLoss()),
    "named loss": lambda: (nn.Linear(64, 10), "categorical"),
    "mapping": lambda: {"model": nn.Linear(64, 10), "loss": "categorical"},
    "class": lambda seed=0: nn.Linear(64, 10),
}


@pytest.mark.parametrize("form", FORMS)
def test_build_takes_many_forms(form: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    found = isotrain.audit(FORMS[form], batches, ["sgd"], ["input-inversion"], steps=2, progress=False)
    assert len(found.curves["sgd 0.1"]["original"]) == 2


def test_numbers_and_answers_have_losses_too() -> None:
    x = torch.rand(20, 4)
    for likelihood, y in (("gaussian", x.sum(1, keepdim=True)), ("bernoulli", (x[:, :1] > 0.5).float())):
        made = lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))  # noqa: E731
        made.likelihood = likelihood
        found = isotrain.audit(made, [(x, y)], ["adam", "riemannian"], ["sigmoid"], steps=5, progress=False)
        assert found.facts["likelihood"] == likelihood
        assert found.gaps["riemannian"]["sigmoid"] < 1e-9


def test_batches_go_round_when_they_run_out() -> None:
    pairs = [(torch.full((2, 3), float(i)), torch.tensor([0, 1])) for i in range(3)]
    for given in (pairs, iter(pairs), (p for p in pairs)):
        found = isotrain.audit(nn.Linear(3, 2), given, ["sgd@1e-9"], ["input-inversion"], steps=7, progress=False)
        curve = found.curves["sgd 1e-09"]["original"]
        assert curve[0] == pytest.approx(curve[3], abs=1e-6)
        assert curve[2] == pytest.approx(curve[5], abs=1e-6)
        assert curve[0] != pytest.approx(curve[1], abs=1e-6)


def test_gaps_and_words() -> None:
    nan = math.nan
    assert gap_between([1.0, nan], [1.0, nan]) == 0
    assert gap_between([1.0, nan], [1.0]) == math.inf
    assert reading(1e-4, 2.0, "float32") == "same"
    assert reading(1e-4, 2.0, "float64") == "close"
    assert reading(0.1, 2.0, "float64") == "differs"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trainer_of_the_table_takes_a_step(name: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    if name in ("soap", "shampoo", "prodigy", "schedulefree", "kron"):
        pytest.importorskip("pytorch_optimizer")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = chosen(name)(model)
    for x, y in batches[:3]:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_muon_without_a_hidden_matrix_says_so() -> None:
    with pytest.raises(BadOption, match="muon"):
        chosen("muon")(nn.Linear(3, 2))
