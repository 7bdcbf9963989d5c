"""Whole pictures with labels: in a net's rectangle, moved and mirrored at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isotrain.data.samples import Sample
from isotrain.vision.boxes import Letterbox


def classes_of(sample: Sample) -> tuple[int, ...]:
    """Labels of a picture: its own, or if it has none the classes of its things (not where they are)."""
    return sample.labels or tuple(sorted({thing.label for thing in sample.things if not thing.crowd}))


def framed(picture: Tensor, fit: Letterbox, mean: Sequence[float]) -> Tensor:
    """A picture uint8 [1 or 3, H, W] in a rectangle, `mean` in [0, 1] around it, in as many channels as that has."""
    level = torch.tensor(mean).view(-1, 1, 1) * 255
    # Less the mean, so that the zeros around the picture become it.
    shown = fit.picture(in_channels(picture, len(mean)).float() - level) + level
    return shown.round().clamp(0, 255).to(torch.uint8)


def varied(pictures: Tensor, share: float, mirror: bool, generator: torch.Generator) -> Tensor:
    """Pictures [n, C, H, W] moved by up to `share` of their sides, their edges drawn out, and mirrored by even odds.

    >>> varied(torch.ones(2, 1, 4, 4), 0.25, True, torch.Generator().manual_seed(0)).unique().tolist()
    [1.0]
    """
    n, channels, height, width = pictures.shape

    def places(side: int) -> Tensor:
        most = round(share * side)
        by = torch.randint(-most, most + 1, (n, 1), generator=generator)
        return (torch.arange(side) + by).clamp(0, side - 1)

    rows, columns = places(height), places(width)
    if mirror:
        turned = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(turned, columns.flip(1), columns)
    one, colour = torch.arange(n).view(-1, 1, 1, 1), torch.arange(channels).view(1, -1, 1, 1)
    return pictures[one, colour, rows[:, None, :, None], columns[:, None, None, :]]


def in_channels(picture: Tensor, channels: int) -> Tensor:
    """Grey repeated, colours averaged."""
    if picture.shape[0] == channels:
        return picture
    return picture.expand(channels, -1, -1) if channels > 1 else picture.float().mean(0, keepdim=True).to(picture.dtype)
