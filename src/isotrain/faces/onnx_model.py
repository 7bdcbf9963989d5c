"""Any public face model as an ONNX file: represents aligned faces through onnxruntime, by the model's own pipeline.

The file is read whole and run from memory, so that what was hashed is what runs; no other file is opened for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isotrain.errors import BadCheckpoint, BadOption, MissingExtra
from isotrain.faces.families import first_operators, guessed
from isotrain.faces.parts import Alignment
from isotrain.faces.pipelines import Pipeline, Ports, dims_of, read_sidecar, told
from isotrain.faces.vectors import bound, checked_crops, unit_vectors

CHUNK = 32
"""Faces at a time where the model takes any number: more needs memory and gains nothing on a CPU."""
TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}


class OnnxEmbedder:
    """An `isotrain.faces.parts.Embedder` that is an ONNX file.

    Args:
        path: of the file; its pipeline is read from the sidecar beside it (`isotrain.faces.pipelines`), or guessed.
        tell: is called with what a user should know: a guess, a model that takes faces one after another.

    Attributes:
        pipeline: how crops become the model's input.

    Raises:
        BadCheckpoint: the file is missing, damaged, or not ONNX, or does not run.
        BadData: the sidecar is wrong.
        BadOption: it is no model of pictures to vectors, or of no known family and without a sidecar.
        MissingExtra: onnxruntime is not there.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        content = _content(path)
        self.path = path
        self._session = session_of(path, content, str(path))
        ports, self._dtype = _ports(path, self._session)
        sidecar = path.with_suffix(".json")
        if sidecar.is_file():
            self.pipeline = read_sidecar(sidecar, path.stem, ports)
        elif ports.task:
            raise BadOption(
                f"{path} was exported by isotrain from a run of {ports.task!r}: give the run's folder itself as the "
                "embedder. What was exported may give people instead of vectors."
            )
        else:
            self.pipeline = guessed(path, ports, lambda: first_operators(content), tell)
        pipeline: Pipeline = self.pipeline
        self.id = bound(pipeline.name, hashlib.sha256(content), pipeline.description())
        self.size, self.channels = pipeline.size, pipeline.planes
        self.alignment: Alignment = pipeline.alignment
        self.enlarge = pipeline.enlarge
        if pipeline.batch is not None and pipeline.batch < CHUNK:
            number = "one face" if pipeline.batch == 1 else f"{pipeline.batch} faces"
            tell(f"{path.name} takes {number} at a time: many faces are represented one lot after another.")
        said = dims_of(ports.outputs[pipeline.output])
        if said is None:
            shape = told(ports.outputs[pipeline.output])
            raise BadOption(f"{path}: its output {pipeline.output} is {shape}, not one vector for each face.")
        self.dims = said
        # A grey face: what does not run, or gives other shapes than it says, is refused before a user waits for it.
        self.dims = self._run(torch.full((pipeline.batch or 1, self.channels, self.size, self.size), 0.5)).shape[1]

    def embed(self, crops: Tensor) -> Tensor:
        """Vectors float32 [n, D], each of length 1, of crops [n, channels, size, size] with values in [0, 1].

        Raises:
            BadData: crops of another shape, or with values beyond 0 to 1.
            BadCheckpoint: the model does not run, or gives another shape than it says.
            NotFinite: a vector is not finite or all zeros.
        """
        crops = checked_crops(crops, self.channels, self.size).float()
        if not len(crops):
            return torch.zeros(0, self.dims)
        chunk = self.pipeline.batch or CHUNK
        raw = []
        for some in crops.split(chunk):
            missing = chunk - len(some) if self.pipeline.batch is not None else 0
            filled = torch.cat([some, some[-1:].expand(missing, -1, -1, -1)]) if missing else some
            raw.append(self._run(filled)[: len(some)])
        return unit_vectors(torch.cat(raw), str(self.path))

    def _run(self, crops: Tensor) -> Tensor:
        """What the model gives for crops, [n, D]."""
        given = self.pipeline.prepared(crops).to(self._dtype).numpy()
        try:
            (output,) = self._session.run([self.pipeline.output], {self._session.get_inputs()[0].name: given})
        except Exception as error:  # onnxruntime has a class for each status
            advice = ' If it takes one face at a time, say "batch": 1 in its sidecar.' if len(crops) > 1 else ""
            raise BadCheckpoint(
                f"{self.path} does not run on {list(given.shape)}: {first_line(error)}{advice}"
            ) from error
        rows = np.asarray(output)
        expected = self.dims or rows.size // len(crops)
        if rows.shape[:2] != (len(crops), expected) or rows.size != len(crops) * expected or not expected:
            raise BadCheckpoint(
                f"{self.path} gives {list(rows.shape)} for {len(crops)} faces instead of [{len(crops)}, "
                f"{self.dims or 'D'}]: it is no model that represents faces, or takes one at a time, which its sidecar "
                'has to say: "batch": 1.'
            )
        return torch.from_numpy(rows.reshape(len(crops), expected).astype(np.float32))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"embedder {path} cannot be read: {error.strerror or error}.") from error
    if not content:
        raise BadCheckpoint(f"embedder {path} is empty: copy it again.")
    return content


def session_of(path: Path, content: bytes, named: str) -> Any:
    """An ONNX model, ready to run; `named` is what messages call it.

    Raises:
        MissingExtra: onnxruntime is not installed.
        BadCheckpoint: it is no model that can be run.
    """
    try:
        onnxruntime = import_module("onnxruntime")  # has no types
    except ImportError as error:
        raise MissingExtra(
            f"{path.name} runs through the optional onnxruntime: pip install 'isotrain[export]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised, too
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each status
        raise BadCheckpoint(
            f"{named} is no ONNX model that onnxruntime can run: {first_line(error)} It has to be whole, its weights "
            "in the same file."
        ) from error


def _ports(path: Path, session: Any) -> tuple[Ports, torch.dtype]:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs)
        raise BadOption(f"{path} takes {len(inputs)} inputs ({names}); a face model takes one, the faces.")
    if inputs[0].type not in TYPES:
        raise BadOption(f"{path} takes {inputs[0].type}; a face model takes floating-point numbers here.")
    outputs = {entry.name: _shape(entry.shape) for entry in session.get_outputs()}
    card = session.get_modelmeta().custom_metadata_map.get("card", "")
    try:
        found = json.loads(card) if card else {}
    except ValueError:  # not isotrain's own: another program may call something a card, too
        found = {}
    task = str(found["task"]) if isinstance(found, dict) and "task" in found else None
    return Ports(_shape(inputs[0].shape), outputs, task), TYPES[inputs[0].type]


def _shape(shape: Any) -> tuple[int | None, ...]:
    """Names stand for sizes that are free."""
    return tuple(side if isinstance(side, int) and side > 0 else None for side in shape or ())


def first_line(error: BaseException) -> str:
    """The first line of an error, for a message of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".") + "."
