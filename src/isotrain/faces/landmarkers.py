"""What finds the landmarks of faces: the net that comes with isotrain, or a run of `isotrain train landmarks`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from isotrain.errors import BadCheckpoint, BadOption
from isotrain.faces.parts import Landmarker, Marked
from isotrain.tasks.landmarks import Landmarks, square_in
from isotrain.train.rundir import load_run

SHIPPED = Path(__file__).parent.parent / "weights" / "landmarks"


def landmarker_named(text: str) -> Landmarker:
    """A landmarker by name or run folder.

    Args:
        text: "shipped", or a run folder of the task landmarks.

    Raises:
        BadOption: there is no such folder.
        BadCheckpoint: the folder holds no run, or one of another task.

    >>> landmarker_named("shipped").name
    'shipped'
    """
    if text == "shipped":
        return OfRun(SHIPPED, "shipped")
    if not Path(text).is_dir():
        raise BadOption(f"landmarks {text!r}: give a run folder of `isotrain train landmarks`, or 'shipped'.")
    return OfRun(Path(text))


class OfRun:
    """A net of heat maps that was trained by isotrain.

    Args:
        run: its folder.
        name: of the landmarker; by default the folder's.

    Raises:
        BadCheckpoint: the folder holds no run, or one of another task.
    """

    def __init__(self, run: Path, name: str = "") -> None:
        task, self._net, card = load_run(run)
        if not isinstance(task, Landmarks):
            raise BadCheckpoint(f"{run} holds a run of {card['task']}: landmarks need a run of the task landmarks.")
        self.name, self._task = name or run.name, task

    def mark(self, picture: Tensor | Sequence[Tensor], boxes: Tensor) -> Marked:
        """The landmarks of the faces in boxes [n, 4] of a picture, or of n pictures, one for each."""
        if not len(boxes):
            return Marked(torch.zeros(0, 68, 2), torch.zeros(0))
        return Marked(*self._task.mark(self._net, picture, square_in(boxes)))
