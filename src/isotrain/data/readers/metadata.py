"""metadata.jsonl beside pictures (Hugging Face's imagefolder): a JSON object a line, with a label or with objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from isotrain.data.faults import Boxes
from isotrain.data.readers.collector import Collector, Entry, Found
from isotrain.data.readers.folders import split_of
from isotrain.data.readers.reading import Reading, Tree, split_named
from isotrain.data.readers.textfiles import read_lines, value_of

NAME = "metadata.jsonl"
LABELS = ("labels", "label", "class", "category")
CATEGORIES = ("categories", "category", "labels", "label")


def recognises(tree: Tree) -> bool:
    """There is a .jsonl file."""
    return bool(tree.ending(".jsonl"))


def read(tree: Tree, need: str) -> Reading:
    """Lines {"file_name": ..., "label": ...} or {..., "objects": {"bbox": [[x, y, w, h]], "categories": [...]}}.

    The split is that of the file's name (train.jsonl) or of its first folder.
    """
    reading = Reading(NAME)
    collector = Collector(tree, reading)
    for path in tree.ending(".jsonl"):
        boxes = Boxes(reading.faults, "x, y, width, height", "left, top, right, bottom")
        split = split_named(path.stem) or split_of(tree, path)[0]
        for number, line in enumerate(read_lines(path), 1):
            where = f"{tree.name(path)}:{number}"
            if not line.strip():
                continue
            try:
                row = value_of(line)
            except json.JSONDecodeError as error:
                reading.fault(where, f"no valid JSON ({error.msg}, column {error.colno})", "Mend or delete the line.")
                continue
            name = row.get("file_name") if isinstance(row, dict) else None
            if not isinstance(name, str):
                reading.fault(where, "no file_name", 'Every line is an object {"file_name": ..., "label": ...}.')
                continue
            found = tree.picture(name, path.parent)
            if found is None:
                collector.missing(name, where)
                continue
            entry = collector.entry(found, split, where, str(row.get("group", "")))
            _label(row, entry, found, reading, boxes, where)
        boxes.close(tree.name(path))
    collector.close()
    reading.unlabelled(tree)
    return reading


def _label(row: dict[str, Any], entry: Entry, picture: Path, reading: Reading, boxes: Boxes, where: str) -> None:
    objects = row.get("objects")
    key = next((key for key in LABELS if row.get(key) is not None), None)
    if key is not None:
        values = row[key] if isinstance(row[key], list) else [row[key]]
        if not all(isinstance(value, str | int) and value != "" for value in values):
            reading.fault(where, f"{key} {row[key]!r} is no class", "Write a word or a number, or a list of them.")
        else:
            reading.labelled = True
            entry.labels += [str(value) for value in values]
    if objects is None and key is None:
        reading.fault(where, "no label and no objects", f"Give one of {', '.join(LABELS)} or objects.")
    if objects is None:
        return
    if not isinstance(objects, dict) or not isinstance(objects.get("bbox"), list):
        reading.fault(where, "objects without a list bbox", 'Write "objects": {"bbox": [...], "categories": [...]}.')
        return
    written = objects["bbox"]
    names = next((objects[key] for key in CATEGORIES if key in objects), ["object"] * len(written))
    if not isinstance(names, list) or len(names) != len(written):
        reading.fault(where, f"{len(written)} boxes and not as many categories", "Give every box its category.")
        return
    size = reading.size(picture, where) if written else None
    for number, (box, name) in enumerate(zip(written, names, strict=True)):
        place = f"{where} objects[{number}]"
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
            reading.fault(place, f"box {box!r} is no list of four numbers", "Write [x, y, width, height].")
            continue
        x, y, c, d = map(float, box)
        seen = size and boxes.look((x, y, x + c, y + d), (x, y, c, d), *size, place)
        if seen:
            entry.things.append(Found(str(name), seen, where=place))
