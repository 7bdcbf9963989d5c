"""What the model's own calls leave behind for a look: arguments, and the gradient that arrives at the output."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.utils._pytree import tree_flatten, tree_flatten_with_path, tree_map

from isotrain.errors import NoBackward, UnsupportedOperation
from isotrain.riemann.ranks import Ranks

looking: ContextVar[bool] = ContextVar("looking", default=False)
"""Set while a look runs the model itself: nothing is recorded then, by any optimizer."""
part: ContextVar[tuple[int, int, int] | None] = ContextVar("part", default=None)
"""Of several processes, in a look: the first of this one's samples among all that are looked at, how many, of how many.

What draws something for every sample (a dropout) then can draw as one process would.
"""
SMALLEST = 16
"""A sub-batch never has fewer samples than this (or the batch has fewer); half, where a sample has many rows."""
EACH = 2
"""Samples that each of several processes looks at, at least: norms over the batch need two."""


def entrance(model: nn.Module) -> nn.Module:
    """Where calls of the model can be seen from outside of compiled code: its compiled wrapper, if it was given one."""
    inside = model
    while isinstance(inside, nn.parallel.DistributedDataParallel):
        inside = inside.module
    return inside if hasattr(inside, "_orig_mod") else innermost(model)


def innermost(model: nn.Module) -> nn.Module:
    """The user's module inside torch.compile and DistributedDataParallel."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(model, OptimizedModule):
            model = model._orig_mod
        else:
            return model


@dataclass
class Call:
    """One forward pass of the model, as much of it as a look needs."""

    args: Any
    kwargs: Any
    rows: Tensor | None
    whole: Any
    autocast: tuple[str, bool, torch.dtype]
    random: Any
    part: tuple[int, int, int] | None = None
    samples: int = 0
    turn: int = 0
    outputs: list[Tensor] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    gradients: dict[int, Tensor] = field(default_factory=dict)

    def inputs(self) -> Any:
        """Arguments and keywords to run the model on once more, which it may write on: a look runs it several times."""
        return tree_map(partial(_keep_input, rows=None), (self.args, self.kwargs))


class Recorder:
    """Keeps the arguments of the model's calls, and the gradients at its outputs, while a look is due."""

    def __init__(self, model: nn.Module, share: float, ranks: Ranks) -> None:
        self.share = share
        self.ranks = ranks
        self.smallest = SMALLEST
        self.due = True
        self.parameters = list(model.parameters())
        self.trainable: list[bool] | None = None
        self.whole = True
        self.calls: list[Call] = []
        self._open: list[Call] = []
        self._forwards = 0
        self._told = False

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Forward pre-hook of the model."""
        # A layer that was unfrozen since the last look has no metric yet.
        self.due = self.due or self.trainable != [p.requires_grad for p in self.parameters]
        if not self.due or looking.get() or not torch.is_grad_enabled():
            return
        self.ranks.adopt(nn.parallel.DistributedDataParallel._get_active_ddp_module())
        rows, part = self._rows((args, kwargs))
        kept = tree_map(partial(_keep_input, rows=rows), (args, kwargs))
        device = next((t.device.type for t in tree_flatten(kept)[0] if isinstance(t, Tensor)), "cpu")
        cast = (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        random = (torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None)
        self._open.append(Call(kept[0], kept[1], rows, (args, kwargs), cast, random, part))

    def after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Forward hook of the model."""
        if not self._open or looking.get() or not torch.is_grad_enabled():
            return
        call = self._open.pop()
        call.turn = self._forwards
        self._forwards += 1
        outputs = tensors(output)
        if call.rows is not None and any(o.ndim == 0 or o.shape[0] != _length(call.whole) for o in outputs):
            self._tell("the model's outputs do not share the first dimension of its inputs")
            call.rows = call.part = None
            call.args, call.kwargs = tree_map(partial(_keep_input, rows=None), call.whole)
        self.smallest = SMALLEST // 2 if outputs and outputs[0].ndim > 2 else SMALLEST
        call.whole = None
        call.labels = labels(output)
        call.samples = outputs[0].shape[0] if outputs and outputs[0].ndim else 1
        for place, out in enumerate(outputs):
            call.outputs.append(_copy(out, call.rows))
            if out.requires_grad:
                out.register_hook(partial(self._arrived, call, place))

    def _arrived(self, call: Call, place: int, gradient: Tensor | None) -> None:
        if looking.get() or gradient is None:  # a function of the user's may say that nothing comes back
            return
        if not call.gradients:
            # Only now: a forward whose graph is dropped (validation without no_grad) keeps nothing alive.
            self.calls.append(call)
            self.calls.sort(key=lambda one: one.turn)
        kept = _keep(gradient, call.rows)
        before = call.gradients.get(place)
        call.gradients[place] = kept if before is None else before + kept

    def _rows(self, inputs: Any) -> tuple[Tensor | None, tuple[int, int, int] | None]:
        """Evenly spaced samples, or None for all of them: when told so, or when samples cannot be told apart.

        Over several processes evenly spaced in the batch of all, with the part of this one: as many samples are looked
        at as on one process, whose batch is the processes' one after another (of equal size, as DDP averages them).
        """
        n, world, rank = _length(inputs), self.ranks.world, self.ranks.rank
        whole = None if n is None or world == 1 else (rank * n, n, world * n)
        if self.whole:
            return None, whole
        if n is None:
            if self.share < 1:
                self._tell("the model's inputs do not share a first dimension")
            return None, None
        m = min(world * n, max(self.smallest, math.ceil(world * n * self.share - 1e-9)))
        if world > 1:
            m = max(m, world * min(n, EACH))
        if m >= world * n:
            return None, whole
        device = next(t.device for t in tree_flatten(inputs)[0] if isinstance(t, Tensor))
        rows = torch.arange(m, device=device) * (world * n) // m
        if world == 1:
            return rows, None
        first, end = (-(-place * n * m // (world * n)) for place in (rank, rank + 1))
        return rows[first:end] - rank * n, (first, end - first, m)

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            warnings.warn(f"isotrain looks at whole batches instead of a share of them: {why}.", stacklevel=4)

    def seen(self) -> list[Call]:
        """The calls whose output received a gradient: as many on every process.

        Raises:
            NoBackward: there is none.
            UnsupportedOperation: there are more on some processes than on others.
        """
        numbers = [many for (many,) in self.ranks.lists([len(self.calls)])]
        if len(set(numbers)) > 1:
            raise UnsupportedOperation(
                f"before this step the processes called the model {', '.join(map(str, numbers))} times: they look at "
                "their calls together. Let every process have as many micro-batches a step."
            )
        if not self.calls:
            called = "was called" if self._forwards else "was not called (call the model itself, not its parts)"
            raise NoBackward(
                f"step() has nothing to look at: since the last step the model {called} and no gradient came back "
                "to its output. Call loss.backward() on a loss of model(x) first. If the model is compiled, make the "
                "optimizer from what torch.compile returned: a graph traced before does not see the optimizer's hooks."
            )
        return list(self.calls)

    def stale(self) -> None:
        """Drop the calls whose gradient has come back: their gradients are being cleared."""
        self.calls.clear()

    def memory(self) -> dict[str, Any]:
        """What a saved run needs to go on: the smallest batch, and what was trained at the last look ("" for none)."""
        return {"smallest": self.smallest, "trainable": "".join("01"[flag] for flag in self.trainable or ())}

    def resume(self, share: float, memory: Mapping[str, Any]) -> None:
        """Start afresh where a saved run left off."""
        self.forget()
        self.share, self.smallest = share, memory["smallest"]
        # Runs that were saved before flags were have those of now.
        flags = memory.get("trainable", "".join("01"[p.requires_grad] for p in self.parameters))
        self.trainable = [flag == "1" for flag in flags] or None

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
