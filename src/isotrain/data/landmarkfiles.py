"""Landmarks from files: iBUG's `.pts` beside each picture, or a table of all pictures.

Places are x, y in pixels, the centre of the first pixel at 0.5. A `.pts` file counts from 1 and its whole numbers are
centres, so that 0.5 is taken off; a table counts from 0, so that 0.5 is added.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from isotrain.data.pictures import SUFFIXES
from isotrain.data.readers.reading import naturally
from isotrain.data.readers.textfiles import cells_of, read_lines
from isotrain.errors import BadData

POINTS = 68
SHOWN = 5
"""Missing pictures that a message names; it counts the others."""


class MarkedPicture(NamedTuple):
    """A picture with the landmarks of its face.

    Attributes:
        picture: its file.
        points: float32 [n, 2].
        where: file and line they were read from.
    """

    picture: Path
    points: Tensor
    where: str


def read_landmarks(source: Path, folder: Path | None = None, points: int = POINTS) -> list[MarkedPicture]:
    """The landmarks of pictures: of a folder with a `.pts` file beside each picture, or of a table.

    A table has a line for each picture, `file,x0,y0,x1,y1,...`, and perhaps a heading.

    Args:
        source: the folder, a single `.pts` file, or the table (`.csv`).
        folder: of the pictures of a table; if left out, the table's own or `NAME` beside `NAME_frames_keypoints.csv`.
        points: how many landmarks a face has.

    Raises:
        BadData: unreadable, another number of landmarks, something that is no number, missing pictures (all of them
            counted), nothing at all; the message names file and line.
    """
    if source.is_dir():
        files = sorted(source.rglob("*.pts"), key=lambda path: naturally(path.as_posix()))
        if not files:
            raise BadData(f"{source} has no .pts file: each picture's landmarks stand in one of its name.")
        return _beside(files, points)
    if source.suffix.lower() == ".pts":
        return _beside([source], points)
    return _table(source, folder, points)


def read_pts(path: Path, points: int = POINTS) -> Tensor:
    """The landmarks of one `.pts` file: float32 [points, 2].

    Raises:
        BadData: unreadable or malformed; the message names the line.

    Source: Sagonas et al. 2013, "300 faces in-the-wild challenge" (the format of its annotations).
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    opened = [at for at, (_, line) in enumerate(lines) if line.startswith("{")]
    closed = [at for at, (_, line) in enumerate(lines) if line.startswith("}")]
    if len(opened) != 1 or len(closed) != 1 or closed[0] < opened[0]:
        raise BadData(f"{path}: no .pts file: its points stand between a line {{ and a line }}.")
    for number, line in lines[: opened[0]]:
        announced = re.fullmatch(r"n_points\s*:\s*(\S+)", line)
        if announced and announced[1] != str(points):
            raise BadData(f"{path}:{number}: {announced[1]} points are announced, a face has {points} here.")
    rows = [(number, line.replace(",", " ").split()) for number, line in lines[opened[0] + 1 : closed[0]]]
    if len(rows) != points:
        raise BadData(f"{path}: {len(rows)} points, {points} are needed.")
    for number, row in rows:
        if len(row) != 2:
            raise BadData(f"{path}:{number}: {' '.join(row)[:60]!r} is not x and y.")
    return torch.tensor([_numbers(f"{path}:{number}", row) for number, row in rows]) - 0.5


def _beside(files: Sequence[Path], points: int) -> list[MarkedPicture]:
    found: list[MarkedPicture] = []
    missing: list[str] = []
    for path in files:
        places = read_pts(path, points)
        alike = [
            other for other in sorted(path.parent.glob(f"{_literal(path.stem)}.*")) if other.suffix.lower() in SUFFIXES
        ]
        if alike:
            found.append(MarkedPicture(alike[0], places, str(path)))
        else:
            missing.append(str(path))
    if missing:
        raise BadData(f"{missing[0]}: no picture of this name is beside it. {_counted(missing)}")
    return found


def _literal(name: str) -> str:
    """A name in which nothing stands for something else when it is looked for."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _table(path: Path, folder: Path | None, points: int) -> list[MarkedPicture]:
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    rows = [(number, cells_of(line, f"{path}:{number}")) for number, line in lines]
    # A heading has no name of a picture in its first cell; the shared tables' is empty.
    if rows and Path(rows[0][1][0].strip()).suffix.lower() not in SUFFIXES:
        rows = rows[1:]
    if not rows:
        raise BadData(f"{path} has no line with landmarks: file,x0,y0,x1,y1,... is needed.")
    if folder is None:
        folder = path.parent
        named = folder / path.stem.removesuffix("_frames_keypoints")
        folder = named if named.is_dir() else folder
    found: list[MarkedPicture] = []
    missing: list[str] = []
    for number, row in rows:
        where, name = f"{path}:{number}", row[0].strip()
        if len(row) != 1 + 2 * points:
            raise BadData(f"{where}: {len(row)} cells, {1 + 2 * points} are needed: a file and {points} times x, y.")
        places = torch.tensor(_numbers(where, row[1:])).view(points, 2) + 0.5
        if not name or not (folder / name).is_file():
            missing.append(f"{where} ({name})")
        found.append(MarkedPicture(folder / name, places, where))
    if missing:
        raise BadData(f"{missing[0]}: no such picture in {folder}. {_counted(missing)}")
    return found


def _counted(missing: list[str]) -> str:
    if len(missing) == 1:
        return "Put it there."
    shown = ", ".join(missing[1:SHOWN])
    more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
    return f"{len(missing):,} are missing in all, so also {shown}{more}. Put them there."


def _numbers(where: str, cells: Sequence[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        bad = next((cell for cell in cells if not _is_number(cell)), "")
        raise BadData(f"{where}: {bad[:40]!r} is no number.") from error
    if not all(map(math.isfinite, numbers)):
        raise BadData(f"{where}: a landmark is infinite or not a number.")
    return numbers


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
