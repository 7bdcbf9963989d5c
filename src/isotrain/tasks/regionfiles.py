"""Regions that come with the pictures, in a file: csv or the JSON of COCO's results.

csv: a header `picture,left,top,right,bottom` and, if wanted, `score`; pixels of the picture as it is looked at, right
and bottom edges excluded. JSON: a list of {"image_id", "bbox": [left, top, width, height], "score"}. A picture is
known by its sample's name, its file's name with or without its ending, or a number that is it.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isotrain.data.samples import Sample
from isotrain.errors import BadData
from isotrain.vision.boxes import clean

COLUMNS = ("picture", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Row:
    """One region: its box, how sure its maker was, and where it stands."""

    box: tuple[float, float, float, float]
    score: float
    where: str


class RegionFile:
    """The regions of many pictures.

    Raises:
        BadData: no csv or JSON of the form above; the message names the line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadData(f"regions {path} cannot be read: {error}.") from error
        self._rows: dict[str, list[Row]] = {}
        for picture, row in _results(text, path) if path.suffix.lower() == ".json" else _table(text, path):
            self._rows.setdefault(picture, []).append(row)

    def of(self, sample: Sample, height: int, width: int) -> Tensor:
        """Regions [P, 4] of a picture of that size, the surest first, cut off at its edges.

        Raises:
            BadData: there is none, or one that does not touch the picture or has no area.
        """
        rows = next((self._rows[name] for name in _names(sample) if name in self._rows), None)
        if rows is None:
            raise BadData(f"{self.path} has no region of picture {sample.name or sample.picture}.")
        rows = sorted(rows, key=lambda row: -row.score)
        boxes = torch.tensor([row.box for row in rows])
        kept, places = clean(boxes, height, width, smallest=1e-3)
        if len(kept) < len(boxes):
            missing = sorted(set(range(len(boxes))) - set(places.tolist()))[0]
            raise BadData(
                f"{rows[missing].where}: region {list(rows[missing].box)} has no area inside of picture {sample.name}, "
                f"{width} x {height} pixels; boxes are left, top, right, bottom."
            )
        return kept


def _names(sample: Sample) -> list[str]:
    names = [sample.name]
    if isinstance(sample.picture, Path):
        names += [str(sample.picture), sample.picture.name, sample.picture.stem]
    return names + [str(int(name)) for name in names if name.isdigit()]


def _table(text: str, path: Path) -> list[tuple[str, Row]]:
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        names = ",".join(COLUMNS)
        raise BadData(f"regions {path} lack the column {missing[0]!r} in their first line: {names}[,score].")
    return [(str(row["picture"]), _row(row, f"{path}:{reader.line_num}")) for row in reader]


def _row(row: dict[str, Any], where: str) -> Row:
    try:
        left, top, right, bottom = (float(row[column]) for column in COLUMNS[1:])
        return _finite((left, top, right, bottom), float(row.get("score") or 0), where)
    except (TypeError, ValueError) as error:
        raise BadData(f"{where}: {error}; a region is left, top, right, bottom in pixels.") from error


def _results(text: str, path: Path) -> list[tuple[str, Row]]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadData(f"regions {path}:{error.lineno} are no JSON: {error.msg}.") from error
    if not isinstance(entries, list):
        raise BadData(f"regions {path} must be a list of {{image_id, bbox, score}}, as COCO's results are.")
    found = []
    for place, entry in enumerate(entries):
        where = f"{path}: entry {place}"
        try:
            left, top, width, height = (float(value) for value in entry["bbox"])
            box = (left, top, left + width, top + height)
            found.append((str(entry["image_id"]), _finite(box, float(entry.get("score", 0)), where)))
        except (KeyError, TypeError, ValueError) as error:
            raise BadData(f"{where} is no {{image_id, bbox: [left, top, width, height]}}: {error}.") from error
    return found


def _finite(box: tuple[float, float, float, float], score: float, where: str) -> Row:
    if not all(torch.isfinite(torch.tensor([*box, score]))):
        raise ValueError(f"{list(box)} is not finite")
    return Row(box, score, where)
