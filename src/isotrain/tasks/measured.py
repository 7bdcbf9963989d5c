"""What pictures of any size have in common: their channels, and each channel's mean and spread."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isotrain.data.pictures import in_channels
from isotrain.tasks.base import Card

STRIDE = 7
"""One pixel in so many is measured."""
LEAST = 0.01
"""Spread that a channel is taken to have at least."""


def channels_of(pictures: Sequence[Tensor]) -> Card:
    """The part of a card that says how pictures uint8 [1 or 3, H, W] are standardised.

    >>> channels_of([torch.tensor([0, 255] * 7, dtype=torch.uint8).view(1, 2, 7)])["mean"]
    [0.5]
    """
    channels = max(len(picture) for picture in pictures)
    pixels = torch.cat([in_channels(p, channels).flatten(1)[:, ::STRIDE].float() / 255 for p in pictures], 1)
    return {
        "channels": channels,
        "mean": pixels.mean(1).tolist(),
        "spread": pixels.std(1).clamp_min(LEAST).tolist(),
    }
