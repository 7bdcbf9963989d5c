"""What a photo shows, by an ONNX classifier, with a heat map found by occlusion.

Letters: n photo or covered copy of it, c channel, h w places, k class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isotrain.errors import BadCheckpoint, BadOption
from isotrain.look.classes import judged, shown_part, told_class
from isotrain.look.onnx_file import OnnxFile, name_of
from isotrain.look.parts import Part, Tell, Told
from isotrain.tasks.classify_card import fitted

GRID = 7
"""Rows and columns of places that are covered, one at a time."""
USUAL = 224
"""Side of the pictures of a model that takes any size."""
NO_MEASURE = "cannot tell whether the class net knows this kind of picture"


class OnnxClasses(Part):
    """A classifier: pictures [n, c, h, w] to scores [n, k].

    Its heat map says how far the class's probability falls where a square of the photo is covered.

    Args:
        path: of the file.
        tell: is told what is guessed of it.

    Raises:
        BadCheckpoint: it cannot be read or run.
        BadOption: it is no classifier.
        MissingExtra: onnxruntime is not there.

    Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2.
    """

    name = "class"

    def __init__(self, path: Path, tell: Tell) -> None:
        self.file = file = OnnxFile(path, "--classify", "classifies pictures")
        file.refuse_other_tasks(("classify", "localise"))
        file.pictures_only()
        if len(file.outputs) != 1 or len(next(iter(file.outputs.values()))) != 2:
            raise BadOption(
                f"--classify {path} gives {file.outputs}; a classifier gives one row of scores for each picture."
            )
        beside = file.sidecar()
        batch, channels, high, wide = file.shape
        size = file.card.get("size") or beside.get("size") or USUAL
        sides = [int(side) for side in (size if isinstance(size, list) else [size, size])]
        self.channels, self.high, self.wide = channels or 3, high or sides[0], wide or sides[1]
        self.one_by_one = batch == 1
        # isotrain's own nets scale their pictures themselves; of others a file beside them says how.
        self.mean = torch.tensor(beside.get("mean", [0.0])).float().view(-1, 1, 1)
        self.spread = torch.tensor(beside.get("spread", [1.0])).float().view(-1, 1, 1)
        if not file.card and not beside and "names" not in file.told:
            tell(
                f"{path}: it does not say how its pictures are scaled: values from 0 to 1 are given to it. "
                f'{path.with_suffix(".json").name} beside it can say {{"mean": [...], "spread": [...]}}.'
            )
        if file.names is None:
            tell(f"{path}: it does not name its classes: {path.with_suffix('.txt').name} beside it can, a line each.")
        self.several = file.card.get("single") is False
        self.identity = file.identity
        self.about = {
            "part": "class", "from": str(path), "task": str(file.card.get("task", "classify")),
            "classes": file.names or [], "learned from": "", "tells what it does not know": False,
            "weights": file.digest,
        }  # fmt: skip

    def look(self, pictures: Sequence[Tensor]) -> list[Told]:
        """The class of each photo."""
        return [self._one(picture) for picture in pictures]

    def _one(self, picture: Tensor) -> Told:
        shown_chw = (fitted(picture, self.channels, self.high, self.wide).float() / 255 - self.mean) / self.spread
        copies = [shown_chw, *self._covered(shown_chw)]
        probabilities_nk = self._probabilities(torch.stack(copies))
        best = int(probabilities_nk[0].argmax())
        # In logarithms, or nothing would be seen where the net is very sure.
        fall_n = probabilities_nk[0, best].clamp_min(1e-6).log() - probabilities_nk[1:, best].clamp_min(1e-6).log()
        names = [name_of(self.file.names, place) for place in range(probabilities_nk.shape[1])]
        part = shown_part(picture, self.high, self.wide)
        says = told_class(probabilities_nk[0], names, fall_n.view(GRID, GRID), part)
        return judged(Told(says), None, NO_MEASURE)

    def _covered(self, shown_chw: Tensor) -> list[Tensor]:
        """Copies of a picture, a square of each in the picture's mean colour; squares overlap by half."""
        grey = shown_chw.mean((1, 2), keepdim=True)
        rows, columns = (np.linspace(0, side, GRID + 2).round().astype(int) for side in (self.high, self.wide))
        copies = []
        for row in range(GRID):
            for column in range(GRID):
                copy = shown_chw.clone()
                copy[:, rows[row] : rows[row + 2], columns[column] : columns[column + 2]] = grey
                copies.append(copy)
        return copies

    def _probabilities(self, pictures_nchw: Tensor) -> Tensor:
        lots = pictures_nchw.split(1 if self.one_by_one else 16)
        scores_nk = np.concatenate([self.file.run(lot.numpy())[0] for lot in lots]).astype(np.float64)
        if not np.isfinite(scores_nk).all():
            raise BadCheckpoint(f"--classify {self.file.path} gives scores that are no numbers.")
        if scores_nk.ndim != 2 or len(scores_nk) != len(pictures_nchw) or scores_nk.shape[1] < 2 - self.several:
            raise BadOption(
                f"--classify {self.file.path} gives {list(scores_nk.shape)} for {len(pictures_nchw)} pictures: a score "
                "of each of two or more classes is wanted, [pictures, classes]."
            )
        found = torch.from_numpy(scores_nk)
        if self.several:
            return found.sigmoid()
        shares = bool((found >= 0).all()) and bool(((found.sum(1) - 1).abs() < 1e-2).all())
        return found if shares else found.softmax(1)
