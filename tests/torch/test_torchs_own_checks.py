"""The checks torch runs on each of its own optimizers, as far as they can mean something here.

From torch.testing._internal.common_optimizers and test/test_optim.py (which is not shipped). They build an optimizer
from loose tensors; ours is given the model those tensors are the parameters of.

Not applicable: foreach, fused, differentiable and capturable variants (no such options); sparse gradients, complex
and quantised parameters (refused, see tests/badinput); "a step without gradients is a no-op" (an error here, on
purpose); "loads a step count that is a number" (older checkpoints of torch's own); several devices (a layer is on
one, several layers may be on several: needs the devices).
"""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from small_problem import batch, net, same, snapshot, step, train
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.testing._internal.common_optimizers import get_error_inputs_for_all_optims

from isotrain import DOP, QDBPM, QDOP, DMCNat, QDMCNat, QDNat, Riemannian
from isotrain.riemann.probes import PROBES

ERRORS = get_error_inputs_for_all_optims("cpu", torch.float32)


class Holder(nn.Module):
    """The tensors torch's inputs name, as layers."""

    def __init__(self, tensors) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for tensor in tensors:
            layer = nn.Linear(*tensor.shape[::-1], bias=False)
            layer.weight = tensor
            self.layers.append(layer)


def tensors_in(params):
    if params is None:
        return []
    if isinstance(params, nn.Parameter):
        return [params]
    if isinstance(params, dict):
        return tensors_in(params["params"])
    if isinstance(params, tuple):
        return [params[1]]
    return list(dict.fromkeys(t for one in params for t in tensors_in(one)))


@pytest.mark.parametrize("error", ERRORS, ids=[e.optimizer_error_input.desc.replace(" ", "-") for e in ERRORS])
def test_errors(error):
    given = error.optimizer_error_input
    model = Holder(tensors_in(given.params)) if given.params is not None else net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error.error_type, match=error.error_regex):
            Riemannian(model, params=given.params, **given.kwargs)


@pytest.mark.parametrize("scheduler", [None, StepLR, ReduceLROnPlateau])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("lr", [None, 1e-2])
@pytest.mark.parametrize("contiguous", [False, True])
def test_the_right_direction(contiguous, lr, maximize, scheduler):
    torch.manual_seed(0)
    model = nn.Linear(5, 10)
    if not contiguous:
        model.weight = nn.Parameter(torch.randn(10, 5, 2)[..., 0])
        assert not model.weight.is_contiguous()
    x, y = torch.randn(16, 5), torch.randn(16, 10)
    optimizer = Riemannian(model, "gaussian", lr=lr, damping=0.1, maximize=maximize)
    schedule = None if scheduler is None else scheduler(optimizer, **({"step_size": 10} if scheduler is StepLR else {}))

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        (-loss if maximize else loss).backward()
        return loss

    first = closure().item()
    for _ in range(12):
        loss = optimizer.step(closure)
        if schedule is not None:
            schedule.step(*([loss.detach()] if scheduler is ReduceLROnPlateau else []))
    assert closure().item() < first


def test_a_rate_that_is_a_tensor():
    ends = []
    for lr in (0.01, torch.tensor(0.01), torch.tensor([0.01])):
        model = net()
        train(model, Riemannian(model, lr=lr, damping=0.1), range(3))
        ends.append(snapshot(model))
    for other in ends[1:]:
        for name, p in ends[0]["parameters"].items():
            torch.testing.assert_close(p, other["parameters"][name])


def test_weight_decay_and_rate_of_a_group():
    model = net()
    optimizer = Riemannian(
        model, params=[{"params": model[0].parameters(), "weight_decay": 0.5}, {"params": model[2].parameters()}]
    )
    reference = net()
    train(model, optimizer, range(1))
    train(reference, Riemannian(reference), range(1))
    start = net()
    torch.testing.assert_close(model[2].weight, reference[2].weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model[0].weight, reference[0].weight - 0.5 * start[0].weight, rtol=1e-4, atol=1e-5)


def test_gradients_of_zero_move_nothing():
    model = net()
    optimizer = Riemannian(model, momentum=0.0)
    train(model, optimizer, range(2))
    before = snapshot(model)
    for turn in range(2, 5):
        optimizer.zero_grad()
        (F.cross_entropy(model(batch(turn)[0]), batch(turn)[1]) * 0).backward()
        optimizer.step()
    assert same(snapshot(model), before)


def test_a_saved_state_is_deterministic():
    """test_state_dict_deterministic: the state and the steps after it, twice from the same start."""
    model = net()
    optimizer = Riemannian(model)
    train(model, optimizer, range(3))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    ends = []
    for _ in range(2):
        model.load_state_dict(saved[0])
        optimizer.load_state_dict(copy.deepcopy(saved[1]))
        ends.append((train(model, optimizer, range(3, 6)), snapshot(model, optimizer)))
    assert same(*ends)


def test_older_states_without_a_newer_option_load():
    """test_can_load_older_state_dict: a group saved before an option existed takes its default."""
    model = net()
    optimizer = Riemannian(model)
    train(model, optimizer, range(2))
    old = copy.deepcopy(optimizer.state_dict())
    for group in old["param_groups"]:
        del group["weight_decay"], group["maximize"]
    other = Riemannian(copy.deepcopy(model))
    other.load_state_dict(old)
    step(other._root, other, 2)


def test_names_of_parameters_are_kept():
    """save_load_equality_with_weights_only / named parameters."""
    model = net()
    optimizer = Riemannian(model, params=[{"params": list(model.named_parameters())}])
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == [name for name, _ in model.named_parameters()]
    train(model, optimizer, range(2))


def test_a_deep_copy_keeps_public_attributes_and_a_new_step_keeps_the_state():
    model = net()
    optimizer = Riemannian(model)
    step(model, optimizer, 0)
    public = {name for name in dir(optimizer) if not name.startswith("_")}
    assert public == {name for name in dir(copy.deepcopy(optimizer)) if not name.startswith("_")}
    assert optimizer.state and all(optimizer.state.values())


def test_hooks_on_every_optimizer_and_their_order():
    order = []
    handles = [
        register_optimizer_step_pre_hook(lambda *_: order.append(0)),
        register_optimizer_step_post_hook(lambda *_: order.append(5)),
    ]
    try:
        model = net()
        optimizer = Riemannian(model)
        optimizer.register_step_pre_hook(lambda *_: order.append(1))
        optimizer.register_step_post_hook(lambda *_: order.append(2))
        step(model, optimizer, 0)
        assert order == [0, 1, 2, 5]
    finally:
        for handle in handles:
            handle.remove()


def test_empty_groups_and_a_group_without_gradients():
    model = net()
    optimizer = Riemannian(
        model, params=[{"params": []}, {"params": model[0].parameters()}, {"params": model[2].parameters()}]
    )
    train(model, optimizer, range(2))


@pytest.mark.parametrize(
    "rule", [DOP, QDOP, DMCNat, QDMCNat, QDNat, QDBPM], ids=lambda rule: str(rule.keywords["metric"])
)
@pytest.mark.parametrize("resumed", [False, True])
def test_every_named_rule_resumes(rule, resumed):
    model = net()
    optimizer = rule(model)
    assert optimizer.state_dict()["isotrain"]["metric"] in PROBES
    train(model, optimizer, range(2))
    if resumed:
        other = net(1)
        again = rule(other)
        other.load_state_dict(model.state_dict())
        again.load_state_dict(optimizer.state_dict())
        assert train(other, again, range(2, 4)) == train(model, optimizer, range(2, 4))


def test_a_step_may_be_compiled_around():
    """torch compiles its own steps; ours looks at the model, and stays out of the graph."""
    torch._dynamo.reset()
    model, reference = net(), net()
    optimizer = Riemannian(model)

    @torch.compile(backend="eager")
    def move():
        optimizer.step()

    for turn in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(batch(turn)[0]), batch(turn)[1]).backward()
        move()
    train(reference, Riemannian(reference), range(2))
    assert same(snapshot(model), snapshot(reference))
