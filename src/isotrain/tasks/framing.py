"""Pictures of any shape in a square of one size, with their true boxes; and the square mirrored and zoomed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image

from isotrain.tasks.sampling import Truth
from isotrain.tasks.whole import framed as in_rectangle
from isotrain.vision.boxes import Letterbox

SEEN = 0.4
"""Part of an object that must be left inside of the square for it to be learned from; less is as a crowd."""
SMALLEST = 2.0
"""Side of a region in pixels that is kept."""


class Frame(NamedTuple):
    """A square with a picture in its middle.

    Attributes:
        picture: uint8 [C, size, size].
        truth: the objects, in pixels of the square.
        fit: from the picture to the square and back.
    """

    picture: Tensor
    truth: Truth
    fit: Letterbox


def frame(picture: Tensor, truth: Truth, size: int, fill: Tensor) -> Frame:
    """A picture uint8 [1 or 3, H, W] in a square, `fill` [C] in [0, 1] around it, in as many channels as that has."""
    height, width = picture.shape[1:]
    fit = Letterbox(height, width, size, size)
    return Frame(in_rectangle(picture, fit, fill.tolist()), truth._replace(boxes=fit.to(truth.boxes)), fit)


def mirrored(framed: Frame, regions: Tensor) -> tuple[Frame, Tensor]:
    """Left and right exchanged, regions [P, 4] too."""
    side = framed.picture.shape[-1]
    truth = framed.truth._replace(boxes=_turned(framed.truth.boxes, side))
    return framed._replace(picture=framed.picture.flip(-1), truth=truth), _turned(regions, side)


def zoomed(
    framed: Frame, regions: Tensor, most: float, fill: Tensor, generator: torch.Generator
) -> tuple[Frame, Tensor]:
    """Scaled by a factor from 1 / `most` to `most` and moved at random; the square keeps its size.

    Objects of which too little is left count as crowds; regions that are left without a side are left out, the whole
    square comes instead if there were no other.
    """
    size = framed.picture.shape[-1]
    draws = torch.rand(3, generator=generator)
    side = max(1, round(size * most ** (2 * float(draws[0]) - 1)))
    left, top = (round(float(draw) * (size - side)) for draw in draws[1:])
    level = (fill * 255).round()[:, None, None]
    scaled = F.interpolate((framed.picture - level)[None], (side, side), mode="bilinear", align_corners=False)[0]
    # Negative padding cuts off.
    moved = F.pad(scaled, (left, size - side - left, top, size - side - top)) + level
    scale, shift = side / size, torch.tensor([left, top, left, top], dtype=torch.float32)
    whole = framed.truth.boxes * scale + shift
    inside = clip_boxes_to_image(whole, (size, size))
    lost = _area(inside) < SEEN * _area(whole)
    some = _area(inside) > 0
    truth = Truth(inside[some], framed.truth.labels[some], (framed.truth.crowd | lost)[some])
    regions = clip_boxes_to_image(regions * scale + shift, (size, size))
    regions = regions[((regions[:, 2:] - regions[:, :2]) >= SMALLEST).all(1)]
    if not len(regions):
        regions = torch.tensor([[0.0, 0.0, size, size]])
    return Frame(moved.round().clamp(0, 255).to(torch.uint8), truth, framed.fit), regions


def _turned(boxes: Tensor, side: int) -> Tensor:
    return torch.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)
