"""A small net for the landmarks of a face: a heat map for each, and where its weight lies.

Shapes: n faces, K landmarks, c channels, h and w pixels of a heat map (a quarter of the picture's side).

Sources: Newell, Yang and Deng 2016, "Stacked hourglass networks" (heat maps by a net that goes down and up again);
Sun et al. 2018, "Integral human pose regression", equation 2 (the mean of a heat map in place of its largest value).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.nets.standardize import Standardize

WIDTHS = (16, 32, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the picture's side."""
WAYS = 20
"""In which a shape may differ from the mean one."""
CELL = 4
"""Pixels of the picture in the side of a heat map's cell."""


def _layer(channels: int, wider: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU(inplace=True)
    )


class Habits(nn.Module):
    """What faces with landmarks have in common, counted once at the end of training: buffers, no parameters.

    Attributes:
        shift: [K, 2] by how much the labels lie beside what the net finds, in sides of the face, upright.
        shape: [K, 2] mean of the shapes, centred and of length 1; zeros: not known.
        ways: [WAYS, 2 K] orthonormal, the ways in which shapes differ most.
    """

    def __init__(self, landmarks: int) -> None:
        super().__init__()
        self.shift: Tensor
        self.shape: Tensor
        self.ways: Tensor
        self.register_buffer("shift", torch.zeros(landmarks, 2))
        self.register_buffer("shape", torch.zeros(landmarks, 2))
        self.register_buffer("ways", torch.zeros(WAYS, 2 * landmarks))


class LandmarkNet(nn.Module):
    """Landmarks of a face in the middle of a grey picture, and how much they are to be trusted.

    Args:
        landmarks: K.
        mean: of the pictures, in [0, 1].
        spread: of them.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the side.

    >>> net = LandmarkNet(68, 0.5, 0.25).eval()
    >>> found = net(torch.zeros(2, 1, 96, 96))
    >>> found["heat"].shape, found["trust"].shape
    (torch.Size([2, 68, 576]), torch.Size([2]))
    """

    def __init__(self, landmarks: int, mean: float, spread: float, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d = widths
        self.scale = Standardize([mean], [spread])
        self.to_half = _layer(1, a, 2)
        self.to_quarter = nn.Sequential(_layer(a, b, 2), _layer(b, b))
        self.to_eighth = nn.Sequential(_layer(b, c, 2), _layer(c, c))
        self.to_sixteenth = nn.Sequential(_layer(c, d, 2), _layer(d, d), _layer(d, d))
        self.from_sixteenth = nn.Conv2d(d, c, 1)
        self.from_eighth = nn.Sequential(_layer(c, c), nn.Conv2d(c, b, 1))
        self.heat = nn.Sequential(_layer(b, c), nn.Conv2d(c, landmarks, 1))
        self.trust = nn.Linear(d + landmarks, 1)
        self.habits = Habits(landmarks)

    def forward(self, pictures_n1hw: Tensor) -> dict[str, Tensor]:
        """Log-odds: "heat" [n, K, h w] of the cells of a grid over the picture; "trust" [n]."""
        half = self.to_half(self.scale(pictures_n1hw))
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        sixteenth = self.to_sixteenth(eighth)
        up = eighth + F.interpolate(self.from_sixteenth(sixteenth), scale_factor=2.0, mode="nearest")
        up = quarter + F.interpolate(self.from_eighth(up), scale_factor=2.0, mode="nearest")
        heat_nkc = self.heat(up).flatten(2)
        known_nf = torch.cat((sixteenth.mean((2, 3)), places_of(heat_nkc)[1]), 1)
        return {"heat": heat_nkc, "trust": self.trust(known_nf)[:, 0]}


def cells_of(points_nk2: Tensor, side: int, generator: torch.Generator | None) -> Tensor:
    """The cell [n, K] of a grid of `side` x `side` that each place [n, K, 2], in sides of the picture, falls into.

    With a generator a place is rounded up or down at random, so that the mean of its cells' centres is the place
    itself: what a net learns from them is where it lies between the centres, too. -1 for places beyond the grid.

    >>> cells_of(torch.tensor([[[0.9, 0.1]]]), 2, None).item()
    1
    """
    where = points_nk2 * side - 0.5
    if generator is None:
        cell = where.round()
    else:
        cell = (where + torch.rand(where.shape, generator=generator)).floor()
    # Half a cell from the edge on, the nearest centre is the outermost.
    inside = ((points_nk2 >= 0) & (points_nk2 < 1)).all(-1)
    x, y = cell.clamp(0, side - 1).long().unbind(-1)
    return torch.where(inside, y * side + x, -1)


def places_of(heat_nkc: Tensor) -> tuple[Tensor, Tensor]:
    """Mean place [n, K, 2] of each heat map's softmax, in sides from the left and top, and its spread [n, K] about it.

    >>> heat = torch.full((1, 1, 16), -99.0)
    >>> heat[0, 0, 7] = 99
    >>> places_of(heat)[0].tolist()
    [[[0.875, 0.375]]]
    """
    side = math.isqrt(heat_nkc.shape[2])
    share_nkhw = heat_nkc.softmax(2).unflatten(2, (side, side))
    centres = (torch.arange(side, device=heat_nkc.device, dtype=heat_nkc.dtype) + 0.5) / side
    columns_nkw, rows_nkh = share_nkhw.sum(2), share_nkhw.sum(3)
    x_nk, y_nk = columns_nkw @ centres, rows_nkh @ centres
    square_nk = columns_nkw @ centres.square() + rows_nkh @ centres.square() - x_nk.square() - y_nk.square()
    return torch.stack((x_nk, y_nk), -1), (square_nk.clamp_min(0) + 1e-8).sqrt()
