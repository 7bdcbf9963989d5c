"""Looking at a model: a forward and backward pass on the side that leaves no trace.

The training graph is never touched. The model's own forward only leaves its arguments (a share of the
batch) and the gradient that arrives at its output; when a metric is due, `look` runs the model once more
on those, unfused and uncompiled, with every layer in sight. So native kernels, `torch.compile`,
activation checkpointing, in-place activations, autocast, accumulation and DDP train exactly as without it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_flatten_with_path, tree_map

from isotrain.errors import NoBackward, UnsupportedOperation
from isotrain.riemann.attention import attention_twin, attention_units
from isotrain.riemann.layers import adapter_of
from isotrain.riemann.recurrent import CELLS, RECURRENT, cell_twin, recurrent_twin, recurrent_units, silent_biases
from isotrain.riemann.units import Sighting, Units

_looking: ContextVar[bool] = ContextVar("looking", default=False)
"""Whether a look is in progress: no optimizer of the model, this one or another, then records."""

SMALLEST = 16
"""A sub-batch never has fewer samples than this (or the batch has fewer); half, where a sample has many rows."""


def innermost(model: nn.Module) -> nn.Module:
    """The user's module inside torch.compile and DistributedDataParallel."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def units_of(name: str, layer: nn.Module) -> list[Units] | None:
    """The units of one layer, or None when it is not a layer isotrain knows."""
    if any(not isinstance(p, nn.Parameter) for p in (getattr(layer, "weight", None),) if p is not None):
        return None
    if isinstance(layer, RECURRENT + CELLS):
        return recurrent_units(name, layer)
    if isinstance(layer, nn.MultiheadAttention):
        return attention_units(name, layer)
    adapter = adapter_of(layer)
    return None if adapter is None else adapter.units(name, layer)


def silent(layer: nn.Module) -> list[nn.Parameter]:
    """Parameters the layer's function does not need beside others: never moved."""
    if isinstance(layer, RECURRENT + CELLS):
        return silent_biases(layer)
    return []


@dataclass
class Call:
    """One forward pass of the model, as much of it as a look needs."""

    args: Any
    kwargs: Any
    rows: Tensor | None
    whole: Any
    autocast: tuple[str, bool, torch.dtype]
    random: Any
    samples: int = 0
    turn: int = 0
    outputs: list[Tensor] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    gradients: dict[int, Tensor] = field(default_factory=dict)


class Recorder:
    """Keeps the arguments of the model's calls, and the gradients at its outputs, while a look is due."""

    def __init__(self, model: nn.Module, share: float) -> None:
        self.share = share
        self.smallest = SMALLEST
        self.due = True
        self.parameters = list(model.parameters())
        self.trainable: list[bool] | None = None
        self.wrapper: nn.parallel.DistributedDataParallel | None = None
        self.whole = True
        self.calls: list[Call] = []
        self._open: list[Call] = []
        self._forwards = 0
        self._told = False

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Forward pre-hook of the model."""
        # A layer that was unfrozen since the last look has no metric yet.
        self.due = self.due or self.trainable != [p.requires_grad for p in self.parameters]
        if not self.due or _looking.get() or not torch.is_grad_enabled():
            return
        self.wrapper = nn.parallel.DistributedDataParallel._get_active_ddp_module()
        rows = self._rows((args, kwargs))
        kept = tree_map(partial(_keep_input, rows=rows), (args, kwargs))
        device = next((t.device.type for t in tree_flatten(kept)[0] if isinstance(t, Tensor)), "cpu")
        cast = (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        random = (torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None)
        self._open.append(Call(*kept, rows, (args, kwargs), cast, random))

    def after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Forward hook of the model."""
        if not self._open or _looking.get() or not torch.is_grad_enabled():
            return
        call = self._open.pop()
        call.turn = self._forwards
        self._forwards += 1
        outputs = tensors(output)
        if call.rows is not None and any(o.ndim == 0 or o.shape[0] != _length(call.whole) for o in outputs):
            self._tell("the model's outputs do not share the first dimension of its inputs")
            call.rows = None
            call.args, call.kwargs = tree_map(partial(_keep_input, rows=None), call.whole)
        self.smallest = SMALLEST // 2 if outputs and outputs[0].ndim > 2 else SMALLEST
        call.whole = None
        call.labels = labels(output)
        call.samples = outputs[0].shape[0] if outputs and outputs[0].ndim else 1
        for place, out in enumerate(outputs):
            call.outputs.append(_copy(out, call.rows))
            if out.requires_grad:
                out.register_hook(partial(self._arrived, call, place))

    def _arrived(self, call: Call, place: int, gradient: Tensor) -> None:
        if _looking.get():
            return
        if not call.gradients:
            # Only now: a forward whose graph is dropped (validation without no_grad) keeps nothing alive.
            self.calls.append(call)
            self.calls.sort(key=lambda one: one.turn)
        kept = _keep(gradient, call.rows)
        before = call.gradients.get(place)
        call.gradients[place] = kept if before is None else before + kept

    def _rows(self, inputs: Any) -> Tensor | None:
        """Evenly spaced samples, or None for all of them: when told so, or when samples cannot be told apart."""
        n = _length(inputs)
        if self.whole:
            return None
        if n is None:
            if self.share < 1:
                self._tell("the model's inputs do not share a first dimension")
            return None
        m = min(n, max(self.smallest, math.ceil(n * self.share - 1e-9)))
        if m >= n:
            return None
        device = next(t.device for t in tree_flatten(inputs)[0] if isinstance(t, Tensor))
        return torch.arange(m, device=device) * n // m

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            warnings.warn(f"isotrain looks at whole batches instead of a share of them: {why}.", stacklevel=4)

    def seen(self) -> list[Call]:
        """The calls whose output received a gradient.

        Raises:
            NoBackward: there is none.
        """
        if not self.calls:
            called = "was called" if self._forwards else "was not called (call the model itself, not its parts)"
            raise NoBackward(
                f"step() has nothing to look at: since the last step the model {called} and no gradient came back "
                "to its output. Call loss.backward() on a loss of model(x) first. If the model was compiled with "
                "fullgraph=True after the optimizer was made, make the optimizer from the compiled model."
            )
        return list(self.calls)

    def stale(self) -> None:
        """Drop the calls whose gradient has come back: their gradients are being cleared."""
        self.calls.clear()

    def resume(self, share: float, smallest: int) -> None:
        """Start afresh where a saved run left off."""
        self.forget()
        self.share, self.smallest, self.trainable = share, smallest, [p.requires_grad for p in self.parameters]

    def forget(self) -> None:
        """Drop what was kept."""
        self.calls.clear()
        self._open.clear()
        self._forwards = 0


def tensors(output: Any) -> list[Tensor]:
    """The floating-point tensors in a model's output, in order."""
    return [t for t in tree_flatten(output)[0] if isinstance(t, Tensor) and t.is_floating_point()]


def labels(output: Any) -> list[str]:
    """The key or position of each of `tensors(output)` at the top level of the output.

    >>> labels({"boxes": torch.zeros(1), "classes": torch.zeros(1)}), labels((torch.zeros(1), torch.zeros(1)))
    (['boxes', 'classes'], ['0', '1'])
    """
    found = []
    for path, value in tree_flatten_with_path(output)[0]:
        if isinstance(value, Tensor) and value.is_floating_point():
            key = path[0] if path else None
            found.append(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", 0)))))
    return found


def _length(inputs: Any) -> int | None:
    """The first dimension all tensors share, if they do."""
    found = [t for t in tree_flatten(inputs)[0] if isinstance(t, Tensor)]
    sizes = {t.shape[0] if t.ndim else -1 for t in found}
    return sizes.pop() if len(sizes) == 1 and -1 not in sizes else None


def _keep(value: Any, rows: Tensor | None) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach() if rows is None else value.detach().index_select(0, rows.to(value.device))


def _copy(value: Any, rows: Tensor | None) -> Any:
    """As it is now: what follows may write on the original."""
    kept = _keep(value, rows)
    return kept.clone() if kept is not value and rows is None else kept


def _keep_input(value: Any, rows: Tensor | None) -> Any:
    """Inputs that need gradients still do in the look: re-entrant checkpoints go by that."""
    kept = _copy(value, rows)
    return kept.requires_grad_() if isinstance(value, Tensor) and value.requires_grad else kept


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Whatever a forward does to buffers and attributes of the model's modules is undone at the end."""
    before: list[tuple[nn.Module, dict[str, Any], dict[str, Any]]] = []
    for module in model.modules():
        buffers = dict(module._buffers)
        before.append((module, dict(module.__dict__), buffers))
        module._buffers = {name: b if b is None else b.clone() for name, b in buffers.items()}
    try:
        yield
    finally:
        for module, attributes, buffers in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            module._buffers = buffers


@dataclass
class Look:
    """One side pass: what every layer showed, and the outputs to send cotangents back from."""

    sightings: list[Sighting]
    outputs: list[Tensor]
    samples: int
    blind: set[Units]
    """Units whose layer ran without gradients: a re-entrant checkpoint, or the model's own no_grad."""

    def errors(self, cotangents: dict[int, Tensor], last: bool = True) -> list[Tensor | None]:
        """The gradient at every tap for the given cotangents at the outputs; None where none arrives."""
        places = list(cotangents)
        taps = [s.tap for s in self.sightings]
        if not taps:
            return []
        try:
            return list(
                torch.autograd.grad(
                    [self.outputs[p] for p in places],
                    taps,
                    [cotangents[p].to(self.outputs[p]) for p in places],
                    retain_graph=not last,
                    allow_unused=True,
                )
            )
        except RuntimeError as error:
            if "heckpoint" in str(error):
                raise hidden_by_checkpoint() from error
            raise


def hidden_by_checkpoint(layer: str = "") -> UnsupportedOperation:
    """The error for a re-entrant checkpoint, which runs its layers where no look can follow."""
    return UnsupportedOperation(
        f"activation checkpointing with use_reentrant=True hides the layers inside it from isotrain{layer}: "
        "pass use_reentrant=False to torch.utils.checkpoint.checkpoint."
    )


@contextmanager
def look(
    model: nn.Module,
    call: Call,
    layers: dict[nn.Module, list[Units]],
    within: Callable[[], Any] | None = None,
) -> Iterator[Look]:
    """Run the model once more on what a call left, with every layer of `layers` in sight.

    Cotangents are sent back inside the context (checkpointed parts run again there). `within` gives a
    context for the forward pass (a metric that changes how derivatives propagate).
    """
    sightings: list[Sighting] = []
    blind: set[Units] = set()
    device, cast, dtype = call.autocast
    open_ = True

    def note(sighting: Sighting) -> None:
        if not torch.is_grad_enabled():
            blind.add(sighting.units)
        elif open_:
            sightings.append(sighting)

    def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor | None:
        adapter = adapter_of(module)
        assert adapter is not None
        if not torch.is_grad_enabled():
            blind.update(layers[module])
            return None
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        call_args = args or (kwargs["input"],)
        for sighting in adapter.sight(module, layers[module], call_args, output):
            note(sighting)
        return output.clone()  # an in-place activation then writes on the copy, not on the tap

    with ExitStack() as stack:
        stack.callback(_looking.reset, _looking.set(True))
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.random.fork_rng(devices=None if device == "cuda" else []))
        torch.set_rng_state(call.random[0])
        if call.random[1] is not None:
            torch.cuda.set_rng_state(call.random[1])
        for module, units in layers.items():
            twin = _twin_of(module)
            if twin is not None:
                object.__setattr__(module, "forward", partial(twin, module, units, note))
            else:
                handle = module.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.autocast(device, enabled=cast, dtype=dtype))
        with nullcontext() if within is None else within():
            outputs = tensors(model(*call.args, **call.kwargs))
        open_ = False
        yield Look(sightings, outputs, outputs[min(call.gradients)].shape[0], blind)


def _twin_of(module: nn.Module) -> Any:
    if isinstance(module, RECURRENT):
        return recurrent_twin
    if isinstance(module, CELLS):
        return cell_twin
    if isinstance(module, nn.MultiheadAttention):
        return attention_twin
    return None
