"""What there is in a picture and what was found in it, in the form the scores of objects take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isotrain.data.outlines import encode_rle
from isotrain.data.samples import Thing


@dataclass(frozen=True)
class There:
    """The labelled objects of one picture.

    Attributes:
        things: objects; crowds are neither missed nor wrong to find.
        size: (height, width) of the picture, for masks.
    """

    things: Sequence[Thing]
    size: tuple[int, int]


@dataclass(frozen=True)
class Found:
    """What was found in one picture.

    Attributes:
        boxes: [K, 4] in pixels of the picture.
        scores: [K], the surer the higher.
        labels: [K] classes.
        masks: K masks in COCO's compressed form (`found_masks`); None where there are only boxes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Sequence[dict[str, Any]] | None = None


def found_masks(masks_khw: Tensor) -> list[dict[str, Any]]:
    """Masks, bool [K, H, W], in a form that takes little room.

    >>> found_masks(torch.tensor([[[False, True], [True, False]]]))
    [{'size': [2, 2], 'counts': '121'}]
    """
    return [encode_rle(mask) for mask in masks_khw.cpu()]


def nothing() -> Found:
    """An empty find."""
    return Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
