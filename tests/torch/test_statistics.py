"""What a look sees is what the training graph did: under every way torch has of running a model."""

from __future__ import annotations

import copy

import pytest
import torch
from small_problem import batch, net, same, snapshot, step, train
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from isotrain import Riemannian
from isotrain.errors import NoBackward, NotObserved, UnsupportedOperation

EXACT = {"metric": "outer-product", "subsample": 1.0}  # nothing is drawn, nothing left out


class Blocks(nn.Module):
    """Two blocks, with the ways of running them that hooks on layers stumble over."""

    def __init__(self, inplace: bool = False, checkpointed: bool = False, reentrant: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace), nn.Linear(8, 5))
        self.second = nn.Sequential(nn.ReLU(inplace), nn.Linear(5, 3))
        self.checkpointed, self.reentrant = checkpointed, reentrant

    def forward(self, x):
        if self.checkpointed:
            return self.second(checkpoint(self.first, x, use_reentrant=self.reentrant))
        return self.second(self.first(x))


def run(model, forward=None, turns=range(3), bf16=False, **options):
    optimizer = Riemannian(model, **options)
    losses = []
    for turn in turns:
        x, y = batch(turn)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy((model if forward is None else forward)(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, snapshot(model, optimizer)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("inplace", [False, True], ids=["out-of-place", "in-place"])
def test_the_grid(backend, inplace, checkpointed, bf16):
    """Compiled or not, in place or not, checkpointed or not: the same run; bit for bit in float32."""
    losses, reference = run(Blocks(), bf16=bf16)
    model = Blocks(inplace, checkpointed)
    torch._dynamo.reset()
    forward = torch.compile(model, backend=backend) if backend != "eager" else model
    found, state = run(model, forward, bf16=bf16)
    if bf16:  # a compiled graph casts in other places
        assert found == pytest.approx(losses, rel=2e-2)
    else:
        assert found == losses
        assert same(state, reference)


def test_a_reentrant_checkpoint_is_an_error_that_says_what_to_do():
    model = Blocks(checkpointed=True, reentrant=True)
    optimizer = Riemannian(model)
    x, y = batch(0)
    F.cross_entropy(model(x.requires_grad_()), y).backward()
    before = snapshot(model, optimizer)
    with pytest.raises(UnsupportedOperation, match=r"'first.0'.*use_reentrant=False"):
        optimizer.step()
    assert same(snapshot(model, optimizer), before)
    model.reentrant = False
    train(model, optimizer, range(2))


# --- accumulation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3])
def test_accumulated_micro_batches_are_one_batch(k):
    """The loss of each is divided by their number: the metric is the mean of theirs, as over the whole batch.

    Without damping, which is relative to the largest deviation in a look; and at a given rate, since the curvature
    along the step is drawn for each look.
    """

    def go(pieces):
        model = net().double()
        optimizer = Riemannian(model, lr=1e-3, damping=0.0, **EXACT)
        for turn in range(4):
            x, y = batch(turn)
            optimizer.zero_grad()
            for xs, ys in zip(x.double().chunk(pieces), y.chunk(pieces), strict=True):
                (F.cross_entropy(model(xs), ys) / pieces).backward()
            optimizer.step()
        return snapshot(model)["parameters"]

    whole, accumulated = go(1), go(k)
    for name, p in whole.items():
        torch.testing.assert_close(accumulated[name], p, rtol=1e-9, atol=1e-9)


def test_the_natural_length_is_that_of_the_whole_batch():
    """Up to what is drawn: the curves of 1 and of 4 micro-batches run within 2 % of each other."""

    def go(pieces):
        model = net()
        optimizer = Riemannian(model)
        losses = []
        for turn in range(20):
            x, y = batch(turn)
            optimizer.zero_grad()
            parts = [
                F.cross_entropy(model(xs), ys) / pieces for xs, ys in zip(x.chunk(pieces), y.chunk(pieces), strict=True)
            ]
            for part in parts:
                part.backward()
            optimizer.step()
            losses.append(sum(part.item() for part in parts))
        return losses

    whole, pieces = go(1), go(4)
    assert whole[-1] < 0.8 * whole[0]
    assert pieces == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize("shape", ["diagonal", "quasi-diagonal", "unitwise", "kronecker"])
def test_the_undamped_metric_of_micro_batches_is_that_of_the_batch(shape):
    kept = []
    for pieces in (1, 3):
        model = net().double()
        optimizer = Riemannian(model, lr=1e-3, damping=0.0, shape=shape, **EXACT)
        x, y = batch(0)
        for xs, ys in zip(x.double().chunk(pieces), y.chunk(pieces), strict=True):
            (F.cross_entropy(model(xs), ys) / pieces).backward()
        optimizer.step()
        kept.append(dict(optimizer.state[model[0].weight]))
    names = {"m00", "mean", "spread", "covariance"} & kept[0].keys() - ({"mean"} if shape == "kronecker" else set())
    assert names
    for name in names:
        torch.testing.assert_close(kept[0][name], kept[1][name], rtol=1e-9, atol=1e-12)


def test_an_undivided_sum_of_micro_batches_keeps_the_metric():
    """Labels are read from the gradient, not its size: only the gradient itself is then twice as long."""
    states = []
    for divisor in (1.0, 2.0):
        model = net().double()
        optimizer = Riemannian(model, lr=1e-3, damping=0.0, **EXACT)
        for turn in range(2):
            x, y = batch(turn)
            (F.cross_entropy(model(x.double()), y) / divisor).backward()
        optimizer.step()
        states.append(optimizer.state[model[0].weight]["spread"])
    torch.testing.assert_close(*states)


def test_the_model_called_twice_in_one_loss():
    model = net()
    optimizer = Riemannian(model)
    losses = []
    for turn in range(15):
        (x, y), (u, v) = batch(turn), batch(turn + 100)
        loss = (F.cross_entropy(model(x), y) + F.cross_entropy(model(u), v)) / 2
        optimizer.zero_grad()
        loss.backward()
        assert len(optimizer._recorder.calls) == 2
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


# --- other passes between -------------------------------------------------------------------------------------


def test_evaluation_between_steps_changes_nothing():
    def go(evaluated):
        model = nn.Sequential(net(), nn.BatchNorm1d(3), nn.Dropout(0.3), nn.Linear(3, 3))
        optimizer = Riemannian(model)
        for turn in range(4):
            x, y = batch(turn)
            torch.manual_seed(turn)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            if evaluated:
                model.eval()
                with torch.no_grad():
                    model(batch(50)[0])
                with torch.inference_mode():
                    model(batch(51)[0])
                model(batch(52)[0])  # graph built and dropped
                model.train()
            optimizer.step()
        return snapshot(model, optimizer), copy.deepcopy(dict(model.named_buffers()))

    assert same(go(False), go(True))


def test_a_look_leaves_no_trace():
    """Buffers, random numbers, mode, hooks and gradients are those of the training pass alone."""
    model = nn.Sequential(net(), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3))
    optimizer = Riemannian(model)
    x, y = batch(0)
    F.cross_entropy(model(x), y).backward()
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    gradients = [p.grad.clone() for p in model.parameters()]
    random = torch.get_rng_state()
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in m.__dict__) for m in model.modules()]
    optimizer.step()
    assert same(dict(model.named_buffers()), buffers)
    assert same([p.grad for p in model.parameters()], gradients)
    assert torch.equal(torch.get_rng_state(), random)
    assert hooks == [
        (len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in m.__dict__) for m in model.modules()
    ]
    assert model.training


def test_inputs_and_outputs_written_on_after_the_forward():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x):
            return self.net(x.sub_(0.5) if self.inplace else x - 0.5)

    ends = []
    for inplace in (False, True):
        model = Shifted()
        model.inplace = inplace
        optimizer = Riemannian(model)
        for turn in range(3):
            x, y = batch(turn)
            out = model(x)
            out = out.mul_(2) if inplace else out * 2
            optimizer.zero_grad()
            F.cross_entropy(out / 2, y).backward()
            optimizer.step()
        ends.append(snapshot(model, optimizer))
    assert same(*ends)


# --- layers -------------------------------------------------------------------------------------------------


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.again, self.after = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.spare = nn.Linear(5, 3)
        self.use_spare = False

    def forward(self, x):
        h = torch.tanh(self.before(x))
        for _ in range(2):
            h = torch.tanh(self.again(h))
        return self.after(h) + (self.spare(h) if self.use_spare else 0)


def test_a_layer_called_twice_and_a_layer_not_used():
    model = Twice()
    optimizer = Riemannian(model)
    spare = model.spare.weight.clone()
    losses = train(model, optimizer, range(25))
    assert torch.equal(model.spare.weight, spare)
    assert optimizer.state.get(model.spare.weight, {}) == {}
    assert "spread" in optimizer.state[model.again.weight]
    assert losses[-1] < losses[0]


def test_a_layer_that_joins_between_two_looks_takes_one_at_the_next_step():
    model = Twice()
    optimizer = Riemannian(model)
    train(model, optimizer, range(21))
    model.use_spare = True
    x, y = batch(21)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    before = snapshot(model, optimizer)
    with pytest.raises(NotObserved, match=r"'spare'.*first time between two looks"):
        optimizer.step()
    assert same(snapshot(model, optimizer), before)
    train(model, optimizer, range(21, 24))
    assert "spread" in optimizer.state[model.spare.weight]


def test_a_used_layer_without_influence_on_the_loss():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.side = net(), nn.Linear(6, 3)

        def forward(self, x):
            return self.body(x), self.side(x)

    model = Two()
    optimizer = Riemannian(model)
    side = model.side.weight.clone()
    train(model, optimizer, range(3), forward=lambda x: model(x)[0])
    assert torch.equal(model.side.weight, side)


def test_hooks_that_never_fired_are_an_error_that_names_the_cause():
    """As when a compiled graph was made before the hooks (torch skips their guards), or a part is called alone."""
    model = net()
    optimizer = Riemannian(model)
    hooks = (dict(model._forward_hooks), dict(model._forward_pre_hooks))
    model._forward_hooks.clear()
    model._forward_pre_hooks.clear()
    x, y = batch(0)
    F.cross_entropy(model(x), y).backward()
    with pytest.raises(NoBackward, match=r"was not called.*from what torch.compile returned"):
        optimizer.step()
    model._forward_hooks.update(hooks[0])
    model._forward_pre_hooks.update(hooks[1])
    train(model, optimizer, range(2))


# --- mixed precision ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, EXACT, {"momentum": 0.9}, {"plain": ["2"]}], ids=str)
def test_a_scaled_loss_is_the_same_run(options):
    """Powers of two cost no bits."""
    model, reference = net(), net()
    optimizer, scaler = Riemannian(model, **options), torch.amp.GradScaler("cpu", init_scale=2.0**12)
    losses = []
    for turn in range(4):
        x, y = batch(turn)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses == train(reference, Riemannian(reference, **options), range(4))
    assert same(snapshot(model), snapshot(reference))
    step(model, optimizer, 4)  # and without the scaler from here on


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian", "bernoulli"])
def test_gradients_unscaled_by_the_user(likelihood):
    """unscale_ takes the factor off the parameters' gradients; those at the model's output still carry it."""
    losses = {
        "categorical": lambda out, y: F.cross_entropy(out, y),
        "gaussian": lambda out, y: F.mse_loss(out, F.one_hot(y, 3).float()),
        "bernoulli": lambda out, y: F.binary_cross_entropy_with_logits(out, F.one_hot(y, 3).float()),
    }
    ends = []
    for scaled in (False, True):
        model = net()
        optimizer = Riemannian(model, likelihood, **EXACT)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, enabled=scaled)
        for turn in range(3):
            x, y = batch(turn)
            loss = losses[likelihood](model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e6)
            scaler.step(optimizer)
            scaler.update()
        ends.append(snapshot(model, optimizer))
    assert same(*ends)


@pytest.mark.parametrize("unscaled", [False, True])
def test_an_overflow_skips_the_step_and_its_statistics(unscaled):
    model, reference = net(), net()
    optimizer, scaler = Riemannian(model), torch.amp.GradScaler("cpu", init_scale=2.0**12)
    for turn in range(3):
        x, y = batch(turn)
        for overflows in (True, False):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            scaler.scale(loss * (float("inf") if overflows else 1)).backward()
            before = snapshot(model, optimizer)
            if unscaled:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            assert same(snapshot(model, optimizer), before) == overflows
            assert not optimizer._recorder.calls
            scaler.update()
    train(reference, Riemannian(reference), range(3))
    assert same(snapshot(model), snapshot(reference))
    assert scaler.get_scale() == 2.0**9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype):
    model = Blocks(inplace=True)
    optimizer = Riemannian(model)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    losses = []
    for turn in range(30):
        x, y = batch(turn)
        with torch.autocast("cpu", dtype):
            out = model(x)
            loss = F.cross_entropy(out, y)
        assert out.dtype == dtype
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
