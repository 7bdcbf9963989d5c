"""Whole pictures in a net's rectangle, and the classes that are in them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isotrain.data.pictures import in_channels
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
