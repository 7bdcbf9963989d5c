"""A small net for the landmarks of a face: a heat map for each, and where its weight lies.

Shapes: n faces, K landmarks, c channels, h and w pixels of a heat map (a quarter of the picture's side).

Sources: Newell, Yang and Deng 2016, "Stacked hourglass networks" (heat maps by a net that goes down and up again);
Sun et al. 2018, "Integral human pose regression", equation 2 (the mean of a heat map in place of its largest value).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.nets.standardize import Standardize

WIDTHS = (16, 32, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the picture's side."""
STEP = 0.02
"""The unit of the net's places, in sides of its picture."""


def _layer(channels: int, wider: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU(inplace=True)
    )


class LandmarkNet(nn.Module):
    """Landmarks of a face in the middle of a grey picture, and how much they are to be trusted.

    Args:
        landmarks: K.
        mean: of the pictures, in [0, 1].
        spread: of them.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the side.

    >>> net = LandmarkNet(68, 0.5, 0.25).eval()
    >>> found = net(torch.zeros(2, 1, 96, 96))
    >>> found["points"].shape, found["trust"].shape
    (torch.Size([2, 68, 2]), torch.Size([2]))
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

    def forward(self, pictures_n1hw: Tensor) -> dict[str, Tensor]:
        """Places "points" [n, K, 2] from the middle, x and y, in steps of `STEP` sides; "trust" [n], log-odds."""
        half = self.to_half(self.scale(pictures_n1hw))
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        sixteenth = self.to_sixteenth(eighth)
        up = eighth + F.interpolate(self.from_sixteenth(sixteenth), scale_factor=2.0, mode="nearest")
        up = quarter + F.interpolate(self.from_eighth(up), scale_factor=2.0, mode="nearest")
        heat_nkhw = self.heat(up)
        points_nk2, spread_nk = places_of(heat_nkhw)
        known_nf = torch.cat((sixteenth.mean((2, 3)), spread_nk), 1)
        return {"points": points_nk2 / STEP, "trust": self.trust(known_nf)[:, 0]}


def places_of(heat_nkhw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean place [n, K, 2] of each heat map's softmax, in sides from the middle, and its spread [n, K] about it.

    >>> heat = torch.full((1, 1, 4, 4), -99.0)
    >>> heat[0, 0, 1, 3] = 99
    >>> places_of(heat)[0].tolist()
    [[[0.375, -0.125]]]
    """
    n, k, h, w = heat_nkhw.shape
    share_nkhw = heat_nkhw.flatten(2).softmax(2).view(n, k, h, w)
    across = (torch.arange(w, device=heat_nkhw.device, dtype=heat_nkhw.dtype) + 0.5) / w - 0.5
    down = (torch.arange(h, device=heat_nkhw.device, dtype=heat_nkhw.dtype) + 0.5) / h - 0.5
    columns_nkw, rows_nkh = share_nkhw.sum(2), share_nkhw.sum(3)
    x_nk, y_nk = columns_nkw @ across, rows_nkh @ down
    square_nk = columns_nkw @ across.square() + rows_nkh @ down.square() - x_nk.square() - y_nk.square()
    return torch.stack((x_nk, y_nk), -1), (square_nk.clamp_min(0) + 1e-8).sqrt()
