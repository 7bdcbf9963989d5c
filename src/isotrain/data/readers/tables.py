"""csv with a header: a picture and its label on each line, or one box of a picture on each line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from isotrain.data.faults import Boxes
from isotrain.data.readers.collector import Collector, Found
from isotrain.data.readers.reading import TRAIN, Reading, Tree, split_named
from isotrain.data.readers.textfiles import cells_of, read_lines
from isotrain.data.samples import Box
from isotrain.errors import BadData

NAME = "csv"
PICTURE = ("picture", "image", "file", "filename", "file_name", "path", "image_path", "filepath", "image_id", "id")
LABEL = ("label", "labels", "class", "class_name", "category", "target", "tags", "name")
CORNERS = (
    ("left", "top", "right", "bottom"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
)
SIZED = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
HEADER = "picture,label (with boxes also: left,top,right,bottom)"


def recognises(tree: Tree) -> bool:
    """A csv file's header names a picture and a label or a box."""
    return bool(tree.only and tree.ending(".csv")) or any(_columns(path) for path in tree.ending(".csv"))


def _header(path: Path, line: str) -> list[str]:
    return [cell.strip().lower() for cell in cells_of(line, f"{path}:1")]


def _columns(path: Path) -> tuple[str, str | None, Sequence[str] | None, bool] | None:
    """Names of the columns of the picture, the label and the box, and whether the box has corners; None: no header."""
    try:
        lines = read_lines(path)
        header = _header(path, lines[0]) if lines else []
    except BadData:
        return None
    picture = next((name for name in PICTURE if name in header), None)
    label = next((name for name in LABEL if name in header), None)
    corners = next((names for names in CORNERS if set(names) <= set(header)), None)
    sized = None if corners else next((names for names in SIZED if set(names) <= set(header)), None)
    if picture is None or not (label or corners or sized):
        return None
    return picture, label, corners or sized, corners is not None


def read(tree: Tree, need: str) -> Reading:
    """The split is in a column `split`, or in the name of the file or of its folder."""
    reading = Reading(NAME)
    collector = Collector(tree, reading)
    for path in tree.ending(".csv"):
        columns = _columns(path)
        if columns is None:
            if tree.only:
                raise BadData(f"{tree.name(path)}:1: the first line must name the columns: {HEADER}.")
            continue
        _read_file(tree, path, columns, reading, collector)
    collector.close()
    reading.unlabelled(tree)
    return reading


def _read_file(
    tree: Tree,
    path: Path,
    columns: tuple[str, str | None, Sequence[str] | None, bool],
    reading: Reading,
    collector: Collector,
) -> None:
    picture_column, label_column, box_columns, corners = columns
    reading.labelled |= box_columns is None
    file_split = split_named(path.stem) or split_named(path.parent.name) or TRAIN
    lines = read_lines(path)
    header = _header(path, lines[0])
    rows = csv.reader(lines[1:])
    ways = ("left, top, right, bottom", "x, y, width, height")
    boxes = Boxes(reading.faults, *(ways if corners else ways[::-1]))
    sizes: dict[Path, tuple[int, int] | None] = {}
    before: set[tuple[str, ...]] = set()
    for cells in _whole(rows, tree.name(path), reading):
        where = f"{tree.name(path)}:{rows.line_num + 1}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            reading.fault(
                where, f"{len(cells)} cells, the header has {len(header)}", "Put cells with commas in quotes."
            )
            continue
        if tuple(cells) in before:
            reading.fault(where, "the same line as one before", "Delete it.", "warning")
            continue
        before.add(tuple(cells))
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        split = split_named(row["split"]) if row.get("split") else file_split
        if split is None:
            reading.fault(where, f"split {row['split']!r} is not known", "Write train, val or test.")
            continue
        found = tree.picture(row[picture_column], path.parent)
        if found is None or not row[picture_column]:
            collector.missing(row[picture_column], where)
            continue
        entry = collector.entry(found, split, where, row.get("group", ""))
        label = row[label_column] if label_column else "object"
        cells_of_box = [row[name] for name in box_columns or ()]
        if box_columns is None:
            many = re.split(r"\s*[;|]\s*", label) if label_column in ("labels", "tags") else [label]
            if not label:
                reading.fault(where, "no label", f"Fill in column {label_column!r} or delete the line.")
            entry.labels += [name for name in many if name]
            continue
        if not any(cells_of_box):  # a picture with nothing on it
            continue
        numbers = _numbers(cells_of_box)
        if numbers is None or not label:
            what = f"box {','.join(cells_of_box)} of label {label!r} is incomplete"
            reading.fault(where, what, f"Columns {', '.join(box_columns)} want numbers, and a label beside them.")
            continue
        if found not in sizes:
            sizes[found] = reading.size(found, where)
        size = sizes[found]
        a, b, c, d = numbers
        readings: tuple[Box, Box] = (a, b, c, d), (a, b, a + c, b + d)
        box = size and boxes.look(*(readings if corners else readings[::-1]), *size, where)
        if box:
            entry.things.append(Found(label, box, where=where))
    boxes.close(tree.name(path))


def _whole(rows: Any, name: str, reading: Reading) -> Iterator[list[str]]:
    """The rows that csv can read; of one it cannot (a cell of more than 131,072 characters), a fault."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            reading.fault(f"{name}:{rows.line_num + 1}", f"no valid csv ({error})", "Mend or delete the line.")


def _numbers(cells: list[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return None
