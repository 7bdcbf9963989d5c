"""Looking at a model: a forward and backward pass on the side that leaves no trace.

The training graph is never touched. The model's own forward only leaves its arguments (a share of the
batch) and the gradient that arrives at its output; when a metric is due, `look` runs the model once more
on those, unfused and uncompiled, with every layer in sight. So native kernels, `torch.compile`,
activation checkpointing, in-place activations, autocast, accumulation and DDP train exactly as without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from isotrain.errors import UnsupportedOperation
from isotrain.riemann.attention import attention_twin, attention_units
from isotrain.riemann.layers import ADAPTERS, adapter_of
from isotrain.riemann.record import Call, looking, part, tensors
from isotrain.riemann.recurrent import CELLS, RECURRENT, cell_twin, recurrent_twin, recurrent_units, silent_biases
from isotrain.riemann.units import Sighting, Units

FUSED = (*RECURRENT, *CELLS, nn.MultiheadAttention)
"""Layers that a twin replaces in a look."""


def units_of(name: str, layer: nn.Module) -> list[Units] | None:
    """The units of one layer, or None when it is not a layer isotrain knows."""
    if any(not isinstance(p, nn.Parameter) for p in (getattr(layer, "weight", None),) if p is not None):
        return None
    kind = next((k for k in type(layer).__mro__ if k in ADAPTERS or k in FUSED), None)
    if kind is None or type(layer).forward is not kind.forward:
        return None  # a subclass with a forward of its own may do anything with the weights
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
    silent: set[Units]
    """Units whose layer was called on no samples (a picture without regions): there is nothing to see of that call."""

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
                raise UnsupportedOperation(hidden_by_checkpoint()) from error
            raise


def hidden_by_checkpoint(layer: str = "") -> str:
    """What to say of a re-entrant checkpoint, which runs its layers where no look can follow."""
    return (
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
    silent: set[Units] = set()
    whole = {module: [u.whole or u for u in units] for module, units in layers.items()}
    free = {u.whole: u for units in layers.values() for u in units if u.whole is not None}
    device, cast, dtype = call.autocast
    open_ = True

    def note(sighting: Sighting) -> None:
        if not torch.is_grad_enabled():
            blind.add(free.get(sighting.units, sighting.units))
        elif not sighting.tap.numel():
            silent.add(free.get(sighting.units, sighting.units))
        elif open_:
            own = free.get(sighting.units)
            sightings.append(sighting if own is None else sighting.of_free(own))

    def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor | None:
        adapter = adapter_of(module)
        assert adapter is not None
        if not torch.is_grad_enabled():
            blind.update(layers[module])
            return None
        if not output.numel():
            silent.update(layers[module])
            return None
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        call_args = args or (kwargs["input"],)
        for sighting in adapter.sight(module, whole[module], call_args, output):
            note(sighting)
        return output.clone()  # an in-place activation then writes on the copy, not on the tap

    with ExitStack() as stack:
        stack.callback(looking.reset, looking.set(True))
        stack.callback(part.reset, part.set(call.part))
        for module in model.modules():
            if isinstance(module, FSDPModule):
                stack.callback(module.reshard)  # or the next forward would not see what a step moved
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.random.fork_rng(devices=None if device == "cuda" else []))
        torch.set_rng_state(call.random[0])
        if call.random[1] is not None:
            torch.cuda.set_rng_state(call.random[1])
        for module, units in whole.items():
            twin = _twin_of(module)
            if twin is not None:
                object.__setattr__(module, "forward", partial(twin, module, units, note))
            else:
                handle = module.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.autocast(device, enabled=cast, dtype=dtype))
        args, kwargs = call.inputs()
        with nullcontext() if within is None else within():
            outputs = tensors(model(*args, **kwargs))
        open_ = False
        predicted = outputs[min(call.gradients)]
        yield Look(sightings, outputs, predicted.shape[0] if predicted.ndim else 1, blind, silent)


def _twin_of(module: nn.Module) -> Any:
    if isinstance(module, RECURRENT):
        return recurrent_twin
    if isinstance(module, CELLS):
        return cell_twin
    if isinstance(module, nn.MultiheadAttention):
        return attention_twin
    return None
