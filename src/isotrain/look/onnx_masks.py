"""The masks of an ONNX detector: mixed of patterns (YOLO) or whole (torchvision), as outlines in the photo.

Letters: n object, m pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from isotrain.look.outlines import outline_of
from isotrain.vision.boxes import Letterbox

EVEN = 0.5
"""Probability from which on a pixel is inside."""


@dataclass(frozen=True)
class Masks:
    """Where each object is, over the model's rectangle at any resolution: inside where it is above 0.

    Attributes:
        patterns: [m, h, w] that masks are mixed of, or [n, h, w], a mask an object.
        weights: [n, m] how they are mixed; None where each object has its own.

    >>> both = Masks(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[2.0, -1.0]]))
    >>> both.of(0)
    tensor([[ 2., -1.]])
    """

    patterns: Tensor
    weights: Tensor | None = None

    def of(self, place: int) -> Tensor:
        """[h, w] of one object."""
        if self.weights is None:
            return self.patterns[place]
        return torch.einsum("m,mhw->hw", self.weights[place], self.patterns)

    def outline(self, place: int, box: Sequence[float], fit: Letterbox) -> list[list[float]]:
        """The rings around an object in pixels of the photo, within its box there."""
        whole = self.of(place)[None, None]
        values = F.interpolate(whole, (fit.to_height, fit.to_width), mode="bilinear", align_corners=False)[0, 0]
        (high, wide), (left, top) = fit.inner, fit.corner
        inside = values[top : top + high, left : left + wide] > 0
        across, down = fit.width / wide, fit.height / high
        x0, y0, x1, y1 = box
        within = torch.zeros_like(inside)
        within[int(y0 / down) : -int(-y1 // down), int(x0 / across) : -int(-x1 // across)] = True
        return outline_of(inside & within, (across, down))


def mixed(outputs: Mapping[str, NDArray[Any]]) -> Tensor | None:
    """[m, h, w] patterns among a detector's outputs: the only one [1, m, h, w]."""
    found = [one for one in outputs.values() if one.ndim == 4 and len(one) == 1 and one.dtype.kind == "f"]
    return torch.from_numpy(found[0][0].astype(np.float32)) if len(found) == 1 else None


def apart(outputs: Mapping[str, NDArray[Any]], objects: int, sides: tuple[int, int]) -> Masks | None:
    """A mask an object: the only output [n, 1, h, w] of probabilities over the whole rectangle, of those sides."""
    shape = (objects, 1, *sides)
    found = [one for one in outputs.values() if one.dtype.kind == "f" and one.shape[-4:] == shape and one.ndim < 6]
    if len(found) != 1:
        return None
    return Masks(torch.from_numpy(found[0].reshape(objects, *sides).astype(np.float32)) - EVEN)
