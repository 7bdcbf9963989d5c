"""The ordinary rule for parameters the user takes out of the metric: Adam at its published settings."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

RATE, KEEP, KEEP_SQUARE, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def plain_step(
    state: MutableMapping[Any, Any], parameters: Iterable[nn.Parameter], group: dict[str, Any], scale: float
) -> None:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) on each parameter, at 1e-3 times a natural group's lr."""
    rate = float(group["lr"]) * (RATE if group["natural"] else 1.0)
    for p in parameters:
        assert p.grad is not None
        gradient: Tensor = p.grad / (-scale if group["maximize"] else scale)
        kept = state[p]
        if not kept:
            kept.update(
                turns=torch.zeros((), dtype=torch.float64), mean=torch.zeros_like(p), square=torch.zeros_like(p)
            )
        kept["turns"] += 1
        turns = float(kept["turns"])
        kept["mean"].lerp_(gradient, 1 - KEEP)
        kept["square"].mul_(KEEP_SQUARE).addcmul_(gradient, gradient, value=1 - KEEP_SQUARE)
        root = (kept["square"] / (1 - KEEP_SQUARE**turns)).sqrt_().add_(EPSILON)
        p.mul_(1 - float(group["lr"]) * group["weight_decay"])
        p.addcdiv_(kept["mean"], root, value=-rate / (1 - KEEP**turns))
