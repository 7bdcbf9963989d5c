"""Which pixels are an object's: polygons, run lengths or a picture of the mask, and the mask they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Polygons:
    """Rings x0, y0, x1, y1, ... in pixels; a pixel is inside if it is inside of any (COCO's segmentation)."""

    rings: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class RunLengths:
    """Lengths of runs of 0 and 1 by turns, column by column, from a 0 on; `size` is (height, width) (COCO's RLE)."""

    counts: tuple[int, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class MaskPicture:
    """The pixels of a picture file that have a value; None: all that are not 0."""

    path: Path
    value: int | None = None


Outline = Polygons | RunLengths | MaskPicture | Tensor
"""A Tensor is the mask itself: bool [H, W]."""
