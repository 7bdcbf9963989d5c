"""Regions out of heat maps: where a detector may look, from a net that has learned from labels alone."""

from __future__ import annotations

import torch
from torch import Tensor

from isotrain.vision.boxes import Letterbox, clean
from isotrain.vision.heat import regions_of

SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Of a map's greatest heat, from which on a place is warm."""
LIKELIEST = 5
"""Classes whose maps give regions."""
SMALLEST = 4.0
"""Side of a region in pixels of the picture, at least."""


def warm_regions(heat: Tensor, probabilities: Tensor, fit: Letterbox) -> Tensor:
    """Boxes around what is warm, and the whole picture.

    Args:
        heat: [K, h, w] in [0, 1], of the part of a rectangle that a picture fills.
        probabilities: [K] of its classes.
        fit: the picture into the rectangle.

    Returns:
        [P, 5]: boxes in pixels of the picture, and the probability of the class whose map they are of, the likeliest
        first; the whole picture with 0.

    >>> warm_regions(torch.eye(8)[None, :1], torch.tensor([0.75]), Letterbox(10, 80, 1, 8))[[0, -1]].tolist()
    [[0.0, 0.0, 10.0, 10.0, 0.75], [0.0, 0.0, 80.0, 10.0, 0.0]]
    """
    corner = torch.tensor([*fit.corner, *fit.corner])
    found = []
    for probability, label in zip(*probabilities.topk(min(LIKELIEST, len(probabilities))), strict=True):
        boxes, _ = clean(fit.back(regions_of(heat[label], SHARES) + corner), fit.height, fit.width, SMALLEST)
        boxes = boxes.unique(dim=0)
        found.append(torch.cat([boxes, probability.expand(len(boxes), 1)], 1))
    return torch.cat([*found, torch.tensor([[0.0, 0.0, fit.width, fit.height, 0.0]])])
