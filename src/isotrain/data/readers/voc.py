"""Pascal VOC: an XML file a picture, lists of names a split, masks of objects as pictures of their numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import numpy as np

from isotrain.data.faults import Boxes
from isotrain.data.outlines import MaskPicture, mask_values
from isotrain.data.pictures import SUFFIXES
from isotrain.data.readers.collector import Collector, Entry, Found
from isotrain.data.readers.folders import split_of
from isotrain.data.readers.reading import TEST, TRAIN, VAL, Reading, Tree
from isotrain.data.readers.textfiles import read_lines
from isotrain.errors import BadData

NAME = "Pascal VOC xml"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
LISTS = (("train", TRAIN), ("val", VAL), ("test", TEST), ("trainval", TRAIN))
"""`trainval` only gives what neither `train` nor `val` has."""


def recognises(tree: Tree) -> bool:
    """An XML file speaks of an <annotation>."""
    return any(b"<annotation" in path.read_bytes()[:2000] for path in tree.ending(".xml")[:20])


def read(tree: Tree, need: str) -> Reading:
    """Splits by ImageSets/Main (for masks ImageSets/Segmentation, if it is there), else by folders."""
    reading = Reading(NAME)
    collector = Collector(tree, reading)
    masks: dict[str, Path] = {}
    if need in ("masks", ""):
        masks = {path.stem: path for path in tree.pictures if path.parent.name == "SegmentationObject"}
    splits = _lists(tree, "Segmentation" if need == "masks" else "Main", reading)
    splits = splits or _lists(tree, "Main", reading)
    if not need:
        splits = {**_lists(tree, "Segmentation", reading), **splits}
    boxes = Boxes(reading.faults, "xmin, ymin, xmax, ymax", "x, y, width, height")
    for path in tree.ending(".xml"):
        stem = f"{path.parent.parent.name}/{path.stem}"
        if (splits and stem not in splits) or (need == "masks" and masks and path.stem not in masks):
            continue
        where = tree.name(path)
        try:
            root = read_xml(path)
        except BadData as error:
            place, what = str(error).replace(str(path), where, 1).rstrip(".").split(": ", 1)
            reading.fault(place, what, "Write the file again.")
            continue
        if root.tag != "annotation":
            continue
        picture = _picture(tree, path, root)
        if picture is None:
            collector.missing(root.text_of("filename") or path.stem, f"{where}:{root.line}")
            continue
        entry = collector.entry(picture, splits.get(stem) or split_of(tree, path)[0], where)
        _objects(tree, root, entry, masks.get(path.stem), where, reading, boxes)
    boxes.close(tree.name(tree.root))
    collector.close()
    if not splits:
        reading.unlabelled(tree, except_in=("SegmentationObject", "SegmentationClass"))
    return reading


def _lists(tree: Tree, kind: str, reading: Reading) -> dict[str, str]:
    """The split of every name, as year/name: VOC2007/000012."""
    found: dict[str, str] = {}
    lists = [path for path in tree.ending(".txt") if path.parts[-3:-1] == ("ImageSets", kind)]
    for stem, split in LISTS:
        for path in (path for path in lists if path.stem == stem):
            for number, line in enumerate(read_lines(path), 1):
                if not line.strip():
                    continue
                name = line.split()[0]
                before = found.setdefault(f"{path.parents[2].name}/{name}", split)
                if before != split and stem != "trainval":
                    what = f"{name} is in {before} and in {split}"
                    reading.fault(f"{tree.name(path)}:{number}", what, "Take it out of one.")
    return found


def _picture(tree: Tree, path: Path, root: Element) -> Path | None:
    folders = path.parent.parent / "JPEGImages", path.parent.parent / "images", path.parent
    named = root.text_of("filename")
    if named and Path(named).suffix.lower() in SUFFIXES:
        found = tree.picture(Path(named).name, *folders)
        if found:
            return found
    # Tools that rename pictures forget the name within.
    beside = (folder / f"{path.stem}{suffix}" for folder in folders for suffix in sorted(SUFFIXES))
    return next((place for place in beside if place.is_file()), None)


def _objects(
    tree: Tree, root: Element, entry: Entry, mask: Path | None, where: str, reading: Reading, boxes: Boxes
) -> None:
    stated = root.child("size")
    sides = [stated.text_of(side) if stated else "" for side in ("height", "width")]
    size: tuple[int, int] | None
    if all(side.isdecimal() and int(side) > 0 for side in sides):
        size = int(sides[0]), int(sides[1])
        reading.sizes[tree.name(entry.path)] = size
    else:
        size = reading.size(entry.path, f"{where}:{stated.line if stated else root.line}")
    objects = [child for child in root.children if child.tag == "object"]
    try:
        values = set(np.unique(mask_values(mask)).tolist()) if mask else set()
    except BadData as error:
        reading.fault(f"{where}:{root.line}", str(error).rstrip("."), "Write the mask again.")
        return
    if mask and values - {0, 255} - set(range(1, len(objects) + 1)):
        what = f"mask {tree.name(mask)} has objects {sorted(values - {0, 255})}, the file {len(objects)}"
        reading.fault(f"{where}:{root.line}", what, "Number the mask's objects 1, 2, ... in the order of the file.")
    for number, thing in enumerate(objects, 1):
        place = f"{where}:{thing.line}"
        label, corners = thing.text_of("name"), thing.child("bndbox")
        try:
            left, top, right, bottom = (float(corners.text_of(key) if corners else "") for key in CORNERS)
        except ValueError:
            reading.fault(place, f"object {label!r} has no box of four numbers", f"Give {', '.join(CORNERS)}.")
            continue
        if not label:
            reading.fault(place, "object without a name", "Name its class.")
            continue
        if size is None:
            continue
        # VOC counts pixels from 1 and includes the last one; a box that begins at 0 is from a program that does not.
        a, b = (left - 1, top - 1) if left >= 1 and top >= 1 and right > left and bottom > top else (left, top)
        box = boxes.look((a, b, right, bottom), (a, b, a + right, b + bottom), *size, place)
        if box:
            outline = MaskPicture(mask, number) if mask and number in values else None
            crowd = thing.text_of("difficult") == "1" or (mask is not None and outline is None)
            entry.things.append(Found(label, box, outline, crowd, place))


@dataclass
class Element:
    """An XML element that knows its line."""

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def child(self, tag: str) -> Element | None:
        """The first child of that name."""
        return next((child for child in self.children if child.tag == tag), None)

    def text_of(self, tag: str) -> str:
        """What the first child of that name holds; "" without one."""
        child = self.child(tag)
        return child.text.strip() if child else ""


def read_xml(path: Path) -> Element:
    """The root of an XML file.

    Raises:
        BadData: it cannot be read, is no XML, or defines entities (a short file could grow without end).
    """
    top = Element("", 0)
    open_elements = [top]
    parser = expat.ParserCreate()

    def begin(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(tag: str) -> None:
        open_elements.pop()

    def hold(text: str) -> None:
        open_elements[-1].text += text

    def refuse(*declared: object) -> None:
        raise BadData(f"{path}:{parser.CurrentLineNumber}: it defines entities, which are not read here.")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = hold
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise BadData(f"{path}:{error.lineno}: no valid XML ({expat.ErrorString(error.code)}).") from error
    except OSError as error:
        raise BadData(f"{path}:1: cannot be read ({error.strerror}).") from error
    return top.children[0]
