"""Faces brought into crops: warped to the frontal average face in 3D, turned and scaled in 2D, or only cut out.

Letters: n faces, C channels, S side of a crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from isotrain.data.pictures import alike, crops_in_channels
from isotrain.faces.parts import Alignment, Marked
from isotrain.tasks.landmarks import square_in
from isotrain.vision.facemodel import FaceModel
from isotrain.vision.fivepoints import TEMPLATES
from isotrain.vision.frontal import frontal
from isotrain.vision.similarity import cut, square

CUT = 1.19
"""Side of a crop that is only cut out, in sides of the square around the landmarks: about what the others show."""


class Aligned(NamedTuple):
    """Crops of faces.

    Attributes:
        crops: [n, C, S, S] in [0, 1].
        turned: bool [n]: asked for in 3D, but turned too far or landmarks too odd for it: aligned in 2D instead.
    """

    crops: Tensor
    turned: Tensor


class Aligner:
    """One way of alignment.

    Args:
        alignment: which.
        size: S.
        channels: C.
        model: the 3D face; the average one that comes with isotrain if left out.
        enlarge: of the alignment "none", the side of the crop in sides of the detector's box, about its middle; of "2d"
            and "3d" a factor of the average face's square; None: what isotrain's own crops show.
    """

    def __init__(
        self,
        alignment: Alignment,
        size: int,
        channels: int,
        model: FaceModel | None = None,
        enlarge: float | None = None,
    ) -> None:
        self.alignment, self.size, self.channels, self.enlarge = alignment, size, channels, enlarge
        self.model = FaceModel.load() if model is None else model

    def crops(self, pictures: Sequence[Tensor], boxes: Tensor, marked: Marked) -> Aligned:
        """The crops of faces [n], each in its own picture of n; the same picture may stand there several times.

        Args:
            pictures: n, uint8 [1 or 3, H, W].
            boxes: [n, 4] of the detector.
            marked: their landmarks.

        Returns:
            The crops; where the 3D alignment gives up on a face (`Fit.doubtful`), the 2D one is taken and said so.
        """
        turned = torch.zeros(len(boxes), dtype=torch.bool)
        if not len(boxes):
            return Aligned(torch.zeros(0, self.channels, self.size, self.size), turned)
        grounds = alike(pictures, self.channels)
        points, grow = marked.points, self.enlarge or 1.0
        if self.alignment == "none":
            return self._made(cut(grounds, self._outcut(boxes), self.size), turned)
        if self.alignment in TEMPLATES:
            return self._made(TEMPLATES[self.alignment].crops(grounds, points, self.size), turned)
        if self.alignment == "2d":
            return self._made(cut(grounds, self.model.upright(points, self.size, grow), self.size), turned)
        fit = self.model.fit(points)
        turned = fit.doubtful
        crops = frontal(grounds, points, self.model, self.size, grow, fit=fit)
        rows = turned.nonzero()[:, 0].tolist()
        if rows:
            upright = self.model.upright(points[rows], self.size, grow)
            crops[rows] = cut([grounds[row] for row in rows], upright, self.size).to(crops)
        return self._made(crops, turned)

    def _made(self, crops: Tensor, turned: Tensor) -> Aligned:
        return Aligned(crops_in_channels(crops, self.channels), turned)

    def _outcut(self, boxes: Tensor) -> Tensor:
        """The squares that are cut out, as transforms [n, 2, 3]."""
        if self.enlarge is not None:
            return square(boxes, self.size, self.enlarge)
        middle_side = square_in(boxes)
        half = middle_side[:, 2:] / 2
        return square(torch.cat((middle_side[:, :2] - half, middle_side[:, :2] + half), 1), self.size, CUT)
