"""Similarity and affine transforms from points to points, and crops of pictures by them without aliasing.

A transform is a matrix [2, 3] that leads from places in the picture to places in the crop: `x' = A x + t`. Letters: n
faces, K points, C channels. Places are x, y in pixels; the first pixel lies between 0 and 1.

The alignments called "none" and "2d" are both `cut`, the one by `square` around the box that was found, the other by
the `similarity` of the landmarks to those of the frontal average face (`isotrain.vision.facemodel`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from isotrain.errors import BadData


def similarity(points: Tensor, template: Tensor, weights: Tensor | None = None) -> Tensor:
    """The rotation, one scale and shift that bring points nearest to a template, in least squares; no reflection.

    Args:
        points: [..., K, 2].
        template: [K, 2], or [..., K, 2].
        weights: of the points, [K] or [..., K], not negative; equal without.

    Returns:
        [..., 2, 3]; differentiable.

    Raises:
        BadData: all the points with a weight are the same point.

    Source: Umeyama 1991, equations 40 to 42; in the plane, with points as complex numbers about their means, it is the
    quotient of sum w conj(p) q by sum w |p|^2, and the best rotation is never a reflection.

    >>> points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    >>> similarity(points, 2 * points + 3).abs().tolist()
    [[2.0, 0.0, 3.0], [0.0, 2.0, 3.0]]
    """
    share = _shares(points, weights)
    middle, goal = _mean(points, share), _mean(template, share)
    from_mean, to_mean = points - middle, template - goal
    spread = (share * from_mean.square()).sum((-2, -1))
    if not bool((spread > 0).all()):
        raise BadData("a similarity needs two points that differ; a face's landmarks all fell on one place.")
    x, y = from_mean.unbind(-1)
    u, v = to_mean.unbind(-1)
    share = share[..., 0]
    cosine = (share * (x * u + y * v)).sum(-1) / spread
    sine = (share * (x * v - y * u)).sum(-1) / spread
    turn = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
    return _with_shift(turn, middle, goal)


def affine(points: Tensor, template: Tensor, weights: Tensor | None = None) -> Tensor:
    """The affine transform that brings points nearest to a template, in least squares.

    Args:
        points: [..., K, 2].
        template: [K, 2], or [..., K, 2].
        weights: of the points, [K] or [..., K], not negative; equal without.

    Returns:
        [..., 2, 3]; differentiable.

    Raises:
        BadData: the points with a weight lie on one line.

    >>> points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    >>> affine(points, points * torch.tensor([2.0, 3.0])).tolist()
    [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]
    """
    share = _shares(points, weights)
    middle, goal = _mean(points, share), _mean(template, share)
    from_mean, to_mean = points - middle, template - goal
    spread = from_mean.mT @ (share * from_mean)
    size = spread.diagonal(dim1=-2, dim2=-1).sum(-1)
    # The determinant over the squared trace is 1/4 for a round cloud and 0 for a line, whatever the units.
    flat = spread.det() <= 1e-10 * size.square()
    if bool(flat.any()):
        raise BadData("an affine transform needs three points that are not on one line.")
    linear = torch.linalg.solve(spread, from_mean.mT @ (share * to_mean)).mT
    return _with_shift(linear, middle, goal)


def square(boxes: Tensor, size: int, grow: float = 1.0) -> Tensor:
    """The transforms that bring the squares around boxes, upright and about their middles, into crops.

    Args:
        boxes: [..., 4] left, top, right, bottom; the square's side is the box's longer one times `grow`.
        size: side of the crop, pixels.
        grow: factor.

    Returns:
        [..., 2, 3].

    Raises:
        BadData: a box without width and height.

    >>> square(torch.tensor([2.0, 2.0, 4.0, 4.0]), size=8, grow=2).tolist()
    [[2.0, 0.0, -2.0], [0.0, 2.0, -2.0]]
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).amax(-1)
    if not bool((sides > 0).all()):
        raise BadData(
            f"a box has no width and no height: {boxes.reshape(-1, 4)[(sides <= 0).reshape(-1)][0].tolist()}."
        )
    scale = size / (grow * sides)
    shift = size / 2 - scale[..., None] * (boxes[..., :2] + boxes[..., 2:]) / 2
    return torch.cat(
        [scale[..., None, None] * torch.eye(2, dtype=boxes.dtype, device=boxes.device), shift[..., None]], -1
    )


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """Points [..., K, 2] moved by transforms [..., 2, 3].

    >>> apply(torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 0.0]]), torch.tensor([[3.0, 4.0]])).tolist()
    [[7.0, 8.0]]
    """
    return points @ matrices[..., :2].mT + matrices[..., None, :, 2]


def inverse(matrices: Tensor) -> Tensor:
    """The transforms back, [..., 2, 3].

    Raises:
        BadData: a transform is not finite or flattens the plane.

    >>> inverse(torch.tensor([[2.0, 0.0, 2.0], [0.0, 4.0, 0.0]])).tolist()
    [[0.5, 0.0, -1.0], [0.0, 0.25, 0.0]]
    """
    determinant = matrices[..., :2].det()
    if not bool(matrices.isfinite().all() & (determinant != 0).all()):
        raise BadData("a transform cannot be undone: it is not finite, or flattens the picture to a line.")
    back: Tensor = torch.linalg.inv(matrices[..., :2])
    return torch.cat([back, -back @ matrices[..., 2:]], -1)


def cut(picture: Tensor | Sequence[Tensor], matrices: Tensor, size: int) -> Tensor:
    """Square crops of pictures by transforms; beyond the border the picture's edge is repeated.

    Args:
        picture: [C, H, W], uint8 or floating in [0, 1], from which all are cut; or n of them, one for each crop.
        matrices: [n, 2, 3] from the picture to the crop.
        size: side of the crops, pixels.

    Returns:
        [n, C, size, size], floating, in [0, 1].

    Raises:
        BadData: a transform that cannot be undone, or not as many pictures as transforms.

    >>> half = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    >>> cut(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), half, 1).item()
    0.5
    """
    back = inverse(matrices)
    centres = torch.arange(size, dtype=back.dtype, device=back.device) + 0.5
    down, across = torch.meshgrid(centres, centres, indexing="ij")
    places = apply(back, torch.stack([across, down], -1).view(1, -1, 2)).unflatten(1, (size, size))
    return sample(picture, places, back[:, :, :2].det().abs().sqrt())


def sample(picture: Tensor | Sequence[Tensor], places: Tensor, steps: Tensor) -> Tensor:
    """The values of pictures at places, each the mean over about one step: no aliasing where a face is made smaller.

    The region that holds the places is first shrunk by the step with an antialiasing (triangle) filter, and then
    interpolated linearly; where the step is at most one pixel it is only interpolated. Beyond the border the picture's
    edge is repeated.

    Args:
        picture: [C, H, W], uint8 or floating in [0, 1], that holds all places; or n of them, one for each.
        places: [n, h, w, 2], pixels of the picture.
        steps: [n], pixels of the picture between neighbouring places.

    Returns:
        [n, C, h, w] in [0, 1], floating; differentiable in a floating picture and in the places.

    Raises:
        BadData: not as many pictures as faces.
    """
    shared = isinstance(picture, Tensor) and picture.dim() == 3
    if not shared and len(picture) != len(places):
        raise BadData(f"{len(picture)} pictures for {len(places)} faces: give one picture for all, or one for each.")
    if not len(places):
        channels = picture.shape[-3] if isinstance(picture, Tensor) else 1
        return places.new_zeros(0, channels, *places.shape[1:3])
    corners = torch.cat([places.detach().amin((1, 2)), places.detach().amax((1, 2))], 1).tolist()
    taken = []
    for face, (corner, step) in enumerate(zip(corners, steps.detach().tolist(), strict=True)):
        whole = picture if shared else picture[face]
        assert isinstance(whole, Tensor)
        left, top, right, bottom = _region(corner, step, whole.shape[-1], whole.shape[-2])
        region = whole[..., top:bottom, left:right]
        high, wide = bottom - top, right - left
        if step > 1:  # on bytes where the picture has them: twice as fast
            small = (max(1, round(high / step)), max(1, round(wide / step)))
            region = functional.interpolate(region[None], small, mode="bilinear", antialias=True)[0]
        region = _unit(region, places.dtype)
        # grid_sample counts from -1 at the left edge of the first pixel to 1 at the right edge of the last.
        grid = (places[face] - places.new_tensor([left, top])) * places.new_tensor([2 / wide, 2 / high]) - 1
        taken.append(functional.grid_sample(region[None], grid[None], padding_mode="border", align_corners=False))
    return torch.cat(taken)


def _region(corner: Sequence[float], step: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole pixels of the picture that the places need, with the filter's reach around them; never empty."""
    reach = 2 * max(1.0, step) + 1
    left = min(max(0, math.floor(corner[0] - reach)), width - 1)
    top = min(max(0, math.floor(corner[1] - reach)), height - 1)
    right = max(min(width, math.ceil(corner[2] + reach)), left + 1)
    bottom = max(min(height, math.ceil(corner[3] + reach)), top + 1)
    return left, top, right, bottom


def _unit(region: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels in [0, 1]."""
    return region.to(dtype) if region.is_floating_point() else region.to(dtype) / 255


def _shares(points: Tensor, weights: Tensor | None) -> Tensor:
    """Weights [..., K, 1] that sum to 1."""
    weights = points.new_ones(points.shape[-2]) if weights is None else weights.to(points.dtype)
    return (weights / weights.sum(-1, keepdim=True))[..., None]


def _mean(points: Tensor, share: Tensor) -> Tensor:
    return (share * points).sum(-2, keepdim=True)


def _with_shift(linear: Tensor, middle: Tensor, goal: Tensor) -> Tensor:
    """The transform [..., 2, 3] with that linear part that leads the one mean [..., 1, 2] to the other."""
    shift = goal - middle @ linear.mT
    return torch.cat([linear, shift.mT.expand(*linear.shape[:-1], 1)], -1)
