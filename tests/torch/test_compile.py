"""torch.compile in every order and manner: the same run as without, and one graph where one was asked for."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from small_problem import batch, net, same, snapshot, train
from torch import nn
from torch.nn import functional as F

from isotrain import Riemannian
from isotrain.errors import NoBackward

TURNS = range(3)
# torch asks activities for their .grad when a compiled part receives one; nothing of ours does.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Own(nn.Module):
    """A user's own module: torch compiles it by another way than one of torch.nn's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net()

    def forward(self, x):
        return self.body(x) * 1.5


def after(model, **how):
    optimizer = Riemannian(model)
    return optimizer, torch.compile(model, **how)


def before(model, **how):
    forward = torch.compile(model, **how)
    return Riemannian(forward), forward


def before_and_called(model, **how):
    """The trap: a graph made before the hooks, whose guards do not see them."""
    forward = torch.compile(model, **how)
    F.cross_entropy(forward(batch(0)[0]), batch(0)[1]).backward()
    return Riemannian(forward), forward


def second_instance(model, **how):
    """The other: a class compiled without hooks, then another model of it with."""
    other = torch.compile(copy.deepcopy(model), **how)
    F.cross_entropy(other(batch(0)[0]), batch(0)[1]).backward()
    return before(model, **how)


def in_place(model, **how):
    model.compile(**how)
    return Riemannian(model), model


def in_place_after(model, **how):
    optimizer = Riemannian(model)
    model.compile(**how)
    return optimizer, model


WAYS = [after, before, before_and_called, second_instance, in_place, in_place_after]


@pytest.mark.parametrize("kind", [net, Own])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_compiled_is_the_same_run(way, kind):
    reference = kind()
    losses = train(reference, Riemannian(reference), TURNS)
    torch.manual_seed(0)
    model = kind()
    optimizer, forward = way(model, backend="eager")
    assert train(model, optimizer, TURNS, forward) == losses
    assert same(snapshot(model), snapshot(reference))


@pytest.mark.parametrize("kind", [net, Own])
@pytest.mark.parametrize("way", [before, before_and_called], ids=lambda way: way.__name__)
def test_one_graph_where_one_is_asked_for(way, kind):
    """The hooks stay outside of the graph: fullgraph holds, and a look compiles nothing."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model = kind()
    optimizer, forward = way(model, backend=backend, fullgraph=True)
    train(model, optimizer, TURNS, forward)
    assert len(graphs) == 1


def test_hooks_that_a_compiled_graph_does_not_see_are_an_error_with_the_way_out():
    """torch traces the call of its own containers whole, and by default guards no hooks."""
    model = net()
    forward = torch.compile(model, backend="eager")
    F.cross_entropy(forward(batch(0)[0]), batch(0)[1]).backward()
    optimizer = Riemannian(model)
    with pytest.raises(NoBackward, match=r"make the optimizer from what torch.compile returned"):
        train(model, optimizer, TURNS, forward)
    optimizer.close()
    train(model, Riemannian(forward), TURNS, forward)


def test_one_graph_asked_for_around_the_hooks_is_an_error_with_the_way_out():
    model = net()
    optimizer = Riemannian(model)
    forward = torch.compile(model, backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"make isotrain's optimizer from what torch.compile"):
        train(model, optimizer, TURNS, forward)


def test_a_compiled_part():
    reference = nn.Sequential(net(), nn.Tanh(), nn.Linear(3, 3))
    model = copy.deepcopy(reference)
    losses = train(reference, Riemannian(reference), TURNS)
    model[0] = torch.compile(model[0], backend="eager", fullgraph=True)
    model[2] = torch.compile(model[2], backend="eager")
    optimizer = Riemannian(model)
    assert train(model, optimizer, TURNS) == losses
    assert all("spread" in optimizer.state[p] for p in (model[0]._orig_mod[0].weight, model[2]._orig_mod.weight))


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="inductor needs a C++ compiler")
def test_inductor():
    reference, model = net(), net()
    losses = train(reference, Riemannian(reference), TURNS)
    optimizer, forward = after(model)
    assert train(model, optimizer, TURNS, forward) == pytest.approx(losses, rel=1e-5)
