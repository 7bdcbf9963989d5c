"""Boxes: what torchvision.ops lacks of them, that is deltas, clipping with cleaning, and the letterbox.

A box is (left, top, right, bottom) in pixels, the right and bottom edges excluded, so that its width is right - left.
Tensors of boxes are [..., 4]. Overlaps, suppression and conversions between conventions are torchvision.ops' own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Deltas are multiplied by these: one over their usual spread, 0.1 and 0.2, as Fast R-CNN's targets are normalized."""
# A box may grow to 1000/16 of its region (torchvision's bound): beyond it exp() only makes infinities.
LARGEST_GROWTH = math.log(1000.0 / 16.0)


def encode(boxes: Tensor, regions: Tensor, weights: Sequence[float] = DELTA_WEIGHTS) -> Tensor:
    """Deltas (dx, dy, dw, dh) that lead from `regions` to `boxes`: shifts in widths and heights, logarithms of sizes.

    Args:
        boxes: [..., 4], of positive width and height.
        regions: [..., 4] that broadcasts with them, of positive width and height.
        weights: of the four deltas.

    Returns:
        [..., 4].

    Source: Girshick et al. 2014, "Rich feature hierarchies", appendix C; Girshick 2015, "Fast R-CNN", section 2.3.

    >>> encode(torch.tensor([[1.0, 0.0, 3.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]), (1, 1, 1, 1)).tolist()
    [[0.5, 0.0, 0.0, 0.0]]
    """
    size, from_size = boxes[..., 2:] - boxes[..., :2], regions[..., 2:] - regions[..., :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - regions[..., :2] - regions[..., 2:]) / 2
    return torch.cat([shift / from_size, torch.log(size / from_size)], -1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, regions: Tensor, weights: Sequence[float] = DELTA_WEIGHTS) -> Tensor:
    """Boxes that `deltas` lead to from `regions`: the inverse of `encode`, growth bounded by 1000/16.

    Args:
        deltas: [..., 4]; [R, K, 4] for deltas of each class, with regions [R, 1, 4].
        regions: [..., 4] that broadcasts with them.
        weights: of the four deltas.

    Returns:
        [..., 4], not clipped.

    >>> decode(torch.tensor([[0.5, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]), (1, 1, 1, 1)).tolist()
    [[1.0, 0.0, 3.0, 2.0]]
    """
    plain = deltas / deltas.new_tensor(weights)
    from_size = regions[..., 2:] - regions[..., :2]
    centre = (regions[..., :2] + regions[..., 2:]) / 2 + plain[..., :2] * from_size
    half = plain[..., 2:].clamp(max=LARGEST_GROWTH).exp() * from_size / 2
    return torch.cat([centre - half, centre + half], -1)


def clean(boxes: Tensor, height: int, width: int, smallest: float = 1.0) -> tuple[Tensor, Tensor]:
    """Clip boxes to the picture and leave out those that are then narrower or lower than `smallest` pixels.

    Args:
        boxes: [R, 4].
        height: of the picture.
        width: of the picture.
        smallest: side of a box that is kept.

    Returns:
        The boxes kept, [K, 4], and their places among the R, [K].

    >>> clean(torch.tensor([[-2.0, 1.0, 3.0, 9.0], [8.0, 0.0, 9.0, 1.0]]), height=5, width=8)
    (tensor([[0., 1., 3., 5.]]), tensor([0]))
    """
    from torchvision.ops import clip_boxes_to_image, remove_small_boxes

    clipped = clip_boxes_to_image(boxes, (height, width))
    kept = remove_small_boxes(clipped, smallest)
    return clipped[kept], kept


@dataclass(frozen=True)
class Letterbox:
    """A picture scaled into a rectangle without changing its shape, in the middle, the rest filled up.

    Attributes:
        height: of the picture.
        width: of the picture.
        to_height: of the rectangle.
        to_width: of the rectangle.

    >>> fit = Letterbox(height=50, width=100, to_height=64, to_width=64)
    >>> fit.to(torch.tensor([[0.0, 0.0, 100.0, 50.0]])).tolist()
    [[0.0, 16.0, 64.0, 48.0]]
    """

    height: int
    width: int
    to_height: int
    to_width: int

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width of the scaled picture, whole pixels."""
        scale = min(self.to_height / self.height, self.to_width / self.width)
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top edge of the scaled picture in the rectangle."""
        high, wide = self.inner
        return (self.to_width - wide) // 2, (self.to_height - high) // 2

    def to(self, boxes: Tensor) -> Tensor:
        """Boxes of the picture, [..., 4], as they lie in the rectangle."""
        scale, shift = self._scale_and_shift(boxes)
        return boxes * scale + shift

    def back(self, boxes: Tensor) -> Tensor:
        """Boxes of the rectangle, [..., 4], as they lie in the picture (not clipped)."""
        scale, shift = self._scale_and_shift(boxes)
        return (boxes - shift) / scale

    def picture(self, picture: Tensor, fill: float = 0.0) -> Tensor:
        """The picture [C, H, W], floating, in the rectangle: [C, to_height, to_width], `fill` around it."""
        left, top = self.corner
        high, wide = self.inner
        scaled = torch.nn.functional.interpolate(
            picture[None], (high, wide), mode="bilinear", align_corners=False, antialias=True
        )[0]
        framed = picture.new_full((picture.shape[0], self.to_height, self.to_width), fill)
        framed[:, top : top + high, left : left + wide] = scaled
        return framed

    def _scale_and_shift(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        left, top = self.corner
        high, wide = self.inner
        # The sides are rounded to whole pixels each, so that each has a scale of its own.
        across, down = wide / self.width, high / self.height
        return boxes.new_tensor([across, down, across, down]), boxes.new_tensor([left, top, left, top])
