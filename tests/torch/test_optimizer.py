"""Riemannian is a torch.optim.Optimizer: whatever may be done with one may be done with it."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from small_problem import batch, net, same, snapshot, step, train
from torch import nn
from torch.nn import functional as F

import isotrain
from isotrain import QDOP, Riemannian
from isotrain.errors import BadOption, NotObserved, UnknownName

COMPOSITIONS = {
    "natural": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "plain-rule": {"lr": 1e-2, "metric": "outer-product", "damping": 0.1},
    "kronecker": {"shape": "kronecker"},
    "unitwise": {"shape": "unitwise", "metric": "exact"},
    "backpropagated": {"metric": "backpropagated", "shape": "diagonal"},
    "partly-plain": {"plain": ["2"]},
}


@pytest.fixture(params=COMPOSITIONS.values(), ids=COMPOSITIONS.keys())
def options(request):
    return request.param


def test_it_is_one_and_it_trains(options):
    model = net()
    optimizer = Riemannian(model, **options)
    assert isinstance(optimizer, torch.optim.Optimizer)
    losses = train(model, optimizer, range(30))
    # The plain rules move at their authors' rates: they need only go down.
    assert sum(losses[-5:]) < sum(losses[:5]) * (
        0.7 if optimizer.defaults["natural"] and not options.get("plain") else 1
    )


# --- saved runs -----------------------------------------------------------------------------------------------


def through_a_file(saved):
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("at", [3, 22], ids=["between-eager-looks", "between-looks"])
def test_a_resumed_run_is_the_same_run(options, at):
    model = net()
    optimizer = Riemannian(model, **options)
    train(model, optimizer, range(at))
    saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    rest = train(model, optimizer, range(at, at + 9))

    again = net(seed=1)
    resumed = Riemannian(again, **options)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert train(again, resumed, range(at, at + 9)) == rest
    assert same(snapshot(again, resumed), snapshot(model, optimizer))


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(7, 4)
        self.recurrent = nn.LSTM(4, 5, batch_first=True)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 7)

    def forward(self, index):
        return self.head(self.norm(self.recurrent(self.rows(index))[0]))


def read(model, optimizer, turns):
    losses = []
    for turn in turns:
        text = torch.randint(7, (40, 4), generator=torch.Generator().manual_seed(turn))
        loss = F.cross_entropy(model(text).transpose(1, 2), text.roll(-1, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("frozen", [True, False])
def test_a_run_resumed_after_layers_were_frozen_or_freed_is_the_same_run(frozen):
    """What changed since the last look makes a look due, in a resumed run too."""

    def fresh():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    x, y = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3

    def steps(model, optimizer, many):
        for _ in range(many):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    model, again = fresh(), fresh()
    model[0].requires_grad_(frozen)
    optimizer = Riemannian(model)
    steps(model, optimizer, 25)
    again.load_state_dict(model.state_dict())
    saved = copy.deepcopy(optimizer.state_dict())
    for one in (model, again):
        one[0].requires_grad_(not frozen)
    resumed = Riemannian(again)
    resumed.load_state_dict(saved)
    steps(model, optimizer, 3)
    steps(again, resumed, 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_resumed_run_over_sequences_is_the_same_run():
    """Sub-batches of sequences have another smallest size, and the class dimension is found from the data."""
    torch.manual_seed(0)
    model = Sequences()
    optimizer = Riemannian(model, subsample=0.1, refresh=3)
    read(model, optimizer, range(22))
    saved = through_a_file([model.state_dict(), optimizer.state_dict()])
    rest = read(model, optimizer, range(22, 30))
    again = Sequences()
    resumed = Riemannian(again, subsample=0.1, refresh=3)
    again.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert read(again, resumed, range(22, 30)) == rest


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_resumed_run_keeps_the_bits_of_every_type(dtype):
    """torch casts a loaded state to the parameter's type; ours is wider than a half-precision parameter."""

    def go(model, optimizer, turns):
        losses = []
        for turn in turns:
            x, y = batch(turn)
            loss = F.cross_entropy(model(x.to(dtype)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    model = net().to(dtype)
    optimizer = Riemannian(model, momentum=0.5)
    first = go(model, optimizer, range(23))
    assert first[-1] < first[0]
    again = copy.deepcopy(model)
    resumed = Riemannian(again, momentum=0.5)
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    assert all(p.dtype == dtype for p in again.parameters())
    assert same(resumed.state_dict(), optimizer.state_dict())
    assert go(again, resumed, range(23, 32)) == go(model, optimizer, range(23, 32))


def test_a_loaded_state_is_a_copy():
    model = net()
    optimizer = Riemannian(model, plain=["2"])
    train(model, optimizer, range(2))
    saved = optimizer.state_dict()
    before = copy.deepcopy(saved)
    other = Riemannian(net(), plain=["2"])
    other.load_state_dict(saved)
    train(other._root, other, range(3))
    assert same(saved, before)


def test_the_seed_and_the_options_come_from_the_saved_run():
    model = net()
    optimizer = Riemannian(model, seed=5, subsample=0.7, refresh=4)
    train(model, optimizer, range(21))
    again = copy.deepcopy(model)
    resumed = Riemannian(again, seed=6)
    resumed.load_state_dict(optimizer.state_dict())
    assert train(again, resumed, range(21, 30)) == train(model, optimizer, range(21, 30))


def test_hooks_on_saving_and_loading_see_and_change_what_is_saved():
    optimizer = Riemannian(net())
    train(optimizer._root, optimizer, range(1))
    optimizer.register_state_dict_post_hook(lambda _, saved: {**saved, "note": 1})
    saved = optimizer.state_dict()
    assert saved["note"] == 1
    other, order = Riemannian(net()), []
    other.register_load_state_dict_pre_hook(lambda _, found: order.append(found["note"]) or {**found, "note": 2})
    other.register_load_state_dict_post_hook(lambda loaded: order.append(len(loaded.state)))
    other.load_state_dict(saved)
    assert order == [1, len(optimizer.state)]


# --- copies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("at", [0, 3])
def test_a_copy_continues_identically_and_apart(copied, at, options):
    model = net()
    optimizer = Riemannian(model, **options)
    train(model, optimizer, range(at))
    twin, twins = copied((model, optimizer))
    assert twins._root is twin
    before = snapshot(model, optimizer)
    theirs = train(twin, twins, range(at, at + 4))
    assert same(snapshot(model, optimizer), before)
    assert train(model, optimizer, range(at, at + 4)) == theirs


def test_a_copied_model_is_not_watched():
    model = net()
    optimizer = Riemannian(model)
    alone = copy.deepcopy(model)
    F.cross_entropy(alone(batch(0)[0]), batch(0)[1]).backward()
    assert not optimizer._recorder.calls
    optimizer.close()
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_an_averaged_model_beside_it():
    model = net()
    optimizer = Riemannian(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    losses = []
    for turn in range(4):
        losses.append(step(model, optimizer, turn))
        average.update_parameters(model)
        average(batch(turn)[0])
    alone = net()
    assert losses == train(alone, Riemannian(alone), range(4))
    assert not torch.equal(average.module[0].weight, model[0].weight)


# --- its life -------------------------------------------------------------------------------------------------


def test_hooks_go_with_the_optimizer():
    model = net()
    optimizer = Riemannian(model)
    train(model, optimizer, range(2))
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_close_removes_the_hooks_and_a_step_says_so():
    model = net()
    optimizer = Riemannian(model)
    step(model, optimizer, 0)
    optimizer.close()
    optimizer.close()
    with pytest.raises(NotObserved, match="closed"):
        step(model, optimizer, 1)


def test_a_forward_without_a_step_keeps_nothing_alive():
    model = net()
    optimizer = Riemannian(model)
    x = batch(0)[0]
    kept = weakref.ref(x)
    out = model(x)
    del x
    assert kept() is not None
    del out
    gc.collect()
    assert kept() is None
    assert not optimizer._recorder.calls


def test_a_model_on_the_meta_device():
    with torch.device("meta"):
        model = net()
    optimizer = Riemannian(model)
    assert [p.device.type for p in optimizer.param_groups[0]["params"]] == ["meta"] * 4
    assert optimizer.claims()


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    model = net()
    optimizer = Riemannian(model)
    for turn in range(4):
        x, y = batch(turn)
        optimizer.zero_grad(set_to_none=set_to_none)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    reference = net()
    train(reference, Riemannian(reference), range(4))
    assert same(snapshot(model), snapshot(reference))


def test_gradients_may_be_cleared_by_the_model_or_between_forward_and_backward():
    model, reference = net(), net()
    optimizer = Riemannian(model)
    for turn in range(3):
        x, y = batch(turn)
        loss = F.cross_entropy(model(x), y)
        model.zero_grad() if turn % 2 else optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    train(reference, Riemannian(reference), range(3))
    assert same(snapshot(model), snapshot(reference))


def test_a_skipped_step_leaves_nothing():
    model, reference = net(), net()
    optimizer = Riemannian(model)
    for turn in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(batch(9)[0]), batch(9)[1]).backward()  # and no step
        step(model, optimizer, turn)
    train(reference, Riemannian(reference), range(3))
    assert same(snapshot(model), snapshot(reference))


def test_a_closure():
    model, reference = net(), net()
    optimizer = Riemannian(model)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch(turn)[0]), batch(turn)[1])
        loss.backward()
        return loss

    losses = []
    for turn in range(4):  # noqa: B007 - the closure reads it
        losses.append(optimizer.step(closure).item())
    assert losses == train(reference, Riemannian(reference), range(4))


@pytest.mark.parametrize("options", [{}, {"lr": 0.01}, {"metric": "outer-product"}, {"plain": ["2"]}], ids=str)
def test_maximising_the_negative_is_minimising(options):
    model, reference = net(), net()
    optimizer = Riemannian(model, maximize=True, **options)
    for turn in range(4):
        optimizer.zero_grad()
        (-F.cross_entropy(model(batch(turn)[0]), batch(turn)[1])).backward()
        optimizer.step()
    train(reference, Riemannian(reference, **options), range(4))
    assert same(snapshot(model), snapshot(reference))


def test_hooks_before_and_after_a_step():
    model, order = net(), []
    optimizer = Riemannian(model)
    optimizer.register_step_pre_hook(lambda *_: order.append("before"))
    optimizer.register_step_post_hook(lambda *_: order.append("after"))
    step(model, optimizer, 0)
    assert order == ["before", "after"]


def test_clipped_gradients_shorten_a_plain_step_and_leave_the_metric():
    moved = []
    for most in (1e9, 1e-3):
        model = net().double()
        optimizer = Riemannian(model, lr=1e-2, damping=0.1, metric="outer-product")
        before = snapshot(model)["parameters"]
        F.cross_entropy(model(batch(0)[0].double()), batch(0)[1]).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), most)
        optimizer.step()
        moved.append([(p - before[name]) * max(1.0, float(norm) / most) for name, p in model.named_parameters()])
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-5, atol=0)


# --- groups ---------------------------------------------------------------------------------------------------


def test_every_group_has_options_of_its_own():
    model = net()
    optimizer = Riemannian(
        model,
        params=[
            {"params": model[0].parameters(), "lr": 0.01, "shape": "kronecker", "decay": 0.9, "damping": 0.2},
            {"params": model[2].parameters(), "momentum": 0.5, "weight_decay": 0.1},
        ],
    )
    assert [g["natural"] for g in optimizer.param_groups] == [False, True]
    train(model, optimizer, range(6))
    assert "covariance" in optimizer.state[model[0].weight]
    assert "v" in optimizer.state[model[2].weight] and "v" not in optimizer.state[model[0].weight]


def test_a_rate_of_zero_leaves_its_group():
    model = net()
    first = model[0].weight.clone()
    optimizer = Riemannian(
        model, params=[{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}]
    )
    train(model, optimizer, range(3))
    assert torch.equal(model[0].weight, first)


def test_one_group_split_in_two_is_the_same_run():
    model, reference = net(), net()
    optimizer = Riemannian(model, params=[{"params": layer.parameters()} for layer in (model[0], model[2])])
    assert train(model, optimizer, range(25)) == train(reference, Riemannian(reference), range(25))


@pytest.mark.parametrize("at", [0, 5, 23], ids=["start", "eager-looks", "between-looks"])
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "computed-and-unused"])
def test_gradual_unfreezing(at, frozen):
    """A layer that joins between two looks takes one with it."""
    model = net()
    model[0].requires_grad_(not frozen)
    first = model[0].weight.clone()
    optimizer = Riemannian(model, params=[{"params": model[2].parameters()}])
    train(model, optimizer, range(at))
    assert torch.equal(model[0].weight, first)
    model[0].requires_grad_(True)
    optimizer.add_param_group({"params": model[0].parameters(), "momentum": 0.5})
    losses = train(model, optimizer, range(at, at + 5))
    assert not torch.equal(model[0].weight, first)
    assert losses[-1] < losses[0] * 1.2


def test_unfreezing_without_a_new_group():
    model = net()
    model[0].requires_grad_(False)
    optimizer = Riemannian(model)
    first = model[0].weight.clone()
    train(model, optimizer, range(23))
    assert torch.equal(model[0].weight, first)
    model[0].requires_grad_(True)
    train(model, optimizer, range(23, 26))
    assert not torch.equal(model[0].weight, first)


def test_frozen_layers_do_not_move():
    model = nn.Sequential(net(), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[0].requires_grad_(False)
    before = snapshot(model[0])
    train(model, Riemannian(model, weight_decay=0.1), range(4))
    assert same(snapshot(model[0]), before)


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("shape", ["quasi-diagonal", "kronecker"])
def test_a_layer_frozen_in_part_trains_the_rest(name, shape):
    model = net()
    kept = model[0].get_parameter(name).requires_grad_(False).clone()
    losses = train(model, Riemannian(model, shape=shape), range(30))
    assert torch.equal(model[0].get_parameter(name), kept)
    assert losses[-1] < losses[0]


def test_a_refused_group_is_not_added():
    model = net()
    model[0].requires_grad_(False)
    optimizer = Riemannian(model, params=[{"params": model[2].parameters()}])
    before = len(optimizer.param_groups)
    for group, error in (
        ({"params": [model[0].weight]}, BadOption),
        ({"params": [nn.Parameter(torch.ones(2))]}, BadOption),
        ({"params": model[0].parameters(), "shape": "round"}, UnknownName),
        ({"params": model[0].parameters(), "beta": 1}, UnknownName),
        ({"params": model[0].parameters(), "metric": "exact"}, BadOption),
        ({"params": model[0].parameters(), "maximize": True}, BadOption),
    ):
        with pytest.raises(error):
            optimizer.add_param_group(group)
        assert len(optimizer.param_groups) == before
    train(model, optimizer, range(2))


def test_two_optimizers_on_one_model():
    """Each has half of the layers; neither sees the other's looks, and each draws as it does alone."""
    model = net()
    halves = [Riemannian(model, params=[{"params": layer.parameters()}], seed=3) for layer in (model[0], model[2])]
    alone = net()
    lone = Riemannian(alone, params=[{"params": alone[0].parameters()}], seed=3)
    for turn in range(4):
        x, y = batch(turn)
        for optimizer in halves:
            optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        assert [len(optimizer._recorder.calls) for optimizer in halves] == [1, 1]
        halves[0].step()
        assert len(halves[1]._recorder.calls) == 1
        halves[1].step()
        if turn == 0:
            step(alone, lone, 0)
            assert torch.equal(alone[0].weight, model[0].weight)
    assert F.cross_entropy(model(x), y) < loss


def test_the_papers_rules_are_optimizers_too():
    model = net()
    train(model, QDOP(model), range(2))
    assert isotrain.Riemannian is Riemannian


# --- layers that some batches do not use ------------------------------------------------------------------------


class Rarely(nn.Module):
    """A part of the net that is called on those samples alone which a batch may not have."""

    def __init__(self, kind):
        super().__init__()
        self.main = net()
        self.kind = kind
        self.rare = {
            "dense": lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)),
            "convolution": lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)),
            "embedding": lambda: nn.Embedding(2, 3),
        }[kind]()

    def forward(self, x):
        at = (x[:, 0] > 0).nonzero()[:, 0]
        few = x[at]
        few = {"dense": few, "convolution": few.unsqueeze(1), "embedding": (few[:, 1] > 0).long()}[self.kind]
        return self.main(x).index_add(0, at, self.rare(few))


@pytest.mark.parametrize("shape", ["polar", "quasi-diagonal", "kronecker"])
@pytest.mark.parametrize("kind", ["dense", "convolution", "embedding"])
def test_a_layer_that_is_called_on_no_samples(kind, shape):
    """In the first look, in a later one, and between looks: the rest goes on, and it learns when it is called."""
    torch.manual_seed(0)
    model = Rarely(kind)
    optimizer = Riemannian(model, shape=shape)
    before = snapshot(model.rare)
    for turn in range(45):
        x, y = batch(turn)
        used = turn in (1, 2, 4) or 8 < turn != 30 or turn % 3 == 1
        x[:, 0] = x[:, 0].abs() if used else -x[:, 0].abs()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        rest = snapshot(model.main)
        optimizer.step()
        assert not same(rest, snapshot(model.main))
        if turn == 0:
            assert same(before, snapshot(model.rare))
    assert not same(before, snapshot(model.rare))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
