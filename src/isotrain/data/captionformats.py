"""The formats that captions are kept in: which one a file is, and what it says of which picture."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isotrain.data.faults import Told, refused
from isotrain.data.readers.reading import TRAIN, Tree, split_named
from isotrain.data.readers.textfiles import ID, Lists, read_json, shown, value_of
from isotrain.data.textfiles import lines_of, read_bytes, read_utf8
from isotrain.errors import BadData

KNOWN = (
    "COCO's captions_*.json, Karpathy's dataset_*.json, Flickr8k's list of NAME.jpg#0<tab>CAPTION, JSON lines "
    '{"file_name": ..., "caption": ...}, a table with the heading image,caption, a NAME.txt beside each picture'
)
NAMES = ("file_name", "image", "picture", "filename")
"""Where a JSON line may say which picture it is about, in the order they are looked for."""
CAPTIONS = ("captions", "caption", "text")
"""Where it may say what is said of it: a text or a list of texts."""
TOKEN = re.compile(r"([^\t]+)#\d+\t(.*)")
"""A line of Flickr8k's list: picture, number of the caption, caption."""
HEADING = "image,caption"
"""First line of Flickr8k's list as it is passed on as a table."""
SPLITS = {"restval": TRAIN}
"""Karpathy's name for what is learned from beyond COCO's own training pictures."""


class Said(NamedTuple):
    """One caption, or a picture that is listed without one (None).

    Attributes:
        picture: its name as it is written.
        folders: in which it may lie, before any other.
        caption: as it is written.
        split: TRAIN, VAL or TEST; "" where the picture's folder says which.
        where: file and line.
    """

    picture: str
    folders: tuple[Path, ...]
    caption: str | None
    split: str
    where: str


def all_said(tree: Tree, named: Sequence[Path], told: Told = refused) -> tuple[str, Iterator[Said]]:
    """The format of the captions, and what they say.

    Args:
        tree: the pictures.
        named: the files with the captions, or a folder with them; none: they are looked for among the pictures.
        told: what is done about a fault of a file.

    Raises:
        BadData: none, of no known format, of several, or given twice. Later, while they are read: malformed.
    """
    if not named or (len(named) == 1 and named[0].is_dir()):
        files = _found(Tree(named[0]) if named else tree)
    else:
        files = {path: _kind(path) for path in named}
    unknown = next((path for path, kind in files.items() if kind is None), None)
    if unknown is not None:
        raise BadData(f"{unknown} holds no captions in a known format. Known: {KNOWN}.")
    kinds = {kind for kind in files.values() if kind is not None}
    if len(kinds) > 1:
        raise BadData(f"captions in several formats: {_listed(files)}. Name the files of one.")
    kind = kinds.pop()
    return kind, READERS[kind](tree, list(files), told)


def _found(tree: Tree) -> dict[Path, str | None]:
    """The files with captions in a folder, and their formats."""
    looked = {path: _kind(path, strict=False) for path in tree.ending(".jsonl", ".json", ".txt", ".token", ".csv")}
    files: dict[Path, str | None] = {path: kind for path, kind in looked.items() if kind is not None}
    if len(files) > 1 and FLICKR in files.values():
        raise BadData(f"{tree.root} holds several lists of captions: {_listed(files)}. Name the one to take.")
    if files:
        return files
    texts = tree.ending(".txt")
    if not texts:
        raise BadData(f"{tree.root} has no captions. Known: {KNOWN}.")
    return dict.fromkeys(texts, BESIDE)


def captions_in(tree: Tree) -> bool:
    """Whether a folder of pictures has files that are captions for sure, or a text beside most pictures."""
    looked = tree.ending(".jsonl", ".json", ".txt", ".token", ".csv")
    if any(_kind(path, strict=False) is not None for path in looked):
        return True
    beside = {path.with_suffix("") for path in tree.ending(".txt")}
    return 2 * sum(path.with_suffix("") in beside for path in tree.pictures) > len(tree.pictures)


def _listed(kinds: Mapping[Path, str | None]) -> str:
    return ", ".join(f"{path.name} ({kind})" for path, kind in list(kinds.items())[:5])


def _kind(path: Path, strict: bool = True) -> str | None:
    """The format of a file by a cheap look; `strict`: a file that is broken is an error."""
    if path.is_dir():
        raise BadData(f"{path} is a folder: name one folder, or files.")
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = read_bytes(path)
        if b'"sentences"' in content or b'"caption"' in content:
            return KARPATHY if b'"sentences"' in content else COCO
        if strict:
            read_json(path)
        return None
    if path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        return LINES
    first = read_bytes(path)[:4096].decode("utf-8-sig", "replace").lstrip().split("\n")[0].strip()
    if first.lower() == HEADING:
        return TABLE
    return FLICKR if TOKEN.fullmatch(first) else None


def _split_of_file(tree: Tree, path: Path) -> tuple[str, str]:
    """The split that a file's name or its folder says ("" if neither does), and the part of its name that says so."""
    for part in re.split(r"[._]", path.name):
        split = split_named(part)
        if split:
            return split, part
    named = path.is_relative_to(tree.root) and split_named(path.relative_to(tree.root).parts[0])
    return named or "", ""


def _folders(tree: Tree, path: Path) -> tuple[Path, ...]:
    """Where the pictures of a file may lie: beside it, if it lies among them itself, and else beside it at last."""
    return (path.parent,) if path.is_relative_to(tree.root) else (tree.root, path.parent)


def _coco(tree: Tree, files: Sequence[Path], told: Told) -> Iterator[Said]:
    for path in files:
        lists = read_json(path)
        _lists(path, lists, "COCO's captions", "images", "annotations")
        split, part = _split_of_file(tree, path)
        folders = tuple(tree.root / place for place in (part, f"images/{part}", split, "images") if place)
        pictures: dict[Any, str] = {}
        for where, image in _elements(path, lists, "images", told):
            if "id" not in image or not isinstance(image.get("file_name"), str):
                told(where, "picture without id or file_name", "Give it both")
                continue
            if not isinstance(image["id"], ID):
                told(where, f"picture id {shown(image['id'])} is no number", "Write one")
                continue
            if image["id"] in pictures:
                told(where, f"picture id {shown(image['id'])} is there twice", "Give every picture its own")
                continue
            pictures[image["id"]] = image["file_name"]
            yield Said(image["file_name"], folders, None, split, where)
        for where, annotation in _elements(path, lists, "annotations", told):
            if "image_id" not in annotation or not isinstance(annotation.get("caption"), str):
                told(where, "no image_id or no caption", "Every annotation has both")
                continue
            if not isinstance(annotation["image_id"], ID):
                told(where, f"image_id {shown(annotation['image_id'])} is no number", "Write that of its picture")
                continue
            name = pictures.get(annotation["image_id"], f"id {annotation['image_id']}")
            yield Said(name, folders, annotation["caption"], split, where)


def _karpathy(tree: Tree, files: Sequence[Path], told: Told) -> Iterator[Said]:
    for path in files:
        lists = read_json(path)
        _lists(path, lists, "Karpathy's captions", "images")
        for where, image in _elements(path, lists, "images", told):
            name, sentences = image.get("filename"), image.get("sentences")
            if not isinstance(name, str) or not isinstance(sentences, list):
                told(where, "picture without filename or sentences", "Give it both")
                continue
            named = str(image.get("split", "train"))
            split = SPLITS.get(named) or split_named(named)
            if split is None:
                told(where, f"split {shown(named)} is not known", "Write train, restval, val or test")
                continue
            folders = () if not image.get("filepath") else tree.inside(str(image["filepath"]))
            yield Said(name, folders, None, split, where)
            for sentence in sentences:
                raw = sentence.get("raw") if isinstance(sentence, dict) else None
                if not isinstance(raw, str):
                    told(where, "a sentence without its text", 'Each is {"raw": "A dog runs."}')
                    continue
                yield Said(name, folders, raw, split, where)


def _lists(path: Path, lists: Lists, form: str, *keys: str) -> None:
    """That a file has the lists of its format."""
    for key in keys:
        if not isinstance(lists.content.get(key), list):
            raise BadData(f"{path}:1: no list {key!r}: {form} have {' and '.join(keys)}.")


def _elements(path: Path, lists: Lists, key: str, told: Told) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list, and where each stands."""
    for number, element in enumerate(lists.content[key]):
        where = f"{path}:{lists.lines[key][number]} {key}[{number}]"
        if not isinstance(element, dict):
            told(where, f"{shown(element)} is no object", "Write it as {...}")
            continue
        yield where, element


def _flickr(tree: Tree, files: Sequence[Path], told: Told) -> Iterator[Said]:
    for path in files:
        split, _ = _split_of_file(tree, path)
        for where, line in _lines(path, told):
            found = TOKEN.fullmatch(line)
            if found is None:
                told(where, f"{line.strip()[:60]!r} is not NAME.jpg#0<tab>CAPTION", "Write it so")
                continue
            yield Said(found[1].strip(), _folders(tree, path), found[2], split, where)


def _table(tree: Tree, files: Sequence[Path], told: Told) -> Iterator[Said]:
    for path in files:
        split, _ = _split_of_file(tree, path)
        for where, line in list(_lines(path, told))[1:]:
            try:
                cells = _cells(line)
            except csv.Error as error:
                told(where, f"no valid csv ({error})", "Write the line again")
                continue
            if len(cells) != 2:
                told(where, f"{len(cells)} cells, two are needed", "Put a caption with commas in quotes")
                continue
            yield Said(cells[0].strip(), _folders(tree, path), cells[1], split, where)


def _cells(line: str) -> list[str]:
    """The cells of a line of a table; one that csv has no room for is no caption, and its quotes do not matter."""
    return list(line.partition(",")[::2]) if len(line) > csv.field_size_limit() else next(csv.reader([line]))


def _lines(path: Path, told: Told) -> Iterator[tuple[str, str]]:
    """Lines with something on them, and where each stands."""
    for number, line in enumerate(lines_of(read_utf8(path, told=told)), 1):
        if line.strip():
            yield f"{path}:{number}", line


def _json_lines(tree: Tree, files: Sequence[Path], told: Told) -> Iterator[Said]:
    for path in files:
        split, _ = _split_of_file(tree, path)
        for where, line in _lines(path, told):
            try:
                row = value_of(line)
            except json.JSONDecodeError as error:
                told(where, f"no valid JSON ({error.msg}, column {error.colno})", "Write the line again")
                continue
            row = row if isinstance(row, dict) else {}
            name = next((row[key] for key in NAMES if isinstance(row.get(key), str)), None)
            said = next((row[key] for key in CAPTIONS if key in row), None)
            captions = [said] if isinstance(said, str) else said
            if name is None or not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
                told(where, "no picture or no caption", 'Every line is {"file_name": ..., "caption": ...}')
                continue
            for caption in captions or [None]:
                yield Said(name, _folders(tree, path), caption, split, where)


def _beside(tree: Tree, files: Sequence[Path], told: Told) -> Iterator[Said]:
    pictures = {path.with_suffix(""): path for path in tree.pictures}
    for path in files:
        beside = pictures.get(path.with_suffix(""))
        for where, line in _lines(path, told):
            yield Said(beside.name if beside else path.stem, (path.parent,) if beside else (), line, "", where)


COCO, KARPATHY, FLICKR = "COCO captions", "Karpathy's captions", "Flickr8k's list of captions"
TABLE, LINES, BESIDE = "table of captions", "JSON lines with captions", "captions beside pictures"
READERS: dict[str, Callable[[Tree, Sequence[Path], Told], Iterator[Said]]] = {
    COCO: _coco,
    KARPATHY: _karpathy,
    FLICKR: _flickr,
    TABLE: _table,
    LINES: _json_lines,
    BESIDE: _beside,
}
