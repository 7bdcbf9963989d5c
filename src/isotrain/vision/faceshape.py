"""Where the landmarks of a face lie as a whole: its square, its tilt, the shapes that faces have.

Letters: n faces, 68 landmarks. A side of a face is that of its square (`square_of`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotrain.vision.landmarks import eye_centres, interocular
from isotrain.vision.similarity import apply, inverse, similarity


def square_of(points: Tensor) -> Tensor:
    """The square of faces with landmarks [n, 68, 2]: its middle and its side, [n, 3].

    The side is the larger of the landmarks' height and width where the face is upright, the middle that of the box
    around them there: the square of a face that is turned is the same square.

    >>> points = torch.zeros(1, 68, 2)
    >>> points[0, 0], points[0, 16] = torch.tensor([10.0, 5.0]), torch.tensor([30.0, 5.0])
    >>> points[0, 17:] = torch.tensor([20.0, 5.0])
    >>> points[0, 1:16] = torch.tensor([20.0, 15.0])
    >>> square_of(points).tolist()
    [[20.0, 10.0, 20.0]]
    """
    tilt = tilt_of(points)
    cos, sin = tilt.cos()[:, None], tilt.sin()[:, None]
    x, y = points[..., 0], points[..., 1]
    across, down = cos * x + sin * y, cos * y - sin * x
    low = torch.stack((across.amin(1), down.amin(1)), 1)
    high = torch.stack((across.amax(1), down.amax(1)), 1)
    u, v = ((low + high) / 2).unbind(1)
    cos, sin = cos[:, 0], sin[:, 0]
    return torch.stack((cos * u - sin * v, sin * u + cos * v, (high - low).amax(1)), 1)


def tilt_of(points: Tensor) -> Tensor:
    """By how much the eyes are turned, radians [n]; 0 where they lie on one another."""
    left, right = eye_centres(points).unbind(1)
    apart = right - left
    return torch.where(interocular(points) > 0, torch.atan2(apart[:, 1], apart[:, 0]), 0.0)


def upright(points: Tensor) -> tuple[Tensor, Tensor]:
    """The matrices [n, 2, 2] that turn sides of faces into pixels, and back."""
    tilt, side = tilt_of(points), square_of(points)[:, 2].clamp_min(1e-6)
    cos, sin = tilt.cos() * side, tilt.sin() * side
    turn = torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)
    return turn, turn.mT / side.square()[:, None, None]


def beside(found: Tensor, truth: Tensor) -> Tensor:
    """By how much the true landmarks lie beside those found, in sides of the face, upright: [n, 68, 2]."""
    return (truth - found) @ upright(found)[1].mT


def shifted(points: Tensor, shift: Tensor) -> Tensor:
    """Landmarks moved by a shift [68, 2] in sides of the face."""
    return points + shift @ upright(points)[0].mT


def shapes(points: Tensor, ways: int) -> tuple[Tensor, Tensor]:
    """The mean shape of landmarks [n, 68, 2], and the ways in which they differ most: [68, 2] and [ways, 136].

    Source: Cootes et al. 1995, "Active shape models", section 3.
    """
    shape = points[0] - points[0].mean(0)
    for _ in range(5):
        shape = shape / shape.norm()
        shape = apply(similarity(points, shape), points).mean(0)
        shape = shape - shape.mean(0)
    shape = shape / shape.norm()
    off = (apply(similarity(points, shape), points) - shape).flatten(1)
    return shape, torch.linalg.svd(off, full_matrices=False)[2][:ways]


def nearest_usual(points: Tensor, shape: Tensor, ways: Tensor) -> Tensor:
    """The nearest landmarks that differ from the mean shape in known ways alone."""
    matrix = similarity(points, shape)
    off = (apply(matrix, points) - shape).flatten(1)
    kept = (off @ ways.T @ ways).unflatten(1, (-1, 2))
    return apply(inverse(matrix), shape + kept)
