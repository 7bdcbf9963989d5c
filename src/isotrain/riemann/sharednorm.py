"""Batch norms whose mean and variance are those of all processes' samples, on any device.

A batch norm that carries a `process_group` (torch's SyncBatchNorm, or one that `isotrain.train.distributed` shared) is
measured as it computes: over the processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def group_of(norm: nn.Module) -> Any:
    """The processes a batch norm is shared by, or None."""
    group = getattr(norm, "process_group", None)
    if group is None and isinstance(norm, nn.SyncBatchNorm) and dist.is_initialized():
        return dist.group.WORLD
    return group


def normalised(x: Tensor, eps: float, group: Any) -> tuple[Tensor, Tensor, Tensor, float]:
    """The normalised activity of channels in dimension 1, with mean and variance [c] over all processes, and the count.

    Two exchanges of two numbers a channel: one on the way, one on the way back.
    """
    values: tuple[Tensor, Tensor, Tensor, Tensor] = _Normalised.apply(x, eps, group)
    return values[0], values[1], values[2], float(values[3])


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, group: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [d for d in range(x.ndim) if d != 1]
        kind = x.dtype if x.dtype.itemsize >= 4 else torch.float32
        flat = x.to(kind)
        count = x.numel() / x.shape[1]
        mean = flat.mean(dims)
        apart = (flat - _wide(mean, x)).square().sum(dims)
        mine = torch.cat([mean.new_tensor([count]), mean, apart])
        found = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
        dist.all_gather(found, mine, group=group)
        count_r1, mean_rc, apart_rc = torch.stack(found).split([1, len(mean), len(mean)], 1)
        total = count_r1.sum()
        whole = (count_r1 * mean_rc).sum(0) / total
        # Chan et al. 1983: sums around each process's own mean, and of the means, without cancelling.
        variance = (apart_rc + count_r1 * (mean_rc - whole).square()).sum(0) / total
        scale = (variance + eps).rsqrt()
        out = (flat - _wide(whole, x)) * _wide(scale, x)
        ctx.save_for_backward(out, scale, total)
        ctx.group = group
        ctx.mark_non_differentiable(whole, variance, total)
        return out.to(x.dtype), whole, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        gradient = gradients[0]
        out, scale, total = ctx.saved_tensors
        dims = [d for d in range(out.ndim) if d != 1]
        wide = gradient.to(out.dtype)
        sums = torch.cat([wide.sum(dims), (wide * out).sum(dims)])
        dist.all_reduce(sums, group=ctx.group)
        level, along = (sums / total).chunk(2)
        found = (wide - _wide(level, out) - out * _wide(along, out)) * _wide(scale, out)
        return found.to(gradient.dtype), None, None


def _wide(of_channels: Tensor, like: Tensor) -> Tensor:
    return of_channels.view(1, -1, *[1] * (like.ndim - 2))
