"""Carry a code through a network and rewrite the weights that meet it, so that the function stays the same.

The network is traced by torch.fx with torch's own layers as leaves, then walked once on example values:

* a *reader* (Linear, convolution, recurrent layer) that meets recoded values undoes the code in its weights:
  with ``new = s old + t``, ``W' = W / s`` and ``b' = b - W (t / s)``;
* a *writer* (the same layers, and normalisations with gains) asked for a code emits it: ``W' = u W``, ``b' =
  u b``;
* everything between lets the code pass, changed or not, or refuses and is named.

Nothing is written before the whole walk has succeeded.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from isotrain.errors import CannotRewrite
from isotrain.lab.codes import Code, NoCode
from isotrain.lab.layers import CONVOLUTIONS, NORMS, RECURRENT, absorb, emit, emitted, reorder

MOVES = frozenset(
    "flatten view reshape permute transpose unsqueeze squeeze contiguous chunk split getitem t movedim "
    "moveaxis swapaxes "
    "cat concat concatenate stack expand clone unbind narrow select flip roll unflatten Flatten "
    "Unflatten Identity "
    "PixelShuffle PixelUnshuffle".split()
)
HOMOGENEOUS = frozenset("relu relu_ leaky_relu ReLU LeakyReLU".split())
ELEMENTWISE = frozenset(
    "tanh tanh_ sigmoid sigmoid_ scaled_tanh gelu silu elu selu softplus hardtanh relu6 Tanh Sigmoid "
    "GELU SiLU ELU SELU "
    "Softplus Hardtanh ReLU6 Mish Softsign exp abs square".split()
)
AVERAGES = frozenset(
    "mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d".split()
)
MAXIMA = frozenset(
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d MaxPool1d MaxPool2d MaxPool3d "
    "AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d boolean_dispatch".split()
)
ARITHMETIC = frozenset("add add_ iadd sub mul truediv neg".split())
DROPOUTS = frozenset("dropout Dropout dropout1d dropout2d dropout3d Dropout1d Dropout2d Dropout3d".split())


@dataclass(frozen=True)
class UnitCode:
    """What a writer is asked to emit: unit ``k`` becomes ``scale_k`` times unit ``order_k[k]`` of before."""

    scale_k: Tensor
    order_k: Tensor | None = None


@dataclass(frozen=True)
class Swap:
    """Another activation at a node: it reads ``reads * z`` and its value is ``scale * a + shift``."""

    becomes: Callable[[Tensor], Tensor]
    reads: float
    scale: float
    shift: float


@dataclass(frozen=True)
class Plan:
    """What to recode: the input, units of writers (by module name), activations (by node name)."""

    change: str
    recode_input: Callable[[Tensor], Code] | None = None
    mixing_ff: Tensor | None = None
    offset_f: Tensor | None = None
    writers: dict[str, UnitCode] = field(default_factory=dict)
    swaps: dict[str, Swap] = field(default_factory=dict)


def trace(model: nn.Module) -> fx.GraphModule:
    """The model's graph over torch's own layers; the graph shares the model's modules."""
    tracer = fx.Tracer()
    if tracer.is_leaf_module(model, ""):  # a single layer: torch.fx would look inside it
        model = nn.Sequential(model)
    try:
        graph = tracer.trace(model)
    except Exception as error:  # whatever the user's own forward does under tracing, it means the same thing
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CannotRewrite(
            f"torch.fx cannot trace {type(model).__name__}: {reason}. Branches that depend on values "
            "hide the layers; "
            "move them out of forward, or audit another change."
        ) from error
    return fx.GraphModule(model, graph)


def operation(graph_module: fx.GraphModule, node: fx.Node) -> str:
    """The name under which the tables above know a node: ``"relu"``, ``"Linear"``, ``"flatten"``."""
    if node.op == "call_module":
        return type(graph_module.get_submodule(str(node.target))).__name__
    if node.op == "call_function":
        return str(getattr(node.target, "__name__", node.target))
    return str(node.target)


class Walk(fx.Interpreter):
    """One pass over the graph on example values with codes of a plan; `write` then changes the weights."""

    def __init__(self, graph_module: fx.GraphModule, plan: Plan) -> None:
        super().__init__(graph_module, garbage_collect_values=False)
        self.extra_traceback = False  # or torch.fx writes its own notes into our messages
        self.graph_module = graph_module
        self.plan = plan
        self.codes: dict[fx.Node, Any] = {}
        self.met: dict[str, Code | None] = {}  # what each rewritable layer reads, at its first call
        self.reordered: dict[str, Tensor] = {}  # batch normalisations whose channels come in another order

    # -- the pass --------------------------------------------------------------------------------------------

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node, as ever; its code is kept beside it."""
        value = super().run_node(n)
        try:
            code = self._code(n, value)
        except NoCode as reason:
            raise CannotRewrite(f"{self.plan.change}: {self._name(n)} stands in the way: {reason}.") from None
        if code is not None:
            self.codes[n] = code
        return value

    def _name(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"'{node.target}' ({operation(self.graph_module, node)})"
        if node.op == "output":
            return "the model's output"
        return f"'{operation(self.graph_module, node)}' in forward"

    def _code(self, node: fx.Node, value: Any) -> Any:
        if node.op == "placeholder":
            return self.plan.recode_input(value) if self.plan.recode_input and isinstance(value, Tensor) else None
        coded = [a for a in node.all_input_nodes if a in self.codes]
        if node.op == "call_module" and self._rewritable(str(node.target)):
            return self._through_layer(node, value, self.codes[coded[0]] if coded else None)
        if node.op == "output" and coded:
            raise NoCode("recoded values reach it without meeting a layer that could undo the code")
        if node.name in self.plan.swaps:
            return self._through_swap(node, value)
        if not coded or not _has_tensor(value):
            return None
        return self._through(node, operation(self.graph_module, node), coded)

    def _through(self, node: fx.Node, name: str, coded: list[fx.Node]) -> Any:
        code = self.codes[coded[0]]
        if name == "getitem" and isinstance(code, tuple):
            return code[cast(int, node.args[1])]
        if isinstance(code, tuple):
            raise NoCode("it reads several recoded pieces at once")

        def move(part: Tensor) -> Any:
            return self._again(node, {coded[0]: part})

        if name in MOVES:
            return self._moved(node, code, coded)
        if name in HOMOGENEOUS:
            return code.homogeneous()
        if name in ELEMENTWISE:
            return code.elementwise()
        if name in AVERAGES:
            return code.averaged(move)
        if name in MAXIMA:
            return code.largest(move)
        if name in DROPOUTS:
            ones = torch.ones_like(code.scale)
            if not torch.equal(move(ones), ones) and (code.shifted or code.reordered):
                raise NoCode("it sets values to 0, and the code does not leave 0 (or the order of units) where it is")
            return code
        if name in ARITHMETIC:
            if any(self.codes[a].label is not None for a in coded):
                raise NoCode("its numbers apply to each feature, and the features are mixed")
            return self._arithmetic(node, name)
        if name.startswith("BatchNorm"):
            if code.order is None:
                raise NoCode("it divides by a spread plus eps, which no rewriting of its gains undoes exactly")
            self.reordered[str(node.target)] = code.order_along(1)
            return code
        raise NoCode("it reads recoded values and there is no exact rule to pass or undo them")

    def _moved(self, node: fx.Node, code: Code, coded: list[fx.Node]) -> Any:
        def every(part: Callable[[Code], Tensor]) -> Any:
            return self._again(node, {a: part(self._full(a)) for a in self._tensors(node)})

        if len(self._tensors(node)) == 1:
            scale = self._again(node, {coded[0]: code.scale})
            if isinstance(scale, Tensor):
                return code.moved(lambda part: cast(Tensor, self._again(node, {coded[0]: part})))
            return tuple(
                code.moved(lambda part, at=at: cast(Tensor, self._again(node, {coded[0]: part})[at]))  # type: ignore[misc]
                for at in range(len(scale))
            )
        if any(self.codes[a].reordered for a in coded):
            raise NoCode("it joins reordered or mixed units with others")
        return Code(every(lambda c: c.scale), every(lambda c: c.shift))

    def _arithmetic(self, node: fx.Node, name: str) -> Code:
        if name == "neg":
            a = self._full(cast(fx.Node, node.args[0]))
            return Code(a.scale, -a.shift, a.order, a.label)
        left, right = node.args[0], node.args[1]
        tensors = self._tensors(node)
        if len(tensors) == 2 and name in ("add", "add_", "iadd", "sub"):
            return self._full(cast(fx.Node, left)).plus(
                self._full(cast(fx.Node, right)), -1.0 if name == "sub" else 1.0
            )
        if len(tensors) == 2:
            raise NoCode("it multiplies two tensors")
        code, number = self._full(tensors[0]), right if left is tensors[0] else left
        if isinstance(number, fx.Node):
            number = self.env[number]
        if not isinstance(number, int | float):
            raise NoCode("it combines recoded values with something that is neither a tensor nor a number")
        if name == "mul":
            return Code(code.scale, code.shift * number, code.order, code.label)
        if name == "truediv" and left is tensors[0]:
            return Code(code.scale, code.shift / number, code.order, code.label)
        if name in ("add", "add_", "iadd") or (name == "sub" and left is tensors[0]):
            added = -number if name == "sub" else number
            return Code(code.scale, code.shift + added * (1 - code.scale), code.order, code.label)
        if name == "sub":
            return Code(code.scale, number * (1 - code.scale) - code.shift, code.order, code.label)
        raise NoCode("it divides by recoded values")

    def _through_swap(self, node: fx.Node, value: Tensor) -> Code:
        swap = self.plan.swaps[node.name]
        code = self._full(node.all_input_nodes[0])
        if code.shifted or code.reordered or bool((code.scale != swap.reads).any()):
            raise NoCode(f"its input should be {swap.reads:g} times what it was, and something before it prevents that")
        return Code.plain(value).affine(swap.scale, swap.shift)

    # -- layers ----------------------------------------------------------------------------------------------

    def _rewritable(self, target: str) -> bool:
        module = self.graph_module.get_submodule(target)
        return isinstance(module, (nn.Linear, *CONVOLUTIONS, *RECURRENT)) or (
            isinstance(module, NORMS) and target in self.plan.writers
        )

    def _through_layer(self, node: fx.Node, value: Any, code: Code | None) -> Code | None:
        target = str(node.target)
        module = self.graph_module.get_submodule(target)
        if isinstance(code, tuple):
            raise NoCode("it reads several recoded pieces at once")
        if code is not None and isinstance(module, NORMS):
            raise NoCode("it divides by a spread plus eps, which no rewriting of its gains undoes exactly")
        if code is not None:
            absorb(module, code, self.plan)  # refuses here, before anything is written
        if target in self.met and not _same(self.met[target], code):
            raise NoCode("it is called more than once and its inputs are recoded differently")
        self.met.setdefault(target, code)
        if target not in self.plan.writers:
            return None
        if isinstance(module, RECURRENT):
            raise NoCode("the units of a recurrent layer feed back into it")
        return emitted(module, value, self.plan.writers[target])

    def write(self) -> None:
        """Rewrite the weights. Call after `run`."""
        layers = [n for n in self.met if self.met[n] is not None or n in self.plan.writers]
        for name in layers:
            module = self.graph_module.get_submodule(name)
            for other_name, other in self.graph_module.named_modules():
                shared = {id(p) for p in module.parameters()} & {id(p) for p in other.parameters(recurse=False)}
                if other is not module and shared:
                    raise CannotRewrite(
                        f"{self.plan.change}: '{name}' shares its weights with '{other_name}', "
                        "and rewriting one would change the other."
                    )
        with torch.no_grad():
            for name in layers:
                module, code = self.graph_module.get_submodule(name), self.met[name]
                if code is not None:
                    for parameter, new in absorb(module, code, self.plan):
                        parameter.copy_(new)
                if name in self.plan.writers:
                    emit(module, self.plan.writers[name])
            for name, order_k in self.reordered.items():
                reorder(self.graph_module.get_submodule(name), order_k)

    # -- running a node again, on codes instead of values ----------------------------------------------------

    def _tensors(self, node: fx.Node) -> list[fx.Node]:
        return [a for a in node.all_input_nodes if isinstance(self.env[a], Tensor)]

    def _full(self, node: fx.Node) -> Code:
        return cast(Code, self.codes[node]) if node in self.codes else Code.plain(self.env[node])

    def _again(self, node: fx.Node, instead: dict[fx.Node, Tensor]) -> Any:
        args = fx.map_arg(node.args, lambda a: instead[a] if a in instead else self.env[a])
        kwargs = fx.map_arg(node.kwargs, lambda a: instead[a] if a in instead else self.env[a])
        if node.op == "call_function" and node.target is operator.getitem:
            return operator.getitem(args[0], args[1])
        return getattr(self, node.op)(node.target, args, kwargs)


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(isinstance(v, Tensor) for v in value))


def _same(a: Code | None, b: Code | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.scale.shape != b.scale.shape:
        return False
    return a.same(b)
