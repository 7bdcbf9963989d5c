"""The connected pieces of a mask."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def sizes_of(mask: Tensor) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Which piece each pixel of a mask [H, W] belongs to, from 1 on (0: none), and the pixels of each piece."""
    from scipy import ndimage

    places, _ = ndimage.label(mask.numpy())
    return places, np.bincount(places.ravel())[1:]


def largest_share(mask: Tensor) -> float:
    """Share of a mask's pixels that are in its largest piece; 1 of an empty one.

    >>> largest_share(torch.tensor([[True, True, False, True]]))
    0.6666666666666666
    """
    _, sizes = sizes_of(mask)
    return float(sizes.max() / sizes.sum()) if len(sizes) else 1.0


def without_scraps(mask: Tensor, least: float) -> Tensor:
    """A mask without the pieces that have less than `least` of the largest one's pixels.

    >>> without_scraps(torch.tensor([[True, True, True, False, True]]), 0.5).int().tolist()
    [[1, 1, 1, 0, 0]]
    """
    places, sizes = sizes_of(mask)
    if len(sizes) < 2:
        return mask
    return torch.from_numpy(np.isin(places, 1 + np.flatnonzero(sizes >= least * sizes.max())))
