"""The objects of a photo, by an ONNX detector: what its outputs are is told by their shapes.

Letters: a anchor or row, k class, n object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isotrain.data.pictures import in_channels
from isotrain.errors import BadCheckpoint, BadOption
from isotrain.look.objects import MOST, SURE
from isotrain.look.onnx_file import OnnxFile, name_of
from isotrain.look.onnx_masks import Masks, apart, mixed
from isotrain.look.parts import Part, Tell, Told
from isotrain.vision.boxes import Letterbox, clean

USUAL = 640
"""Side of the pictures of a model that takes any size."""
AROUND = 114 / 255
"""Grey around a picture in the model's rectangle, as YOLO has it."""
SAME = 0.5
"""Overlap from which on two finds of a class are one."""
FEW = 1000
"""Rows of a table of six columns up to which they are objects; there are more anchors than that."""


class Finds(NamedTuple):
    """Objects in pixels of the model's rectangle: boxes [n, 4], scores [n], labels [n], and masks if it gives any."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Masks | None = None


class OnnxObjects(Part):
    """A detector.

    Known are: one output [1, 4 + k, a] (boxes by their middles and sizes, then a score for each class: YOLO from
    version 8 on); [1, a, 5 + k] (the same, with a score of there being anything before those of the classes: YOLO 5 and
    7); [1, n, 6] (corners, score, class: YOLO 10); and boxes [n, 4], labels [n], scores [n] (torchvision), with or
    without a first dimension of 1. Masks: a second output [1, m, h, w] of patterns, with m more numbers in each row to
    mix them by (YOLO's segmenters); or probabilities [n, 1, high, wide] over the whole picture (torchvision).

    Args:
        path: of the file.
        tell: is told what is not said of its classes.

    Raises:
        BadCheckpoint: it cannot be read or run.
        BadOption: it is no such detector.
        MissingExtra: onnxruntime is not there.
    """

    name = "objects"

    def __init__(self, path: Path, tell: Tell) -> None:
        self.file = file = OnnxFile(path, "--objects", "finds objects")
        # isotrain's own detectors are exported without their search for regions.
        file.refuse_other_tasks(())
        file.pictures_only()
        self.bare = len(file.shape) == 3  # torchvision's own export: a picture, not a lot of them
        high, wide = file.shape[-2:]
        size = _sides(file.told.get("imgsz")) or file.sidecar().get("size") or USUAL
        sides = [int(side) for side in (size if isinstance(size, list) else [size, size])]
        self.high, self.wide = high or sides[0], wide or sides[1]
        self.channels = file.shape[-3] or 3
        if file.names is None:
            tell(f"{path}: it does not name its classes: {path.with_suffix('.txt').name} beside it can, a line each.")
        # What does not run, or gives something else, is refused before a user waits for it.
        given = self._run(torch.full((self.channels, self.high, self.wide), AROUND))
        finds = finds_of(given, file.names, str(path), (self.high, self.wide))
        large = [f"{name} {list(one.shape)}" for name, one in given.items() if one.ndim > 3]
        if large and finds.masks is None:
            tell(f"{path}: masks of no known form ({', '.join(large)}): its objects have boxes alone.")
        self.identity = file.identity
        self.about = {
            "part": "objects", "from": str(path), "task": "detect", "classes": file.names or [], "learned from": "",
            "tells what it does not know": False, "weights": file.digest,
        }  # fmt: skip

    def look(self, pictures: Sequence[Tensor]) -> list[Told]:
        """The objects of each photo."""
        why = "objects: cannot tell whether the objects net knows this kind of picture"
        return [Told(self._found(picture), [why]) for picture in pictures]

    def _found(self, picture: Tensor) -> list[dict[str, Any]]:
        from torchvision.ops import batched_nms

        height, width = picture.shape[1:]
        fit = Letterbox(height, width, self.high, self.wide)
        shown = fit.picture(in_channels(picture, self.channels).float() / 255, AROUND)
        finds = finds_of(self._run(shown), self.file.names, str(self.file.path), (self.high, self.wide))
        sure = (finds.scores >= SURE).nonzero()[:, 0]
        boxes, kept = clean(fit.back(finds.boxes[sure]), height, width)
        scores, labels = finds.scores[sure][kept], finds.labels[sure][kept]
        order = batched_nms(boxes, scores, labels, SAME)[:MOST]
        rows = zip(*(t[order].tolist() for t in (boxes, scores, labels, sure[kept])), strict=True)
        return [
            {
                "name": name_of(self.file.names, label), "score": round(score, 4),
                "box": [round(edge, 1) for edge in box],
                "outline": [] if finds.masks is None else finds.masks.outline(place, box, fit),
            }
            for box, score, label, place in rows
        ]  # fmt: skip

    def _run(self, shown_chw: Tensor) -> dict[str, NDArray[Any]]:
        given = self.file.run(shown_chw.numpy() if self.bare else shown_chw[None].numpy())
        return dict(zip(self.file.outputs, given, strict=True))


def finds_of(outputs: dict[str, NDArray[Any]], names: Sequence[str] | None, path: str, sides: tuple[int, int]) -> Finds:
    """What the outputs of a detector say, in pixels of its rectangle.

    Args:
        outputs: by their names.
        names: of the classes, as far as they are known: how many there are tells apart what the shapes do not.
        path: for messages.
        sides: height and width of the rectangle.

    Raises:
        BadOption: they are of no known form.
        BadCheckpoint: they hold what is no number.

    >>> one = np.array([[[10.0], [10.0], [4.0], [4.0], [0.1], [0.9]]])  # [1, 4 + 2, 1]
    >>> finds_of({"output0": one}, ["cat", "dog"], "a.onnx", (64, 64))
    Finds(boxes=tensor([[ 8.,  8., 12., 12.]]), scores=tensor([0.9000]), labels=tensor([1]), masks=None)
    """
    for one in outputs.values():
        if one.dtype.kind == "f" and not (np.abs(one) <= np.finfo(np.float32).max).all():
            raise BadCheckpoint(f"--objects {path} gives what is no number.")
    ended = _ended(outputs)
    if ended is not None:
        return ended._replace(masks=apart(outputs, len(ended.boxes), sides))
    tables = [one[0] for one in outputs.values() if one.ndim == 3 and one.shape[0] == 1]
    if len(tables) == 1 and len(outputs) <= 2:
        patterns = mixed(outputs)
        table = torch.from_numpy(tables[0].astype(np.float32))
        found = _table(table, None if names is None else len(names), patterns)
        if found is not None:
            return found
    shapes = ", ".join(f"{name} {list(one.shape)}" for name, one in outputs.items())
    raise BadOption(
        f"--objects {path} gives {shapes}{_number(names)}. Known are [1, 4 + classes, anchors], [1, anchors, 5 + "
        "classes], [1, objects, 6], and boxes [n, 4], labels [n], scores [n]; with masks, more (docs/look.md)."
    )


def _ended(outputs: dict[str, NDArray[Any]]) -> Finds | None:
    """Boxes, labels and scores, each an output of its own."""
    flat = [
        one[0] if one.ndim > 1 and one.shape[0] == 1 and one.shape[-1:] != (1,) else one for one in outputs.values()
    ]
    whole = list(outputs.values())
    # A single object [1, 4] is no lot of one: only what has too many dimensions is taken out of its lot.
    rows = [one if one.ndim <= 2 and _is_boxes(one) else other for one, other in zip(whole, flat, strict=True)]
    boxes = [one for one in rows if _is_boxes(one)]
    labels = [one for one in rows if one.ndim == 1 and one.dtype.kind in "iu"]
    scores = [one for one in rows if one.ndim == 1 and one.dtype.kind == "f"]
    if len(boxes) != 1 or len(labels) != 1 or len(scores) != 1:
        return None
    if not len(boxes[0]) == len(labels[0]) == len(scores[0]):
        return None
    return Finds(
        torch.from_numpy(boxes[0].astype(np.float32)), torch.from_numpy(scores[0].astype(np.float32)),
        torch.from_numpy(labels[0].astype(np.int64)),
    )  # fmt: skip


def _is_boxes(one: NDArray[Any]) -> bool:
    return one.ndim == 2 and one.shape[1] == 4 and one.dtype.kind == "f"


def _table(table: Tensor, classes: int | None, patterns: Tensor | None) -> Finds | None:
    """One table of a row for each anchor or object, or a column for each."""
    rows, columns = table.shape
    mixes = 0 if patterns is None else len(patterns)
    # Of one class, YOLO 5's tables have as many columns: but theirs are probabilities, and not all of them 0.
    if columns == 6 + mixes and rows <= FEW and (classes != 1 or not table[:, 5].any()):
        return Finds(table[:, :4], table[:, 4], table[:, 5].round().long(), _mixed(table[:, 6:], patterns))
    tall = _by_columns(rows, columns, classes, mixes)
    if tall is None:
        return None
    table = table if tall else table.T
    last = table.shape[1] - mixes
    scores_ak = table[:, 5:last] * table[:, 4:5] if tall else table[:, 4:last]
    scores, labels = scores_ak.max(1)
    middles, half = table[:, :2], table[:, 2:4] / 2
    return Finds(torch.cat([middles - half, middles + half], 1), scores, labels, _mixed(table[:, last:], patterns))


def _mixed(weights: Tensor, patterns: Tensor | None) -> Masks | None:
    return None if patterns is None else Masks(patterns, weights)


def _by_columns(rows: int, columns: int, classes: int | None, mixes: int) -> bool | None:
    """Whether a table is [a, 5 + k + m] (not [4 + k + m, a]); None if it is neither."""
    if classes is not None:
        return True if columns == 5 + classes + mixes else False if rows == 4 + classes + mixes else None
    if min(rows, columns) < 5 + mixes:
        return None
    return columns < rows and columns > 5 + mixes


def _number(names: Sequence[str] | None) -> str:
    return "" if names is None else f" for {len(names)} classes"


def _sides(text: str | None) -> list[int] | None:
    """Height and width as ultralytics writes them."""
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return [int(side) for side in found] if isinstance(found, list) and len(found) == 2 else None
