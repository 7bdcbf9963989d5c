"""Plain text as it is learned from: stretches of one long text, the first nine tenths to learn from."""

from __future__ import annotations

import gzip
import re
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

from isotrain.data.faults import Told, refused
from isotrain.data.opened import folder_of
from isotrain.data.readers.reading import naturally
from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadData, BadOption

Unit = Literal["characters", "bytes"]
UNITS = ("characters", "bytes")
ENDINGS = (".txt", ".txt.gz")
"""Of the files of a folder that are read."""
SHARES = (0.9, 0.95)
"""Where the text is cut: learned from, chosen by, tested on."""
SHORTEST = 8
"""Symbols of a stretch that a net learns from, at least."""


def open_text(path: str | Path, *, unit: Unit = "characters", length: int = 64, whole: bool = False) -> Dataset:
    """A text in stretches that follow one another, 90 % to learn from, 5 % to choose by, 5 % to test on.

    A stretch has one symbol more than its length: its last is the first of the next. What is left at the end of a part
    and fills no stretch is left out. The files of a folder are read in the order of their names, one after the other, a
    line's end between two.

    Args:
        path: a file, gzipped or not; a folder, of which all .txt and .txt.gz are read; or a name in `$ISOTRAIN_DATA`.
        unit: "characters" of a UTF-8 text; or "bytes" of any file, each given as the character of its number.
        length: symbols of a stretch that are predicted.
        whole: to be scored as one part, `test`, to its last symbol; only the last stretch may then be shorter.

    Raises:
        BadData: absent, unreadable, not UTF-8, with a byte of zeros, or too short for a stretch in each part; the
            message names the byte or the line.
        BadOption: an option is outside its range.
    """
    if unit not in UNITS or length < 1:
        raise BadOption(f"stretches of {length} {unit}: the length is 1 or more, the unit {' or '.join(UNITS)}.")
    place = folder_of(str(path))
    files = text_files(place) if place.is_dir() else [place]
    texts = [_symbols(file, unit) for file in files]
    joined = [text if text.endswith("\n") else f"{text}\n" for text in texts[:-1]] + texts[-1:]
    text = "".join(joined)
    if not text:
        raise BadData(f"{place} is empty: a text is needed.")
    starts = list(accumulate(map(len, joined[:-1]), initial=0))
    kinds = f"text: {len(text):,} {unit} of {len(set(text)):,} kinds"
    if len(files) > 1:
        kinds += f" in {len(files):,} files"

    def stretches(start: int, end: int, least: int = length) -> list[Sample]:
        found = []
        for at in range(start, end - least, length):
            file = bisect_right(starts, at) - 1
            where = f"{files[file]}, {unit.removesuffix('s')} {at - starts[file]}"
            found.append(Sample(name=str(at), where=where, text=text[at : at + length + 1]))
        return found

    if whole:
        if len(text) < 2:
            raise BadData(f"{place} has one symbol alone, {text!r}: nothing follows it that could be scored.")
        return Dataset((), [], [], stretches(0, len(text), least=1), source=str(path), format=kinds)
    cuts = [0, *(int(share * len(text)) for share in SHARES), len(text)]
    least = min(cuts[2] - cuts[1], cuts[3] - cuts[2])
    if least <= length:
        fitting = f"a longer text, {20 * (length + 2):,} or more"
        if least > SHORTEST:
            fitting += f", or train on stretches of at most {least - 1} (-o length={least - 1})"
        raise BadData(
            f"{place} has {len(text):,} {unit}, of which {least:,} are held out: too few for a stretch of {length} "
            f"and the one that follows. Use {fitting}."
        )
    learned, held, tested = (stretches(start, end) for start, end in pairwise(cuts))
    return Dataset((), learned, held, tested, source=str(path), format=kinds)


def _symbols(file: Path, unit: Unit) -> str:
    if unit == "bytes":
        return read_bytes(file).decode("latin-1")
    text = read_utf8(file, BYTES)
    zeros = zeros_in(text)
    if zeros is not None:
        line, what, fix = zeros
        refused(f"{file}:{line}", what, fix)
    return text


BYTES = "learn its bytes: --bytes"
"""The way out for what is not UTF-8, in tasks that know one."""


def zeros_in(text: str) -> tuple[int, str, str] | None:
    r"""The first line with a byte of zeros, what that probably is, and the way out; None: there is none.

    >>> zeros_in("one\n\0")[:2]
    (2, 'a byte of zeros, which no text has (UTF-16, or no text at all?)')
    """
    if "\0" not in text:
        return None
    sides = text[::2].count("\0"), text[1::2].count("\0")  # in UTF-16, every other byte of plain letters
    name = "UTF-16BE" if sides[0] > sides[1] else "UTF-16LE"
    sure = 3 * sum(sides) > len(text)
    what = f"{name} without a byte order mark?" if sure else "UTF-16, or no text at all?"
    convert = f": iconv -f {name} -t UTF-8" if sure else ""
    line = text.count("\n", 0, text.index("\0")) + 1
    return line, f"a byte of zeros, which no text has ({what})", f"Save it as UTF-8{convert}, or {BYTES}"


def text_files(folder: Path) -> list[Path]:
    """The .txt and .txt.gz files below a folder in the order of their names, hidden ones left out.

    Raises:
        BadData: there is none; the message says what there is.
    """
    inside = [
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    found = [file for file in inside if file.name.lower().endswith(ENDINGS)]
    if not found:
        kinds = Counter(file.suffix.lower() or file.name for file in inside).most_common(3)
        there = ", ".join(f"{count} {kind}" for kind, count in kinds) or "no files"
        raise BadData(f"{folder} has no .txt file to read ({there}).")
    return sorted(found, key=lambda file: naturally(file.as_posix()))


def read_bytes(path: Path) -> bytes:
    """What a file holds, unpacked if its name ends in .gz.

    Raises:
        BadData: it cannot be read or unpacked.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BadData(f"{path} cannot be read: {reason.rstrip('.')}.") from error


def read_utf8(path: Path, way_out: str = "", told: Told = refused) -> str:
    """A UTF-8 file, gzipped or not, a byte order mark left out.

    Args:
        path: of the file.
        way_out: what else than saving it again can be done about a file that is not UTF-8.
        told: what is done about each line that is not UTF-8; its wrong bytes are read as U+FFFD.

    Raises:
        BadData: it cannot be read, or is not UTF-8; the message names the first wrong byte.
    """
    return decoded(read_bytes(path), str(path), way_out, told)


def decoded(content: bytes, name: str, way_out: str = "", told: Told = refused) -> str:
    """What UTF-8 says, a byte order mark left out.

    Args:
        content: the bytes.
        name: of where they are from, for messages.
        way_out: as of `read_utf8`.
        told: the same.

    Raises:
        BadData: `told` does; the message names the first wrong byte.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        other = f", or {way_out}" if way_out else ""
        for line, at in _wrong_lines(content):
            told(f"{name}:{line}", f"not UTF-8 text: byte {at:,} is 0x{content[at]:02x}", f"Save it as UTF-8{other}")
        return content.decode("utf-8-sig", "replace")


def _wrong_lines(content: bytes) -> Iterator[tuple[int, int]]:
    r"""Lines, counted from 1, that are not UTF-8, and the place of the first wrong byte of each.

    >>> list(_wrong_lines(b"one\nna\xefve\nthree\n\xff"))
    [(2, 6), (4, 16)]
    """
    start = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield number, start + error.start
        start += len(line) + 1


HALF = re.compile("[\ud800-\udfff]")


def half_in(text: str) -> str | None:
    r"""The first half of a character (a lone surrogate, as JSON may hold), which no file can; None: there is none.

    >>> half_in("a\ud800b"), half_in("a\U0001f600b")
    ('U+D800', None)
    """
    found = HALF.search(text)
    return None if found is None else f"U+{ord(found[0]):04X}"


def lines_of(text: str) -> list[str]:
    r"""Its lines. Only a line feed ends one: the separators within sentences that Unicode also knows do not.

    >>> lines_of("a\u2028b\r\nc\n")
    ['a\u2028b', 'c']
    """
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
