"""Mask proposals of a whole picture: the trunk once at every scale, masks only for the windows of the best scores."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import masks_to_boxes, nms

from isotrain.nets.deepmask import DeepMask
from isotrain.vision.pieces import without_scraps

LONGEST = 800
"""Pixels along the longer side of a scaled picture, at most: scales beyond are left out, for their time."""
LEAST = 5e-3
"""Score below which a window is not looked at further."""


@dataclass(frozen=True)
class Proposals:
    """What may be objects, the best first.

    Attributes:
        views: [k, 5], the windows (`isotrain.vision.views`).
        shapes: [k, P, P], probability that a pixel of the window is the object's.
        boxes: [k, 4] in pixels of the picture.
        scores: [k], probability that there is an object.
        classes: [k, classes] probabilities; they add up to less than one where it may be none.
    """

    views: Tensor
    shapes: Tensor
    boxes: Tensor
    scores: Tensor
    classes: Tensor

    def __getitem__(self, rows: Tensor) -> Proposals:
        """Some of them, by their places or by a mask."""
        return Proposals(self.views[rows], self.shapes[rows], self.boxes[rows], self.scores[rows], self.classes[rows])

    def scored(self, scores: Tensor) -> Proposals:
        """With other scores, [k], sorted by them."""
        order = scores.argsort(descending=True)
        return replace(self, scores=scores)[order]

    def solidity(self) -> Tensor:
        """How sure the masks are of their own pixels, [k]: the mean probability inside."""
        inside = self.shapes > 0.5
        return (self.shapes * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)

    def masks(self, height: int, width: int) -> Tensor:
        """The masks in the picture, bool [k, height, width]."""
        middle = self.views[:, :2].repeat(1, 2)
        reach = self.shapes.shape[-1] / self.views[:, 2:3] / 2
        return paste(self.shapes, middle + reach * middle.new_tensor([-1.0, -1.0, 1.0, 1.0]), height, width)


def paste(shapes: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Small masks laid into a picture.

    Args:
        shapes: [k, m, m], probabilities.
        boxes: [k, 4] that the masks fill, in pixels of the picture.
        height: of the picture.
        width: of it.

    Returns:
        bool [k, height, width]; outside of its box a mask is empty.

    >>> paste(torch.ones(1, 4, 4), torch.tensor([[1.0, 0.0, 3.0, 2.0]]), 2, 4).int().tolist()
    [[[0, 1, 1, 0], [0, 1, 1, 0]]]
    """
    whole = torch.zeros(len(shapes), height, width, dtype=torch.bool)
    edge = boxes.new_tensor([width, height, width, height])
    corners = torch.minimum(torch.cat((boxes[:, :2].floor(), boxes[:, 2:].ceil()), 1).clamp_min(0), edge).int()
    for row, (left, top, right, bottom) in enumerate(corners.tolist()):
        if right > left and bottom > top:
            x0, y0, x1, y1 = boxes[row]
            across = (torch.arange(left, right) + 0.5 - x0) * (2 / (x1 - x0)) - 1
            down = (torch.arange(top, bottom) + 0.5 - y0) * (2 / (y1 - y0)) - 1
            grid = torch.stack(torch.broadcast_tensors(across[None], down[:, None]), -1)
            values = F.grid_sample(shapes[row][None, None], grid[None], align_corners=False)
            whole[row, top:bottom, left:right] = values[0, 0] > 0.5
    return whole


@torch.no_grad()
def propose(
    net: DeepMask,
    picture: Tensor,
    scales: tuple[float, ...],
    fill: Tensor,
    most: int,
    peaks: bool = False,
    least_piece: float = 0.0,
) -> Proposals:
    """Slide the net over a picture.

    Args:
        net: in evaluation mode.
        picture: [C, H, W] in [0, 1].
        scales: window pixels a picture pixel; empty: one window that shows the whole picture.
        fill: [C], what lies beyond the picture.
        most: windows whose masks are made, at most.
        peaks: only windows that score higher than those next to them at the same scale.
        least_piece: of whole pictures: pieces of a mask with less than this share of its largest one's pixels are left
            out.
    """
    longest = max(picture.shape[1:])
    if not scales:
        return _whole(net, picture, net.window / longest, fill, least_piece)
    usable = [s for s in scales if s * longest <= LONGEST] or [LONGEST / longest]
    levels = [_scaled(net, picture, scale, fill) for scale in usable]
    scores = torch.cat([(_peaks(level[2]) if peaks else level[2]).flatten() for level in levels])
    kept = scores.topk(min(most, len(scores)))
    kept_places = kept.indices[kept.values.sigmoid() > LEAST]
    found, first = [], 0
    for scale, (features, wide, score) in zip(usable, levels, strict=True):
        own = kept_places[(kept_places >= first) & (kept_places < first + score.numel())] - first
        first += score.numel()
        if len(own):
            found.append(_decoded(net, features, wide, score, own, scale))
    if not found:
        return _nothing(net, picture)
    joined = Proposals(*(torch.cat([getattr(one, name) for one in found]) for name in Proposals.__annotations__))
    return joined[joined.scores.argsort(descending=True)]


def _scaled(net: DeepMask, picture: Tensor, scale: float, fill: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Features, features of whole windows and scores [h, w] of a picture at one scale: windows every stride pixels."""
    height, width = (max(1, round(side * scale)) for side in picture.shape[1:])
    small = F.interpolate(picture[None], (height, width), mode="bilinear", align_corners=False, antialias=True)
    edge, stride = net.window // 2 + net.margin, net.stride
    more = (-width % stride, -height % stride)
    frame = F.pad(small - fill[:, None, None], (edge, edge + more[0], edge, edge + more[1])) + fill[:, None, None]
    features = net.inner(frame)
    wide = net.features_of_window(features[-1])
    score: Tensor = net.score(wide)[0, 0]
    return features, wide, score


def _peaks(score: Tensor) -> Tensor:
    """Scores [h, w], minus infinity where a neighbour's is higher."""
    highest: Tensor = F.max_pool2d(score[None], 3, 1, 1)[0]
    kept: Tensor = score.masked_fill(score < highest, -math.inf)
    return kept


def _decoded(
    net: DeepMask, features: list[Tensor], wide: Tensor, score: Tensor, places: Tensor, scale: float
) -> Proposals:
    rows, columns = places // score.shape[1], places % score.shape[1]
    own, own_wide = net.at(features, wide, torch.stack((rows, columns), 1)[None])
    logits = net.masks(own, own_wide)
    views = torch.zeros(len(places), 5)
    views[:, 0], views[:, 1], views[:, 2], views[:, 4] = (
        columns * net.stride / scale,
        rows * net.stride / scale,
        scale,
        1,
    )
    return _described(net, own, logits.sigmoid(), score[rows, columns].sigmoid(), views)


def _described(net: DeepMask, features: list[Tensor], shapes: Tensor, scores: Tensor, views: Tensor) -> Proposals:
    """Boxes and classes; windows whose masks are empty are left out."""
    some = (shapes > 0.5).flatten(1).any(1)
    shapes, scores, views = shapes[some], scores[some], views[some]
    boxes = _edges(shapes)
    if net.classify is None:
        classes = torch.ones(len(scores), 1)
    else:
        classes = net.classes([f[some] for f in features], boxes).softmax(1)[:, :-1]
    middle = views[:, :2].repeat(1, 2)
    return Proposals(views, shapes, (boxes - net.window / 2) / views[:, 2:3] + middle, scores, classes)


def _edges(shapes: Tensor) -> Tensor:
    """Boxes [k, 4] around what is above one half, right and bottom edges excluded."""
    if not len(shapes):
        return shapes.new_zeros(0, 4)
    boxes: Tensor = masks_to_boxes(shapes > 0.5)
    return boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])


def _whole(net: DeepMask, picture: Tensor, scale: float, fill: Tensor, least_piece: float) -> Proposals:
    """The one window that shows the whole picture, and its mirror image, whose answers are averaged."""
    height, width = picture.shape[1:]
    size = net.window + 2 * net.margin
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = F.interpolate(picture[None], inner, mode="bilinear", align_corners=False, antialias=True)
    left, top = (size - inner[1]) // 2, (size - inner[0]) // 2
    frame = F.pad(small - fill[:, None, None], (left, size - inner[1] - left, top, size - inner[0] - top))
    frame = frame + fill[:, None, None]
    features = net.inner(torch.cat((frame, frame.flip(3))))
    wide = net.features_of_window(features[-1])
    logits, score = net.masks(features, wide.flatten(1)), net.score(wide).flatten().mean()
    shapes = ((logits[0] + logits[1].flip(1)) / 2).sigmoid()[None]
    if least_piece:
        inside = shapes[0] > 0.5
        shapes = shapes.masked_fill(inside & ~without_scraps(inside, least_piece), 0.0)
    # The window's middle is not the picture's where the sides are rounded to whole pixels.
    x, y = (size / 2 - left) * width / inner[1], (size / 2 - top) * height / inner[0]
    views = torch.tensor([[x, y, scale, 0.0, 1.0]])
    return _described(net, [f[:1] for f in features], shapes, score.sigmoid()[None], views)


def _nothing(net: DeepMask, picture: Tensor) -> Proposals:
    answers = 1 if net.classify is None else net.answers - 1
    empty = picture.new_zeros
    return Proposals(empty(0, 5), empty(0, net.window, net.window), empty(0, 4), empty(0), empty(0, answers))


def apart(proposals: Proposals, overlap: float, most: int) -> Proposals:
    """Without those whose boxes overlap a better one's; the best `most`."""
    return proposals[nms(proposals.boxes, proposals.scores, overlap)[:most]]
