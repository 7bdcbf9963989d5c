"""Which data was named on the command line: one folder or file, or two that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isotrain.errors import BadOption

SIDES = ("--source", "--target", "--val-source", "--val-target")


@dataclass(frozen=True)
class Named:
    """Data by its place or name.

    Attributes:
        data: folder, file or name; None for the task's generated twin.
        beside: the file that belongs to it: the translations of its sentences, the captions of its pictures.
        val: sentences to hold out, and the file of their translations.
    """

    data: str | None = None
    beside: str | None = None
    val: tuple[str, str | None] | None = None

    def resolved(self) -> Named:
        """The same with paths as they are found from anywhere."""
        val = None if self.val is None else (_absolute(self.val[0]), _maybe(self.val[1]))
        return Named(_maybe(self.data), _maybe(self.beside), val)


def _absolute(place: str) -> str:
    return str(Path(place).resolve()) if Path(place).exists() else place


def _maybe(place: str | None) -> str | None:
    return None if place is None else _absolute(place)


def named(
    task: str,
    data: Sequence[str],
    source: str | None = None,
    target: str | None = None,
    val_source: str | None = None,
    val_target: str | None = None,
) -> Named:
    """What is meant by the arguments and options of a command.

    Args:
        task: its name.
        data: arguments.
        source: of `translate`: the file of sentences.
        target: the file of their translations.
        val_source: sentences to hold out.
        val_target: the file of their translations.

    Raises:
        BadOption: the task takes no such thing, or one lacks the other.

    >>> named("caption", ["photos", "captions.json"])
    Named(data='photos', beside='captions.json', val=None)
    >>> named("translate", [], "a.en", "a.de", "b.en", "b.de")
    Named(data='a.en', beside='a.de', val=('b.en', 'b.de'))
    """
    given = dict(zip(SIDES, (source, target, val_source, val_target), strict=True))
    sides = [name for name, value in given.items() if value is not None]
    if task != "translate" and sides:
        raise BadOption(f"{sides[0]} is for translate: {task} takes {_taken(task)}.")
    if task == "translate" and len(data) > 1:
        raise BadOption(
            f"translate takes one DATA with both sides, {data[1]} is a second one. Of two files: --source {data[0]} "
            f"--target {data[1]}."
        )
    if len(data) > (2 if task == "caption" else 1):
        raise BadOption(f"{task} takes {_taken(task)}: {data[-1]} is one more.")
    if task != "translate":
        return Named(data[0] if data else None, data[1] if len(data) > 1 else None)
    if source is not None and data:
        raise BadOption(f"--source {source} and DATA {data[0]}: name one of them.")
    first = data[0] if data else source
    if first is None and sides:
        missing = "--val-source" if sides == ["--val-target"] else "--source"
        raise BadOption(f"{sides[0]} {given[sides[0]]} needs {missing}.")
    if val_source is None and val_target is not None:
        raise BadOption(f"--val-target {val_target} needs --val-source.")
    return Named(first, target, None if val_source is None else (val_source, val_target))


def _taken(task: str) -> str:
    return "a folder of pictures and, where they lie elsewhere, their captions" if task == "caption" else "one DATA"
