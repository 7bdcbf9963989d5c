"""The objects of a photo, by a run of `masks` or of `detect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from isotrain.look.outlines import outline_of
from isotrain.look.parts import Tell, Told
from isotrain.look.runs import RunPart
from isotrain.look.views import shrunk
from isotrain.tasks.base import Task
from isotrain.tasks.looking import PictureTask

SURE = 0.5
"""Score from which on an object is told of."""
MOST = 50
"""Objects told of in a photo."""
ROOM = 2.0
"""A photo is looked through at up to so many times the size of the pictures learned from: objects may be smaller."""


class RunObjects(RunPart):
    """Objects with boxes, and where the run gives masks with outlines.

    Args:
        run: its folder.
        task: of it.
        net: in evaluation mode.
        card: of it, whole.
        tell: as of every run.
        sure: score from which on an object is told of.
    """

    name = "objects"

    def __init__(
        self, run: Path, task: Task, net: nn.Module, card: dict[str, Any], tell: Tell, sure: float = SURE
    ) -> None:
        super().__init__(run, task, net, card, tell)
        self.sure = sure

    def look(self, pictures: Sequence[Tensor]) -> list[Told]:
        """The objects of each photo; none where the photo is unlike what the net learned from."""
        told = []
        for picture, why in zip(pictures, self.knowing.why_not(pictures), strict=True):
            if why is not None:
                told.append(Told([], [f"objects: {why}"]))
                continue
            untold = self.knowing.untold
            told.append(Told(self._found(picture), [] if untold is None else [f"objects: {untold}"]))
        return told

    def _found(self, picture: Tensor) -> list[dict[str, Any]]:
        task = cast(PictureTask, self.task)
        familiar = self.knowing.familiar
        longest = round(self.knowing.longest * (ROOM if familiar is not None else 1))
        small = (shrunk(picture, len(picture), longest) * 255).round().to(torch.uint8)
        across, down = picture.shape[2] / small.shape[2], picture.shape[1] / small.shape[1]
        found = task.predict(self.net, small)
        objects = []
        for place, one in enumerate(found.answer["objects"][:MOST]):
            if one["score"] < self.sure:
                continue
            left, top, right, bottom = one["box"]
            box = [round(edge, 1) for edge in (left * across, top * down, right * across, bottom * down)]
            outline = [] if found.masks is None else outline_of(found.masks[place], (across, down))
            objects.append({"name": one["class"], "score": one["score"], "box": box, "outline": outline})
        return objects
