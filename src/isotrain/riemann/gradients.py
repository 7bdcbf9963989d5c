"""Gradients as a step reads them: in one sign and scale, averaged, and refused where they are not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from isotrain.errors import NotFinite
from isotrain.riemann.blocks import State


def gradient_times(factor: float) -> Callable[[nn.Parameter], Tensor]:
    """Reads a parameter's gradient, in float32 at least, times a factor; zeros where there is none."""

    def read(p: nn.Parameter) -> Tensor:
        if p.grad is None:
            return torch.zeros_like(p)
        grad = p.grad if p.grad.dtype.itemsize >= 4 else p.grad.float()
        return grad if factor == 1 else grad * factor

    return read


def averaged(old: State, v: Tensor, v0: Tensor | None, keep: float) -> State:
    """Moving average of the gradient, in which the first steps count as much as their number: "v", "v0", "turns_v"."""
    turns = old["turns_v"] + 1 if "turns_v" in old else torch.ones((), dtype=torch.float64)
    share = (1 - keep) / (1 - keep ** float(turns))
    kept = {"turns_v": turns, "v": torch.lerp(old["v"], v, share) if "v" in old else v.clone()}
    if v0 is not None:
        kept["v0"] = torch.lerp(old["v0"], v0, share) if "v0" in old else v0.clone()
    return kept


def require_finite_gradient(p: nn.Parameter, names: Mapping[nn.Parameter, str]) -> None:
    """Raise NotFinite when the gradient has a NaN or an infinity."""
    if p.grad is None or bool(torch.isfinite(p.grad).all()):
        return
    raise NotFinite(
        f"the gradient of '{names[p]}' is not finite "
        f"({int((~torch.isfinite(p.grad)).sum())} of {p.grad.numel()} entries): the loss is NaN or "
        "infinite, or overflowed. Nothing was changed; look at the batch that caused it."
    )
