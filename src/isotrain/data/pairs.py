"""Lists of pairs of pictures, of one person or of two: LFW's pairs.txt and tables of `path,path,same`.

Letters: p pairs, of m different pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isotrain.data.people import cells, whole
from isotrain.data.pictures import SUFFIXES
from isotrain.data.readers.textfiles import cells_of, read_lines
from isotrain.errors import BadData

WORDS = {
    "1": True,
    "true": True,
    "same": True,
    "yes": True,
    "0": False,
    "false": False,
    "different": False,
    "no": False,
}
"""What the third cell of a table may say."""
SHOWN = 5
"""Missing pictures that a message names; it counts the others."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures.

    Attributes:
        pictures: every picture once, [m].
        first: place of each pair's first picture among them, [p].
        second: of its second, [p].
        same: whether they show one person, [p].
        fold: which fold a pair belongs to, from 0, [p].
        folds: how many there are; 0 for a list that has none (View 1).
        lines: of the file, [p].
        source: the file's name.
        left_out: pairs that were left out because a picture is missing.
    """

    pictures: tuple[Path, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]
    folds: int
    lines: NDArray[np.int64]
    source: str
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.same)


class _Row(NamedTuple):
    """One pair as it is written: each picture a path below the folder, its ending open where `name_0001` is meant."""

    line: int
    first: str
    second: str
    same: bool
    fold: int


def read_pairs(path: Path, folder: Path | None = None, leave_out_missing: bool = False) -> Pairs:
    """Read a list of pairs.

    * LFW, View 2: `folds<tab>n`, then for each fold n lines `name<tab>i<tab>j` of one person and n lines
      `name<tab>i<tab>other<tab>j` of two. The picture is `name/name_000i.jpg`, or of another ending.
    * LFW, View 1: `n`, then n lines of one person and n of two.
    * a table, of any name whose first line has a comma: `path,path,same` and perhaps `,fold` (from 0); `same` is one of
      1, 0, true, false, yes, no, same, different. A first line without such a word, or without a dot and a slash,
      is a heading.

    Args:
        path: of the list.
        folder: of the pictures; the list's own if left out.
        leave_out_missing: leave out pairs with a missing picture, and count them: what is measured then is no longer
            the protocol's.

    Raises:
        BadData: unreadable, malformed, another number of pairs than announced, missing pictures, no pair; the message
            names the line.

    Source: Huang et al. 2007, "Labeled Faces in the Wild"; the format is described in its README.
    """
    folder = folder if folder is not None else path.parent
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if not lines:
        raise BadData(f"{path} is empty: a list of pairs is needed.")
    rows, folds = _table(path, lines) if "," in lines[0][1] else _lfw(path, lines)
    found, missing = _located(rows, folder)
    kept = [row for row in rows if found[row.first] is not None and found[row.second] is not None]
    if missing and not leave_out_missing:
        raise BadData(_missing_message(path, folder, missing, len(rows) - len(kept)))
    if not kept:
        raise BadData(f"{path}: no pair has both of its pictures in {folder}.")
    places: dict[Path, int] = {}
    first, second = (
        np.array([places.setdefault(_known(found[name]), len(places)) for name in names], np.int64)
        for names in ([row.first for row in kept], [row.second for row in kept])
    )
    same, fold = np.array([row.same for row in kept]), np.array([row.fold for row in kept], np.int64)
    numbers = np.array([row.line for row in kept], np.int64)
    return Pairs(tuple(places), first, second, same, fold, folds, numbers, path.name, len(rows) - len(kept))


def _lfw(path: Path, lines: list[tuple[int, str]]) -> tuple[list[_Row], int]:
    header = cells(lines[0][1])
    if len(header) not in (1, 2):
        raise BadData(
            f"{path}:{lines[0][0]}: the first line of LFW's pairs is `folds<tab>pairs` (View 2) or `pairs` (View 1), "
            f"not {lines[0][1].strip()[:60]!r}. A table of pairs has commas: path,path,same."
        )
    sizes = [whole(path, lines[0][0], text, "the number of folds or pairs") for text in header]
    folds, each = (sizes[0], sizes[1]) if len(sizes) == 2 else (1, sizes[0])
    rows = [_lfw_row(path, number, line, at // (2 * each)) for at, (number, line) in enumerate(lines[1:])]
    if len(rows) != 2 * each * folds:
        raise BadData(
            f"{path}: line 1 announces {folds} x 2 x {each} = {2 * each * folds} pairs, there are {len(rows)}. "
            "The file is cut, or its first line wrong."
        )
    for fold in range(folds):
        part = rows[2 * each * fold : 2 * each * (fold + 1)]
        alike = sum(row.same for row in part)
        if alike != each:
            raise BadData(
                f"{path}:{part[0].line}: {alike} of the {2 * each} pairs from this line on are of one person; line 1 "
                f"announces {each} of one and {each} of two" + (f" in fold {fold + 1}." if len(sizes) == 2 else ".")
            )
    return rows, folds if len(sizes) == 2 else 0


def _lfw_row(path: Path, number: int, line: str, fold: int) -> _Row:
    row = cells(line)
    if len(row) == 3:
        row = [row[0], row[1], row[0], row[2]]
        same = True
    elif len(row) == 4:
        same = False
        if row[0] == row[2]:
            raise BadData(f"{path}:{number}: a pair of two people names {row[0]!r} twice.")
    else:
        raise BadData(
            f"{path}:{number}: {line.strip()[:60]!r} is no pair: `name<tab>i<tab>j` or `name<tab>i<tab>other<tab>j`."
        )
    one, other = (
        f"{_plain(path, number, name)}/{name}_{whole(path, number, text, 'the number of a picture'):04d}"
        for name, text in ((row[0], row[1]), (row[2], row[3]))
    )
    if one == other:
        raise BadData(f"{path}:{number}: a picture is paired with itself ({one}).")
    return _Row(number, one, other, same, fold)


def _plain(path: Path, number: int, name: str) -> str:
    """A person's name that is the name of a folder, and of nothing above it."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise BadData(f"{path}:{number}: {name!r} is not the name of a person's folder.")
    return name


def _table(path: Path, lines: list[tuple[int, str]]) -> tuple[list[_Row], int]:
    rows: list[_Row] = []
    widths: set[int] = set()
    for at, (number, line) in enumerate(lines):
        row = [cell.strip() for cell in cells_of(line, f"{path}:{number}")]
        if at == 0 and len(row) in (3, 4) and (row[2].lower() not in WORDS or not set("./") & set(line)):
            continue
        if len(row) not in (3, 4) or row[2].lower() not in WORDS or not row[0] or not row[1]:
            raise BadData(f"{path}:{number}: {line.strip()[:60]!r} is not path,path,same (same: {', '.join(WORDS)}).")
        widths.add(len(row))
        fold = row[3] if len(row) == 4 else "0"
        if not (fold.isascii() and fold.isdecimal()) or len(widths) > 1:
            raise BadData(f"{path}:{number}: the fold is a number from 0, in every line or in none.")
        if row[0] == row[1]:
            raise BadData(f"{path}:{number}: a picture is paired with itself ({row[0]}).")
        rows.append(_Row(number, row[0], row[1], WORDS[row[2].lower()], int(fold)))
    if not rows:
        raise BadData(f"{path} has no pair behind its first line.")
    if widths == {3}:
        return rows, 0
    folds = max(row.fold for row in rows) + 1
    empty = sorted(set(range(folds)) - {row.fold for row in rows}) if folds <= len(rows) else [folds]
    if empty:
        raise BadData(f"{path}: folds are numbered from 0 without a gap, {empty[0]} is empty.")
    return rows, folds


def _located(rows: Iterable[_Row], folder: Path) -> tuple[dict[str, Path | None], dict[str, int]]:
    """The file of each picture, None where it is missing; the missing ones with the first line that names them."""
    found: dict[str, Path | None] = {}
    missing: dict[str, int] = {}
    listed: dict[Path, dict[str, Path]] = {}
    for row in rows:
        for name in (row.first, row.second):
            if name in found:
                continue
            found[name] = _file(folder, name, listed)
            if found[name] is None:
                missing[name] = row.line
    return found, missing


def _file(folder: Path, name: str, listed: dict[Path, dict[str, Path]]) -> Path | None:
    """A picture by its path with or without its ending; folders are looked through once."""
    path = folder / name
    inside = path.parent
    if inside not in listed:
        listed[inside] = {}
        if inside.is_dir():
            for entry in sorted(os.listdir(inside)):
                listed[inside].setdefault(entry, inside / entry)
                if PurePath(entry).suffix.lower() in SUFFIXES:
                    listed[inside].setdefault(PurePath(entry).stem, inside / entry)
    return listed[inside].get(path.name)


def _known(path: Path | None) -> Path:
    assert path is not None, "missing ones are left out"
    return path


def _missing_message(path: Path, folder: Path, missing: dict[str, int], pairs: int) -> str:
    names = list(missing.items())
    shown = ", ".join(f"{name} (line {line})" for name, line in names[:SHOWN])
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    pictures = "1 picture is" if len(names) == 1 else f"{len(names):,} pictures are"
    return (
        f"{path}:{names[0][1]}: {pictures} not in {folder}, needed by {pairs:,} "
        f"pair{'s' * (pairs > 1)}: {shown}{more}. Put them there, or name the folder that holds them."
    )
