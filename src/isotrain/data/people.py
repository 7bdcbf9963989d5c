"""People as LFW keeps them: a folder for each, `Name/Name_0001.jpg`, and people.txt that counts their pictures."""

from __future__ import annotations

import os
from pathlib import Path

from isotrain.data.pictures import SUFFIXES
from isotrain.data.readers.reading import naturally
from isotrain.data.readers.textfiles import read_lines
from isotrain.errors import BadData


def people_pictures(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each person of a folder of people, both in natural order.

    The folders' names are the people's. Folders without a picture and hidden ones are left out, and so is what lies
    beside the folders (LFW's lists).

    Raises:
        BadData: no such folder, or no picture of anybody in it.
    """
    if not folder.is_dir():
        raise BadData(f"{folder} is no folder: give one that has a folder of pictures for each person.")
    found: dict[str, list[Path]] = {}
    with os.scandir(folder) as entries:
        people = sorted(
            (e for e in entries if e.is_dir() and e.name[0] != "."), key=lambda entry: naturally(entry.name)
        )
    for person in people:
        with os.scandir(person.path) as entries:
            names = [e.name for e in entries if e.name[0] != "." and Path(e.name).suffix.lower() in SUFFIXES]
        if names:
            found[person.name] = [folder / person.name / name for name in sorted(names, key=naturally)]
    if not found:
        raise BadData(f"{folder} has no folder with pictures in it: one for each person is needed, PERSON/picture.jpg.")
    return found


def read_people(path: Path) -> list[dict[str, int]]:
    """LFW's people.txt (View 2, a list for each fold) or peopleDevTrain.txt (View 1, one list).

    Names, and how many pictures there are of each. A file of View 2 begins with the number of folds, and every fold
    with the number of its people; one of View 1 with the number of its people.

    Raises:
        BadData: unreadable, a line that is not `name<tab>number`, a person named twice, a count that is not true; the
            message names the line.
    """
    rows = [(number, cells(line)) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if not rows or len(rows[0][1]) != 1:
        raise BadData(f"{path}:1: the first line of a list of people is a number alone: of folds, or of people.")
    header = whole(path, rows[0][0], rows[0][1][0], "the first line")
    several = len(rows) > 1 and len(rows[1][1]) == 1
    folds, at = (header, 1) if several else (1, 0)
    found: list[dict[str, int]] = []
    seen: dict[str, int] = {}
    for fold in range(folds):
        if at >= len(rows):
            raise BadData(f"{path}: {header} folds are announced in line 1, there are {fold}.")
        line, row = rows[at]
        if len(row) != 1:
            raise BadData(f"{path}:{line}: the number of people of fold {fold + 1} stands here, not {' '.join(row)!r}.")
        size = whole(path, line, row[0], "the number of people")
        people: dict[str, int] = {}
        for number, row in rows[at + 1 : at + 1 + size]:
            if len(row) != 2:
                raise BadData(
                    f"{path}:{number}: {' '.join(row)!r} is not a name and how many pictures. Line {line} announces "
                    f"{size} people, this would be number {len(people) + 1}."
                )
            if row[0] in seen:
                raise BadData(f"{path}:{number}: {row[0]!r} stands in line {seen[row[0]]} already.")
            seen[row[0]] = number
            people[row[0]] = whole(path, number, row[1], f"how many pictures there are of {row[0]!r}")
        if len(people) < size:
            raise BadData(f"{path}:{line}: {size} people are announced, there are {len(people)}.")
        found.append(people)
        at += 1 + size
    if at < len(rows):
        raise BadData(f"{path}:{rows[at][0]}: there are more lines than line 1 announces.")
    return found


def cells(line: str) -> list[str]:
    r"""The cells of a line of LFW's lists: between tabs, or between spaces where there is no tab.

    >>> cells("Ada Alder\t1\t2 "), cells("Ada_Alder 1  2")
    (['Ada Alder', '1', '2'], ['Ada_Alder', '1', '2'])
    """
    return [cell.strip() for cell in line.strip().split("\t")] if "\t" in line.strip() else line.split()


def whole(path: Path, line: int, text: str, what: str) -> int:
    """A number of 1 or more.

    Raises:
        BadData: it is none.
    """
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise BadData(f"{path}:{line}: {what} is {text!r}: a whole number of 1 or more is needed.")
    return int(text)
