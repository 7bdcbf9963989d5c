"""Numbers that survive float32, degenerate inputs and dead units, and change with no coordinates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain import Riemannian
from isotrain.errors import DegenerateMetric
from isotrain.riemann.blocks import Inputs, Seen, State
from isotrain.riemann.options import SHAPES

OFFSET = 1000.0
"""In standard deviations."""


def look(shape: str, x_ni: Tensor, d_nk: Tensor) -> State:
    """One look of a block at samples with one place."""
    centre = x_ni.mean(0, keepdim=True)
    seen = Seen((x_ni - centre)[None, :, None], d_nk[None, :, None])
    reach = (x_ni - centre).square().amax(0, keepdim=True)
    one = torch.ones_like(d_nk[:1])
    inputs = Inputs(centre, reach, x_ni.var(0, unbiased=False, keepdim=True) + centre.square(), one, one)
    return SHAPES[shape].settle(SHAPES[shape].moments(seen, True), inputs, True)


def batches(count: int = 5) -> list[tuple[Tensor, Tensor]]:
    found = []
    for step in range(count):
        x = torch.randn(30, 4, dtype=torch.float64) + OFFSET + 0.3 * step
        found.append((x, torch.randn(30, 3, dtype=torch.float64) * (1 + x[:, :1] - OFFSET) / 30**0.5))
    return found


def merged(shape: str, looks: list[State], shares: list[float]) -> State:
    state: State | None = None
    for one, share in zip(looks, shares, strict=True):
        state = SHAPES[shape].merge(state, one, share, True, 0.0)
    assert state is not None
    return state


@pytest.mark.parametrize("shape", ["quasi-diagonal", "unitwise", "kronecker"])
def test_float32_survives_inputs_a_thousand_deviations_away(shape: str) -> None:
    data = batches()
    shares = [1.0, 0.5, 0.3, 0.1, 0.1]
    single = merged(shape, [look(shape, x.float(), d.float()) for x, d in data], shares)
    double = merged(shape, [look(shape, x.float().double(), d.float().double()) for x, d in data], shares)
    for name in ("m00", "mean", "spread", "covariance", "factor"):
        if name not in double:
            continue
        exact = double[name]
        scale = (
            exact.abs().amax()
            if name in ("spread", "covariance") and exact.ndim > 3 - (shape == "kronecker")
            else exact.abs()
        )
        assert float(((single[name].double() - exact).abs() / scale).max()) < 1e-4, name


@pytest.mark.parametrize("shape", ["diagonal", "quasi-diagonal", "unitwise"])
def test_merging_is_pooling_raw_moments(shape: str) -> None:
    data, shares = batches(4), [1.0, 0.5, 1 / 3, 0.25]
    if shape == "diagonal":
        # Around zero: without a bias's help.
        looks = [
            SHAPES[shape].settle(
                SHAPES[shape].moments(Seen(x[None, :, None], d[None, :, None]), True),
                Inputs(
                    torch.zeros_like(x[:1]),
                    x.square().amax(0, keepdim=True),
                    x.square().mean(0, keepdim=True),
                    torch.ones_like(d[:1]),
                    torch.ones_like(d[:1]),
                ),
                True,
            )
            for x, d in data
        ]
    else:
        looks = [look(shape, x, d) for x, d in data]
    state = merged(shape, looks, shares)
    for k in range(3):
        raw = torch.zeros(5, 5, dtype=torch.float64)
        for x, d in data:
            h = torch.cat([torch.ones_like(x[:, :1]), x], 1) * d[:, k : k + 1]
            raw += h.T @ h / 4
        m00, mean = raw[0, 0], raw[0, 1:] / raw[0, 0]
        block = raw[1:, 1:] - m00 * torch.outer(mean, mean)
        spread = state["spread"][0, k]
        expected = {"diagonal": raw.diagonal()[1:], "quasi-diagonal": block.diagonal(), "unitwise": block}[shape]
        assert float(state["m00"][0, k]) == pytest.approx(float(m00), rel=1e-12)
        assert torch.allclose(spread, expected, rtol=1e-6)  # the raw difference is what is inexact here
        if shape != "diagonal":
            assert torch.allclose(state["mean"][0, k], mean, rtol=1e-12)


def one_step(model: nn.Module, x: Tensor, labels: Tensor, **options: Any) -> list[Tensor]:
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = Riemannian(model, **{"refresh": 1, "subsample": 1.0, **options})
    F.cross_entropy(model(x), labels).backward()
    optimizer.step()
    return [(b - p).detach() for b, p in zip(before, model.parameters(), strict=True)]


RULES = [{"lr": 0.1, "damping": 0.0}, {"lr": 0.1, "damping": 0.1}, {"lr": None}]
rules = pytest.mark.parametrize("rule", RULES, ids=["plain", "damped", "natural"])
shapes = pytest.mark.parametrize("shape", list(SHAPES))


@shapes
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_first_batch_is_taken_whole(shape: str, kind: torch.dtype) -> None:
    x, labels = torch.randn(40, 3, dtype=kind), torch.randint(0, 3, (40,))
    steps = []
    for decay in (0.0, 0.999):
        torch.manual_seed(0)
        steps.append(one_step(nn.Linear(3, 3).to(kind), x, labels, lr=1.0, damping=0.0, decay=decay, shape=shape))
    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))


@shapes
@rules
@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e3])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_constant_input_keeps_its_weights(shape: str, rule: dict[str, Any], value: float, kind: torch.dtype) -> None:
    x = torch.randn(40, 4, dtype=kind)
    x[:, 2] = value
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).to(kind)
    with torch.no_grad():
        model[0].bias -= model[0].weight[:, 2] * value  # the units stay in their working range
    weight, *others = one_step(model, x, torch.randint(0, 3, (40,)), shape=shape, **rule)
    if shape != "diagonal" or value == 0.0:  # around zero a constant is an input like the bias's
        assert not weight[:, 2].any()
    assert weight[:, :2].any()
    assert all(torch.isfinite(step).all() for step in (weight, *others))


@shapes
@rules
def test_a_dead_unit_stays(shape: str, rule: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[0].bias[1] = -100.0
    steps = one_step(model, torch.randn(60, 3), torch.randint(0, 3, (60,)), shape=shape, **rule)
    assert not steps[0][1].any()
    assert not steps[1][1].any()
    assert not steps[2][:, 1].any()
    assert all(torch.isfinite(step).all() for step in steps)
    assert steps[0].any()


class Keys(nn.Module):
    """Attention with a query, key and value layer of its own: the keys' bias shifts all scores alike."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        return self.head((scores.softmax(-1) @ self.v(x)).sum(1))


class Silent(nn.Module):
    """A bias that the norm after it takes away."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.norm, self.head = nn.Linear(3, 4), nn.InstanceNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.k(x).transpose(1, 2)).tanh().square().sum(2))


@pytest.mark.parametrize("shape", ["diagonal", "quasi-diagonal", "unitwise"])
@rules
@pytest.mark.parametrize("build", [Keys, Silent])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_bias_the_function_ignores_stays(shape: str, rule: dict[str, Any], build: Any, kind: torch.dtype) -> None:
    """Its errors cancel over a sample's places, but for rounding, which must not be divided by rounding."""
    model = build().to(kind)
    x = torch.randn(40, 4, 3, dtype=kind)
    before = model.k.bias.detach().clone()
    weight = model.k.weight.detach().clone()
    one_step(model, x, torch.randint(0, 3, (40,)), shape=shape, **rule)
    moved, turned = model.k.bias.detach() - before, model.k.weight.detach() - weight
    assert turned.any()
    if shape == "diagonal":
        assert not moved.any()
    else:
        # The bias makes up for the weights at the inputs' mean, and does nothing of its own.
        own = moved + turned @ x.flatten(0, 1).mean(0)
        assert float(own.abs().max()) < 1e-4 * float(turned.abs().max())


def test_one_sample_has_no_metric() -> None:
    with pytest.raises(DegenerateMetric, match="1 sample"):
        one_step(nn.Linear(3, 3), torch.randn(1, 3), torch.zeros(1, dtype=torch.long))


RARE = pytest.mark.parametrize("code", ["inverted", "scaled"])


@RARE
@pytest.mark.parametrize("shape", ["quasi-diagonal", "unitwise", "kronecker", "kronecker-full"])
@rules
def test_degenerate_inputs_get_the_same_answer_in_all_codes(shape: str, rule: dict[str, Any], code: str) -> None:
    """A constant, a dead unit and an input lit once: recoded, the very same steps of the function."""
    x = torch.rand(40, 5, dtype=torch.float64)
    x[:, 1] = 0.0
    x[:, 2] = 0.0
    if rule is not RULES[0]:
        x[7, 2] = 0.6  # without damping a single sample's pixel sends its weight to infinity
    labels = torch.randint(0, 3, (40,))
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[0].bias.add_(0.5)
        model[0].bias[1] = -100.0
    other = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    other.load_state_dict(model.state_dict())
    scale, shift = (-1.0, 1.0) if code == "inverted" else (300.0, 0.0)
    with torch.no_grad():
        other[0].weight /= scale
        other[0].bias -= other[0].weight.sum(1) * shift
    outputs = []
    for net, inputs in ((model, x), (other, x * scale + shift)):
        rate = {"lr": rule["lr"] and 1e-3}
        optimizer = Riemannian(net, shape=shape, refresh=1, subsample=1.0, **{**rule, **rate})
        for _ in range(4):
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), labels).backward()
            optimizer.step()
        outputs.append(net(inputs).detach())
    assert float((outputs[0] - outputs[1]).abs().max()) < 1e-9
