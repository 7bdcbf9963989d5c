"""What a reader is given, a folder's files, and what it gives back: samples by split, and the faults it met."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from isotrain.data.faults import Fault, Severity
from isotrain.data.pictures import SUFFIXES, picture_size
from isotrain.data.samples import Sample
from isotrain.errors import BadData

TRAIN, VAL, TEST = "train", "val", "test"
SPLIT = re.compile(r"(?:(train(?:ing)?)|(val(?:id(?:ation)?)?|dev)|(test(?:ing)?))(?:[-_]?\d{4})?", re.IGNORECASE)


def split_named(name: str) -> str | None:
    """What a folder or file stands for by its name, if for any.

    >>> split_named("train2017"), split_named("valid"), split_named("Test"), split_named("test tubes")
    ('train', 'val', 'test', None)
    """
    found = SPLIT.fullmatch(name)
    return None if found is None else (TRAIN, VAL, TEST)[found.lastindex - 1 if found.lastindex else 0]


def naturally(name: str) -> list[tuple[int, int | str]]:
    """The key of an order in which 2 comes before 10.

    >>> sorted(["10", "b2", "2", "b10"], key=naturally)
    ['2', '10', 'b2', 'b10']
    """
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.findall(r"\d+|\D+", name)]


class Tree:
    """The files below a folder, hidden ones left out; or a single file, and the folder it belongs to.

    Args:
        source: the folder or file.
        home: the folder that the user named, if the data is in one below.

    Attributes:
        root: the folder.
        only: the file, if a file was named.
        files: all of them, in the order of their names.
    """

    def __init__(self, source: Path, home: Path | None = None) -> None:
        self.only = source if source.is_file() else None
        self.root = source.parent if self.only else source
        if self.only and self.root.name == "annotations":  # COCO's: its pictures are beside that folder
            self.root = self.root.parent
        self._home = home if home is not None and home.is_dir() else self.root
        self.files: list[Path] = []
        self._walk(self.root, set())

    def _walk(self, folder: Path, seen: set[str]) -> None:
        place = os.path.realpath(folder)
        if place in seen:  # a link that leads back
            return
        seen.add(place)
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: naturally(entry.name))
        for entry in found:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir():
                self._walk(Path(entry.path), seen)
            else:
                self.files.append(Path(entry.path))

    def ending(self, *suffixes: str) -> list[Path]:
        """Files with these suffixes (small letters); of a single file, that one."""
        files = [self.only] if self.only else self.files
        return [path for path in files if path.suffix.lower() in suffixes]

    @cached_property
    def pictures(self) -> list[Path]:
        """All picture files."""
        return [path for path in self.files if path.suffix.lower() in SUFFIXES]

    @cached_property
    def _named(self) -> dict[str, list[Path]]:
        named: dict[str, list[Path]] = {}
        for path in self.pictures:
            for key in {path.name, path.stem}:
                named.setdefault(key, []).append(path)
        return named

    @cached_property
    def _files(self) -> set[Path]:
        return set(self.files)

    def inside(self, name: str) -> tuple[Path, ...]:
        """The folder of that name; nothing if it is not within the one that was named."""
        return (self.root / name,) if self.only or _within(self.root / name, self._home) else ()

    def picture(self, name: str, *folders: Path) -> Path | None:
        """The picture of that name in one of the folders; else anywhere below, if only one has the name.

        What a name leads to outside of a folder that was named is not there; a file that was named may lead anywhere.
        Of an absolute name, as of data that has moved, the last part is looked for.
        """
        rooted = os.path.isabs(name)
        if rooted and _within(Path(name), self.root):
            name, folders = os.path.relpath(name, self.root), ()
        strays = True
        for folder in (*folders, self.root):
            path = Path(os.path.normpath(folder / name))
            if path in self._files:
                return path
            if self.only or _within(path, self._home) or (not rooted and _within(path, folder)):
                strays = False
                if _is_file(path):
                    return path
        if strays and not rooted:
            return None
        alike = self._named.get(Path(name).name, [])
        return alike[0] if len(alike) == 1 else None

    def name(self, path: Path) -> str:
        """A path as it is called in messages: from the folder on that the user named."""
        return path.relative_to(self._home).as_posix() if path.is_relative_to(self._home) else str(path)


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def _is_file(path: Path) -> bool:
    """Whether it is one; a name that cannot be (thousands of letters) is that of none."""
    try:
        return path.is_file()
    except OSError:
        return False


@dataclass
class Reading:
    """What was read.

    Attributes:
        format: in words.
        classes: names in the order of their numbers.
        splits: samples by "train", "val" and "test"; those of a source without splits are all under "train".
        faults: what was wrong.
        sizes: height and width that the source states, by the samples' names.
        labelled: pictures carry labels as a whole, not only by the things in them.
        unreadable: pictures that were found to be so while reading.
    """

    format: str
    classes: list[str] = field(default_factory=list)
    splits: dict[str, list[Sample]] = field(default_factory=lambda: {TRAIN: [], VAL: [], TEST: []})
    faults: list[Fault] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    labelled: bool = False
    unreadable: set[Path] = field(default_factory=set)

    def fault(self, where: str, what: str, fix: str, severity: Severity = "error") -> None:
        """Note a fault."""
        self.faults.append(Fault(where, what, fix, severity))

    def size(self, path: Path, where: str) -> tuple[int, int] | None:
        """Height and width from the picture's head; None, and a fault, if it cannot be read."""
        try:
            return picture_size(path)
        except BadData as error:
            self.fault(where, str(error).rstrip("."), "Replace the picture or take its label out.")
            self.unreadable.add(path)
            return None

    def unlabelled(self, tree: Tree, except_in: tuple[str, ...] = ()) -> None:
        """Note pictures that no sample stands for, but for those in folders of these names."""
        if tree.only:  # the others may be another file's
            return
        used = {sample.picture for samples in self.splits.values() for sample in samples}
        for path in tree.pictures:
            if path not in used and path.parent.name not in except_in:
                self.fault(tree.name(path), "picture without a label", "Label it or delete it.", "warning")

    def number(self, names: set[str]) -> dict[str, int]:
        """Set the classes to these names, in natural order; their numbers."""
        self.classes = sorted(names, key=naturally)
        return {name: number for number, name in enumerate(self.classes)}
