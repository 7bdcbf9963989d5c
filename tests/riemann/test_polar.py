"""What the polar default is made of: stacks, embeddings, windows, the pace."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain import Riemannian
from isotrain.riemann import polar, stacks
from isotrain.riemann.pace import FASTEST, SLOWEST, Pace
from isotrain.riemann.polar import Polar
from isotrain.riemann.windows import WIDEST, Windows


class Last(nn.Module):
    """The last state of a recurrent layer."""

    def forward(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        return outputs[0][:, -1]


def classes(model: nn.Module, x: Tensor, y: Tensor, steps: int, **options: object) -> tuple[Riemannian, list[float]]:
    optimizer = Riemannian(model, **options)
    losses = []
    for at in range(steps):
        rows = torch.arange(16) + 16 * at
        loss = F.cross_entropy(model(x[rows % len(x)]), y[rows % len(x)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return optimizer, losses


def vectors(width: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(64, width, generator=generator, dtype=torch.float64)
    return x, (x[:, 0] > 0).long() + 2 * (x[:, 1] * x[:, 2] > 0).long()


def mixed() -> nn.Module:
    """Wide and narrow blocks, with and without biases: some share a stack, some do not."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 80), nn.Tanh(), nn.Linear(80, 72), nn.Tanh(), nn.Linear(72, 80, bias=False), nn.Tanh(),
        nn.Linear(80, 68, bias=False), nn.Tanh(), nn.Linear(68, 9), nn.Tanh(), nn.Linear(9, 4),
    ).double()  # fmt: skip


def test_blocks_in_a_stack_make_the_steps_they_make_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = vectors()
    together = mixed()
    optimizer, _ = classes(together, x, y, 15)
    assert sum(stack is not None for _, stack in optimizer._stacks._plan) >= 1
    monkeypatch.setattr(stacks, "WASTE", -(1 << 30))  # no two blocks share
    alone = mixed()
    other, _ = classes(alone, x, y, 15)
    assert not any(stack is not None for _, stack in other._stacks._plan)
    for one, two in zip(together.parameters(), alone.parameters(), strict=True):
        assert float((one - two).detach().abs().max()) < 1e-9


@pytest.mark.parametrize("metric", ["signs", "outer-product", "backpropagated"])
def test_an_embedding_is_the_linear_layer_on_one_hot_inputs(metric: str) -> None:
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(0, 7, (64,), generator=generator)
    labels = torch.randint(0, 4, (64,), generator=generator)
    torch.manual_seed(2)
    table = nn.Sequential(nn.Embedding(8, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    linear = nn.Sequential(nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, 4)).double()
    with torch.no_grad():
        linear[0].weight.copy_(table[0].weight.T)
        linear[2].load_state_dict(table[2].state_dict())
    _, first = classes(table, index, labels, 60, metric=metric)
    _, second = classes(linear, F.one_hot(index, 8).double(), labels, 60, metric=metric)
    assert first[-1] < first[0] - 0.05
    assert max(abs(a - b) for a, b in zip(first, second, strict=True)) < 1e-10
    assert torch.equal(table[0].weight[7], linear[0].weight[:, 7])  # never met, never moved


def test_windows_are_decorrelated() -> None:
    """The direction on correlated inputs is the one on independent inputs, mapped: up to damping, here none."""
    generator = torch.Generator().manual_seed(3)
    mixing = torch.eye(6, dtype=torch.float64) + 0.4 * torch.randn(6, 6, generator=generator, dtype=torch.float64)
    v = torch.randn(1, 5, 6, generator=generator, dtype=torch.float64)
    ones = torch.ones(1, 6, dtype=torch.float64)
    units = {"factor": ones[:, :5], "response": ones[:, :5], "mean": 0 * ones, "range": 0 * ones}

    def direction(covariance: Tensor, gradient: Tensor) -> Tensor:
        state = {**units, "spread": covariance.diagonal().unsqueeze(0).clone(), "windows": covariance.unsqueeze(0)}
        shape = Windows()
        state = shape.ready(state, 0.0)
        # The same first directions: where the search starts is a matter of coordinates, where it ends is not.
        state["basis"] = torch.eye(5, dtype=torch.float64).unsqueeze(0)
        state["heard"] = torch.inf * ones
        return shape.solve(state, gradient, None)[0]

    plain = direction(torch.eye(6, dtype=torch.float64), v)
    mapped = direction(mixing @ mixing.T, v @ mixing.T)  # inputs mixing @ x
    assert float((mapped @ mixing - plain).abs().max()) < 1e-10


def test_the_default_decorrelates_the_windows_of_convolutions_that_are_narrow() -> None:
    torch.manual_seed(0)
    wide = WIDEST // 9 + 1
    model = nn.Sequential(nn.Conv2d(2, wide, 3), nn.ReLU(), nn.Conv2d(wide, 3, 3), nn.Flatten(), nn.Linear(3, 4))
    optimizer, _ = classes(model, torch.randn(32, 2, 5, 5), torch.randint(0, 4, (32,)), 1)
    assert optimizer.state[model[0].weight]["white"].shape == (1, 18, 18)
    assert not any("white" in optimizer.state[model[place].weight] for place in (2, 4))
    assert all(optimizer.state[model[place].weight]["reach"].numel() == 1 for place in (0, 2, 4))  # of the whole layer


def test_the_pace_follows_the_sign_and_stays_in_its_range() -> None:
    fast = slow = Pace()
    for _ in range(200):
        fast, slow = fast.after(0.5), slow.after(-0.5)
    assert (fast.factor, slow.factor) == (FASTEST, SLOWEST)
    assert Pace().after(0.0) == Pace() and Pace().after(1.0, steady=True).factor == 1.0
    noise = Pace()
    for at in range(200):
        noise = noise.after((-1) ** at)
    assert math.isclose(noise.factor, 1.0, rel_tol=0.1)


def test_a_run_speeds_up_where_minibatches_agree_and_slows_down_where_they_do_not() -> None:
    x, y = vectors()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 4)).double()
    agreeing, _ = classes(net, x, y, 100)
    assert agreeing.param_groups[0]["pace"][0] > 2
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(16 * 400, 12, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (16 * 400,), generator=generator)  # nothing to learn
    disagreeing, _ = classes(net, noise, labels, 400)
    assert disagreeing.param_groups[0]["pace"][0] < 0.5


def test_a_block_that_rested_is_not_judged_by_its_older_step() -> None:
    x, y = vectors()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(12, 4), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) + self.two(x)

    torch.manual_seed(0)
    model = Two().double()
    optimizer, _ = classes(model, x, y, 25)
    before = int(optimizer.state[model.two.weight]["moved_at"])
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    for p in model.two.parameters():
        p.grad = None
    optimizer.step()
    assert int(optimizer.state[model.one.weight]["moved_at"]) == before + 1
    assert int(optimizer.state[model.two.weight]["moved_at"]) == before


@pytest.mark.parametrize("kind", [polar.Polar, Windows])
def test_an_input_that_looks_have_hardly_seen_moves_no_further_than_others(
    kind: type[polar.Polar], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One input was a thousandth in the looks of what it is in the minibatch that made the gradient."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(500, 40, generator=generator, dtype=torch.float64)
    v, v0 = torch.randn(1, 20, 40, generator=generator, dtype=torch.float64), torch.zeros(1, 20, dtype=torch.float64)
    ones = torch.ones(1, 20, dtype=torch.float64)

    def response(known: float) -> Tensor:
        """What a unit of every input, as it is in the minibatch, does to the units."""
        seen = x.clone()
        seen[:, 7] *= known
        state = {"mean": seen.mean(0)[None], "spread": seen.var(0)[None], "range": seen.square().amax(0)[None]}
        state |= {"factor": ones, "response": ones, "windows": seen.T.cov()[None]}
        shape = kind()
        state = shape.begin(shape.ready(state, 0.1), v, v0)
        for _ in range(5):
            found = shape.direct(state, v, v0)
            state = {**state, **found.kept}
        return found.delta.square().sum(1)[0].sqrt()

    usual = float(response(1.0)[7])
    assert float(response(1e-3)[7]) < 20 * usual
    assert float(response(1e-6)[7]) < 100 * usual
    assert float(response(1e-3)[torch.arange(40) != 7].min()) > 0.2 * usual  # and others are not held back
    monkeypatch.setattr(polar, "LOUD", math.inf)
    assert float(response(1e-3)[7]) > 500 * usual


def test_a_recurrent_layer_that_nothing_reads_yet_does_not_leap() -> None:
    """Its curvature is next to none, so its Newton step would saturate it."""

    def leap() -> float:
        torch.manual_seed(0)
        gru, head = nn.GRU(4, 16, batch_first=True), nn.Linear(16, 3)
        model = nn.Sequential(gru, Last(), head)
        with torch.no_grad():
            head.weight.mul_(1e-4)
        x = torch.randn(64, 6, 4)
        optimizer = Riemannian(model)
        before = x @ gru.weight_ih_l0.T + gru.bias_ih_l0
        F.cross_entropy(model(x), torch.randint(0, 3, (64,))).backward()
        optimizer.step()
        new = slice(32, 48)  # the candidate's part that reads the inputs alone
        change = (x @ gru.weight_ih_l0.T + gru.bias_ih_l0 - before)[..., new].flatten(0, 1)
        spread = before[..., new].flatten(0, 1).var(0, unbiased=False)
        return float((change.square().mean(0) / spread).sqrt().median().detach())

    held = leap()
    assert 1.5 < held < 2.001
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Polar, "unit", math.inf)
        assert leap() > 10 * held


def test_behind_a_small_last_layer_hidden_units_do_not_leap() -> None:
    """What hardly reads them gives them hardly any curvature, and so a step that would saturate them for good."""
    images, targets = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(targets)[order]

    def train(scale: float) -> tuple[float, float]:
        """The share of hidden units that the first step saturates, and of right answers held out in the end."""
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 100), nn.Tanh(), nn.Linear(100, 100), nn.Tanh(), nn.Linear(100, 10))
        with torch.no_grad():
            for p in model[-1].parameters():
                p.mul_(scale)
        optimizer, saturated = Riemannian(model), 0.0
        for step in range(120):
            rows = torch.arange(100 * step, 100 * step + 100) % 1000
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            if not step:
                saturated = float((model[:2](x).abs() > 0.99).float().mean())
        return saturated, float((model(x[1000:]).argmax(1) == y[1000:]).float().mean())

    for small in (0.1, 0.01, 1e-3):
        saturated, right = train(small)
        assert saturated < 0.01 and right > 0.95, small
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Polar, "unit", math.inf)
        saturated, right = train(1e-3)
        assert saturated > 0.9 and right < 0.92


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_first_batch_of_one_class_before_a_last_layer_of_zeros(dtype: torch.dtype) -> None:
    """All errors are the same: what is left of the weights' gradient is rounding, and must not become a direction."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 100), nn.Tanh(), nn.Linear(100, 10))
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    x, y = torch.randn(6, 128, 10) + 3, torch.randint(0, 10, (6, 128))
    y[0] = 0
    model, x = model.to(dtype), x.to(dtype)
    optimizer = Riemannian(model)
    for turn in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(x[turn]), y[turn]).backward()
        optimizer.step()
        assert bool((model[-1].weight == 0).all()) == (turn == 0)
    assert model[-1].bias.abs().max() > 0.1
    assert max(float(p.detach().abs().max()) for p in model.parameters()) < 10
