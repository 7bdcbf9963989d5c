"""Which regions of a picture a step learns from, and what they should say.

A step sees few pictures and of each many regions, so that the convolutions are shared: a quarter on objects, the rest
beside them. Letters: P regions to draw from, T true boxes, R regions drawn, A anchors.

Source: Girshick 2015, "Fast R-CNN", section 2.3; Ren et al. 2015, "Faster R-CNN", sections 3.1.2 and 3.1.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou, clip_boxes_to_image

from isotrain.vision.boxes import encode

IGNORED = -100
"""Class of a region that does not count: on a crowd, in a picture without anything else."""
INSIDE = 0.5
"""Share of a region that must lie on a crowd for it to be no background."""


class Truth(NamedTuple):
    """The objects of one picture.

    Attributes:
        boxes: [T, 4].
        labels: [T].
        crowd: bool [T].
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor

    @property
    def plain(self) -> tuple[Tensor, Tensor]:
        """Boxes and labels of what is no crowd."""
        return self.boxes[~self.crowd], self.labels[~self.crowd]


class Drawn(NamedTuple):
    """Regions with what they should say.

    Attributes:
        boxes: [R, 4].
        classes: [R], 0 is background, IGNORED does not count.
        deltas: [R, 4] to the object's box; of any value where there is none.
    """

    boxes: Tensor
    classes: Tensor
    deltas: Tensor


@dataclass(frozen=True)
class Regions:
    """How regions are drawn.

    Attributes:
        count: R, the same for every picture.
        share: of regions on objects, at most.
        object_from: overlap from which on a region is on an object.
        beside_from: overlap down to which background is preferred: what nearly is an object teaches most.
    """

    count: int = 64
    share: float = 0.25
    object_from: float = 0.5
    beside_from: float = 0.1

    def draw(self, regions: Tensor, truth: Truth, generator: torch.Generator) -> Drawn:
        """Of regions [P, 4], P at least 1; some several times where there are too few."""
        boxes, labels = truth.plain
        best, which = overlaps(regions, boxes)
        on = best >= self.object_from
        free = ~on & ~crowded(regions, truth)
        objects = _some(on, round(self.count * self.share), generator)
        beside = _some(free & (best >= self.beside_from), self.count - len(objects), generator)
        away = _some(free & (best < self.beside_from), self.count - len(objects) - len(beside), generator)
        places = torch.cat([objects, beside, away])
        missing = self.count - len(places)
        if missing:
            # Background again before objects again: more than a quarter of objects only where there is nothing else.
            again = next(pool for pool in (torch.cat([beside, away]), objects, torch.arange(len(regions))) if len(pool))
            places = torch.cat([places, again[torch.randint(len(again), (missing,), generator=generator)]])
        classes = torch.where(on, labels[which] + 1 if len(labels) else which, 0)[places]
        classes[~(on | free)[places]] = IGNORED
        deltas = torch.zeros(self.count, 4)
        found = classes > 0
        deltas[found] = encode(boxes[which[places[found]]], regions[places[found]])
        return Drawn(regions[places], classes, deltas)


@dataclass(frozen=True)
class Anchors:
    """How anchors are drawn.

    Attributes:
        count: of anchors that count, a picture.
        share: of those on objects, at most.
        object_from: overlap from which on an anchor is on an object; an object's best anchor always is.
        beside_to: overlap below which it is on none.
    """

    count: int = 64
    share: float = 0.5
    object_from: float = 0.7
    beside_to: float = 0.3

    def draw(self, anchors: Tensor, truth: Truth, generator: torch.Generator) -> Drawn:
        """All anchors [A, 4]: class 1 on objects, 0 beside them, IGNORED the others."""
        boxes, _ = truth.plain
        best, which = overlaps(anchors, boxes)
        on = best >= self.object_from
        if len(boxes):
            reached = box_iou(anchors, boxes)
            highest = reached.amax(0)
            first = ((reached == highest) & (highest > 0)).nonzero()
            on[first[:, 0]] = True
            which[first[:, 0]] = first[:, 1]
        objects = _some(on, round(self.count * self.share), generator)
        free = ~on & (best < self.beside_to) & ~crowded(anchors, truth)
        beside = _some(free, self.count - len(objects), generator)
        classes = torch.full((len(anchors),), IGNORED)
        classes[objects], classes[beside] = 1, 0
        deltas = torch.zeros(len(anchors), 4)
        deltas[objects] = encode(boxes[which[objects]], anchors[objects]) if len(objects) else deltas[objects]
        return Drawn(anchors, classes, deltas)


def overlaps(regions: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Largest overlap (intersection over union) of each region with the boxes, and which box it is.

    >>> overlaps(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 1.0]]))
    (tensor([0.5000]), tensor([0]))
    """
    if not len(boxes):
        return torch.zeros(len(regions)), torch.zeros(len(regions), dtype=torch.long)
    best, which = box_iou(regions, boxes).max(1)
    return best, which


def crowded(regions: Tensor, truth: Truth) -> Tensor:
    """Which regions lie on a crowd: bool [P]."""
    crowd = truth.boxes[truth.crowd]
    if not len(crowd):
        return torch.zeros(len(regions), dtype=torch.bool)
    corner = torch.maximum(regions[:, None, :2], crowd[None, :, :2])
    sides = (torch.minimum(regions[:, None, 2:], crowd[None, :, 2:]) - corner).clamp_min(0)
    area = (regions[:, 2:] - regions[:, :2]).prod(1).clamp_min(1e-6)
    return (sides.prod(2).amax(1) / area) > INSIDE


def around(truth: Truth, anchors: Tensor, size: int, generator: torch.Generator, each: int = 24) -> Tensor:
    """Regions to draw from where none are given: the true boxes shaken, and anchors anywhere.

    Args:
        truth: of the picture.
        anchors: [A, 4].
        size: side of the picture.
        generator: of the draws.
        each: regions around each true box, from near to far.

    Returns:
        [P, 4], inside the picture.
    """
    boxes, _ = truth.plain
    far = torch.linspace(0.02, 0.5, each)[None, :, None]
    centre, sides = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2, boxes[:, None, 2:] - boxes[:, None, :2]
    centre = centre + sides * far * torch.randn(len(boxes), each, 2, generator=generator)
    half = sides * (far * torch.randn(len(boxes), each, 2, generator=generator)).exp() / 2
    shaken = torch.cat([centre - half, centre + half], 2).flatten(0, 1)
    anywhere = anchors[torch.randint(len(anchors), (256,), generator=generator)]
    found = clip_boxes_to_image(torch.cat([shaken, anywhere]), (size, size))
    large = ((found[:, 2:] - found[:, :2]) >= 2).all(1)
    whole = torch.tensor([[0.0, 0.0, size, size]])
    return torch.cat([whole, found[large]])


def _some(which: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Places where `which` is true, at most so many, drawn without return."""
    places = which.nonzero().flatten()
    return places[torch.randperm(len(places), generator=generator)[: max(0, most)]]
