"""Windows that a net of mask proposals learns from: on objects, beside them, and where there is none.

An object is in a window's middle if its box is centred there, within a tolerance, and of the canonical size: its longer
side half of the window's. Where a window shows the whole picture (data sets with one object a picture, at most) the
object of the picture is always it.

Source: Pinheiro et al. 2015, "Learning to segment object candidates", section 3.1 (what is positive, what negative,
what neither).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from isotrain.data.outlines import box_of, decode
from isotrain.data.pictures import in_channels, read_picture
from isotrain.data.samples import Sample, Thing
from isotrain.errors import BadData
from isotrain.tasks.variation import less_apart, recoloured, rescanned
from isotrain.vision.views import cut, cut_mask, halves

NONE, UNSURE = -1, -2
"""No object is in the middle; one is nearly."""
CANONICAL = 0.5
"""Longer side of an object, in sides of the window."""
NEAR, FAR = (0.1, 0.4), (0.2, 0.8)
"""Offset in windows and octaves of scale up to which an object is in the middle, and from which on it is not."""
TURN, WHOLE_TURN = 0.25, 0.75
"""Radians by which windows, and whole pictures, are turned in training, at most."""
IGNORED = -100


class Seen(NamedTuple):
    """A sample as it is kept: the picture at every scale, masks where they are not empty.

    Attributes:
        levels: the picture, uint8 [C, H, W], and its halves.
        boxes: [o, 4], around the masks.
        labels: [o].
        crowd: bool [o].
        crops: uint8 [h, w] of each object, the mask inside its box.
        name: of the sample.
    """

    levels: list[Tensor]
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    crops: list[Tensor]
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height, width = self.levels[0].shape[1:]
        return height, width

    def mask(self, place: int) -> Tensor:
        """The whole mask of an object, bool [H, W]."""
        whole = torch.zeros(self.size, dtype=torch.bool)
        left, top, right, bottom = map(int, self.boxes[place].tolist())
        whole[top:bottom, left:right] = self.crops[place].bool()
        return whole

    def things(self) -> list[Thing]:
        """The objects again, as the scores take them."""
        return [
            Thing(int(label), tuple(box), self.mask(place), bool(crowd))
            for place, (label, box, crowd) in enumerate(zip(self.labels, self.boxes.tolist(), self.crowd, strict=True))
        ]


def see(sample: Sample, channels: int) -> Seen:
    """Read a sample. Objects without a pixel are left out.

    Raises:
        BadData: the picture or a mask cannot be read, or an object has no mask.
    """
    picture = in_channels(read_picture(sample.picture), channels)
    height, width = picture.shape[1:]
    found: list[tuple[tuple[float, ...], Thing, Tensor]] = []
    for thing in sample.things:
        if thing.mask is None:
            raise BadData(f"{thing.where or sample.name}: an object has a box and no mask; `train detect` needs none.")
        mask = decode(thing.mask, height, width)
        box = box_of(mask)
        if box is not None:
            left, top, right, bottom = map(int, box)
            found.append((box, thing, mask[top:bottom, left:right].to(torch.uint8).clone()))
    return Seen(
        halves(picture),
        torch.tensor([box for box, _, _ in found]).reshape(-1, 4),
        torch.tensor([thing.label for _, thing, _ in found], dtype=torch.long),
        torch.tensor([thing.crowd for _, thing, _ in found], dtype=torch.bool),
        [crop for _, _, crop in found],
        sample.name,
    )


class Drawn(NamedTuple):
    """Parts of pictures, and what their windows show.

    Attributes:
        pictures: [n, C, S + 2M, S + 2M] in [0, 1].
        there: [n, G, G], 1 for windows with an object in the middle, 0 for those without, UNSURE.
        cells: [n, r, 2], row and column of windows to be masked and classified.
        masks: bool [n, r, P, P], empty where there is no object.
        labels: [n, r], or NONE or UNSURE.
    """

    pictures: Tensor
    there: Tensor
    cells: Tensor
    masks: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Windows:
    """How parts of pictures are drawn.

    Attributes:
        size: P, pixels along a side of a window.
        margin: M, pixels more on each side.
        stride: pixels between windows.
        scales: window pixels a picture pixel at which objects are of the canonical size; empty where a window shows the
            whole picture.
        fill: [C] in [0, 1], what lies beyond a picture.
    """

    size: int
    margin: int
    stride: int
    scales: tuple[float, ...]
    fill: tuple[float, ...]

    @property
    def grid(self) -> int:
        """G, windows along a side of a part of a picture: it is two windows wide."""
        return self.size // self.stride + 1 if self.scales else 1

    @property
    def masked(self) -> int:
        """r; the last of several is for a window without an object."""
        return 3 if self.scales else 1

    def draw(self, pictures: Sequence[Seen], generator: torch.Generator | None) -> Drawn:
        """Parts of several pictures.

        Args:
            pictures: to cut from.
            generator: varies them; None draws them always alike, neither turned nor mirrored nor recoloured.
        """
        draws = torch.Generator().manual_seed(0) if generator is None else generator
        drawn = [self._one(seen, draws, generator is not None) for seen in pictures]
        shown, there, cells, masks, labels = (torch.stack(part) for part in zip(*drawn, strict=True))
        if generator is not None:
            shown = recoloured(shown, draws)
            if not self.scales:
                shown = rescanned(less_apart(shown, masks[:, 0], draws), draws)
        return Drawn(shown, there, cells, masks, labels)

    def _one(self, seen: Seen, draws: torch.Generator, varied: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        view = self._view(seen, draws)
        if varied:
            turn = TURN if self.scales else WHOLE_TURN
            view[3] = _between(-turn, turn, draws)
            view[4] = 1.0 if _between(-1, 1, draws) < 0 else -1.0
        across = self.size + (self.grid - 1) * self.stride
        shown = cut(seen.levels, view[None], across + 2 * self.margin, torch.tensor(self.fill))[0]
        views = self._windows_of(view)
        owners = self._owners(seen, views)
        places = self._masked(owners, draws)
        masks = torch.zeros(self.masked, self.size, self.size, dtype=torch.bool)
        labels = owners[places].clone()
        for row, owner in enumerate(owners[places].tolist()):
            if owner >= 0:
                left, top = seen.boxes[owner, :2].tolist()
                masks[row] = cut_mask(seen.crops[owner], left, top, views[places[row]][None], self.size)[0]
                labels[row] = seen.labels[owner] if bool(masks[row].any()) else UNSURE
        there = torch.where(owners >= 0, 1, torch.where(owners == NONE, 0, UNSURE)).view(self.grid, self.grid)
        cells = torch.stack((places // self.grid, places % self.grid), 1)
        return shown, there, cells, masks, labels

    def _view(self, seen: Seen, draws: torch.Generator) -> Tensor:
        """Of a part of a picture, [5]; neither turned nor mirrored."""
        height, width = seen.size
        x, y, octaves = _between(-1, 1, draws), _between(-1, 1, draws), _between(-1, 1, draws)
        if not self.scales:
            fit = self.size / max(height, width)
            shift = 0.1 * self.size / fit
            return torch.tensor([width / 2 + x * shift, height / 2 + y * shift, fit * 2 ** (0.5 * octaves), 0.0, 1.0])
        kind = _between(0, 1, draws)
        scale = self.scales[int(torch.randint(len(self.scales), (), generator=draws))] * 2 ** (0.25 * octaves)
        middle = torch.tensor([(1 + x) * width / 2, (1 + y) * height / 2])
        objects = (~seen.crowd).nonzero()[:, 0]
        if len(objects) and kind > 0.2:
            at = int(objects[int(torch.randint(len(objects), (), generator=draws))])
            middles, canonical = self._canonical(seen)
            # Mostly so that the object is of the right size, at any place of the part; else any size is shown.
            if kind > 0.4:
                scale = float(canonical[at]) * 2 ** (0.75 * NEAR[1] * octaves)
            offset = torch.tensor([x, y]) * (self.grid - 1) * self.stride / 2 / scale
            middle = middles[at] - offset
        return torch.tensor([float(middle[0]), float(middle[1]), scale, 0.0, 1.0])

    def _windows_of(self, view: Tensor) -> Tensor:
        """Views of all windows of a part, row by row, [G * G, 5]."""
        steps = (torch.arange(self.grid) - (self.grid - 1) / 2) * self.stride / view[2]
        cos, sin = view[3].cos(), view[3].sin()
        across, down = steps[None, :] * view[4], steps[:, None]
        views = view.expand(self.grid, self.grid, 5).clone()
        views[..., 0] += cos * across - sin * down
        views[..., 1] += sin * across + cos * down
        return views.flatten(0, 1)

    def _masked(self, owners: Tensor, draws: torch.Generator) -> Tensor:
        """Places [r] of windows: with objects, as many as there are, and then without."""
        order = torch.randperm(len(owners), generator=draws)
        with_object = order[owners[order] >= 0][: max(1, self.masked - 1)]
        without = order[owners[order] == NONE]
        return torch.cat((with_object, without, order))[: self.masked]

    def _canonical(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Where a window must be for each object: its middle [o, 2] and its scale [o]."""
        sides = seen.boxes[:, 2:] - seen.boxes[:, :2]
        return (seen.boxes[:, :2] + seen.boxes[:, 2:]) / 2, CANONICAL * self.size / sides.amax(1)

    def _owners(self, seen: Seen, views: Tensor) -> Tensor:
        """Which object is in the middle of each view, [k], or NONE or UNSURE."""
        if not len(seen.boxes):
            return torch.full((len(views),), NONE)
        if not self.scales:
            largest = (seen.boxes[:, 2:] - seen.boxes[:, :2]).prod(1).argmax()
            return torch.full((len(views),), UNSURE if seen.crowd[largest] else int(largest))
        middle, scale = self._canonical(seen)
        offset = ((middle[None] - views[:, None, :2]) * views[:, 2, None, None]).abs().amax(2) / self.size  # [k, o]
        octaves = (views[:, 2, None] / scale[None]).log2().abs()
        inside = (offset <= NEAR[0]) & (octaves <= NEAR[1])
        outside = (offset > FAR[0]) | (octaves > FAR[1])
        nearest = (offset / NEAR[0] + octaves / NEAR[1]).masked_fill(~inside, math.inf).argmin(1)
        owner = torch.where(inside.any(1), nearest, torch.where(outside.all(1), NONE, UNSURE))
        owner[(owner >= 0) & seen.crowd[owner.clamp_min(0)]] = UNSURE
        return owner


def regions_of(masks: Tensor, generator: torch.Generator | None) -> Tensor:
    """Boxes [n, 4] to classify: around the masks [n, P, P], moved a little; in the middle where there is none."""
    n, size = masks.shape[:2]
    boxes = torch.tensor([0.25, 0.25, 0.75, 0.75]).mul(size).repeat(n, 1)
    some = masks.flatten(1).any(1)
    if bool(some.any()):
        boxes[some] = masks_to_boxes(masks[some]) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    if generator is not None:
        sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        boxes = boxes + sides * 0.1 * (2 * torch.rand(n, 4, generator=generator) - 1)
    return boxes


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
