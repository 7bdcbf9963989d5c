"""Every claim in both directions: what is claimed is kept to 1e-9, what is not claimed is broken by more than 1e-6.

A model and its rewritten twin are trained on the same minibatches with the same draws; the gap is the largest
difference of their logits on a fixed set, over all steps. In float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain import Change, Riemannian
from isotrain.lab.changes import apply
from isotrain.riemann.options import SHAPES
from isotrain.riemann.probes import PROBES

KEPT, BROKEN = 1e-9, 1e-6
STEPS, BATCH, CLASSES = 8, 32, 5


class Sequences(nn.Module):
    """A recurrent layer, a hidden layer and a head."""

    def __init__(self, activation: Callable[[], nn.Module], kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.layer = kind(3, 2, batch_first=True)  # type: ignore[call-arg]
        self.hidden, self.activation, self.head = nn.Linear(2, 4), activation(), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.layer(x)
        return self.head(self.activation(self.hidden(out[:, -1])))


def dense(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), activation(), nn.Linear(4, 4), activation(), nn.Linear(4, CLASSES))


def convolutional(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 2),
        activation(),
        nn.Conv2d(3, 3, 2, stride=2),
        activation(),
        nn.Flatten(),
        nn.Linear(3, CLASSES),
    )


def gated(activation: Callable[[], nn.Module]) -> nn.Module:
    return Sequences(activation, nn.GRU)


def wide_dense(activation: Callable[[], nn.Module]) -> nn.Module:
    """Layers with more directions than a step follows."""
    return nn.Sequential(nn.Linear(6, 70), activation(), nn.Linear(70, 44), activation(), nn.Linear(44, CLASSES))


def wide_convolutional(activation: Callable[[], nn.Module]) -> nn.Module:
    """Windows with more directions than a step follows."""
    return nn.Sequential(
        nn.Conv2d(2, 40, 2), activation(), nn.Conv2d(40, 70, 2, stride=2), activation(), nn.Flatten(),
        nn.Linear(70, CLASSES),
    )  # fmt: skip


def grouped(activation: Callable[[], nn.Module]) -> nn.Module:
    """Groups of their own channels, one of which is constant in `problem`: its units answer the same to all samples."""
    return nn.Sequential(nn.Conv2d(2, 6, 2, groups=2), activation(), nn.Flatten(), nn.Linear(54, CLASSES))


NETS: dict[str, tuple[Callable[[Callable[[], nn.Module]], nn.Module], tuple[int, ...]]] = {
    "dense": (dense, (4,)),
    "conv": (convolutional, (2, 4, 4)),
    "lstm": (Sequences, (4, 3)),
    "gru": (gated, (4, 3)),
}
WIDE: dict[str, tuple[Callable[[Callable[[], nn.Module]], nn.Module], tuple[int, ...]]] = {
    "wide dense": (wide_dense, (6,)),
    "wide conv": (wide_convolutional, (2, 4, 4)),
}
"""Nets of which the shapes that keep whole matrices would make the tests slow."""
RULES = {
    "plain": {"lr": 3e-4, "damping": 0.0, "refresh": 1, "subsample": 1.0},
    "plain-damped": {"lr": 5e-3, "damping": 0.1, "refresh": 2},
    "natural": {"lr": None},
}


def problem(net: str, relu: bool, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A fresh model, its inputs in [0, 1] and labels that can be learned."""
    build, shape = (NETS | WIDE)[net]
    torch.manual_seed(seed)
    model = build(nn.ReLU if relu else nn.Tanh).double()
    x = torch.rand(4 * BATCH, *shape, dtype=torch.float64)
    with torch.no_grad():
        for layer in model.modules() if relu else ():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.bias.add_(0.3)  # few units are dead
        score = x.flatten(1) @ torch.randn(x[0].numel(), CLASSES, dtype=torch.float64)
    return model, x, (score + 0.5 * torch.randn_like(score)).argmax(1)


def curve(model: nn.Module, x: Tensor, labels: Tensor, probe_set: Tensor, steps: int, **options: object) -> Tensor:
    """Logits on the probe set after every step, [step, n, class]."""
    optimizer = Riemannian(model, **options)  # type: ignore[arg-type]
    logits = []
    for step in range(steps):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(x)
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), labels[rows]).backward()
        optimizer.step()
        with torch.no_grad():
            logits.append(model(probe_set))
    optimizer.close()
    return torch.stack(logits)


@lru_cache(maxsize=64)
def base_curve(net: str, relu: bool, seed: int, rule: str, metric: str, shape: str) -> Tensor:
    model, x, labels = problem(net, relu, seed)
    return curve(model, x, labels, x[:BATCH], STEPS, metric=metric, shape=shape, **RULES[rule])


def gap(change: str, net: str, rule: str, metric: str, shape: str, seed: int) -> float:
    relu = change == Change.UNIT_SCALE  # only ReLU lets a unit's scale through to the next layer
    model, x, labels = problem(net, relu, seed)
    changed = apply(change, model, x, seed)
    coded = changed.encode(x)
    other = curve(changed.model, coded, labels, coded[:BATCH], STEPS, metric=metric, shape=shape, **RULES[rule])
    return float((other - base_curve(net, relu, seed, rule, metric, shape)).abs().max())


@pytest.mark.parametrize("change", list(Change), ids=str)
@pytest.mark.parametrize("shape", list(SHAPES))
@settings(max_examples=settings.default.max_examples // 3 + 1)
@given(
    net=st.sampled_from(sorted(NETS)),
    rule=st.sampled_from(sorted(RULES)),
    metric=st.sampled_from(sorted(PROBES)),
    seed=st.integers(0, 3),
)
def test_claims(shape: str, change: Change, net: str, rule: str, metric: str, seed: int) -> None:
    model, _, _ = problem(net, False, seed)
    claimed = change in Riemannian(model, shape=shape, metric=metric, **RULES[rule]).claims()  # type: ignore[arg-type]
    relu = change == Change.UNIT_SCALE
    # A run that diverges amplifies rounding without bound: nothing can be read from it.
    assume(float(base_curve(net, relu, seed, rule, metric, shape).abs().max()) < 3)
    found = gap(change, net, rule, metric, shape, seed)
    assert found < KEPT if claimed else found > BROKEN, f"{found:.1e}"


@pytest.mark.parametrize("change", list(Change), ids=str)
@pytest.mark.parametrize("net", sorted(WIDE))
@pytest.mark.parametrize("seed", [0, 1])
def test_claims_where_some_directions_are_followed(net: str, change: Change, seed: int) -> None:
    model, _, _ = problem(net, False, seed)
    followed = [state["basis"].shape for state in first_states(net, seed) if "basis" in state]
    assert any(r < k for _, k, r in followed), "all directions are followed: this shows nothing"
    found = gap(change, net, "natural", "signs", "polar", seed)
    assert found < KEPT if change in Riemannian(model).claims() else found > BROKEN, f"{found:.1e}"


@pytest.mark.parametrize("change", [Change.INPUT_INVERSION, Change.INPUT_AFFINE], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_claims_where_a_unit_answers_the_same_to_all(change: Change, seed: int) -> None:
    """Its variance is nothing, whichever rounding a coding leaves there."""
    torch.manual_seed(seed)
    model, x = grouped(nn.Tanh).double(), torch.rand(4 * BATCH, 2, 4, 4, dtype=torch.float64)
    x[:, 0] = 0.7
    labels = (x.flatten(1) @ torch.randn(32, CLASSES, dtype=torch.float64)).argmax(1)
    changed = apply(change, model, x, seed)
    coded = changed.encode(x)
    one = curve(model, x, labels, x[:BATCH], STEPS)
    other = curve(changed.model, coded, labels, coded[:BATCH], STEPS)
    assert float((one - other).abs().max()) < KEPT


def test_a_layer_that_nothing_read_at_first_is_followed_later() -> None:
    """Its first gradient is zero, and so are its directions until the next look."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()
    nn.init.zeros_(model[2].weight)
    x = torch.randn(4 * BATCH, 12, dtype=torch.float64)
    labels = (x @ torch.randn(12, CLASSES, dtype=torch.float64)).argmax(1)
    optimizer = Riemannian(model)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    assert int(torch.linalg.matrix_rank(optimizer.state[model[0].weight]["basis"][0])) == 8


def first_states(net: str, seed: int) -> list[dict[str, Tensor]]:
    """What is kept of each block after one step."""
    model, x, labels = problem(net, False, seed)
    optimizer = Riemannian(model)
    F.cross_entropy(model(x[:BATCH]), labels[:BATCH]).backward()
    optimizer.step()
    return list(optimizer.state.values())


class Packed(nn.Module):
    """Sequences of several lengths through a GRU; the recoded inputs are padded with zeros like the others."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.arange(len(x)) % x.shape[1] + 1
        _, last = self.gru(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return self.head(last[0])


@pytest.mark.parametrize("metric", ["signs", "outer-product"])
def test_padding_does_not_show(metric: str) -> None:
    torch.manual_seed(1)
    model = Packed().double()
    x, labels = torch.rand(4 * BATCH, 3, 3, dtype=torch.float64), torch.randint(0, CLASSES, (4 * BATCH,))
    other = Packed().double()
    other.load_state_dict(model.state_dict())
    scale, shift = torch.tensor([2.0, 0.4, -1.5]).double(), torch.tensor([1.0, -3.0, 0.5]).double()
    with torch.no_grad():
        other.gru.weight_ih_l0 /= scale
        other.gru.bias_ih_l0 -= other.gru.weight_ih_l0 @ shift
    coded = x * scale + shift
    curves = [curve(m, v, labels, v[:BATCH], STEPS, metric=metric) for m, v in ((model, x), (other, coded))]
    assert float((curves[0] - curves[1]).abs().max()) < KEPT


GOLDEN = {"natural": {"lr": None}, "plain": {"lr": 2e-3, "damping": 0.03, "refresh": 5}}


STEADY = sorted({*NETS} - {"gru"})
"""Nets whose runs do not amplify a rounding error in hundreds of steps."""


@pytest.mark.parametrize("rule", sorted(GOLDEN))
@pytest.mark.parametrize("net", STEADY)
def test_golden_curves_do_not_part_in_200_steps(net: str, rule: str) -> None:
    """The figure of issue 2: gap of the quasi-diagonal curves below 1e-9 in float64, below 1e-3 in float32."""
    for kind, bound in ((torch.float64, KEPT), (torch.float32, 1e-3)):
        model, x, labels = problem(net, False, 0)
        model, x = model.to(kind), x.to(kind)
        changed = apply("sigmoid+input-affine", model, x, 1)
        coded = changed.encode(x)
        base, other = (
            curve(m, v, labels, v[:BATCH], 200, shape="quasi-diagonal", **GOLDEN[rule])
            for m, v in ((model, x), (changed.model, coded))
        )
        assert float((base[-1] - base[0]).abs().max()) > 0.01
        found = float((other - base).abs().max())
        assert found < bound, f"{kind}: {found:.1e}"


def rounded(net: str, seed: int) -> nn.Module:
    """A problem's model, of which every weight is off by a rounding."""
    model, _, _ = problem(net, False, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-15 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("net", STEADY)
def test_golden_curves_of_the_default_do_not_part_in_1000_steps(net: str, seed: int) -> None:
    """The figure of issue 3: gap of the whole default's curves below 1e-8 in float64.

    Beyond the first seed: but for runs in which one rounding of the weights grows as far (docs/research.md).
    """
    model, x, labels = problem(net, False, seed)
    changed = apply("sigmoid+input-affine", model, x, 1)
    coded = changed.encode(x)
    base, other = (curve(m, v, labels, v[:BATCH], 1000, lr=None) for m, v in ((model, x), (changed.model, coded)))
    assert float((base[-1] - base[0]).abs().max()) > 0.01
    found = float((other - base).abs().max())
    if seed and not found < 1e-8:
        run = curve(rounded(net, seed), x, labels, x[:BATCH], 1000, lr=None)
        assert found < 10 * float((run - base).abs().max())
    else:
        assert found < 1e-8


@pytest.mark.parametrize("shape", ["quasi-diagonal", "polar"])
def test_a_gru_recoded_parts_no_faster_than_one_with_other_roundings(shape: str) -> None:
    """Its training amplifies any difference: how much, weights that differ by one rounding tell."""
    model, x, labels = problem("gru", False, 0)
    changed = apply("sigmoid+input-affine", model, x, 1)
    coded = changed.encode(x)
    base, other, noise = (
        curve(m, v, labels, v[:BATCH], 200, shape=shape)
        for m, v in ((model, x), (changed.model, coded), (rounded("gru", 0), x))
    )
    assert float((base[-1] - base[0]).abs().max()) > 0.01
    found, grown = ((run - base).abs().amax((1, 2)).cummax(0).values for run in (other, noise))
    assert float(found[10]) < 1e-11  # by step 20 one rounding has grown to 2e-11 here
    assert float((found / (grown + 1e-14)).max()) < 10
