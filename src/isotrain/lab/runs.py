"""One training run, recorded: the loss and the time of every step, until the end or until it diverges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.errors import NotFinite
from isotrain.lab.problem import Batch, Loss
from isotrain.progress import Tick
from isotrain.train.optimizers import Trainer

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Run:
    """What one run left behind.

    Attributes:
        losses: the minibatch loss before each step.
        seconds: when each step ended, from the start of the run.
        diverged_at: the step whose loss was not finite, or None.
        state_bytes: what the optimizer remembers at the end.
        claims: the changes of variables the optimizer says it does not feel.
    """

    losses: list[float]
    seconds: list[float]
    diverged_at: int | None = None
    state_bytes: int = 0
    claims: frozenset[str] = frozenset()

    @property
    def final(self) -> float | None:
        """Mean loss of the last tenth of the steps; None when the run diverged.

        >>> Run([4.0, 2.0, 1.0], [0.1, 0.2, 0.3]).final
        1.0
        """
        if self.diverged_at is not None or not self.losses:
            return None
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(last) / len(last)


def train(
    model: nn.Module,
    loss: Loss,
    trainer: Trainer,
    stream: Iterable[Batch],
    *,
    likelihood: Any = "categorical",
    encode: Encode | None = None,
    seed: int = 0,
    tick: Tick | None = None,
) -> Run:
    """Train `model` in place and record the run. A loss that is not finite ends it: that is a result."""
    torch.manual_seed(seed)
    model.train()
    optimizer = trainer(model, likelihood, seed)
    losses: list[float] = []
    seconds: list[float] = []
    diverged: int | None = None
    start = time.perf_counter()
    for x, y in stream:
        value = loss(model(encode(x) if encode else x), y)
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            diverged = len(losses) - 1
        else:
            optimizer.zero_grad()
            value.backward()
            try:
                optimizer.step()
            except NotFinite:  # ours refuses gradients that are not finite; to a comparison they are a divergence
                diverged = len(losses) - 1
        seconds.append(time.perf_counter() - start)
        if diverged is not None:
            break
        if tick:
            tick(1)
    claims = getattr(optimizer, "claims", None)
    run = Run(
        losses,
        seconds,
        diverged,
        state_bytes=memory(getattr(optimizer, "state", {})),
        claims=frozenset(str(getattr(c, "value", c)) for c in claims()) if callable(claims) else frozenset(),
    )
    if callable(close := getattr(optimizer, "close", None)):
        close()
    return run


def memory(state: Any) -> int:
    """Bytes of all the tensors in an optimizer's state, each storage once.

    >>> memory({"a": [torch.zeros(3), torch.zeros(2, dtype=torch.float64)]})
    28
    """
    seen: dict[int, int] = {}

    def visit(thing: Any) -> None:
        if isinstance(thing, Tensor):
            seen[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        elif isinstance(thing, dict):
            for value in thing.values():
                visit(value)
        elif isinstance(thing, list | tuple):
            for value in thing:
                visit(value)
        elif hasattr(thing, "__dict__") and not isinstance(thing, nn.Module | type):
            visit(vars(thing))

    visit(dict(state) if not isinstance(state, dict) else state)
    return sum(seen.values())
