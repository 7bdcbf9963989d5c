"""Which part is meant: the shipped one, none, a run folder or an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from isotrain.errors import BadCheckpoint, BadOption
from isotrain.look.parts import NONE, SHIPPED, WEIGHTS, Part, Tell
from isotrain.tasks.base import Task
from isotrain.train.rundir import CARD, load_run


def class_part(choice: str, tell: Tell) -> Part | None:
    """What says the class of a photo.

    Raises:
        IsotrainError: it is not there, or of another task.
    """
    path = _place(choice, "classify", tell)
    if path is None:
        return None
    if _is_onnx(path):
        from isotrain.look.onnx_class import OnnxClasses

        return OnnxClasses(path, tell)
    from isotrain.look.classes import RunClasses

    return RunClasses(path, *_loaded(path, ("classify", "localise"), "--classify"), tell)


def objects_part(choice: str, tell: Tell) -> Part | None:
    """What finds the objects of a photo.

    Raises:
        IsotrainError: it is not there, or of another task.
    """
    path = _place(choice, "objects", tell)
    if path is None:
        return None
    if _is_onnx(path):
        from isotrain.look.onnx_objects import OnnxObjects

        return OnnxObjects(path, tell)
    from isotrain.look.objects import RunObjects

    return RunObjects(path, *_loaded(path, ("masks", "detect"), "--objects"), tell)


def caption_part(choice: str, tell: Tell) -> Part | None:
    """What puts a photo into words.

    Raises:
        IsotrainError: it is not there, or of another task.
    """
    path = _place(choice, "caption", tell)
    if path is None:
        return None
    if _is_onnx(path) or (path.is_dir() and not (path / CARD).is_file() and any(path.glob("*.onnx"))):
        from isotrain.look.onnx_words import OnnxWords

        return OnnxWords(path, tell)
    from isotrain.look.words import RunWords

    return RunWords(path, *_loaded(path, ("caption",), "--caption"), tell)


def _place(choice: str, part: str, tell: Tell) -> Path | None:
    """The folder or file that is meant; None for no part."""
    if choice == NONE:
        return None
    if choice != SHIPPED:
        path = Path(choice)
        if not path.exists():
            raise BadOption(
                f"--{part} {choice} is not there: name a run folder or an ONNX file, or {SHIPPED}, or {NONE}."
            )
        return path
    path = WEIGHTS / part
    if not (path / CARD).is_file():
        tell(f"no net for --{part} comes with this isotrain: that part is left out.")
        return None
    return path


def _is_onnx(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".onnx"


def _loaded(path: Path, wanted: Sequence[str], option: str) -> tuple[Task, nn.Module, dict[str, Any]]:
    """A run of one of the wanted tasks.

    Raises:
        BadCheckpoint: it is no run, or damaged.
        BadOption: it is of another task, or neither a folder nor an ONNX file.
    """
    if not path.is_dir():
        raise BadOption(f"{option} {path} is neither a run folder nor an .onnx file.")
    try:
        task, net, card = load_run(path)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{option}: {error}") from error
    if task.name not in wanted:
        raise BadOption(
            f"{option} {path} is a run of {task.name}, which says nothing of that kind: it takes a run of "
            f"{' or '.join(wanted)}, or an ONNX file."
        )
    return task, net.eval(), card
