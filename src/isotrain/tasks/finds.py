"""From what a finder says of a picture's cells to faces: where they are, and no two of one face."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from isotrain.nets.finder import squares_of
from isotrain.vision.boxes import decode

SAME = 0.4
"""Overlap from which on two finds are one face."""
WITHIN = 0.75
"""Share of the smaller of two finds that lies in the other from which on they are one face."""
MOST = 500
"""Faces told of in a picture."""
CANDIDATES = 3000
"""Cells of a picture that are compared with one another, at most."""


def shrunk(pictures_nchw: Tensor, longest: int) -> Tensor:
    """Pictures uint8 [n, C, H, W] in grey, in [0, 1], their longer side at most `longest`, by area.

    >>> shrunk(torch.full((1, 3, 8, 4), 255, dtype=torch.uint8), 4).shape
    torch.Size([1, 1, 4, 2])
    """
    height, width = pictures_nchw.shape[2:]
    scale = longest / max(height, width)
    if scale < 1:
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
        pictures_nchw = F.interpolate(pictures_nchw, inner, mode="bilinear", align_corners=False, antialias=True)
    return pictures_nchw.float().mean(1, keepdim=True) / 255


def placed(faces: Tensor, deltas: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Scores and boxes of the cells of a frame; a cell outside of its own box has seen no face: its score is 0.

    Args:
        faces: logits [..., a].
        deltas: [..., a, 4].
        height: of the frame.
        width: of it.

    >>> deltas = torch.zeros(21, 4)
    >>> deltas[0, 0] = 100.0  # ten of its sides away
    >>> placed(torch.zeros(21), deltas, 32, 32)[0][:2].tolist()
    [0.0, 0.5]
    """
    squares = squares_of(height, width)
    boxes = decode(deltas, squares)
    middle = (squares[:, :2] + squares[:, 2:]) / 2
    inside = ((boxes[..., :2] <= middle) & (middle <= boxes[..., 2:])).all(-1)
    return faces.sigmoid() * inside, boxes


def distinct(boxes: Tensor, scores: Tensor, least: float) -> Tensor:
    """Which of a picture's finds are told of, the surest first: no two of one face.

    Two finds are of one face if they overlap by `SAME`, or if the smaller lies within the other by `WITHIN`.

    Args:
        boxes: [a, 4].
        scores: [a].
        least: score below which nothing is told of.

    >>> boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [3.0, 3.0, 6.0, 6.0], [20.0, 0.0, 29.0, 9.0]])
    >>> distinct(boxes, torch.tensor([0.6, 0.9, 0.7]), 0.5).tolist()
    [1, 2]
    """
    from torchvision.ops import nms

    sure = (scores >= least).nonzero()[:, 0]
    if len(sure) > CANDIDATES:
        sure = sure[scores[sure].topk(CANDIDATES).indices]
    kept = sure[nms(boxes[sure], scores[sure], SAME)[:MOST]]
    low, high = boxes[kept, None, :2], boxes[kept, None, 2:]
    common = (torch.minimum(high, high.transpose(0, 1)) - torch.maximum(low, low.transpose(0, 1))).clamp_min(0).prod(-1)
    area = (high - low).prod(-1)
    within = common > WITHIN * torch.minimum(area, area.T)
    return kept[~within.tril(-1).any(1)]
