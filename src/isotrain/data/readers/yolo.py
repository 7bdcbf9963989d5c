"""YOLO: data.yaml names classes and folders; a text file a picture has a line an object, in shares of the picture."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isotrain.data.faults import Boxes
from isotrain.data.outlines import Polygons, bounds
from isotrain.data.pictures import SUFFIXES
from isotrain.data.readers.collector import Collector, Entry, Found
from isotrain.data.readers.folders import split_of
from isotrain.data.readers.reading import TEST, TRAIN, VAL, Reading, Tree, split_named
from isotrain.data.readers.textfiles import read_lines, read_yaml
from isotrain.errors import BadData

NAME = "YOLO txt"
LINE = "CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT, or CLASS X0 Y0 X1 Y1 X2 Y2 ..., in shares of the picture"
KEYS = (("train", TRAIN), ("val", VAL), ("valid", VAL), ("test", TEST))
NAME_FILES = ("classes.txt", "obj.names")


def recognises(tree: Tree) -> bool:
    """There is a yaml file with names, or a folder labels/ with text files beside images/."""
    return _yaml(tree) is not None or any("labels" in path.relative_to(tree.root).parts for path in tree.ending(".txt"))


def _yaml(tree: Tree) -> Path | None:
    found = tree.ending(".yaml", ".yml")
    named = [path for path in found if re.search(rb"^names\s*:", path.read_bytes(), re.MULTILINE)]
    return named[0] if named else (found[0] if tree.only and found else None)


def read(tree: Tree, need: str) -> Reading:
    """Splits are the folders that data.yaml names, else those of images/train, train/images and so on."""
    reading = Reading(NAME)
    path = _yaml(tree)
    content = read_yaml(path) if path else {}
    classes = _classes(tree, path, content, reading)
    file = _Files(tree, reading, Collector(tree, reading), classes)
    pictures = _listed(tree, path, content, reading) if path else {}
    for picture, split in (pictures or _by_folder(tree)).items():
        file.read(picture, split)
    for text in tree.ending(".txt"):
        stray = text.parent.name == "labels" or text.parent.parent.name == "labels"
        if stray and text not in file.used and text.name not in NAME_FILES:
            file.collector.missing(f"of {tree.name(text)}", tree.name(text))
    file.wrong_base()
    file.boxes.close(tree.name(path or tree.root))
    return file.collector.close(classes)


def _classes(tree: Tree, path: Path | None, content: dict[str, Any], reading: Reading) -> list[str]:
    if path is None:
        lists = [found for found in tree.ending(".txt", ".names") if found.name in NAME_FILES]
        if not lists:
            raise BadData(
                f"{tree.root} has YOLO's labels and no data.yaml: write one with names: [FIRST, SECOND, ...], "
                "train: FOLDER and val: FOLDER."
            )
        return [line.strip() for line in read_lines(lists[0]) if line.strip()]
    names = content.get("names")
    if isinstance(names, dict):
        expected = [str(number) for number in range(len(names))]
        if sorted(names, key=lambda key: (len(key), key)) != expected:
            raise BadData(
                f"{tree.name(path)}: names are numbered {', '.join(names)}, they must be from 0 on, none left out."
            )
        names = [names[number] for number in expected]
    if not isinstance(names, list) or not names or None in names:
        raise BadData(f"{tree.name(path)}: no names of classes. Write names: [FIRST, SECOND, ...].")
    count = content.get("nc")
    if count is not None and count != len(names):
        reading.fault(tree.name(path), f"nc is {count}, names are {len(names)}", "Make them agree.")
    return [str(name) for name in names]


def _listed(tree: Tree, path: Path, content: dict[str, Any], reading: Reading) -> dict[Path, str]:
    """Pictures of the folders and lists that data.yaml names."""
    pictures: dict[Path, str] = {}
    for key, split in KEYS:
        value = content.get(key)
        for name in value if isinstance(value, list) else [value] if value else []:
            place = _place(path.parent, str(content.get("path") or "."), str(name))
            if place is None:
                reading.fault(
                    tree.name(path), f"{key}: {name} does not exist", "Write a path that starts at data.yaml."
                )
                continue
            if place.is_dir():
                found = [picture for picture in Tree(place).pictures]
            else:
                lines = [line.strip() for line in read_lines(place)]
                found = [Path(os.path.normpath(place.parent / line)) for line in lines if line]
            for picture in found:
                other = pictures.setdefault(picture, split)
                if other != split:
                    what = f"picture {tree.name(picture)} is in {other} and in {split}"
                    reading.fault(tree.name(path), what, "Take it out of one.")
    return pictures


def _place(home: Path, base: str, name: str) -> Path | None:
    """Where a folder of data.yaml is: it is written from several places by the tools of the field."""
    plain = re.sub(r"^(\.\./)+", "", name)
    for place in (home / base / name, home / name, home / base / plain, home / plain):
        if place.exists():
            return Path(os.path.normpath(place))
    return None


def _by_folder(tree: Tree) -> dict[Path, str]:
    found = {}
    for picture in tree.pictures:
        parts = picture.relative_to(tree.root).parts[:-1]
        found[picture] = next((split for split in map(split_named, parts) if split), split_of(tree, picture)[0])
    return found


def label_file(picture: Path) -> Path:
    """The text file of a picture: in labels/ where the picture is in images/, else beside it.

    >>> label_file(Path("set/images/train/a.jpg")).as_posix()
    'set/labels/train/a.txt'
    """
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


@dataclass
class _Files:
    tree: Tree
    reading: Reading
    collector: Collector
    classes: list[str]
    used: set[Path] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    strangers: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.boxes = Boxes(self.reading.faults, "centre x, centre y, width, height", "left, top, width, height")

    def read(self, picture: Path, split: str) -> None:
        text = label_file(picture)
        if not text.is_file():
            text = picture.with_suffix(".txt")
        where = self.tree.name(text)
        if not picture.is_file() or picture.suffix.lower() not in SUFFIXES:
            self.collector.missing(self.tree.name(picture), where)
            return
        entry = self.collector.entry(picture, split, where)
        if not text.is_file():
            what = "picture without a label"
            self.reading.fault(
                self.tree.name(picture), what, "Write an empty text file if nothing is on it.", "warning"
            )
            return
        self.used.add(text)
        lines = [(number, line.split()) for number, line in enumerate(read_lines(text), 1) if line.strip()]
        size = self.reading.size(picture, self.tree.name(picture)) if lines else None
        before: set[tuple[str, ...]] = set()
        for number, cells in lines if size else []:
            if tuple(cells) in before:
                self.reading.fault(f"{where}:{number}", "the same line as one before", "Delete it.", "warning")
            else:
                assert size is not None
                self._line(cells, entry, size, f"{where}:{number}")
            before.add(tuple(cells))

    def _line(self, cells: list[str], entry: Entry, size: tuple[int, int], where: str) -> None:
        height, width = size
        try:
            label, values = int(cells[0]), [float(cell) for cell in cells[1:]]
        except ValueError:
            self.reading.fault(where, f"{' '.join(cells)[:60]!r} is not {LINE}", "Mend or delete the line.")
            return
        self.numbers.add(label)
        if not 0 <= label < len(self.classes):
            self.strangers.append((where, label))
            return
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            fix = "The sixth number is a confidence: delete it." if len(values) == 5 else "Mend or delete the line."
            self.reading.fault(where, f"{len(cells)} numbers are not {LINE}", fix)
            return
        if max(values) > 1 + 1 / min(size):
            what = f"{max(values):g} is no share of the picture (0 to 1)"
            self.reading.fault(where, what, "If these are pixels, divide x by the picture's width and y by its height.")
            return
        mask = None
        if len(values) == 4:
            x, y, w, h = values[0] * width, values[1] * height, values[2] * width, values[3] * height
            box, otherwise = (x - w / 2, y - h / 2, x + w / 2, y + h / 2), (x, y, x + w, y + h)
        else:
            mask = Polygons((tuple(value * (height if place % 2 else width) for place, value in enumerate(values)),))
            around = bounds(mask)
            assert around is not None, "a polygon has corners"
            box = otherwise = around
        seen = self.boxes.look(box, otherwise, height, width, where)
        if seen:
            entry.things.append(Found(self.classes[label], seen, mask, where=where))

    def wrong_base(self) -> None:
        count = len(self.classes)
        from_one = self.strangers and min(self.numbers) >= 1 and max(self.numbers) == count
        for where, label in self.strangers:
            fix = "Give it a name in data.yaml, or mend it."
            if from_one:
                fix = f"Labels seem to count from 1 to {count}: subtract 1 in all files."
            self.reading.fault(where, f"class {label}, and there are {count} names (0 to {count - 1})", fix)
