"""The data's doctor for texts, translations and captions: every fault with its file and line, never only the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from isotrain.data.captionfiles import LONGEST as LONGEST_CAPTION
from isotrain.data.captionfiles import gathered
from isotrain.data.captionformats import CAPTIONS, NAMES, captions_in
from isotrain.data.doctor import looked_at
from isotrain.data.faults import Fault, Severity
from isotrain.data.opened import folder_of
from isotrain.data.parallel import EMPTY, Pairs, judged, read_pairs
from isotrain.data.readers import folders, metadata, reader_of
from isotrain.data.readers.reading import Reading, Tree
from isotrain.data.readers.textfiles import shown, value_of
from isotrain.data.samples import Sample
from isotrain.data.textfiles import BYTES, ENDINGS, lines_of, read_utf8, text_files, zeros_in
from isotrain.errors import BadOption
from isotrain.progress import Tick

Examined = tuple[str, dict[str, int], list[Fault]]
"""The format in words, how many there are of what, and what is wrong."""
LEFT_OUT = "Nothing is learned from it: mend it or delete it."
TABLES = (".tsv", ".jsonl", ".ndjson")
"""Files that may hold sentences with their translations."""


def kind_of(source: str, beside: str | None = None) -> str:
    """What data is most likely to be: "text", "parallel", "captions", or "pictures" with labels.

    Args:
        source: folder, file or name.
        beside: the file that belongs to it.

    Raises:
        BadData: it is not there.
    """
    path = folder_of(source)
    if beside is not None:
        return "captions" if path.is_dir() else "parallel"
    name = path.name.lower().removesuffix(".gz")
    if path.is_file() and name.endswith(TABLES):
        return "pictures" if _first_keys(path) & set(NAMES) else "parallel"
    if path.is_file():
        return "text" if name.endswith(".txt") else "pictures"
    tree = Tree(path)
    reader = reader_of(tree)
    if not tree.pictures and reader is None and any(file.name.lower().endswith(ENDINGS) for file in tree.files):
        return "text"
    # Class folders are what any pictures in folders look like, and any .jsonl is metadata.
    if reader is metadata:
        told = [_first_keys(file) for file in tree.ending(".jsonl")]
        return (
            "captions" if all(keys & set(CAPTIONS) and not keys & {"label", "objects"} for keys in told) else "pictures"
        )
    return "captions" if reader in (None, folders) and tree.pictures and captions_in(tree) else "pictures"


def _first_keys(path: Path) -> set[str]:
    """Of the object in a file's first line, if it is one."""
    try:
        first = value_of(lines_of(read_utf8(path, told=lambda *_: None))[0])
    except (ValueError, IndexError):
        return set()
    return set(first) if isinstance(first, dict) else set()


def check_text(source: str) -> Examined:
    """A text to write on from: what is not UTF-8, files that are empty, bytes that no text has.

    Args:
        source: as of `isotrain.data.textfiles.open_text`.

    Raises:
        BadData: it is not there, or cannot be read.
    """
    place = folder_of(source)
    files = text_files(place) if place.is_dir() else [place]
    faults: list[Fault] = []
    counts = {"files": len(files), "lines": 0, "characters": 0}
    for file in files:
        text = read_utf8(file, BYTES, noting(faults))
        lines = lines_of(text)
        counts["lines"] += len(lines)
        counts["characters"] += len(text)
        if not text:
            faults.append(Fault(f"{file}:1", "empty", "Delete the file, or put a text into it."))
        zeros = zeros_in(text)
        if zeros is not None:
            line, what, fix = zeros
            faults.append(Fault(f"{file}:{line}", what, f"{fix}."))
    return "text", counts, faults


def check_parallel(source: str, target: str | None = None) -> Examined:
    """Sentences and translations: what is not UTF-8, malformed lines, lines without a counterpart, empty or too long.

    Args:
        source: as of `isotrain.data.parallel.open_parallel`.
        target: the same.

    Raises:
        BadData: absent, unreadable, or of no known format.
    """
    faults: list[Fault] = []
    read: Pairs = read_pairs(source, target, noting(faults))
    kept = 0
    for found in judged(read):
        if isinstance(found, Sample):
            kept += 1
            continue
        what = f"pair {found.why}{f' ({found.more})' if found.more else ''}"
        fix = "Delete the line in both files." if found.why == EMPTY and target else LEFT_OUT
        faults.append(Fault(f"{found.file}:{found.line}", what, fix, "warning"))
    if not kept and not faults:
        faults.append(Fault(f"{read.files[0]}:1", "no pair of sentences", "Put some into it."))
    return read.format, {"pairs": len(read.pairs), "to learn from": kept}, faults


def check_captions(photos: str, captions: str | None = None, tick: Tick | None = None) -> Examined:
    """Pictures and captions: each caption without its picture, each picture without one, unreadable, twice.

    Args:
        photos: as of `isotrain.data.captionfiles.open_captions`.
        captions: the same.
        tick: called with 1 after every picture.

    Raises:
        BadData: absent, or of no known format.
    """
    faults: list[Fault] = []
    found = gathered(photos, captions, noting(faults))
    for name, where in found.missing.items():
        fix = f"Put it into {photos}, or take its captions out."
        how: Severity = "error" if found.mostly_missing else "warning"
        faults.append(Fault(where, f"picture {shown(name)} is missing", fix, how))
    faults += [Fault(where, "empty caption", LEFT_OUT, "warning") for where in found.empty]
    for where, size in found.long.items():
        what = f"caption of {size:,} characters, more than {LONGEST_CAPTION:,}"
        faults.append(Fault(where, what, LEFT_OUT, "warning"))
    for where, half in found.halved.items():
        faults.append(Fault(where, f"caption with half a character ({half})", LEFT_OUT, "warning"))
    faults += [Fault(name, "picture without a caption", LEFT_OUT, "warning") for name in found.bare]
    splits = found.samples
    pictures = sum(map(len, splits.values()))
    if not pictures:
        faults.append(Fault(str(photos), "no picture has a caption", "Name the file with the captions."))
    faults += looked_at(Reading(found.format, splits=splits), tick)
    counts = {split: len(samples) for split, samples in splits.items() if samples}
    said = sum(len(sample.said) for samples in splits.values() for sample in samples)
    return found.format, {"pictures": pictures, "captions": said, **counts}, faults


def noting(faults: list[Fault]) -> Callable[[str, str, str], None]:
    """What a doctor does about a fault: writes it down."""

    def note(where: str, what: str, fix: str) -> None:
        faults.append(Fault(where, what, f"{fix}."))

    return note


def check(kind: str, source: str, beside: str | None, tick: Tick | None = None) -> dict[str, Any]:
    """One of the three, as JSON can hold it but for the faults.

    Args:
        kind: "text", "parallel" or "captions".
        source: the data.
        beside: the file that belongs to it.
        tick: called with 1 after every picture.

    Raises:
        BadData: it cannot be read.
        BadOption: a text, and something beside it.
    """
    if kind == "text":
        if beside is not None:
            raise BadOption(f"a text is one file or folder: {beside} is a second one.")
        form, counts, faults = check_text(source)
    elif kind == "parallel":
        form, counts, faults = check_parallel(source, beside)
    else:
        form, counts, faults = check_captions(source, beside, tick)
    return {"source": source, "beside": beside, "format": form, "counts": counts, "faults": faults}
