"""Average precision by the rules of the PASCAL VOC devkit.

Of each class the finds of all pictures go by falling score. Each is compared with the object of its class and picture
that it overlaps most: if that is enough and the object is still free, it is right; if another has taken the object,
or the overlap is too small, it is wrong; if the object is a crowd (VOC's "difficult"), it does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isotrain.data.samples import Thing  # noqa: F401 - of the examples below
from isotrain.tasks.scores.found import Found, There

POINTS = torch.linspace(0, 1, 11, dtype=torch.float64)
"""Recalls at which VOC 2007 looks."""


def average_precisions(
    there: Sequence[There], found: Sequence[Found], classes: int, overlap: float = 0.5, points: Tensor | None = None
) -> list[float | None]:
    """Average precision of each class; None for a class that none of the pictures holds.

    Args:
        there: what each picture holds.
        found: what was found in each, in the same order.
        classes: how many.
        overlap: intersection over union from which on a find is right.
        points: recalls whose precisions are averaged (`POINTS`, VOC 2007); None: the area under the precision-recall
            curve, made monotone (VOC 2010 and later).

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2.

    >>> there = [There([Thing(0, (0, 0, 4, 4)), Thing(0, (5, 5, 9, 9))], (10, 10))]
    >>> found = [Found(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0.9]), torch.tensor([0]))]
    >>> average_precisions(there, found, 2)
    [0.5, None]
    """
    return [_of_class(there, found, label, overlap, points) for label in range(classes)]


def mean_average_precision(
    there: Sequence[There], found: Sequence[Found], classes: int, overlap: float = 0.5, points: Tensor | None = None
) -> float | None:
    """Mean of `average_precisions` over the classes that are there; None if there is none."""
    known = [ap for ap in average_precisions(there, found, classes, overlap, points) if ap is not None]
    return sum(known) / len(known) if known else None


def precision_recall(
    there: Sequence[There], found: Sequence[Found], label: int, overlap: float = 0.5
) -> tuple[Tensor, Tensor] | None:
    """Precision and recall of a class after each of its finds, from the surest on; None if no picture holds it."""
    objects = sum(thing.label == label and not thing.crowd for one in there for thing in one.things)
    if not objects:
        return None
    scores, right, wrong = [], [], []
    for one, finds in zip(there, found, strict=True):
        mine = finds.labels == label
        order = finds.scores[mine].argsort(descending=True, stable=True)
        verdict = _judge(one, finds.boxes[mine][order], label, overlap)
        scores.append(finds.scores[mine][order])
        right.append(verdict == 1)
        wrong.append(verdict == -1)
    order = torch.cat(scores).argsort(descending=True, stable=True)
    hits = torch.cat(right)[order].cumsum(0).double()
    misses = torch.cat(wrong)[order].cumsum(0).double()
    return hits / (hits + misses).clamp_min(1), hits / objects


def _of_class(
    there: Sequence[There], found: Sequence[Found], label: int, overlap: float, points: Tensor | None
) -> float | None:
    curve = precision_recall(there, found, label, overlap)
    if curve is None:
        return None
    precision, recall = curve
    if points is not None:
        reached = recall[None] >= points[:, None] - 1e-12
        return float((precision[None] * reached).amax(1).mean()) if len(precision) else 0.0
    highest = precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision
    return float((recall.diff(prepend=recall.new_zeros(1)) * highest).sum())


def _judge(there: There, boxes_k4: Tensor, label: int, overlap: float) -> Tensor:
    """1 right, -1 wrong, 0 does not count, for finds of one picture and class by falling score."""
    from torchvision.ops import box_iou

    mine = [thing for thing in there.things if thing.label == label]
    verdict = torch.full((len(boxes_k4),), -1)
    if not mine or not len(boxes_k4):
        return verdict
    best, which = box_iou(boxes_k4.double().cpu(), torch.tensor([t.box for t in mine], dtype=torch.float64)).max(1)
    taken: set[int] = set()
    for place in (best >= overlap).nonzero().flatten().tolist():
        one = int(which[place])
        if mine[one].crowd:
            verdict[place] = 0
        elif one not in taken:
            taken.add(one)
            verdict[place] = 1
    return verdict
