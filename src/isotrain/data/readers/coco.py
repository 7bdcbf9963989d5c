"""COCO's instances: a JSON file a split with pictures, categories and annotations (polygons, run lengths, crowds)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isotrain.data.faults import Boxes
from isotrain.data.outlines import Polygons, RunLengths, bounds, rle
from isotrain.data.readers.collector import Collector, Entry, Found
from isotrain.data.readers.folders import split_of
from isotrain.data.readers.reading import Reading, Tree, naturally, split_named
from isotrain.data.readers.textfiles import ID, Lists, read_json, shown
from isotrain.data.samples import Box
from isotrain.errors import BadData

NAME = "COCO json"
KEYS = ("images", "annotations", "categories")
CLOSE = 2.0
"""Pixels by which a box may differ from the bounds of its own outline."""


def recognises(tree: Tree) -> bool:
    """A JSON file has COCO's keys, or is the only thing that was named."""
    return bool(tree.only and tree.ending(".json")) or any(_looks_so(path) for path in _candidates(tree))


def _candidates(tree: Tree) -> list[Path]:
    found = tree.ending(".json")
    instances = [path for path in found if path.name.startswith("instances")]
    return instances or found


def _looks_so(path: Path) -> bool:
    """By a cheap look: a broken file, too, is to be found to be COCO's, and its line named."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return all(f'"{key}"'.encode() in content for key in KEYS)


def read(tree: Tree, need: str) -> Reading:
    """The split is that of the file's name (instances_val2017.json) or of its folder (train/_annotations.coco.json)."""
    reading = Reading(NAME)
    collector = Collector(tree, reading)
    classes: list[str] = []
    for path in _candidates(tree):
        if not (tree.only or _looks_so(path)):
            continue
        try:
            lists = read_json(path)
        except BadData as error:
            where, _, what = str(error).replace(str(path), tree.name(path), 1).partition(": ")
            reading.fault(where, what.rstrip("."), "Write the file again.")
            continue
        absent = [key for key in KEYS if not isinstance(lists.content.get(key), list)]
        if absent:
            reading.fault(f"{tree.name(path)}:1", f"no list {', '.join(absent)}", "COCO's files have all three.")
            continue
        _File(tree, path, lists, reading, collector).read(classes)
    collector.close(classes)
    reading.unlabelled(tree)
    return reading


def split_of_file(tree: Tree, path: Path) -> tuple[str, str]:
    """The split of a file, and the part of its name that says so ("" if its folder does)."""
    for part in sorted(path.stem.replace(".", "_").split("_"), key=naturally):
        split = split_named(part)
        if split:
            return split, part
    return split_of(tree, path)[0], ""


@dataclass
class _File:
    tree: Tree
    path: Path
    lists: Lists
    reading: Reading
    collector: Collector

    def __post_init__(self) -> None:
        self.name = self.tree.name(self.path)

    def where(self, key: str, number: int) -> str:
        return f"{self.name}:{self.lists.lines[key][number]} {key}[{number}]"

    def read(self, classes: list[str]) -> None:
        names = self._categories(classes)
        pictures = self._pictures()
        boxes = Boxes(self.reading.faults, "x, y, width, height", "left, top, right, bottom")
        strangers: list[tuple[str, Any]] = []
        for number, annotation in enumerate(self.lists.content["annotations"]):
            where = self.where("annotations", number)
            if not isinstance(annotation, dict) or not {"image_id", "category_id"} <= set(annotation):
                self.reading.fault(where, "no image_id or no category_id", "Every annotation has both.")
            elif not all(isinstance(annotation[key], ID) for key in ("image_id", "category_id")):
                self.reading.fault(where, "image_id or category_id is no number", "Write the two as numbers.")
            elif annotation["image_id"] not in pictures:
                what = f"image_id {annotation['image_id']!r} is that of no picture"
                self.reading.fault(where, what, "Add the picture to images or delete the annotation.")
            elif annotation["category_id"] not in names:
                strangers.append((where, annotation["category_id"]))
            else:
                entry, size = pictures[annotation["image_id"]]
                if entry is not None:
                    found = self._thing(annotation, names[annotation["category_id"]], size, boxes, where)
                    entry.things += [found] if found else []
        self._wrong_base(strangers, set(names))
        boxes.close(self.tree.name(self.path))

    def _categories(self, classes: list[str]) -> dict[Any, str]:
        names: dict[Any, str] = {}
        for number, category in enumerate(self.lists.content["categories"]):
            where = self.where("categories", number)
            if not isinstance(category, dict) or "id" not in category or not category.get("name"):
                self.reading.fault(where, "category without id or name", "Give it both.")
            elif not isinstance(category["id"], ID) or not isinstance(category["name"], ID):
                self.reading.fault(where, f"category {shown(category)}: no plain id or name", "Write plain ones.")
            elif category["id"] in names or category["name"] in names.values():
                self.reading.fault(where, f"category {category['name']!r} or its id is there twice", "Rename one.")
            else:
                names[category["id"]] = str(category["name"])
        classes += [
            names[key] for key in sorted(names, key=lambda key: naturally(str(key))) if names[key] not in classes
        ]
        return names

    def _pictures(self) -> dict[Any, tuple[Entry | None, tuple[int, int]]]:
        """By id: the picture's entry (None if it is missing), its height and width."""
        split, part = split_of_file(self.tree, self.path)
        root = self.tree.root
        folders = [self.path.parent, *(root / place for place in (part, f"images/{part}", split, "images"))]
        pictures: dict[Any, tuple[Entry | None, tuple[int, int]]] = {}
        for number, image in enumerate(self.lists.content["images"]):
            where = self.where("images", number)
            if not isinstance(image, dict) or "id" not in image or not isinstance(image.get("file_name"), str):
                self.reading.fault(where, "picture without id or file_name", "Give it both.")
                continue
            if not isinstance(image["id"], ID):
                self.reading.fault(where, f"picture id {shown(image['id'])} is no number", "Write one.")
                continue
            if image["id"] in pictures:
                self.reading.fault(where, f"picture id {image['id']!r} is there twice", "Give every picture its own.")
                continue
            pictures[image["id"]] = (None, (0, 0))
            found = self.tree.picture(image["file_name"], *folders)
            if found is None:
                self.collector.missing(image["file_name"], where)
                continue
            stated = image.get("height"), image.get("width")
            size: tuple[int, int] | None
            if all(isinstance(side, int) and side > 0 for side in stated):
                size = int(stated[0] or 0), int(stated[1] or 0)
                self.reading.sizes[self.tree.name(found)] = size
            else:
                size = self.reading.size(found, where)
            if size:
                pictures[image["id"]] = self.collector.entry(found, split, where), size
        return pictures

    def _thing(
        self, annotation: dict[str, Any], name: str, size: tuple[int, int], boxes: Boxes, where: str
    ) -> Found | None:
        try:
            mask = _outline(annotation.get("segmentation"))
        except (BadData, TypeError, ValueError, OverflowError) as error:
            self.reading.fault(where, f"segmentation: {error}".rstrip("."), "Draw it again or delete it.")
            return None
        around = bounds(mask) if mask is not None else None
        written = annotation.get("bbox")
        if written is None and around is not None:
            written = [around[0], around[1], around[2] - around[0], around[3] - around[1]]
        if not isinstance(written, list) or len(written) != 4 or not all(isinstance(v, int | float) for v in written):
            self.reading.fault(where, f"bbox {written!r} is no list of four numbers", "Write [x, y, width, height].")
            return None
        x, y, c, d = map(float, written)
        as_written: Box = (x, y, x + c, y + d)
        if around is not None and not _near(as_written, around) and _near((x, y, c, d), around):
            what = f"bbox {written} is left, top, right, bottom of its outline"
            self.reading.fault(where, what, "Write it as x, y, width, height.")
            return None
        box = boxes.look(as_written, (x, y, c, d), *size, where)
        return box and Found(name, box, mask, bool(annotation.get("iscrowd", 0)), where)

    def _wrong_base(self, strangers: list[tuple[str, Any]], known: set[Any]) -> None:
        """Categories that are not there: are all of them off by one?"""
        every = [one.get("category_id") for one in self.lists.content["annotations"] if isinstance(one, dict)]
        used: set[Any] = {number for number in every if number is None or isinstance(number, ID)}
        numbers = all(isinstance(value, int) for value in used | known)
        shifts = [s for s in (1, -1) if strangers and numbers and {value + s for value in used} <= known]
        for where, category in strangers:
            if shifts:
                way = "0, categories from 1" if shifts[0] == 1 else "1, categories from 0"
                fix = (
                    f"Annotations seem to count from {way}: {'add' if shifts[0] == 1 else 'subtract'} 1 in all of them."
                )
            else:
                fix = f"Add the category; there are {sorted(map(str, known), key=naturally)}."
            self.reading.fault(where, f"category_id {category!r} is that of no category", fix)


def _outline(drawn: Any) -> Polygons | RunLengths | None:
    if not drawn:
        return None
    if isinstance(drawn, dict):
        return rle(drawn.get("counts", ""), drawn.get("size", ()))
    if not all(isinstance(ring, list) for ring in drawn):
        raise BadData("neither polygons [[x0, y0, x1, y1, ...]] nor run lengths")
    rings = [tuple(map(float, ring)) for ring in drawn]
    for ring in rings:
        if len(ring) < 6 or len(ring) % 2 or not all(map(math.isfinite, ring)):
            raise BadData(f"a polygon of {len(ring)} numbers; 6 or more, two a corner, are needed")
    return Polygons(tuple(rings))


def _near(a: Box, b: Box) -> bool:
    return all(abs(x - y) <= CLOSE for x, y in zip(a, b, strict=True))
