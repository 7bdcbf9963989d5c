"""How much the loss was multiplied before its gradients came back: torch's gradient scaler."""

from __future__ import annotations

import sys
from types import FrameType

import torch
from torch.optim import Optimizer

from isotrain.errors import BadOption


def skipped(optimizer: Optimizer) -> bool:
    """Whether a scaler is stepping and found an overflow."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def of_gradients(optimizer: Optimizer) -> float:
    """The factor that the parameters' gradients still carry."""
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else float(scale)


def of_loss(optimizer: Optimizer) -> float:
    """The factor that the loss carried, and the gradients at the model's output still do.

    `scaler.unscale_(optimizer)` divides the parameters' gradients alone, and torch tells an optimizer nothing
    of it; the scaler itself is on the stack, since it is what calls `step`.

    Raises:
        BadOption: the gradients were unscaled and no scaler is stepping.
    """
    if getattr(optimizer, "found_inf", None) is None or getattr(optimizer, "grad_scale", None) is not None:
        return of_gradients(optimizer)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, torch.amp.GradScaler):
            return float(caller.get_scale())
        frame = frame.f_back
    raise BadOption("found_inf is set and no torch.amp.GradScaler is stepping: call scaler.step(optimizer).")
