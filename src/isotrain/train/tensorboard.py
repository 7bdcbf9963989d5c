"""A training for TensorBoard: its scalars while it runs, its scores and pictures at its end, into RUN/tensorboard.

Taken up again, a run writes its first step as `purge_step`: TensorBoard then drops what an earlier, killed part wrote
of this and later steps, and nothing is shown twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from isotrain.errors import BadOption, MissingExtra

if TYPE_CHECKING:
    from isotrain.train.loop import Training

BOARD = "tensorboard"
"""Folder in the run's."""
MOST = 2000
"""Points of a curve, at most: a point is the mean loss of the steps since the one before."""


class Board:
    """Writes what TensorBoard shows; to be used as a context. Given a training after each of its steps, a point of it.

    Of several processes that train together (torchrun), process 0 writes.

    Args:
        run: folder of the run.

    Raises:
        MissingExtra: tensorboard is not there.
    """

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("--tensorboard needs tensorboard: pip install 'isotrain[tensorboard]'.") from error
        self.folder = run / BOARD
        self._make = SummaryWriter
        self._writer: Any = None
        self._losses: list[float] = []
        self._silent = os.environ.get("RANK", "0") != "0"

    def __call__(self, training: Training) -> None:
        """A step was made.

        Raises:
            BadOption: the folder cannot be written.
        """
        if self._silent:
            return
        step, _, _, loss, held_out = training.curve[-1]
        self._losses.append(loss)
        if held_out is None and step % max(1, training.steps // MOST) and step < training.steps:
            return
        self._open(step)
        self._writer.add_scalar("loss", sum(self._losses) / len(self._losses), step)
        self._writer.add_scalar("step length", step_length(training.optimizer), step)
        if held_out is not None:
            self._writer.add_scalar("held out", held_out, step)
        self._losses = []

    def end(self, step: int, scores: Mapping[str, Any], pictures: Path) -> None:
        """What a run came to: numbers of its scores, and the pictures in a folder.

        Raises:
            BadOption: the folder cannot be written.
        """
        if self._silent:
            return
        self._open(step + 1)
        for part, found in scores.items():
            for name, value in _numbers(found):
                self._writer.add_scalar(f"{part}/{name}", value, step)
        for path in sorted(pictures.glob("*.png")):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image(path.stem, pixels, step, dataformats="HWC")

    def _open(self, step: int) -> None:
        """With the first point, so that a run that is refused leaves nothing; from this step on all is new."""
        if self._writer is None:
            try:
                self._writer = self._make(str(self.folder), purge_step=step)
            except OSError as error:
                raise BadOption(f"{self.folder} cannot be written: {error.strerror or error}.") from error

    def __enter__(self) -> Board:
        """Nothing is written yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is waiting, and close."""
        if self._writer is not None:
            self._writer.close()


def step_length(optimizer: Any) -> float:
    """How far the last step went along its direction: the mean over the layers, or the rate of an ordinary optimizer.

    >>> import torch
    >>> step_length(torch.optim.SGD([torch.zeros(1)], lr=0.5))
    0.5
    """
    moved = [
        float(value)
        for kept in getattr(optimizer, "state", {}).values()
        for name, value in kept.items()
        if isinstance(name, str) and name.endswith("moved")
    ]
    return sum(moved) / len(moved) if moved else float(optimizer.param_groups[0]["lr"])


def _numbers(scores: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers by name, those of classes with the class behind."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key}", number) for key, number in _numbers(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)
