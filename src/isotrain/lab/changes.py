"""Changes of variables that leave a model's function as it is, for any model made of torch's own layers.

Exchange black and white, rescale a feature, replace tanh by a sigmoid: `apply` rewrites the weights so that
the new model, on the newly coded inputs, computes exactly what the old one did on the old. It works in
float64, checks the two functions against each other on the example, and refuses with the layer's name when
they cannot be equal.

>>> model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
>>> x = torch.rand(5, 3, dtype=torch.float64)
>>> changed = apply("input-inversion", model, x)
>>> bool((changed.model(changed.encode(x)) - model(x)).abs().max() < 1e-12)
True
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from isotrain.errors import CannotRewrite, UnknownName
from isotrain.lab.inputs import Encode, input_plans
from isotrain.lab.layers import units
from isotrain.lab.rewrite import MOVES, Plan, Swap, UnitCode, Walk, operation, trace

# How far the two functions may be from each other, relative to the largest output: rounding of float64, with
# room for deep models. Anything above is a rule missing here, never a difference to measure a trainer with.
ROUNDING = 1e-9


def scaled_tanh(z: Tensor) -> Tensor:
    """LeCun's activation, which maps 1 to 1 and -1 to -1.

    >>> scaled_tanh(torch.tensor([-1.0, 0.0, 1.0])).round(decimals=3).tolist()
    [-1.0, 0.0, 1.0]
    """
    return 1.7159 * torch.tanh(z * (2 / 3))


@dataclass(frozen=True)
class Changed:
    """A model with the same function in other variables, and the code of its inputs.

    `details` says in words what was done.
    """

    model: nn.Module
    encode: Encode
    details: str


# tanh(z) = 2 sigmoid(2z) - 1, so the sigmoid reads 2z and its value is (tanh + 1) / 2.
SWAPS = {
    "sigmoid": Swap(torch.sigmoid, reads=2.0, scale=0.5, shift=0.5),
    "scaled-tanh": Swap(scaled_tanh, reads=1.5, scale=1.7159, shift=0.0),
}


def apply(change: str, model: nn.Module, example_inputs: Tensor, seed: int = 0) -> Changed:
    """Rewrite a copy of a model in other variables.

    Args:
        change: a name of `CHANGES`, or several joined by a plus: ``"sigmoid+input-inversion"``.
        model: any module that torch.fx can trace; it is left as it is.
        example_inputs: a few inputs, samples first.
        seed: draws the scales, shifts, mixtures and orders; they stay far from the identity.

    Raises:
        UnknownName: no such change.
        CannotRewrite: the model cannot absorb the change; the message names the layer and the reason.
    """
    known(change)
    if "+" in change:
        first, rest = change.split("+", 1)
        one = apply(first, model, example_inputs, seed)
        two = apply(rest, one.model, one.encode(example_inputs), seed)
        return Changed(two.model, lambda x: two.encode(one.encode(x)), f"{one.details}; {two.details}")
    if not isinstance(example_inputs, Tensor):
        raise CannotRewrite(f"{change}: the model's input must be one tensor, not {type(example_inputs).__name__}.")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    exact = copy.deepcopy(model).double()
    x = example_inputs[:16].detach()
    x = x.double() if x.is_floating_point() else x
    generator = torch.Generator().manual_seed(seed)
    with preserved(exact), torch.no_grad():
        changed = CHANGES[change](change, exact, x, generator)
    _check(change, model, changed, x)
    return Changed(changed.model.to(dtype), changed.encode, changed.details)


def known(change: str) -> None:
    """Refuse a name that is not in the table.

    Raises:
        UnknownName: no such change.
    """
    for name in change.split("+"):
        if name not in CHANGES:
            raise UnknownName("change of variables", name, CHANGES)


def applicable(model: nn.Module, example_inputs: Tensor, seed: int = 0) -> dict[str, str | None]:
    """For each change, None when the model absorbs it, else the reason why it cannot.

    >>> reasons = applicable(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.rand(5, 3))
    >>> [name for name, reason in reasons.items() if reason]
    ['sigmoid', 'scaled-tanh']
    """
    reasons: dict[str, str | None] = {}
    for change in CHANGES:
        try:
            apply(change, model, example_inputs, seed)
            reasons[change] = None
        except CannotRewrite as error:
            reasons[change] = str(error)
    return reasons


class preserved:
    """Keep the buffers of a model (running statistics) and the random state as they were before the block."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        self.random = torch.get_rng_state()

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.random)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                if name in self.buffers and buffer.shape == self.buffers[name].shape:
                    buffer.copy_(self.buffers[name])


def _check(change: str, model: nn.Module, changed: Changed, x: Tensor) -> None:
    state = torch.get_rng_state()
    with torch.no_grad():
        torch.manual_seed(0)
        before = _tensors(copy.deepcopy(model).double()(x))
        torch.manual_seed(0)
        after = _tensors(copy.deepcopy(changed.model)(changed.encode(x)))
    torch.set_rng_state(state)
    for a, b in zip(before, after, strict=True):
        gap, size = float((a - b).abs().max()), max(1.0, float(a.abs().max()))
        if not gap <= ROUNDING * size:
            raise CannotRewrite(
                f"{change}: the rewritten model differs from the original by {gap:.1e} on the example, "
                "more than rounding; "
                "an operation in forward does not carry the change."
            )


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output.double()]
    values: Iterable[Any] = (
        output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    )
    return [t for value in values for t in _tensors(value)]


# -- inputs --------------------------------------------------------------------------------------------------


def _change_inputs(change: str, model: nn.Module, x: Tensor, generator: torch.Generator) -> Changed:
    if not x.is_floating_point():
        raise CannotRewrite(
            f"{change}: the inputs are {str(x.dtype).removeprefix('torch.')} codes, which have no scale."
        )
    graph = trace(model)
    refusal: CannotRewrite | None = None
    for plan, encode, details in input_plans(change, x, generator):
        walk = Walk(graph, plan)
        try:
            walk.run(x)
            walk.write()
        except CannotRewrite as error:
            refusal = error
            continue
        return Changed(model, encode, details)
    assert refusal is not None
    raise refusal


# -- activations ---------------------------------------------------------------------------------------------


def _change_activations(change: str, model: nn.Module, x: Tensor, generator: torch.Generator) -> Changed:
    graph, swap = trace(model), SWAPS[change]
    nodes = [n for n in graph.graph.nodes if operation(graph, n) in ("tanh", "tanh_", "Tanh") and n.op != "placeholder"]
    if not nodes:
        raise CannotRewrite(
            f"{change}: the model has no tanh outside its fused layers, so there is nothing to replace."
        )
    writers: dict[str, UnitCode] = {}
    for node in nodes:
        for writer in _writers_before(change, graph, node.all_input_nodes[0]):
            module = graph.get_submodule(str(writer.target))
            writers[str(writer.target)] = UnitCode(torch.full((units(module),), swap.reads, dtype=torch.float64))
    walk = Walk(graph, Plan(change, writers=writers, swaps={n.name: swap for n in nodes}))
    walk.run(x)
    walk.write()
    for node in nodes:
        with graph.graph.inserting_after(node):
            new = graph.graph.call_function(swap.becomes, (node.all_input_nodes[0],))
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    graph.recompile()
    graph.delete_all_unused_submodules()
    return Changed(graph, _as_is, f"{len(nodes)} tanh replaced")


def _writers_before(change: str, graph: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """The layers whose weights set the scale of what a tanh reads."""
    name = operation(graph, node)
    if node.op == "call_module" and units(graph.get_submodule(str(node.target))):
        yield node
    elif name in MOVES or name in ("add", "add_", "iadd", "sub", "Dropout", "dropout"):
        for before in node.all_input_nodes:
            yield from _writers_before(change, graph, before)
    else:
        raise CannotRewrite(
            f"{change}: a tanh reads '{node.target}', which has no weights to rescale what the tanh reads."
        )


# -- hidden units --------------------------------------------------------------------------------------------


def _change_units(change: str, model: nn.Module, x: Tensor, generator: torch.Generator) -> Changed:
    """Rewrite, one after the other, every layer whose units can be recoded; refuse when there is none."""
    graph = trace(model)
    done: list[str] = []
    refusals: list[CannotRewrite] = []
    for name in dict.fromkeys(str(n.target) for n in graph.graph.nodes if n.op == "call_module"):
        count = units(graph.get_submodule(name))
        if not count:
            continue
        walk = Walk(graph, Plan(change, writers={name: _UNIT_CODES[change](count, generator)}))
        try:
            walk.run(x)
            walk.write()
            done.append(name)
        except CannotRewrite as error:
            refusals.append(error)
    if not done:
        raise (
            refusals[0] if refusals else CannotRewrite(f"{change}: the model has no hidden layer of torch's own types.")
        )
    return Changed(model, _as_is, f"units of {', '.join(done)}")


def away_from_one(count: int, generator: torch.Generator) -> Tensor:
    """Factors in [1/3, 2/3] or [3/2, 3], the two sides equally likely."""
    size = torch.rand(count, generator=generator, dtype=torch.float64) * 1.5 + 1.5
    return torch.where(torch.rand(count, generator=generator) < 0.5, size, 1 / size)


def _rescaled(count: int, generator: torch.Generator) -> UnitCode:
    return UnitCode(away_from_one(count, generator))


def _permuted(count: int, generator: torch.Generator) -> UnitCode:
    order_k = torch.randperm(count, generator=generator)
    # A draw may be the identity (often, with two units): turning by one is then as good an order as any.
    order_k = order_k.roll(1) if torch.equal(order_k, torch.arange(count)) else order_k
    return UnitCode(torch.ones(count, dtype=torch.float64), order_k)


def _as_is(x: Tensor) -> Tensor:
    return x


_UNIT_CODES: dict[str, Callable[[int, torch.Generator], UnitCode]] = {
    "unit-scale": _rescaled,
    "unit-permutation": _permuted,
}

CHANGES: dict[str, Callable[[str, nn.Module, Tensor, torch.Generator], Changed]] = {
    "input-inversion": _change_inputs,
    "input-scale": _change_inputs,
    "input-affine": _change_inputs,
    "input-mixing": _change_inputs,
    "sigmoid": _change_activations,
    "scaled-tanh": _change_activations,
    "unit-scale": _change_units,
    "unit-permutation": _change_units,
}
