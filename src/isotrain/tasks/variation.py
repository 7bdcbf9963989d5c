"""Pictures varied at random, a whole batch at once: shifted, mirrored, with a square cut out."""

from __future__ import annotations

import torch
from torch import Tensor


def shifted(pictures_nchw: Tensor, most: tuple[int, int], mirror: bool, generator: torch.Generator) -> Tensor:
    """Each picture moved by up to `most` pixels down or up and right or left, and mirrored by even odds if `mirror`.

    What comes in at an edge repeats the edge: the same as padding and cropping, without a colour that the pictures do
    not have. The result lies in memory with its channels last.

    >>> pictures = torch.tensor([[[[1, 2, 3]]]])
    >>> generator = torch.Generator().manual_seed(0)
    >>> sorted({tuple(shifted(pictures, (0, 1), False, generator).flatten().tolist()) for _ in range(20)})
    [(1, 1, 2), (1, 2, 3), (2, 3, 3)]
    """
    n, _, height, width = pictures_nchw.shape
    rows_nh = _moved(n, height, most[0], generator)
    columns_nw = _moved(n, width, most[1], generator)
    if mirror:
        turn_n1 = torch.randint(0, 2, (n, 1), generator=generator, dtype=torch.bool)
        columns_nw = torch.where(turn_n1, columns_nw.flip(1), columns_nw)
    # Indices on both sides of the channels' slice: the channels come last, [n, h, w, c].
    picked = pictures_nchw[torch.arange(n)[:, None, None], :, rows_nh[:, :, None], columns_nw[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def cut_out(pictures_nchw: Tensor, side: int, fill_c: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture with a square of `side` pixels about a random pixel set to `fill_c`; it may hang over the edge.

    Source: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout", section 3.

    >>> pictures, generator = torch.ones(1, 1, 4, 4), torch.Generator().manual_seed(0)
    >>> bool((cut_out(pictures, 2, torch.zeros(1), generator) == 0).any())
    True
    """
    n, channels, height, width = pictures_nchw.shape
    rows_nh = _inside(n, height, side, generator)
    columns_nw = _inside(n, width, side, generator)
    gone_n1hw = (rows_nh[:, :, None] & columns_nw[:, None, :])[:, None]
    return torch.where(gone_n1hw, fill_c.to(pictures_nchw).view(1, channels, 1, 1), pictures_nchw)


def _moved(n: int, side: int, most: int, generator: torch.Generator) -> Tensor:
    by_n1 = torch.randint(-most, most + 1, (n, 1), generator=generator)
    return (torch.arange(side) + by_n1).clamp_(0, side - 1)


def _inside(n: int, length: int, side: int, generator: torch.Generator) -> Tensor:
    start_n1 = torch.randint(0, length, (n, 1), generator=generator) - side // 2
    place = torch.arange(length)
    return (place >= start_n1) & (place < start_n1 + side)
