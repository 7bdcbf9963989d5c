"""An ONNX file as a part: opened from memory, with what its metadata and the files beside it say of its classes.

The file is read whole, so that what was hashed is what runs. Nothing in it is executed but its graph: names written as
Python's dict, as ultralytics does, are read as a literal.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isotrain.errors import BadCheckpoint, BadOption
from isotrain.faces.onnx_model import first_line, session_of

KINDS = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
}  # fmt: skip
Shape = tuple[int | None, ...]


class OnnxFile:
    """A model that takes pictures.

    Args:
        path: of the file.
        option: that named it, for messages.
        wanted: what it should be, for messages: "classifies pictures".

    Attributes:
        digest: of its bytes.
        shape: of its input; None where a side is free.
        outputs: shapes by names.
        card: of isotrain's own exports; else empty.
        told: its other metadata.
        names: of classes, if the card, the metadata or a text file beside it gives any.

    Raises:
        BadCheckpoint: the file cannot be read, or is no ONNX model.
        BadOption: it takes something else than one lot of pictures.
        MissingExtra: onnxruntime is not there.
    """

    def __init__(self, path: Path, option: str, wanted: str) -> None:
        self.path, self.option, self.wanted = path, option, wanted
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadCheckpoint(f"{option} {path} cannot be read: {error.strerror or error}.") from error
        self.digest = hashlib.sha256(content).hexdigest()[:16]
        self.session = session_of(path, content, f"{option} {path}")
        self.told: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
        self.card = _card(self.told.get("card", ""))
        self.inputs: list[Any] = list(self.session.get_inputs())
        self.outputs: dict[str, Shape] = {one.name: _shape(one.shape) for one in self.session.get_outputs()}
        self.names = self._names()

    @property
    def identity(self) -> str:
        """Of the model and of what the files beside it say: with other names or scales it is another."""
        said = json.dumps([self.names, self.sidecar()], sort_keys=True)
        return f"onnx:{self.digest}:{hashlib.sha256(said.encode()).hexdigest()[:16]}"

    @property
    def shape(self) -> Shape:
        """Of the first input."""
        return _shape(self.inputs[0].shape)

    def pictures_only(self) -> None:
        """Refuse a model that takes anything but one lot of pictures in channels, rows and columns.

        Raises:
            BadOption: it does.
        """
        given = ", ".join(f"{one.name} {one.type} {list(one.shape)}" for one in self.inputs)
        channels = self.shape[-3] if len(self.shape) in (3, 4) else 0
        if len(self.inputs) != 1 or self.inputs[0].type not in KINDS or channels not in (1, 3, None):
            own = f" It was exported by isotrain from a run of {self.card['task']}." if self.card.get("task") else ""
            raise BadOption(
                f"{self.option} {self.path} takes {given}; a model that {self.wanted} takes pictures alone, "
                f"floating-point [n, 1 or 3, height, width].{own} A run folder can be named instead."
            )

    def refuse_other_tasks(self, tasks: Sequence[str]) -> None:
        """Refuse isotrain's own export of another task.

        Raises:
            BadOption: it is one.
        """
        task = self.card.get("task")
        if task is not None and task not in tasks:
            raise BadOption(
                f"{self.option} {self.path} was exported from a run of {task}; a model that {self.wanted} is wanted "
                f"here: {' or '.join(tasks) or 'name the run folder itself'}."
            )

    def run(self, pictures: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs for pictures.

        Raises:
            BadCheckpoint: it does not run on them.
        """
        entry = self.inputs[0]
        try:
            given = self.session.run(None, {entry.name: pictures.astype(KINDS[entry.type])})
        except Exception as error:  # onnxruntime has a class for each status
            raise BadCheckpoint(
                f"{self.option} {self.path} does not run on {list(pictures.shape)}: {first_line(error)}"
            ) from error
        return [np.asarray(one) for one in given]

    def sidecar(self) -> dict[str, Any]:
        """What a .json file beside it says: classes, mean, spread, size.

        Raises:
            BadOption: it is no JSON object, or says something else.
        """
        path = self.path.with_suffix(".json")
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise BadOption(f"{path}, beside the model, cannot be read: {error}.") from error
        known = {"classes", "mean", "spread", "size"}
        if not isinstance(found, dict) or not set(found) <= known:
            raise BadOption(f"{path}, beside the model, should be an object with some of {', '.join(sorted(known))}.")
        return found

    def _names(self) -> list[str] | None:
        if self.card.get("classes"):
            return [str(name) for name in self.card["classes"]]
        told = self.told.get("names")
        if told:
            try:
                found = ast.literal_eval(told)
                rows = found if isinstance(found, dict) else dict(enumerate(found))
                most = max(int(key) for key in rows)
                if 0 <= most < 100_000:
                    return [str(rows.get(place, f"class {place}")) for place in range(most + 1)]
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
                raise BadCheckpoint(
                    f"{self.option} {self.path}: its metadata `names` cannot be read ({first_line(error)})."
                ) from error
        beside = self.sidecar().get("classes")
        if beside:
            return [str(name) for name in beside]
        path = self.path.with_suffix(".txt")
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError) as error:
                raise BadOption(f"{path}, beside the model, cannot be read: {error}.") from error
            return [line.strip() for line in lines if line.strip()]
        return None


def name_of(names: Sequence[str] | None, place: int) -> str:
    """The name of a class, or its number.

    >>> name_of(["cat"], 0), name_of(None, 3)
    ('cat', 'class 3')
    """
    return names[place] if names is not None and 0 <= place < len(names) else f"class {place}"


def _card(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:  # not isotrain's own: another program may call something a card, too
        return {}
    return found if isinstance(found, dict) else {}


def _shape(shape: Any) -> Shape:
    """Names stand for sizes that are free."""
    return tuple(side if isinstance(side, int) and side > 0 else None for side in shape or ())
