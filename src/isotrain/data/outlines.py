"""Which pixels are an object's: polygons, run lengths or a picture of the mask, and the mask they stand for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isotrain.data.pictures import read_values
from isotrain.errors import BadData


@dataclass(frozen=True)
class Polygons:
    """Rings x0, y0, x1, y1, ... in pixels; a pixel is inside if it is inside of any (COCO's segmentation)."""

    rings: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class RunLengths:
    """Lengths of runs of 0 and 1 by turns, column by column, from a 0 on; `size` is (height, width) (COCO's RLE)."""

    counts: tuple[int, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class MaskPicture:
    """The pixels of a picture file that have a value; None: all that are not 0."""

    path: Path
    value: int | None = None


Outline = Polygons | RunLengths | MaskPicture | Tensor
"""A Tensor is the mask itself: bool [H, W]."""

FINE = 5
"""COCO walks along a polygon on a grid this much finer than the pixels."""


def decode(outline: Outline, height: int, width: int) -> Tensor:
    """The mask an outline stands for: bool [height, width].

    Polygons are filled as COCO's own program fills them, to the pixel.

    Raises:
        BadData: the outline belongs to a picture of another size, or its file cannot be read.

    >>> decode(RunLengths((1, 2, 1), (2, 2)), 2, 2).int().tolist()
    [[0, 1], [1, 0]]
    """
    if isinstance(outline, Polygons):
        mask = np.zeros((height, width), dtype=bool)
        for ring in outline.rings:
            mask |= _filled(np.asarray(ring, dtype=np.float64), height, width)
        return torch.from_numpy(mask)
    if isinstance(outline, RunLengths):
        _same_size("a mask in run lengths", outline.size, height, width)
        counts = np.asarray(outline.counts, dtype=np.int64)
        if counts.sum() != height * width or (counts < 0).any():
            raise BadData(f"run lengths cover {counts.sum()} pixels of a picture that has {height * width}.")
        inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return torch.from_numpy(np.ascontiguousarray(inside.reshape(width, height).T))
    if isinstance(outline, MaskPicture):
        values = mask_values(outline.path)
        _same_size(f"mask {outline.path}", values.shape, height, width)
        return torch.from_numpy(values != 0 if outline.value is None else values == outline.value)
    _same_size("a mask", tuple(outline.shape), height, width)
    return outline.bool()


def box_of(mask: Tensor) -> tuple[float, float, float, float] | None:
    """The smallest box around a mask [H, W], right and bottom edges excluded; None if it is empty.

    >>> box_of(torch.tensor([[False, True], [False, True]]))
    (1.0, 0.0, 2.0, 2.0)
    """
    inside = mask.cpu().numpy()  # whose any() along a dimension is a hundred times as fast as torch's
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def bounds(outline: Polygons | RunLengths) -> tuple[float, float, float, float] | None:
    """The smallest box around an outline, without drawing it; None if it is empty.

    >>> bounds(Polygons(((1, 2, 5, 2, 5, 8),)))
    (1.0, 2.0, 5.0, 8.0)
    >>> bounds(RunLengths((3, 2, 4), (3, 3)))
    (1.0, 0.0, 2.0, 2.0)
    """
    if isinstance(outline, RunLengths):
        height = outline.size[0]
        edges = np.cumsum(outline.counts)
        first, behind = edges[0::2][: len(edges) // 2], edges[1::2]
        first, last = first[behind > first], behind[behind > first] - 1
        if not len(first):
            return None
        columns = first // height, last // height
        if (columns[0] != columns[1]).any():  # a run goes on in the next column: from the bottom to the top
            top, bottom = 0, height
        else:
            top, bottom = (first % height).min(), (last % height).max() + 1
        return float(columns[0].min()), float(top), float(columns[1].max() + 1), float(bottom)
    x, y = [value for ring in outline.rings for value in ring[::2]], [v for ring in outline.rings for v in ring[1::2]]
    return float(min(x)), float(min(y)), float(max(x)), float(max(y))


def run_lengths(mask: Tensor) -> RunLengths:
    """A mask [H, W] as runs of 0 and 1 down its columns.

    >>> run_lengths(torch.tensor([[False, True], [True, False]])).counts
    (1, 2, 1)
    """
    height, width = mask.shape
    flat = mask.bool().cpu().numpy().T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1])) if flat.size else np.array([0])
    return RunLengths(tuple(np.diff(edges, prepend=0).tolist()), (height, width))


def encode_rle(mask: Tensor) -> dict[str, Any]:
    """A mask [H, W] in COCO's compressed form, as it is written to JSON.

    >>> encode_rle(torch.tensor([[False, True], [True, False]]))
    {'size': [2, 2], 'counts': '121'}
    """
    runs = run_lengths(mask)
    return {"size": list(runs.size), "counts": _compressed(runs.counts)}


def rle(counts: str | Sequence[int], size: Sequence[int]) -> RunLengths:
    """COCO's run lengths, compressed to a string or not.

    Raises:
        BadData: the string or the sizes are none of COCO's, or the runs cover more or less than the picture.

    >>> rle("121", (2, 2)).counts
    (1, 2, 1)
    """
    if len(size) != 2:
        raise BadData(f"the size of a mask is [height, width], not {list(size)}.")
    numbers = _uncompressed(counts) if isinstance(counts, str) else np.asarray(counts, dtype=np.int64)
    height, width = int(size[0]), int(size[1])
    if (numbers < 0).any() or numbers.sum() != height * width:
        raise BadData(f"run lengths cover {numbers.sum()} pixels of a mask of {height} x {width}.")
    return RunLengths(tuple(numbers.tolist()), (height, width))


def _filled(ring: np.ndarray[Any, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """Pixels inside of one ring, [height, width].

    The walk along the ring on the fine grid crosses the middles of pixel columns; a pixel is inside if an odd number
    of crossings lies before it, down the columns (the even-odd rule).
    """
    points = np.trunc(FINE * ring.reshape(-1, 2) + 0.5).astype(np.int64)
    start, end = points, np.roll(points, -1, axis=0)
    steps = np.abs(end - start)  # [edges, (x, y)]
    flat = steps[:, 0] >= steps[:, 1]
    # Each edge is drawn from its lower end, and given in the direction of the walk.
    turned = np.where(flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])[:, None]
    low, high = np.where(turned, end, start), np.where(turned, start, end)
    long = np.where(flat, steps[:, 0], steps[:, 1])
    rise = np.where(flat, (high - low)[:, 1], (high - low)[:, 0]) / np.maximum(long, 1)
    edge = np.repeat(np.arange(len(points)), long + 1)
    along = np.arange(len(edge)) - np.repeat(np.cumsum(long + 1) - long - 1, long + 1)
    along = np.where(turned[edge, 0], long[edge] - along, along)
    across = rise[edge] * along
    x = np.where(flat[edge], low[edge, 0] + along, np.trunc(low[edge, 0] + across + 0.5).astype(np.int64))
    y = np.where(flat[edge], np.trunc(low[edge, 1] + across + 0.5).astype(np.int64), low[edge, 1] + along)
    moved = np.flatnonzero(x[1:] != x[:-1]) + 1
    column = (np.where(x[moved] < x[moved - 1], x[moved], x[moved] - 1) + 0.5) / FINE - 0.5
    crosses = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    row = (np.minimum(y[moved], y[moved - 1]) + 0.5) / FINE - 0.5
    row = np.ceil(np.clip(row, 0, height))
    places = (column * height + row)[crosses].astype(np.int64)
    crossings = np.bincount(places, minlength=height * width + 1)[: height * width]
    inside: np.ndarray[Any, Any] = (np.cumsum(crossings) % 2 == 1).reshape(width, height).T
    return inside


def _compressed(counts: Sequence[int]) -> str:
    """Each number less the one two before it, in groups of 5 bits from the low end, a sixth bit for "more follows"."""
    numbers = np.asarray(counts, dtype=np.int64)
    numbers[3:] -= np.asarray(counts, dtype=np.int64)[1:-2]
    letters = []
    for number in numbers.tolist():
        more = True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            letters.append(chr(48 + bits + 32 * more))
    return "".join(letters)


def _uncompressed(text: str) -> np.ndarray[Any, Any]:
    codes = np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if (codes < 0).any() or (codes > 63).any() or (len(codes) and codes[-1] & 32):
        raise BadData(f"{text[:20]!r}... is not a compressed mask of COCO's: cut short or mistyped.")
    if not len(codes):
        return codes
    last = (codes & 32) == 0
    number = np.cumsum(last) - last  # which number a letter belongs to
    first = np.flatnonzero(np.diff(number, prepend=-1))
    shift = 5 * (np.arange(len(codes)) - first[number])
    if shift.max() > 55:
        raise BadData(f"{text[:20]!r}... is not a compressed mask of COCO's: a number has too many digits.")
    numbers = np.bincount(number, minlength=last.sum()) * 0
    np.add.at(numbers, number, (codes & 31) << shift)
    numbers -= np.where(codes[last] & 16, np.int64(32) << shift[last], 0)
    for parity in (1, 2):
        numbers[parity::2] = np.cumsum(numbers[parity::2])
    return numbers


def mask_values(path: Path) -> np.ndarray[Any, Any]:
    """The numbers of a mask picture, [H, W]; the last few files are kept, as one file may hold many objects.

    Raises:
        BadData: it cannot be read, or it has colours that are not all equal.
    """
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise BadData(f"mask {path} cannot be read: {error.strerror}.") from error
    return _mask_values(path, stamp)


@functools.lru_cache(maxsize=4)
def _mask_values(path: Path, stamp: int) -> np.ndarray[Any, Any]:
    values = read_values(path)
    if values.ndim == 3:
        if (values != values[:, :, :1]).any():
            raise BadData(f"mask {path} is in colour: save it with one channel, 0 for what is no object.")
        values = values[:, :, 0]
    values.setflags(write=False)
    return values


def _same_size(thing: str, size: Sequence[int], height: int, width: int) -> None:
    if tuple(size) != (height, width):
        shape = " x ".join(map(str, size))
        raise BadData(f"{thing} is {shape}, its picture {height} x {width} pixels (height x width).")
