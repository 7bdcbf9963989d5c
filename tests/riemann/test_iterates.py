"""Averages of the weights: what they are, that they keep every claim, and that nothing is lost on the way."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain import Averages, Change, Riemannian
from isotrain.errors import BadCheckpoint, BadOption, NotFinite
from isotrain.lab.changes import apply
from isotrain.riemann.iterates import SHARES


def scalar() -> nn.Linear:
    return nn.Linear(1, 1, bias=False)


def walked(averages: Averages, values: list[float]) -> None:
    for value in values:
        averages.model.weight.data.fill_(value)  # type: ignore[union-attr, operator]
        averages.update()


def worth(model: nn.Module) -> float:
    return float(model.weight.detach())  # type: ignore[operator, union-attr]


def test_each_average_is_the_weighted_mean_it_is_said_to_be() -> None:
    averages = Averages(scalar().double(), every=1)
    values = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).tolist()
    walked(averages, values)
    for share in SHARES:
        power = 1 / share - 1  # whole for each of SHARES, so that the weights are j (j+1) ... (j+power-1)
        counts = [math.prod(range(j, j + round(power))) for j in range(1, 41)]
        averages.load(share)
        assert worth(averages.model) == pytest.approx(
            sum(c * v for c, v in zip(counts, values, strict=True)) / sum(counts), rel=1e-12
        )
    averages.load(0)
    assert worth(averages.model) == values[-1]


def test_every_tenth_step_counts_and_before_the_first_there_are_the_weights_alone() -> None:
    averages = Averages(scalar())
    walked(averages, [5.0] * 9)
    assert averages.shares == (0.0,)
    with pytest.raises(BadOption, match=r"share=0.5 is none of 0 \(after 9 steps"):
        averages.load(0.5)
    walked(averages, [7.0] + [1.0] * 9)
    averages.load(1.0)
    assert worth(averages.model) == 7.0


def test_the_mean_of_a_noisy_run_is_nearer_than_its_end() -> None:
    torch.manual_seed(0)
    model = nn.Linear(20, 1, bias=False)
    truth, optimizer = torch.randn(1, 20), torch.optim.SGD(model.parameters(), lr=0.02)
    averages = Averages(model)
    for _ in range(2000):
        x = torch.randn(4, 20)
        loss = F.mse_loss(model(x), x @ truth.T + torch.randn(4, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averages.update()
    scores = averages.check(lambda m: float((m.weight - truth).square().sum()))  # type: ignore[operator, union-attr]
    best = averages.settle()
    assert best.share > 0 and best.score < 0.1 * scores[0.0] and best.step == 2000
    assert float((model.weight - truth).square().sum().detach()) == pytest.approx(best.score)


def test_an_earlier_time_may_have_been_the_best() -> None:
    averages = Averages(scalar(), every=1)
    walked(averages, [4.0, 2.0])
    averages.check(worth)
    walked(averages, [5.0, 6.0])
    assert worth(averages.model) == 6.0
    assert averages.settle(worth) == (2.0, 0.0, 2) and worth(averages.model) == 2.0
    averages.load(0)
    assert worth(averages.model) == 6.0


@pytest.mark.parametrize("change", sorted(Change), ids=str)
def test_averages_keep_what_the_run_keeps(change: Change) -> None:
    relu = change == Change.UNIT_SCALE
    torch.manual_seed(3)
    act = nn.ReLU if relu else nn.Tanh
    model = nn.Sequential(nn.Linear(4, 6), act(), nn.Linear(6, 5), act(), nn.Linear(5, 3)).double()
    x = torch.rand(96, 4, dtype=torch.float64)
    labels = torch.randint(0, 3, (96,))
    changed = apply(change, model, x, 0)
    claimed = change in Riemannian(model).claims()
    outputs = []
    for one, inputs in ((model, x), (changed.model, changed.encode(x))):
        optimizer, averages = Riemannian(one), Averages(one, every=3)
        for step in range(24):
            rows = torch.arange(step * 32, (step + 1) * 32) % 96
            optimizer.zero_grad()
            F.cross_entropy(one(inputs[rows]), labels[rows]).backward()
            optimizer.step()
            averages.update()
        found: list[Tensor] = []
        for share in averages.shares:
            averages.load(share)
            found.append(one(inputs).detach())
        outputs.append(torch.stack(found))
        assert not torch.equal(outputs[-1][0], outputs[-1][-1])
    gap = float((outputs[0] - outputs[1]).abs().max())
    assert gap < 1e-9 if claimed else gap > 1e-6, f"{gap:.1e}"


def test_training_goes_on_from_where_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[2].eval()
    averages = Averages(model, every=1)
    for _ in range(5):
        model(torch.randn(8, 3))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        averages.update()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = []
    averages.check(lambda m: modes.append(m.training) or 0.0)  # type: ignore[func-returns-value]
    assert len(modes) == 5 and not any(modes) and model.training and not model[2].training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    averages.settle()
    assert not torch.equal(before["1.running_mean"], model[1].running_mean)  # type: ignore[arg-type]
    for refused in (averages.update, lambda: averages.check(lambda m: 0.0)):
        with pytest.raises(BadOption, match=r"averages.load\(0\) puts back"):
            refused()
    averages.load(0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    averages.update()


def test_a_score_that_fails_leaves_the_weights() -> None:
    averages = Averages(scalar(), every=1)
    walked(averages, [1.0, 2.0])
    with pytest.raises(BadOption, match="nothing was scored yet"):
        averages.settle()
    with pytest.raises(ZeroDivisionError):
        averages.check(lambda m: 1 / 0)
    assert worth(averages.model) == 2.0 and averages.model.training
    with pytest.raises(NotFinite, match="no score is a number"):
        averages.settle(lambda m: math.nan)
    assert worth(averages.model) == 2.0 and averages.best is None
    assert averages.settle(lambda m: math.nan if worth(m) == 2 else worth(m)) == (1.5, 1.0, 2)


def test_short_numbers_are_averaged_in_long_ones_and_shared_weights_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).bfloat16()
    model[1].weight = model[0].weight
    averages = Averages(model, every=1)
    for value in (1.0, 1.0, 1.03125):
        model[0].weight.data.fill_(value)
        averages.update()
    (kept,) = averages.state_dict()["averages"][1.0]
    assert kept.dtype == torch.float32 and torch.allclose(kept, torch.full((2, 2), 1 + 0.03125 / 3))
    averages.load(1.0)
    assert model[1].weight.dtype == torch.bfloat16


@pytest.mark.parametrize("settled", [False, True])
def test_resumed_from_a_file_without_pickle(settled: bool) -> None:
    whole, first, second = (Averages(scalar(), every=2) for _ in range(3))
    walked(whole, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    walked(first, [1.0, 2.0, 3.0])
    if settled:
        first.check(worth)
        first.load(1.0)
    file = io.BytesIO()
    torch.save({"averages": first.state_dict(), "model": first.model.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second.model.load_state_dict(saved["model"])
    second.load_state_dict(saved["averages"])
    if settled:
        assert second.best == (2.0, 1.0, 3) and worth(second.model) == 2.0
        second.load(0)
    assert worth(second.model) == 3.0
    walked(second, [4.0, 5.0, 6.0])
    for share in whole.shares:
        whole.load(share)
        second.load(share)
        assert worth(whole.model) == worth(second.model)
    if settled:
        second.settle()
        assert worth(second.model) == 2.0


@pytest.mark.parametrize(
    ("saved", "says"),
    [({}, "not one of isotrain.Averages"), ({"isotrain_averages": 99}, "of version 1"), (None, "their sizes are")],
)
def test_a_state_from_elsewhere_is_refused(saved: dict[str, int] | None, says: str) -> None:
    other = Averages(nn.Linear(2, 1), every=1)
    other.update()
    with pytest.raises(BadCheckpoint, match=says):
        Averages(scalar()).load_state_dict(other.state_dict() if saved is None else saved)


def test_nothing_to_average() -> None:
    with pytest.raises(BadOption, match="every=0"):
        Averages(scalar(), every=0)
    with pytest.raises(BadOption, match="Tanh has no weights"):
        Averages(nn.Tanh())
