"""Scores of a localiser that was taught labels only: average precision of classes, pointing, correct localisation.

Boxes are (left, top, right, bottom) in pixels, right and bottom excluded. Average precision here ranks pictures by
their score of a class (VOC's classification task), not boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

POINT_TOLERANCE = 18.0
"""Pixels around a box in which a point still counts, in pictures whose longer side has `TOLERANCE_SIDE` (Oquab et al.
2015, section 5: 18 pixels, the window's stride at the pictures' usual size)."""
TOLERANCE_SIDE = 500.0


def average_precision(
    scores_n: Tensor, right_n: Tensor, eleven: bool = False, positives: int | None = None
) -> float | None:
    """Average precision of one class over pictures, as PASCAL VOC defines it.

    Args:
        scores_n: [n], the higher the surer.
        right_n: bool [n], whether it is right to say that the class is in the picture.
        eleven: mean of the precision at recalls 0, 0.1, ... 1 (VOC 2007); else the area under the precision made
            monotonous, at every recall (from VOC 2010 on).
        positives: pictures that have the class, where not all of them can be found right (a point that misses); None:
            as many as are right.

    Returns:
        In [0, 1]; None where no picture has the class.

    Pictures of equal scores are taken as one step of the ranking, so that their order does not matter.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2; the 2010 development kit.

    >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]))
    0.833...
    >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]), eleven=True)
    0.848...
    """
    positives = int(right_n.sum()) if positives is None else positives
    if positives == 0:
        return None
    order = torch.argsort(scores_n, descending=True, stable=True)
    ranked, right = scores_n[order], right_n[order].double().cumsum(0)
    last_of_tie = torch.ones(len(ranked), dtype=torch.bool)
    last_of_tie[:-1] = ranked[1:] != ranked[:-1]
    place = torch.arange(1, len(ranked) + 1, dtype=torch.double)[last_of_tie]
    right = right[last_of_tie]
    precision, recall = right / place, right / positives
    # The best precision at this recall or any higher one.
    best = precision.flip(0).cummax(0).values.flip(0)
    if eleven:
        # From the counts, not their quotient: a recall of 0.3 must not miss the level 0.3 by rounding.
        reached = (10 * right)[None, :] >= (torch.arange(11) * positives)[:, None]
        return float(torch.where(reached, best[None, :], 0.0).amax(1).mean())
    step = torch.diff(recall, prepend=recall.new_zeros(1))
    return float((step * best).sum())


def average_precisions(scores_nk: Tensor, present_nk: Tensor, eleven: bool = False) -> list[float | None]:
    """`average_precision` of each class, [n, K] scores and bool [n, K] that say whether it is there.

    >>> average_precisions(torch.tensor([[0.9, 0.1], [0.2, 0.3]]), torch.tensor([[True, False], [False, False]]))
    [1.0, None]
    """
    return [average_precision(scores_nk[:, k], present_nk[:, k], eleven) for k in range(scores_nk.shape[1])]


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Mean of what is not None; None where nothing is.

    >>> mean_of_known([1.0, None, 0.5])
    0.75
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def pointing_precisions(scores_nk: Tensor, hit_p: Tensor, rows_p: Tensor, labels_p: Tensor) -> list[float | None]:
    """Average precision of each class where a picture is right only if its point hits; None for a class never there.

    Args:
        scores_nk: [n, K].
        hit_p: bool [p], of each pair of a picture and a class it has.
        rows_p: the pair's picture.
        labels_p: the pair's class.

    Source: Oquab et al. 2015, section 5, "metric for localization evaluation".
    """
    right_nk = torch.zeros(scores_nk.shape, dtype=torch.bool)
    right_nk[rows_p, labels_p] = hit_p
    positives = torch.bincount(labels_p, minlength=scores_nk.shape[1]).tolist()
    return [average_precision(scores_nk[:, k], right_nk[:, k], positives=count) for k, count in enumerate(positives)]


def tolerance(height: int, width: int) -> float:
    """The paper's 18 pixels, in proportion to the picture's longer side.

    >>> tolerance(375, 500)
    18.0
    """
    return POINT_TOLERANCE * max(height, width) / TOLERANCE_SIDE


def points_hit(points_p2: Tensor, boxes: Sequence[Tensor], slack: Sequence[float] | float = 0.0) -> Tensor:
    """Whether each point (x, y) falls into one of its boxes, grown by `slack` pixels on all sides: bool [p].

    Args:
        points_p2: [p, 2].
        boxes: for each point the true boxes of its class in its picture, [m, 4]; none is a miss.
        slack: one for all, or one for each point.

    >>> points_hit(torch.tensor([[5.0, 5.0], [12.0, 5.0]]), [torch.tensor([[0.0, 0.0, 10.0, 10.0]])] * 2).tolist()
    [True, False]
    """
    grown = [slack] * len(boxes) if isinstance(slack, float | int) else slack
    hit = torch.zeros(len(points_p2), dtype=torch.bool)
    for place, (own_m4, by) in enumerate(zip(boxes, grown, strict=True)):
        point = points_p2[place]
        hit[place] = ((point >= own_m4[:, :2] - by) & (point < own_m4[:, 2:] + by)).all(1).any()
    return hit


def correctly_localised(predicted_p4: Tensor, boxes: Sequence[Tensor], overlap: float = 0.5) -> Tensor:
    """Whether each box overlaps one of its true boxes by at least `overlap` of their union (CorLoc): bool [p].

    Args:
        predicted_p4: [p, 4].
        boxes: for each of them the true boxes of its class in its picture, [m, 4]; none is a miss.
        overlap: least intersection over union.

    Source: Deselaers et al. 2012, "Weakly supervised localization and learning with generic knowledge", section 6.

    >>> truth = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    >>> correctly_localised(torch.tensor([[0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 4.0]]), [truth, truth]).tolist()
    [True, False]
    """
    from torchvision.ops import box_iou

    right = torch.zeros(len(predicted_p4), dtype=torch.bool)
    for place, own_m4 in enumerate(boxes):
        if len(own_m4):
            right[place] = box_iou(predicted_p4[place : place + 1], own_m4).max() >= overlap
    return right


def per_class(hit_p: Tensor, labels_p: Tensor, classes: int) -> list[float | None]:
    """Share of hits among each class's own pairs of picture and class; None where it has none.

    >>> per_class(torch.tensor([True, False, True]), torch.tensor([0, 0, 1]), 2)
    [0.5, 1.0]
    """
    count = torch.bincount(labels_p, minlength=classes)
    hits = torch.bincount(labels_p, weights=hit_p.double(), minlength=classes)
    return [float(hit / n) if n else None for hit, n in zip(hits.tolist(), count.tolist(), strict=True)]
