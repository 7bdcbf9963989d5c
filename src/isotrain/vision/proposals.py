"""Where objects may be: selective search, which groups segments of a picture until one is left.

Segments of several scales and colour spaces (`segments`, `colours`) are joined two by two, the most similar neighbours
first; the box of every region on the way is a proposal. Similar means of like colour, of like texture, small, and
filling a box together.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isotrain.errors import BadData, UnknownName
from isotrain.vision.colours import SPACES
from isotrain.vision.segments import edges_of, segments, smoothed

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

COLOUR_BINS, TEXTURE_BINS, DIRECTIONS = 25, 10, 8
SLOPE_RANGE = 64.0
"""Slopes of [0, 255] a pixel are counted up to this."""
REFERENCE = 320
"""Side of the square picture that the scales are meant for; a smaller one is cut into about as many segments."""
NEAR = 0.9
"""Overlap of boxes above which the later is left out."""


@dataclass(frozen=True)
class Search:
    """How much is tried.

    Attributes:
        spaces: colour spaces the picture is cut up in and compared in.
        scales: of the segments.
        measures: sums of similarities: c colour, t texture, s size, f fill.
        longest: side of the picture it is reduced to first.
    """

    spaces: tuple[str, ...]
    scales: tuple[float, ...]
    measures: tuple[str, ...]
    longest: int


SEARCHES = {
    "fast": Search(("hsv", "lab"), (50, 100), ("ctsf", "tsf"), 224),
    "quality": Search(("hsv", "lab", "rgi", "hue", "grey"), (50, 100, 150, 300), ("ctsf", "tsf", "f", "s"), 384),
}
"""The two of the paper: 8 and 80 ways of grouping."""


def proposals(picture: Tensor, search: str = "fast", most: int = 2000, seed: int = 0, smallest: float = 4.0) -> Tensor:
    """Boxes around what may be objects, of any kind.

    Args:
        picture: uint8 [1 or 3, H, W].
        search: "fast" or "quality".
        most: boxes to return.
        seed: of the order; 0 or more.
        smallest: side of a box in pixels that is kept.

    Returns:
        float32 [R, 4], R <= most, the likeliest first; at least the whole picture.

    Raises:
        BadData: the picture is not uint8 [1 or 3, H, W].
        UnknownName: there is no such search.

    Source: Uijlings et al. 2013, "Selective Search for Object Recognition", sections 3 and 4.
    """
    if search not in SEARCHES:
        raise UnknownName("search", search, SEARCHES)
    if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[0] not in (1, 3) or not picture.numel():
        raise BadData(f"a picture is uint8 [1 or 3, H, W], not {picture.dtype} {list(picture.shape)}.")
    from torchvision.ops import nms

    how = SEARCHES[search]
    height, width = picture.shape[1:]
    image = _reduced(picture, how.longest)
    across, down = width / image.shape[1], height / image.shape[0]
    rng = np.random.default_rng(seed)
    boxes, ranks = [np.array([[0, 0, image.shape[1], image.shape[0]]])], [np.zeros(1)]
    for hierarchy in _hierarchies(image, how, grey=picture.shape[0] == 1):
        boxes.append(hierarchy)
        # The last joined comes first, but not always: else all that is large would come before all that is small.
        ranks.append(np.arange(len(hierarchy), 0, -1) * rng.random(len(hierarchy)))
    together = np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]
    # The ways of grouping share many boxes: each stays where it comes first.
    first = np.sort(np.unique(together @ (image.shape[0] + image.shape[1] + 1) ** np.arange(4), return_index=True)[1])
    found = torch.from_numpy(together[first]).float() * torch.tensor([across, down, across, down])
    wide, high = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    found = found[(wide >= min(smallest, width)) & (high >= min(smallest, height))]
    return found[nms(found, -torch.arange(len(found), dtype=torch.float32), NEAR)[:most]]


def _reduced(picture: Tensor, longest: int) -> Floats:
    """[H, W, 3] in [0, 255], its longer side at most `longest`."""
    height, width = picture.shape[1:]
    image = picture.float().expand(3, -1, -1)
    if max(height, width) > longest:
        scale = longest / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        image = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _hierarchies(image: Floats, how: Search, grey: bool) -> Iterator[Ints]:
    """Boxes of the regions of each way of grouping, in the order in which they came to be."""
    seen = min(1.0, float(np.sqrt(image.shape[0] * image.shape[1])) / REFERENCE)
    for space in ("grey",) if grey else how.spaces:
        view = SPACES[space](image)
        edges = edges_of(view)
        colour, texture = _colour_bins(view), _texture_bins(view)
        for scale in how.scales:
            cut = segments(edges, scale * seen, max(4, round(scale * seen * seen)))
            regions = Regions.of(cut, colour, texture, view.shape[-1])
            for measure in how.measures:
                yield _grouped(regions, measure)


def _colour_bins(view: Floats) -> Ints:
    """Number of the bin of each pixel and channel, [pixels, C]."""
    level = (view * (COLOUR_BINS / 256)).astype(np.int64).clip(0, COLOUR_BINS - 1)
    return level.reshape(-1, view.shape[-1]) + np.arange(view.shape[-1]) * COLOUR_BINS


def _texture_bins(view: Floats) -> Ints:
    """Number of the bin of each pixel, channel and direction of slope, [pixels, C * DIRECTIONS]."""
    smooth = smoothed(view, 1.0)
    down = np.gradient(smooth, axis=0) if len(smooth) > 1 else np.zeros_like(smooth)
    across = np.gradient(smooth, axis=1) if smooth.shape[1] > 1 else np.zeros_like(smooth)
    angles = np.arange(DIRECTIONS, dtype=np.float32) * (2 * np.pi / DIRECTIONS)
    # Each direction sees the slopes upwards along it alone, so that opposite ones tell light-dark from dark-light.
    slopes = across[..., None] * np.cos(angles) + down[..., None] * np.sin(angles)
    level = (slopes * (TEXTURE_BINS / SLOPE_RANGE)).astype(np.int64).clip(0, TEXTURE_BINS - 1)
    level = level.reshape(view.shape[0] * view.shape[1], -1)
    return np.asarray(level + np.arange(level.shape[1]) * TEXTURE_BINS, np.int64)


@dataclass(frozen=True)
class Regions:
    """Segments of a picture and what they are compared by.

    Attributes:
        size: pixels of each, in parts of the picture, [N].
        boxes: around each, [N, 4], right and bottom excluded.
        looks: normalized histograms of colour, then of texture, [N, F].
        colours: how many of the F are of colour.
        pairs: which two touch, [P, 2].
        area: pixels of the picture.
    """

    size: Floats
    boxes: Ints
    looks: Floats
    colours: int
    pairs: Ints
    area: int

    @classmethod
    def of(cls, cut: Ints, colour: Ints, texture: Ints, channels: int) -> Regions:
        """The regions of `cut`, [H, W] numbered from 0, from the bins of its pixels."""
        number, flat = int(cut.max()) + 1, cut.ravel()
        size = np.bincount(flat, minlength=number)
        looks = [_histograms(flat, colour, number, channels * COLOUR_BINS)]
        looks.append(_histograms(flat, texture, number, channels * DIRECTIONS * TEXTURE_BINS))
        touching = [np.stack([cut[:, 1:].ravel(), cut[:, :-1].ravel()]), np.stack([cut[1:].ravel(), cut[:-1].ravel()])]
        a, b = np.concatenate(touching, 1)
        codes = np.unique((np.minimum(a, b) * number + np.maximum(a, b))[a != b])
        return cls(
            (size / flat.size).astype(np.float32),
            _boxes_around(cut, number),
            np.concatenate(looks, 1),
            channels * COLOUR_BINS,
            np.stack([codes // number, codes % number], 1),
            flat.size,
        )


def _histograms(flat: Ints, bins: Ints, regions: int, number: int) -> Floats:
    """Histograms of the pixels' bins for each region, each of sum 1: [regions, number]."""
    counts = np.bincount((flat[:, None] * number + bins).ravel(), minlength=regions * number).reshape(regions, number)
    return np.asarray(counts / counts.sum(1, keepdims=True), np.float32)


def _boxes_around(cut: Ints, number: int) -> Ints:
    height, width = cut.shape
    boxes = np.empty((number, 4), np.int64)
    # The last value put in a place stays: backwards for the first row and column, forwards for the last.
    rows = np.arange(cut.size) // width
    flat, turned = cut.ravel(), cut.T.ravel()
    turned_columns = np.arange(cut.size) // height
    boxes[flat[::-1], 1] = rows[::-1]
    boxes[flat, 3] = rows + 1
    boxes[turned[::-1], 0] = turned_columns[::-1]
    boxes[turned, 2] = turned_columns + 1
    return boxes


def _grouped(regions: Regions, measure: str) -> Ints:
    """Boxes of the regions and of all that come to be when the most similar neighbours are joined: [2N - 1, 4]."""
    number = len(regions.size)
    whole = 2 * number - 1
    size = np.concatenate([regions.size, np.zeros(number - 1, np.float32)])
    boxes = np.concatenate([regions.boxes, np.zeros((number - 1, 4), np.int64)])
    looks = regions.looks if "c" in measure else regions.looks[:, regions.colours :]
    looks = np.concatenate([looks, np.zeros((number - 1, looks.shape[1]), np.float32)])
    weigh = _Similarity(size, boxes, looks, regions.area, measure)
    neighbours: list[set[int]] = [set() for _ in range(whole)]
    pairs = regions.pairs.tolist()
    for i, j in pairs:
        neighbours[i].add(j)
        neighbours[j].add(i)
    # Similarities negated: the heap gives the least first.
    least = -weigh(regions.pairs[:, 0], regions.pairs[:, 1])
    heap = [(value, i, j) for value, (i, j) in zip(least.tolist(), pairs, strict=True)]
    heapq.heapify(heap)
    gone = [False] * whole
    new = number
    while heap:
        _, i, j = heapq.heappop(heap)
        if gone[i] or gone[j]:
            continue
        gone[i] = gone[j] = True
        size[new] = size[i] + size[j]
        looks[new] = (size[i] * looks[i] + size[j] * looks[j]) / size[new]
        np.minimum(boxes[i, :2], boxes[j, :2], out=boxes[new, :2])
        np.maximum(boxes[i, 2:], boxes[j, 2:], out=boxes[new, 2:])
        around = sorted((neighbours[i] | neighbours[j]) - {i, j})
        neighbours[new] = set(around)
        for k in around:
            neighbours[k] -= {i, j}
            neighbours[k].add(new)
        if around:
            for value, k in zip((-weigh(np.array(around), new)).tolist(), around, strict=True):
                heapq.heappush(heap, (value, k, new))
        new += 1
    return boxes[:new]


@dataclass(frozen=True)
class _Similarity:
    """Of regions i, [M], each with region j, [M] or one: [M]."""

    size: Floats
    boxes: Ints
    looks: Floats
    area: int
    measure: str

    def __call__(self, i: Ints, j: Ints | int) -> NDArray[Any]:
        total = np.zeros(len(i), np.float32)
        if "c" in self.measure or "t" in self.measure:
            total += np.minimum(self.looks[i], self.looks[j]).sum(-1)  # of colour and of texture, added up
        together = self.size[i] + self.size[j]
        if "s" in self.measure:
            total += 1 - together
        if "f" in self.measure:
            a, b = self.boxes[i], self.boxes[j]
            sides = np.maximum(a[:, 2:], b[..., 2:]) - np.minimum(a[:, :2], b[..., :2])
            total += 1 - (sides[:, 0] * sides[:, 1] / self.area - together)
        return total
