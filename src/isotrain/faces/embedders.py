"""What represents aligned faces by vectors, by its path: a run of isotrain's own, or any public model as ONNX."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isotrain.errors import BadCheckpoint, BadOption
from isotrain.faces.onnx_model import OnnxEmbedder
from isotrain.faces.parts import Alignment, Embedder
from isotrain.faces.vectors import bound, checked_crops, unit_vectors
from isotrain.train.rundir import WEIGHTS, RunFolder, load_run

TASK = "faces"
CHUNK = 64
"""Faces at a time."""


def warn(words: str) -> None:
    """Tell a user by a warning: what `embedder_named` does where nobody listens otherwise."""
    warnings.warn(words, stacklevel=2)


def embedder_named(text: str | Path, tell: Callable[[str], None] = warn) -> Embedder:
    """The embedder at a path.

    Args:
        text: a run folder of the task "faces", or a file `model.onnx`; its pipeline is described by `model.json` beside
            it (`isotrain.faces.pipelines`), or guessed from its names and shapes.
        tell: is called with what a user should know: that a pipeline was guessed, and as what.

    Raises:
        BadOption: the path is neither, the run is of another task, or the model's pipeline is not known.
        BadCheckpoint: the run or the model is missing or damaged.
        BadData: the model's sidecar is wrong.
        MissingExtra: the model needs onnxruntime.
        UnknownName: the run is of a task that this version does not have.
    """
    path = Path(text)
    if path.is_dir():
        return RunEmbedder(path)
    if path.suffix.lower() == ".onnx":
        return OnnxEmbedder(path, tell)
    why = "is neither a run folder nor a file ending in .onnx" if path.exists() else "does not exist"
    raise BadOption(
        f"embedder {str(text)!r} {why}: give a run of `isotrain train {TASK}`, or a face model as ONNX. Nothing is "
        "ever downloaded."
    )


class RunEmbedder:
    """An `isotrain.faces.parts.Embedder` that isotrain trained.

    Args:
        path: of the run folder.

    Raises:
        BadOption: a run of another task.
        BadCheckpoint: no run, or a damaged one.
        UnknownName: its task is not one of this version's.
    """

    def __init__(self, path: Path) -> None:
        task_name = RunFolder(path).card()["task"]
        if task_name != TASK:
            raise BadOption(
                f"{path} is a run of {task_name!r}: an embedder is one of {TASK!r} (`isotrain train {TASK} PEOPLE/`)."
            )
        task, self._net, _ = load_run(path)
        self._task: Any = task
        self.path = path
        card = task.card
        try:
            self.size, self.channels = int(card["size"]), int(card["channels"])
            self.alignment: Alignment = card["alignment"]
            self.enlarge: float | None = card.get("enlarge")
        except KeyError as error:
            raise BadCheckpoint(f"the card of {path} does not say {error}: the run is damaged, train again.") from error
        weights = hashlib.sha256((path / WEIGHTS).read_bytes())
        # Not the folder's name: a run that is moved still made the vectors it made.
        self.id = bound(TASK, weights, json.dumps(card, sort_keys=True))
        self.dims = self._run(torch.full((1, self.channels, self.size, self.size), 0.5)).shape[1]

    def embed(self, crops: Tensor) -> Tensor:
        """Vectors float32 [n, D], each of length 1, of crops [n, channels, size, size] with values in [0, 1].

        Raises:
            BadData: crops of another shape, or with values beyond 0 to 1.
            NotFinite: a vector is not finite or all zeros.
        """
        crops = checked_crops(crops, self.channels, self.size).float()
        if not len(crops):
            return torch.zeros(0, self.dims)
        return unit_vectors(torch.cat([self._run(some) for some in crops.split(CHUNK)]), str(self.path))

    def _run(self, crops: Tensor) -> Tensor:
        with torch.no_grad():
            given: Tensor = self._task.embed(self._net, crops)
        return given
