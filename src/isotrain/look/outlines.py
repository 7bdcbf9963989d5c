"""The outlines of masks: rings of corners around what is inside, and around its holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isotrain.data.outlines import box_of

Points = NDArray[np.float64]
SMALLEST = 4.0
"""Pixels that a ring encloses at least to be told of."""


def outline_of(mask: Tensor, scale: tuple[float, float] = (1.0, 1.0), slack: float = 0.6) -> list[list[float]]:
    """Rings x0, y0, x1, y1, ... around a mask, inside by the even-odd rule.

    Args:
        mask: bool [H, W].
        scale: across and down, that the corners are multiplied by.
        slack: pixels of the mask by which a corner that is left out lies off the line between its neighbours, at most.

    >>> import torch
    >>> mask = torch.zeros(6, 6, dtype=torch.bool)
    >>> mask[1:5, 1:5] = True
    >>> len(outline_of(mask)), outline_of(mask & False)
    (1, [])
    """
    from contourpy import contour_generator

    box = box_of(mask)
    if box is None:
        return []
    left, top, right, bottom = map(int, box)
    # A rim of nothing, so that what touches the edge is closed; the middle of the first pixel is at 0.5.
    inside = np.pad(mask[top:bottom, left:right].cpu().numpy().astype(np.float64), 1)
    corner = np.array([left - 0.5, top - 0.5])
    rings: list[list[float]] = []
    for line in contour_generator(z=inside).lines(0.5):
        points = np.asarray(line, dtype=np.float64)
        if _area(points) >= SMALLEST or len(rings) == 0:
            kept = thinned(points[:-1], slack)
            rings.append(((kept + corner) * np.asarray(scale)).round(1).ravel().tolist())
    return rings


def thinned(ring: Points, slack: float) -> Points:
    """A closed ring [p, 2] without the corners that lie within `slack` of the lines that are left.

    Source: Douglas and Peucker 1973, "Algorithms for the reduction of the number of points".

    >>> thinned(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 2.0]]), 0.1).tolist()
    [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]]
    """
    if len(ring) < 4:
        return ring
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(1)))
    closed = np.vstack([ring, ring[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, far, len(ring)]] = True
    spans = [(0, far), (far, len(ring))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        start, along = closed[first], closed[last] - closed[first]
        length = float(np.hypot(*along))
        between = closed[first + 1 : last] - start
        off = (
            np.abs(between[:, 0] * along[1] - between[:, 1] * along[0]) / length
            if length
            else np.hypot(between[:, 0], between[:, 1])
        )
        most = int(off.argmax())
        if off[most] > slack:
            kept[first + 1 + most] = True
            spans += [(first, first + 1 + most), (first + 1 + most, last)]
    return closed[:-1][kept[:-1]]


def _area(points: Points) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
