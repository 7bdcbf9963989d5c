"""Inverses of covariance matrices that may be degenerate."""

from __future__ import annotations

import torch
from torch import Tensor

from isotrain.riemann.blocks import DUST


def covariant_inverse(covariance: Tensor, damping: float, size: Tensor | None = None, refine: bool = False) -> Tensor:
    """Inverse of [..., i, i], damped relative to its own diagonal; constant inputs get zero rows.

    `size` [..., i] are the squares that a covariance was the difference of, which its rounding is relative to.

    Computed on the correlations, so that no input's unit of measure matters. Without damping a
    singular matrix gets its pseudo-inverse: eigenvalues of the correlations below i + DUST roundings are cut,
    since the sums over samples behind them were rounded too (a softmax's errors always add up to zero).
    `refine` adds one step of Newton's iteration, for matrices that are regular but ill-conditioned.

    >>> covariant_inverse(torch.tensor([[4.0, 0.0], [0.0, 0.0]]), 0.0).diagonal()
    tensor([0.2500, 0.0000])
    """
    kind = covariance.dtype
    if damping == 0:
        covariance = covariance.double()
    variance = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0)
    alive = variance > 0
    whole = variance if size is None else torch.maximum(variance, size.to(variance))
    inverse = torch.where(alive, 1 / whole.sqrt(), 0)
    outer = inverse.unsqueeze(-1) * inverse.unsqueeze(-2)
    correlation = covariance * outer
    share = torch.where(alive, variance / whole, 0) * (1 + damping)
    correlation.diagonal(dim1=-2, dim2=-1).copy_(torch.where(alive, share, 1.0))
    factor, failed = torch.linalg.cholesky_ex(correlation)
    width = correlation.shape[-1]
    thin = failed > 0
    least = (width + DUST) * torch.finfo(kind).eps
    if damping == 0:
        lowest = factor.diagonal(dim1=-2, dim2=-1).amin(-1) if width else torch.ones_like(failed)
        # A pivot is rounded more than an eigenvalue: near the cut the eigenvalues decide.
        thin = thin | (lowest.square() < DUST * least)
    result: Tensor
    if bool(thin.any()):
        result = torch.linalg.pinv(correlation, rtol=least, hermitian=True)
    else:
        result = torch.cholesky_inverse(factor)
        if refine:
            eye = torch.eye(width, dtype=result.dtype, device=result.device)
            result = result + result @ (eye - correlation @ result)
    scaled: Tensor = result * outer
    return scaled.to(kind)
