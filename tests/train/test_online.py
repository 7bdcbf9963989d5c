"""Learning while reading: gradients against backpropagation through everything that was read."""

from __future__ import annotations

import gc
import math

import pytest
import torch
from torch import Tensor, nn

from isotrain.errors import BadOption
from isotrain.train.online import Online, Stepwise

STEPS = 5
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def small(cell: str, hidden: int = 2, seed: int = 0) -> Stepwise:
    torch.manual_seed(seed)
    net = Stepwise(CELLS[cell](2, hidden), nn.Linear(hidden, 1)).double()
    with torch.no_grad():  # states that last, so that what came before weighs a lot
        for weight in net.cell.parameters():
            weight.mul_(1.5)
    return net


def start(cell: str, hidden: int = 2, batch: int = 2):
    zero = torch.zeros(batch, hidden, dtype=torch.float64)
    return (zero, zero) if cell == "lstm" else zero


def stream(steps: int = STEPS, batch: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(steps, batch, 2).double(), torch.randn(steps, batch, 1).double()


def flat(parameters) -> Tensor:
    return torch.cat([torch.zeros(p.numel()).double() if p.grad is None else p.grad.flatten() for p in parameters])


def exact(net, state, x, y) -> Tensor:
    """Backpropagation through the whole stream: the sum of all losses."""
    net.zero_grad()
    total = torch.zeros(()).double()
    for one, target in zip(x, y, strict=True):
        output, state = net(one, state)
        total = total + (output - target).square().mean()
    total.backward()
    return flat(net.parameters())


def streamed(net, state, x, y, window: int = 1, **options) -> Tensor:
    """The same sum, window by window, the parameters standing still."""
    net.zero_grad()
    online = Online(net, state, **options)
    for at in range(0, len(x), window):
        losses = [
            (online(one) - target).square().mean()
            for one, target in zip(x[at : at + window], y[at : at + window], strict=True)
        ]
        online.backward(torch.stack(losses).sum())
    return flat(net.parameters())


def standard_scores(draws: Tensor, truth: Tensor) -> Tensor:
    """How many standard errors the mean of the draws is from the truth; 0 where nothing varies and nothing is amiss."""
    error = draws.std(0) / math.sqrt(len(draws))
    apart = draws.mean(0) - truth
    return torch.where(apart.abs() < 1e-9, 0.0, apart / error.clamp_min(1e-12))


@pytest.mark.parametrize(("cell", "window"), [("rnn", 1), ("gru", 1), ("lstm", 1), ("rnn", 2)])
def test_the_mean_over_signs_is_the_exact_gradient(cell, window):
    net, (x, y) = small(cell), stream()
    truth = exact(net, start(cell), x, y)
    draws = torch.stack([streamed(net, start(cell), x, y, window, seed=seed) for seed in range(200)])
    scores = standard_scores(draws, truth)
    assert scores.abs().max() < 4.0
    # The same test tells a biased estimate: a truncated gradient, and one a tenth of the past too large.
    truncated = streamed(net, start(cell), x, y, window, rank_one=False)
    assert standard_scores(draws - truth + truncated, truth).abs().max() > 8.0
    assert (draws.std(0) > 1e-6).any()


def test_forward_accumulation_agrees_with_the_exact_gradient():
    """G by torch's own Jacobians, carried along step by step: the oracle's oracle."""
    net, (x, y) = small("rnn"), stream(batch=1)
    names = [name for name, _ in net.named_parameters()]
    values = [p.detach() for p in net.parameters()]
    state, g = start("rnn", batch=1), torch.zeros(2, sum(v.numel() for v in values)).double()
    total = torch.zeros(g.shape[1]).double()
    for one, target in zip(x, y, strict=True):

        def run(state, *parameters, one=one, target=target):
            given = dict(zip(names, parameters, strict=True))
            output, state = torch.func.functional_call(net, given, (one, state))
            return (output - target).square().mean(), state.squeeze(0)

        loss_by, state_by = torch.autograd.functional.jacobian(run, (state, *values))
        total += (loss_by[0].view(1, 2) @ g).squeeze(0) + torch.cat([part.flatten() for part in loss_by[1:]])
        g = state_by[0].view(2, 2) @ g + torch.cat([part.reshape(2, -1) for part in state_by[1:]], 1)
        state = run(state, *values)[1].unsqueeze(0)
    assert torch.allclose(total, exact(net, start("rnn", batch=1), x, y), atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_one_window_over_everything_is_exact(cell):
    net, (x, y) = small(cell), stream()
    truth = exact(net, start(cell), x, y)
    for rank_one in (True, False):
        assert torch.allclose(streamed(net, start(cell), x, y, STEPS, rank_one=rank_one), truth, atol=1e-12)


class Fading(nn.Module):
    """A parameter that enters the state once, and is read for ever after."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.7]]).double())

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = 0.9 * state + self.weight * x
        return state, state


def test_what_is_of_rank_one_is_carried_without_noise():
    """One number of state, one input, then nothing that depends on the parameter: no signs are left in the estimate."""
    x = torch.tensor([2.0, 0.0, 0.0, 0.0]).double().view(4, 1, 1)
    y = torch.zeros_like(x)
    truth = exact(Fading(), torch.zeros(1, 1).double(), x, y)
    for seed in range(4):
        found = streamed(Fading(), torch.zeros(1, 1).double(), x, y, seed=seed)
        assert found.item() == pytest.approx(truth.item(), rel=1e-5)  # the factors stay 1e-7 away from zero
    assert streamed(Fading(), torch.zeros(1, 1).double(), x, y, rank_one=False).item() != pytest.approx(truth.item())


def test_the_factors_make_noise_smaller(monkeypatch):
    """With both factors 1 the mean is the same and the spread is wider, as a badly scaled state shows most."""
    net, (x, y) = small("rnn", hidden=3), stream()
    with torch.no_grad():
        net.readout.weight.mul_(10)
        net.cell.weight_ih.mul_(0.1)
    own = torch.stack([streamed(net, start("rnn", 3), x, y, seed=s) for s in range(60)])
    monkeypatch.setattr("isotrain.train.online.math", _Ones)
    plain = torch.stack([streamed(net, start("rnn", 3), x, y, seed=s) for s in range(60)])
    assert own.var(0).sum() < 0.8 * plain.var(0).sum()


class _Ones:
    """Every root is one: so are both factors."""

    @staticmethod
    def sqrt(value: float) -> float:
        return 1.0


def test_the_same_seed_gives_the_same_gradients():
    net, (x, y) = small("gru"), stream()
    one, two, other = (streamed(net, start("gru"), x, y, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_memory_does_not_grow_with_what_is_read():
    net, (x, y) = small("gru"), stream(60)
    online = Online(net, start("gru"))
    sizes = []
    for at, (one, target) in enumerate(zip(x, y, strict=True)):
        online.backward((online(one) - target).square().mean())
        if at in (3, 59):
            gc.collect()
            sizes.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    assert sizes[0] == sizes[1]


def test_reading_something_else_forgets():
    net, (x, _) = small("gru"), stream()
    online = Online(net, start("gru"))
    for one in x:
        online.backward(online(one).square().mean())
    online.reset(start("gru"))
    assert not any(part.any() for part in [*online.column, *online.row])
    assert torch.equal(online.state, start("gru"))


def test_a_function_comes_with_its_parameters():
    weight = nn.Parameter(torch.ones(()))

    def net(x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return weight * state, weight * state + x

    with pytest.raises(BadOption, match=r"pass a module, or parameters="):
        Online(net, torch.zeros(1))
    online = Online(net, torch.ones(1), [weight])
    online.backward(online(torch.ones(1)).sum())
    assert weight.grad == 1.0


def test_a_window_of_nothing_is_refused():
    online = Online(small("rnn"), start("rnn"))
    with pytest.raises(BadOption, match="nothing was read"):
        online.backward(torch.zeros(()))


def test_a_net_that_cannot_be_differentiated_twice_is_refused():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return g

    weight = nn.Parameter(torch.ones(()))
    online = Online(lambda x, state: (state, Once.apply(weight * state + x)), torch.ones(1), [weight])
    online.backward(online(torch.ones(1)).sum())
    with pytest.raises(BadOption, match="differentiated twice"):
        online.backward(online(torch.ones(1)).sum())


def test_the_invariant_optimizer_steps_on_its_gradients():
    import isotrain

    torch.manual_seed(0)
    net = Stepwise(nn.RNNCell(1, 4), nn.Linear(4, 1))
    optimizer = isotrain.Riemannian(net, likelihood=["gaussian", None])
    online = Online(net, torch.zeros(16, 4))
    losses = []
    for _ in range(60):
        x = torch.randn(16, 1)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(online(x), x)
        online.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
