"""Sentences and their translations: two files line by line, or one with both sides (.tsv, .jsonl); gzipped or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isotrain.data.faults import Told, refused
from isotrain.data.opened import folder_of, hold_out
from isotrain.data.readers.textfiles import value_of
from isotrain.data.samples import Dataset, Sample
from isotrain.data.textfiles import half_in, lines_of, read_utf8
from isotrain.errors import BadData, BadOption

LONGEST = 2000
"""Characters of a sentence; what is longer is a file without line ends, or a page of something else."""
FIELDS = (("source", "target"), ("src", "tgt"))
"""Names of the two sides, in the order they are looked for."""
SPLITS = ("val", "valid", "validation", "dev", "test")
SURE = 3.0
"""By how much a place where two files part must be better than none, in sums of differences of logarithms."""
SHOWN = 40
"""Characters of a sentence that a message shows."""
Place = str | Path


@dataclass(frozen=True)
class Pairs:
    """The pairs of one source as they stand there.

    Attributes:
        files: that of the sentences, that of the translations; the same where one holds both.
        pairs: line number, sentence, translation.
        format: in words.
    """

    files: tuple[Path, Path]
    pairs: list[tuple[int, str, str]]
    format: str


def open_parallel(
    source: Place,
    target: Place | None = None,
    *,
    val: tuple[Place, Place | None] | None = None,
    held_out: float = 0.05,
    seed: int = 0,
) -> Dataset:
    """Sentences with one translation each.

    Left out, and counted in the notes: pairs with an empty side, and pairs with more than 2,000 characters, or
    half a character (a lone surrogate, as JSON may hold), on a side.

    Args:
        source: a file with a sentence a line; or, with no target, a .tsv of two columns or a .jsonl of objects with
            two texts: "source" and "target", "src" and "tgt", a "translation" object, or any two.
        target: the file with the translations, as many lines.
        val: further pairs, given in the same way, that are held out instead of a share.
        held_out: share of the sentences that is held out, at most 5,000; all pairs of a sentence stay together.
        seed: of the draw of those.

    Raises:
        BadData: absent, unreadable, not UTF-8, of unequal length, malformed, or nothing to learn from; the message
            names file and line.
        BadOption: the share is not one.
    """
    if not 0 <= held_out < 1:
        raise BadOption(f"a share of {held_out} cannot be held out: 0 to below 1.")
    read = read_pairs(source, target)
    notes: list[str] = []
    train = _kept(read, notes)
    beside: tuple[Path, ...] = read.files
    kept: list[Sample] = []
    if val is not None:
        read_val = read_pairs(*val)
        kept = _kept(read_val, notes)
        known = {sample.text for sample in train}
        again = sum(sample.text in known for sample in kept)
        if again:
            notes.append(f"{again:,} of the {len(kept):,} sentences held out are learned from, too")
        beside += read_val.files
    elif held_out:
        train, kept = hold_out(train, held_out, seed)
        if not kept:
            raise BadData(f"{source} has one sentence only: nothing can be held out of it.")
    notes += _unused(beside)
    return Dataset((), train, kept, source=str(source), format=read.format, notes=tuple(notes))


def read_pairs(source: Place, target: Place | None, told: Told = refused) -> Pairs:
    """All pairs as they stand, those that nothing can be learned from among them.

    Args:
        source: as of `open_parallel`.
        target: the same.
        told: what is done about a fault.

    Raises:
        BadData: absent, unreadable, of no known format, or `told` does.
    """
    path = _file(source)
    if target is not None:
        return _two_files(path, _file(target), told)
    kind = _suffix(path)
    if kind == ".tsv":
        return _table(path, told)
    if kind in (".jsonl", ".ndjson"):
        return _objects(path, told)
    raise BadData(
        f"{path} is one side: name the file with the other, --target FILE. "
        "(A single file with both is a .tsv of two columns or a .jsonl.)"
    )


def _file(place: Place) -> Path:
    path = folder_of(str(place))
    if path.is_dir():
        raise BadData(f"{path} is a folder: {_named(path)}")
    return path


ONE_SIDED, EMPTY = "with one side empty", "with both sides empty"
LONG = f"with more than {LONGEST:,} characters on a side"
HALVED = "with half a character on a side"


class LeftOut(NamedTuple):
    """A pair that nothing can be learned from.

    Attributes:
        why: ONE_SIDED, EMPTY, LONG or HALVED.
        file: the one that is at fault.
        line: in it.
        more: what it is found again by.
    """

    why: str
    file: Path
    line: int
    more: str


def judged(read: Pairs) -> Iterator[Sample | LeftOut]:
    """Each pair, as it is learned from or why it is left out."""
    for number, source, target in read.pairs:
        pair = source.strip(), target.strip()
        sizes = len(pair[0]), len(pair[1])
        if not any(pair):
            yield LeftOut(EMPTY, read.files[0], number, "")
        elif not all(pair):
            side = 1 if pair[0] else 0
            yield LeftOut(ONE_SIDED, read.files[side], number, f"beside {_shown(pair[1 - side])}")
        elif max(sizes) > LONGEST:
            side = 0 if sizes[0] > LONGEST else 1
            yield LeftOut(LONG, read.files[side], number, f"{sizes[side]:,} characters")
        elif half := half_in("".join(pair)):
            yield LeftOut(HALVED, read.files[0 if half_in(pair[0]) else 1], number, half)
        else:
            where = f"{read.files[0]}, line {number}"
            yield Sample(name=str(number), group=pair[0], where=where, text=pair[0], said=pair[1:])


def _kept(read: Pairs, notes: list[str]) -> list[Sample]:
    """The pairs that can be learned from; what is left out is noted."""
    samples: list[Sample] = []
    left: dict[str, list[str]] = {ONE_SIDED: [], EMPTY: [], LONG: [], HALVED: []}
    for found in judged(read):
        if isinstance(found, Sample):
            samples.append(found)
        else:
            left[found.why].append(f"{found.file}, line {found.line}{f' ({found.more})' if found.more else ''}")
    for what, places in left.items():
        if places:
            many = "1 pair" if len(places) == 1 else f"{len(places):,} pairs"
            first = "" if len(places) == 1 else "the first: "
            notes.append(f"{many} {what} left out ({first}{places[0]})")
    if not samples:
        why = f": {'; '.join(notes)}" if notes else ""
        raise BadData(f"{read.files[0]} has no pair of sentences{why}.")
    return samples


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}...")


def _unused(files: Sequence[Path]) -> list[str]:
    """Held-out and test files that lie beside those of training and were not named."""
    found = []
    for split in SPLITS:
        alike = [re.sub(r"^train(ing)?(?=[._-])", split, file.name) for file in files[:2]]
        paths = [file.with_name(name) for file, name in zip(files, alike, strict=False)]
        new = [path for path in paths if path not in files and path.is_file()]
        if len(new) == len(paths):
            found.append(f"{' and '.join(dict.fromkeys(map(str, new)))} not used: only files that are named are")
    return found


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _named(folder: Path) -> str:
    """What of a folder could be meant, and how to say it."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    both = [name for name in names if _suffix(Path(name)) in (".tsv", ".jsonl", ".ndjson")]
    if both:
        return f"name the file, --source {folder / both[0]} (there are {', '.join(both[:5])})."
    sides: dict[str, list[str]] = {}
    for name in names:
        sides.setdefault(name.split(".")[0], []).append(name)
    pairs = [alike for alike in sides.values() if len(alike) > 1]
    pairs.sort(key=lambda alike: not alike[0].startswith("train"))
    if pairs:
        first, second = _sorted_sides(pairs[0])[:2]
        return (
            f"name two of its files, as --source {folder / first} --target {folder / second} "
            f"(there are {', '.join(names[:12])}{', ...' * (len(names) > 12)})."
        )
    there = f"it has {', '.join(names[:5])}{', ...' * (len(names) > 5)}" if names else "it has no files"
    return f"name the two files, --source FILE --target FILE; {there}."


def _sorted_sides(names: list[str]) -> list[str]:
    """English first: it is what most translate from; the user is shown how, and sees which way."""
    return sorted(names, key=lambda name: (".en" not in name, name))


def _two_files(path: Path, other: Path, told: Told) -> Pairs:
    source, target = (lines_of(read_utf8(file, _way_out(file), told)) for file in (path, other))
    if len(source) != len(target):
        told(*_unequal(path, other, source, target))
        return Pairs((path, other), [], "parallel files")  # which belong together, nobody knows
    numbers = range(1, len(source) + 1)
    return Pairs((path, other), list(zip(numbers, source, target, strict=True)), "parallel files")


def _way_out(path: Path) -> str:
    return f"convert it: iconv -f LATIN1 -t UTF-8 {path.name.removesuffix('.gz')}"


def _unequal(path: Path, other: Path, source: list[str], target: list[str]) -> tuple[str, str, str]:
    """Where two files part, as a fault."""
    longer, lines = (path, source) if len(source) > len(target) else (other, target)
    short = min(len(source), len(target))
    text = (
        f"{path} has {len(source):,} lines, {other} {len(target):,}: they belong together line by line. The first line "
        f"without a counterpart is {longer}:{short + 1} {_shown(lines[short])}"
    )
    blank = next((at for at in range(short) if bool(source[at].strip()) != bool(target[at].strip())), None)
    if blank is not None:
        empty, full, words = (other, path, source) if source[blank].strip() else (path, other, target)
        text += f"; the first that is empty on one side only is {empty}:{blank + 1} ({full}: {_shown(words[blank])})"
    parted = _parted(source, target)
    if parted < short:
        text += f"; by the lengths of the lines they part near line {parted + 1}"
    return f"{longer}:{short + 1}", text, "Find the line where they part, and put back what is missing"


def _parted(source: list[str], target: list[str]) -> int:
    """Line, from 0, where the two most likely part: up to it lines go together as they stand, from it on moved.

    How well two lines go together is the difference of the logarithms of their lengths. The shorter file's number of
    lines where nothing speaks for a place before its end.

    >>> lines = ["a", "bb" * 9, "c", "dddd" * 20, "e" * 3, "f" * 60, "g"]
    >>> _parted(lines, lines[:2] + lines[3:])
    2
    """
    shorter, longer = sorted((source, target), key=len)
    short, long = (np.log1p([len(line.strip()) for line in lines]) for lines in (shorter, longer))
    unmoved, moved = np.abs(short - long[: len(short)]), np.abs(short - long[len(long) - len(short) :])
    before = np.concatenate([[0.0], np.cumsum(unmoved)])
    behind = np.concatenate([np.cumsum(moved[::-1])[::-1], [0.0]])
    costs = before + behind
    return int(costs.argmin()) if costs.min() < costs[-1] - SURE else len(short)


def _table(path: Path, told: Told) -> Pairs:
    rows = [line.split("\t", 3) for line in lines_of(read_utf8(path, _way_out(path), told))]
    heading = tuple(cell.strip().lower() for cell in rows[0]) if rows else ()
    turned = heading[::-1] in FIELDS
    pairs: list[tuple[int, str, str]] = []
    for number, row in enumerate(rows, 1):
        if number == 1 and (turned or heading in FIELDS):
            continue
        cells = ["", ""] if row == [""] else row
        if len(cells) != 2:
            many = "one column" if len(cells) == 1 else "more than two columns"
            fix = "Put a tab between a sentence and its translation" if len(cells) == 1 else "Keep two: cut -f1,2"
            told(f"{path}:{number}", f"{many} ({_shown(cells[0])}), two are needed", fix)
            continue
        pairs.append((number, cells[1], cells[0]) if turned else (number, cells[0], cells[1]))
    return Pairs((path, path), pairs, "tab-separated pairs")


def _objects(path: Path, told: Told) -> Pairs:
    fields: tuple[str, str] | None = None
    pairs: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines_of(read_utf8(path, _way_out(path), told)), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = value_of(line)
        except json.JSONDecodeError as error:
            told(where, f"no valid JSON ({error.msg}, column {error.colno})", "Write the line again")
            continue
        if isinstance(row, dict) and isinstance(row.get("translation"), dict):
            row = row["translation"]
        if not isinstance(row, dict):
            told(where, "no object", 'Every line is {"source": ..., "target": ...}')
            continue
        fields = fields or _fields(row, where, told)
        if fields is None:
            continue
        lacking = [name for name in fields if not isinstance(row.get(name), str)]
        if lacking:
            what = f"no text {lacking[0]!r}, and line {pairs[0][0]} has one" if pairs else f"no text {lacking[0]!r}"
            told(where, what, "Add it or delete the line")
            continue
        pairs.append((number, row[fields[0]], row[fields[1]]))
    return Pairs((path, path), pairs, "JSON lines" + (f", {fields[0]!r} to {fields[1]!r}" if fields else ""))


def _fields(row: dict[str, Any], where: str, told: Told) -> tuple[str, str] | None:
    """Names of the two texts of an object; None where they cannot be known."""
    texts = [name for name, value in row.items() if isinstance(value, str)]
    for names in FIELDS:
        if set(names) <= set(texts):
            return names
    if len(texts) != 2:
        there = ", ".join(map(repr, texts[:6])) or "none"
        told(where, f"which two texts are meant? There are {there}", "Name them 'source' and 'target'")
        return None
    return texts[0], texts[1]
