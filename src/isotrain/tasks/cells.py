"""Which cells of a net should see a face, which should not, and which nobody can judge.

A face belongs to the map whose squares are about its size. Cells near its centre should see it, cells far from it
should not; those between, and those of the next map if the size is at the border of the two, are left out.

Letters: k faces, m boxes that are unknown, a cells.

Source: Tian et al. 2019, "FCOS", section 3.1 and its centre sampling.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from isotrain.nets.finder import SQUARES, STRIDES, cells_of, squares_of
from isotrain.vision.boxes import encode

UNKNOWN = -1.0
"""Of a cell that does not count."""
BORDERS = tuple((a * b) ** 0.5 for a, b in pairwise(SQUARES))
"""Sides of faces at which the next map takes over."""
SLACK = 1.25
"""Factor about a border within which neither map is wrong."""
NEAR, FAR = 0.2, 0.4
"""Distances from a face's centre, in its sides: up to the first a cell sees it, from the second on it does not."""
NEAR_CELLS, FAR_CELLS = 0.6, 1.0
"""The same in strides, where that is more."""


def truth_of(faces: Tensor, unknown: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What the cells of a scene [size, size] should say.

    Args:
        faces: [k, 4].
        unknown: [m, 4], where faces may be that nobody labelled.
        size: of the scene.

    Returns:
        1 for a cell that sees a face, 0 for one that does not, `UNKNOWN` [a]; deltas to the faces' boxes [a, 4], 0
        where there is no face.

    >>> truth, deltas = truth_of(torch.tensor([[4.0, 4.0, 28.0, 28.0]]), torch.zeros(0, 4), 32)
    >>> truth[:16].view(4, 4).int().tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    centres, strides, squares = _grid(size)
    truth = torch.zeros(len(centres))
    deltas = torch.zeros(len(centres), 4)
    inside = ((centres[:, None] >= unknown[:, :2]) & (centres[:, None] < unknown[:, 2:])).all(-1).any(1)
    truth[inside] = UNKNOWN
    if not len(faces):
        return truth, deltas
    sides = faces[:, 2:].sub(faces[:, :2]).mean(1)
    away = (centres[:, None] - (faces[:, :2] + faces[:, 2:]) / 2).abs().amax(-1)  # [a, k]
    edges = torch.tensor([0.0, *BORDERS, float("inf")])
    level = (strides[:, None] > torch.tensor(STRIDES)).sum(1)
    low, high = edges[level][:, None], edges[level + 1][:, None]
    mine = (sides >= low) & (sides < high)
    almost = (sides >= low / SLACK) & (sides < high * SLACK)
    near = away <= torch.maximum(NEAR * sides, NEAR_CELLS * strides[:, None])
    around = away <= torch.maximum(FAR * sides, FAR_CELLS * strides[:, None])
    truth[((around & mine) | (near & almost)).any(1)] = UNKNOWN
    # Of two faces the one whose centre is nearer, in its own sides.
    which = torch.where(near & mine, away / sides, torch.inf).argmin(1)
    sees = (near & mine).any(1)
    truth[sees] = 1.0
    deltas[sees] = encode(faces[which[sees]], squares[sees])
    return truth, deltas


@lru_cache(4)
def _grid(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, strides and squares of a scene's cells."""
    return *cells_of(size, size), squares_of(size, size)
