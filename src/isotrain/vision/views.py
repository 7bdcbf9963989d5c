"""Windows of any place, scale and rotation cut out of pictures, by bilinear sampling.

A view is (x, y, scale, angle, mirror): its middle in pixels of the picture, window pixels a picture pixel, the angle in
radians by which the picture is turned, and -1 where left and right are exchanged, else 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def halves(picture: Tensor, smallest: int = 32) -> list[Tensor]:
    """A picture [C, H, W], uint8, and its halves, quarters, ... down to `smallest` pixels.

    >>> [tuple(p.shape[1:]) for p in halves(torch.zeros(1, 100, 130, dtype=torch.uint8))]
    [(100, 130), (50, 65)]
    """
    levels = [picture]
    while min(levels[-1].shape[1:]) >= 2 * smallest:
        levels.append(F.avg_pool2d(levels[-1].float(), 2).round_().to(torch.uint8))
    return levels


def grid_of(views: Tensor, size: int, height: int, width: int) -> Tensor:
    """Where the pixels of windows lie in a picture, as `F.grid_sample` wants it (align_corners=False).

    Args:
        views: [k, 5].
        size: pixels along a window's side.
        height: of the picture the views speak of.
        width: of it.

    Returns:
        [k, size, size, 2].
    """
    x, y, scale, angle, mirror = (column[:, None, None] for column in views.unbind(1))
    steps = torch.arange(size, dtype=views.dtype) + 0.5 - size / 2
    across, down = steps[None, None, :] * mirror / scale, steps[None, :, None] / scale
    cos, sin = angle.cos(), angle.sin()
    at_x = x + cos * across - sin * down
    at_y = y + sin * across + cos * down
    return torch.stack((at_x * (2 / width) - 1, at_y * (2 / height) - 1), -1)


def cut(levels: list[Tensor], views: Tensor, size: int, fill: Tensor) -> Tensor:
    """Windows of a picture.

    Args:
        levels: the picture and its halves, [C, H, W] uint8 each.
        views: [k, 5].
        size: pixels along a window's side.
        fill: [C] in [0, 1], what lies beyond the picture.

    Returns:
        [k, C, size, size] in [0, 1].

    >>> picture = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
    >>> (cut([picture], torch.tensor([[2.0, 2.0, 1.0, 0.0, -1.0]]), 2, torch.zeros(1)) * 255).int().flatten().tolist()
    [6, 5, 10, 9]
    """
    height, width = levels[0].shape[1:]
    windows = torch.empty(len(views), len(fill), size, size)
    depth = views[:, 2].clamp_max(1).reciprocal().log2().add(0.01).int().clamp_max(len(levels) - 1)
    for level in depth.unique().tolist():
        rows = (depth == level).nonzero()[:, 0]
        # Less the fill, so that the zeros beyond the picture become it.
        plain = levels[level].float().div_(255).sub_(fill[:, None, None])
        grid = grid_of(views[rows], size, height, width)
        windows[rows] = F.grid_sample(plain.expand(len(rows), -1, -1, -1), grid, align_corners=False)
    return windows.add_(fill[:, None, None]).clamp_(0, 1)


def cut_mask(crop: Tensor, left: float, top: float, views: Tensor, size: int) -> Tensor:
    """Windows of one object's mask.

    Args:
        crop: bool or uint8 [h, w], the mask where it is not empty.
        left: of the crop in the picture, in pixels.
        top: of it.
        views: [k, 5] in the picture.
        size: pixels along a window's side.

    Returns:
        bool [k, size, size].
    """
    framed = F.pad(crop.float(), (1, 1, 1, 1))
    moved = views.clone()
    moved[:, 0] -= left - 1
    moved[:, 1] -= top - 1
    grid = grid_of(moved, size, *framed.shape)
    return F.grid_sample(framed.expand(len(views), 1, -1, -1), grid, align_corners=False)[:, 0] > 0.5


def boxes_in(boxes: Tensor, views: Tensor, size: int) -> Tensor:
    """Boxes [k, 4] of a picture as they lie in windows of `size` pixels, [k, 4]: around their turned corners.

    >>> boxes_in(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[2.0, 2.0, 2.0, 0.0, 1.0]]), 8).tolist()
    [[2.0, 4.0, 6.0, 8.0]]
    """
    x, y, scale, angle, mirror = (column[:, None] for column in views.unbind(1))
    across = boxes[:, [0, 2, 2, 0]] - x
    down = boxes[:, [1, 1, 3, 3]] - y
    cos, sin = angle.cos(), angle.sin()
    u = (cos * across + sin * down) * scale * mirror + size / 2
    v = (cos * down - sin * across) * scale + size / 2
    return torch.stack((u.amin(1), v.amin(1), u.amax(1), v.amax(1)), 1)
