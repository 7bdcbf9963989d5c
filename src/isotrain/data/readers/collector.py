"""Labels gathered picture by picture while a file is read; they become samples when all classes are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from isotrain.data.outlines import Outline
from isotrain.data.readers.reading import Reading, Tree
from isotrain.data.readers.textfiles import shown
from isotrain.data.samples import Box, Sample, Thing


@dataclass(frozen=True)
class Found:
    """One labelled object, its class by name."""

    label: str
    box: Box
    mask: Outline | None = None
    crowd: bool = False
    where: str = ""


@dataclass
class Entry:
    """One picture with what was found of it so far."""

    path: Path
    where: str
    group: str = ""
    labels: list[str] = field(default_factory=list)
    things: list[Found] = field(default_factory=list)


class Collector:
    """Pictures in the order they were first met, each once a split."""

    def __init__(self, tree: Tree, reading: Reading) -> None:
        self._tree = tree
        self._reading = reading
        self._entries: dict[tuple[str, Path], Entry] = {}
        self._split_of: dict[Path, str] = {}

    def entry(self, path: Path, split: str, where: str, group: str = "") -> Entry:
        """The entry of a picture, made if it is new; a fault if another split has it."""
        key = split, path
        if key not in self._entries:
            other = self._split_of.setdefault(path, split)
            if other != split:
                self._reading.fault(
                    where, f"picture {self._tree.name(path)} is in {other} and in {split}", "Take it out of one."
                )
            self._entries[key] = Entry(path, where, group)
        return self._entries[key]

    def missing(self, name: str, where: str) -> None:
        """Note a label whose picture is not there."""
        self._reading.fault(where, f"picture {shown(name)} does not exist", "Add the picture or take its label out.")

    def close(self, classes: Iterable[str] | None = None) -> Reading:
        """The reading with its samples; classes are those given, or those met, in natural order."""
        names = {name for entry in self._entries.values() for name in entry.labels}
        names |= {thing.label for entry in self._entries.values() for thing in entry.things}
        if classes is None:
            numbers = self._reading.number(names)
        else:
            self._reading.classes = list(classes)
            numbers = {name: number for number, name in enumerate(self._reading.classes)}
        for (split, path), entry in self._entries.items():
            things = tuple(Thing(numbers[t.label], t.box, t.mask, t.crowd, t.where) for t in entry.things)
            labels = tuple(sorted({numbers[name] for name in entry.labels}))
            name = self._tree.name(path)
            self._reading.splits[split].append(Sample(path, labels, things, name, entry.group, entry.where))
        return self._reading
