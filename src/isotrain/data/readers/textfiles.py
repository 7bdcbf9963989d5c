"""Text files read so that every item knows its line: plain lines, JSON, and the part of YAML that data.yaml needs."""

from __future__ import annotations

import csv
import json
import re
import reprlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isotrain.errors import BadData


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, a byte order mark left out.

    Raises:
        BadData: it cannot be read as UTF-8.
    """
    return _text(path).splitlines()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadData(f"{path}:{line}: not UTF-8 text. Save it as UTF-8.") from error


def cells_of(line: str, where: str) -> list[str]:
    """The cells of a line of csv.

    Raises:
        BadData: it is none, or has a cell that csv has no room for (more than 131,072 characters).
    """
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:
        raise BadData(f"{where}: no valid csv ({error}).") from error


def value_of(text: str) -> Any:
    """The JSON value that a text is.

    Raises:
        json.JSONDecodeError: it is none, or one that is beyond Python: too deep, or with a number too long.

    >>> value_of("[" * 100_000)
    Traceback (most recent call last):
    json.decoder.JSONDecodeError: brackets within brackets, too deep to be read: line 1 column 1 (char 0)
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(_beyond(error), text, 0) from error


def _value_at(text: str, place: int) -> tuple[Any, int]:
    """The JSON value that begins at a place, and the place behind it; raises as `value_of`."""
    try:
        return DECODER.raw_decode(text, place)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(_beyond(error), text, place) from error


def _beyond(error: Exception) -> str:
    """Why Python cannot read a value that is JSON."""
    if isinstance(error, RecursionError):
        return "brackets within brackets, too deep to be read"
    return f"a number of more than {sys.get_int_max_str_digits():,} digits"


def shown(value: Any) -> str:
    """A value as a message shows it, however long or deep it is.

    >>> shown([[[[[[[[1]]]]]]]]), shown("a" * 9), len(shown("b" * 5000))
    ('[[[[[[[...]]]]]]]', "'aaaaaaaaa'", 200)
    """
    return SHORT.repr(value)


ID = (int, float, str)
"""What the id of something in a list may be."""
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 200


@dataclass(frozen=True)
class Lists:
    """A JSON object, and the line on which each element of its lists begins."""

    content: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)


SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


def read_json(path: Path) -> Lists:
    """A JSON file that holds one object; the elements of its lists are counted by lines.

    Raises:
        BadData: no JSON, or no object; the message names the line.
    """
    text = _text(path)
    read = Lists()

    def skip(place: int) -> int:
        found = SPACE.match(text, place)
        assert found is not None
        return found.end()

    def wanted(place: int, letters: str) -> str:
        if text[place : place + 1] not in tuple(letters):
            raise json.JSONDecodeError(f"one of {' '.join(letters)} is missing", text, place)
        return text[place]

    try:
        place = skip(0)
        wanted(place, "{")
        place = skip(place + 1)
        separator = "," if text[place : place + 1] != "}" else "}"
        while separator == ",":
            wanted(place, '"')
            key, place = _value_at(text, place)
            place = skip(place)
            wanted(place, ":")
            place = skip(place + 1)
            if text[place : place + 1] == "[":
                read.content[key], read.lines[key], place = _elements(text, place, skip, wanted)
            else:
                read.content[key], place = _value_at(text, place)
            place = skip(place)
            separator = wanted(place, ",}")
            place = skip(place + 1)
    except json.JSONDecodeError as error:
        raise BadData(f"{path}:{error.lineno}: no valid JSON ({error.msg}, column {error.colno}).") from error
    return read


def _elements(text: str, place: int, skip: Any, wanted: Any) -> tuple[list[Any], Any, int]:
    """The list that begins at a place, the lines of its elements, and the place behind it."""
    elements: list[Any] = []
    lines: list[int] = []
    line, counted = text.count("\n", 0, place) + 1, place
    place = skip(place + 1)
    separator = "," if text[place : place + 1] != "]" else "]"
    if separator == "]":
        return elements, lines, place + 1
    while separator == ",":
        line, counted = line + text.count("\n", counted, place), place
        element, place = _value_at(text, place)
        elements.append(element)
        lines.append(line)
        place = skip(place)
        separator = wanted(place, ",]")
        place = skip(place + 1) if separator == "," else place + 1
    return elements, lines, place


def read_yaml(path: Path) -> dict[str, Any]:
    """The part of YAML that data.yaml needs: keys, words and numbers, lists and maps, nested by indentation.

    Raises:
        BadData: anything else (anchors, tags, several documents); the message names the line.
    """
    lines = _logical_lines(path)
    if not lines:
        return {}
    value, rest = _block(path, lines, lines[0][1])
    if rest:
        raise BadData(f"{path}:{rest[0][0]}: {rest[0][2]!r} is indented less than what it belongs to.")
    if not isinstance(value, dict):
        raise BadData(f"{path}:{lines[0][0]}: a list where keys are expected (names: ..., train: ...).")
    return value


Line = tuple[int, int, str]
"""Number, indentation, text."""


def _logical_lines(path: Path) -> list[Line]:
    """Lines with something on them, comments left out; brackets that go on are joined, `|` texts are one line."""
    found: list[Line] = []
    literal: int | None = None  # indentation of the key whose text goes on
    for number, raw in enumerate(read_lines(path), 1):
        indent = len(raw) - len(raw.lstrip(" "))
        if literal is not None and (not raw.strip() or indent > literal):
            continue
        literal = None
        text = _uncommented(raw).strip()
        if not text or (text == "---" and not found):
            continue
        if "\t" in raw[: len(raw) - len(raw.lstrip())]:
            raise BadData(f"{path}:{number}: YAML is indented by spaces, not tabs.")
        if found and _open_brackets(found[-1][2]) > 0:
            found[-1] = (found[-1][0], found[-1][1], f"{found[-1][2]} {text}")
            continue
        if re.search(r":\s+[|>][+-]?$", text):
            literal = indent
            text = re.sub(r"[|>][+-]?$", "", text)
        found.append((number, indent, text))
    if found and _open_brackets(found[-1][2]) > 0:
        raise BadData(f"{path}:{found[-1][0]}: a bracket that is never closed.")
    return found


QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""")


def _uncommented(text: str) -> str:
    hidden = QUOTED.sub(lambda found: "q" * len(found.group()), text)
    comment = re.search(r"(?:^|\s)#", hidden)
    return text[: comment.start()] if comment else text


def _open_brackets(text: str) -> int:
    bare = QUOTED.sub("", text)
    return sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))


def _block(path: Path, lines: list[Line], indent: int) -> tuple[Any, list[Line]]:
    """The list or map whose lines have this indentation, and the lines behind it."""
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    listed = lines[0][2] == "-" or lines[0][2].startswith("- ")
    while lines and lines[0][1] == indent and (lines[0][2].startswith("- ") or lines[0][2] == "-") == listed:
        number, _, text = lines[0]
        lines = lines[1:]
        if listed:
            items.append(_scalar(path, number, text[1:].strip()))
            continue
        key, rest = _pair(path, number, text)
        nested = bool(lines) and (lines[0][1] > indent or (lines[0][1] == indent and lines[0][2].startswith("- ")))
        if not rest and nested:
            pairs[key], lines = _block(path, lines, lines[0][1])
        else:
            pairs[key] = _scalar(path, number, rest)
    if lines and lines[0][1] > indent:
        raise BadData(f"{path}:{lines[0][0]}: {lines[0][2]!r} is indented more than what it belongs to.")
    return (items if listed else pairs), lines


def _pair(path: Path, number: int, text: str) -> tuple[str, str]:
    found = re.match(rf"({QUOTED.pattern}|[^\s\[\]{{}}&*!|>'\"%@`,][^:]*?)\s*:(?:\s+(.*)|$)", text)
    if found is None:
        raise BadData(f"{path}:{number}: {text[:40]!r} is not of the part of YAML read here (KEY: VALUE is).")
    return str(_scalar(path, number, found.group(1))), (found.group(2) or "").strip()


def _scalar(path: Path, number: int, text: str) -> Any:
    if text[:1] in ("[", "{"):
        return _flow(path, number, text)
    if QUOTED.fullmatch(text):
        return text[1:-1].replace("''", "'") if text[0] == "'" else json.loads(text)
    if text[:1] in tuple("&*!@`%'\"") or re.search(r":\s", text):
        raise BadData(f"{path}:{number}: {text[:40]!r} is not of the part of YAML read here; put it in quotes.")
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    return text if text not in ("", "~", "null") else None


def _flow(path: Path, number: int, text: str) -> Any:
    """`[a, b]` or `{0: a, 1: b}`, not nested."""
    closing = {"[": "]", "{": "}"}[text[0]]
    inner = text[1:-1].strip()
    if not text.endswith(closing) or _open_brackets(inner):
        raise BadData(f"{path}:{number}: {text[:40]!r} is not a list or map that can be read here.")
    parts = [part.strip() for part in re.findall(rf"(?:{QUOTED.pattern}|[^,])+", inner) if part.strip()]
    if text[0] == "[":
        return [_scalar(path, number, part) for part in parts]
    pairs = (_pair(path, number, part) for part in parts)
    return {key: _scalar(path, number, value) for key, value in pairs}
