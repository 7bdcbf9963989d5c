"""Faces with 68 landmarks: a table of file,x0,y0,... (ytfaces), or a .pts file beside each picture (iBUG)."""

from __future__ import annotations

import re
from pathlib import Path

from isotrain.data.landmarkfiles import MarkedPicture, read_landmarks
from isotrain.data.readers.reading import TRAIN, Reading, Tree, split_named
from isotrain.data.samples import Sample, Thing
from isotrain.errors import BadData

NAME = "pictures of faces with landmarks"
COLUMNS = 1 + 2 * 68
SPLIT = re.compile(r"([A-Za-z]+)(?:_frames)?(?:_keypoints)?")


def recognises(tree: Tree) -> bool:
    """There are .pts files, or a table as wide as 68 landmarks."""
    return bool(tree.ending(".pts")) or any(_is_table(path) for path in tree.ending(".csv"))


def read(tree: Tree, need: str) -> Reading:
    """A table's name says its split; frames of one person, or film, are a group."""
    reading = Reading(NAME, classes=["face"])
    tables = [path for path in tree.ending(".csv") if _is_table(path)]
    sources = tables or ([tree.only] if tree.only else [tree.root])
    for source in sources:
        found = SPLIT.fullmatch(source.stem) if source.is_file() else None
        split = (split_named(found[1]) if found else None) or TRAIN
        try:
            marked = read_landmarks(source)
        except BadData as error:
            reading.fault(tree.name(source), str(error).rstrip("."), "Mend it, or take it away.")
            continue
        reading.splits[split] += [_sample(tree, one) for one in marked]
    return reading


def _sample(tree: Tree, one: MarkedPicture) -> Sample:
    low, high = one.points.amin(0).tolist(), one.points.amax(0).tolist()
    thing = Thing(0, (low[0], low[1], high[0], high[1]), where=one.where, points=tuple(map(tuple, one.points.tolist())))
    return Sample(one.picture, (), (thing,), tree.name(one.picture), _whose(one.picture), one.where)


def _whose(picture: Path) -> str:
    """What frames of one film have in common: their name without the number at its end."""
    head, _, tail = picture.stem.rpartition("_")
    return head if head and tail.isdecimal() else ""


def _is_table(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().count(",") == COLUMNS - 1
