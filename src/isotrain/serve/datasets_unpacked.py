"""An upload put into a folder: pictures with their names, a text, or what a zip holds; counted while it is written.

What an archive says of itself (sizes, counts) is believed where it is too large, never where it is small enough.
"""

from __future__ import annotations

import gzip
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from isotrain.data.pictures import SUFFIXES, picture_size
from isotrain.errors import BadData
from isotrain.serve.datasets_names import Taken, place_of
from isotrain.serve.limits import MB

PIECE = 1 << 16
ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
PACKED = (b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd", *ZIPS)
"""How archives begin; the first is gzip's."""
KINDS = (0, stat.S_IFREG, stat.S_IFDIR)
ENTRY = 512
"""Bytes that an archive's list may take for each file: 46, its name, and what packers add."""


class Sent(Protocol):
    """One file of an upload."""

    @property
    def name(self) -> str:
        """As it was sent, folders included."""

    def open(self) -> BinaryIO:
        """Its content, to be read and sought in."""


@dataclass(frozen=True)
class Room:
    """What an upload may take.

    Attributes:
        bytes: of all files, unpacked.
        files: number of them.
        pixels: of each picture, as its head says.
        ratio: of the bytes that come out of an archive to its own; small ones (`free`) may do as they like.
        free: bytes that are not looked at so closely.
    """

    bytes: int = 4096 * MB
    files: int = 80_000
    pixels: int = 50 * MB
    ratio: float = 200.0
    free: int = 16 * MB


def put(files: Sequence[Sent], folder: Path, room: Room) -> int:
    """Write an upload below a folder; the number of bytes.

    Raises:
        BadData: it is too large, its names cannot be, or the archive is not what an honest program packs.
        OSError: the disk is full.
    """
    if not files:
        raise BadData("no file came: send a zip, pictures with folders in their names, or a text, in `files`.")
    counted = _Counted(room)
    if len(files) == 1 and _begins(files[0]).startswith(ZIPS):
        with files[0].open() as content:
            _unpack(content, folder, counted)
    else:
        for sent in files:
            place = place_of(sent.name)
            if place is None:
                continue
            if _begins(sent).startswith(ZIPS):
                raise BadData(f"{place[:80]!r} is an archive among other files: send one zip alone, or unpack it.")
            with sent.open() as content:
                counted.write(content, folder, place)
    if not len(counted.names):
        raise BadData("the upload holds no files.")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _look(path, folder, room)
    return counted.bytes


class _Counted:
    """Writes files and counts them, up to what there is room for."""

    def __init__(self, room: Room) -> None:
        self._room, self.bytes, self.names = room, 0, Taken()
        self.most = room.bytes
        self.too_much = f"more than {room.bytes / MB:,.0f} MB in all, unpacked: send less."

    def write(self, content: IO[bytes], folder: Path, place: str) -> None:
        self.names.add(place)
        if len(self.names) > self._room.files:
            raise BadData(f"more than {self._room.files:,} files: send fewer.")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:  # never over, or through, what is there
            for piece in _pieces(content, place):
                self.bytes += len(piece)
                if self.bytes > self.most:
                    raise BadData(self.too_much)
                file.write(piece)


def _unpack(content: BinaryIO, folder: Path, counted: _Counted) -> None:
    room = counted._room
    size = content.seek(0, 2)
    content.seek(0)
    if size * room.ratio + room.free < room.bytes:
        counted.most = int(size * room.ratio + room.free)
        counted.too_much = f"the archive unpacks to more than {room.ratio:g} times its size: no data does."
    try:
        with zipfile.ZipFile(_Bounded(content, room.files * ENTRY)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > room.files:
                raise BadData(f"the archive holds {len(entries):,} files, {room.files:,} are taken: send fewer.")
            if sum(entry.file_size for entry in entries) > counted.most:
                raise BadData(counted.too_much)
            for entry in entries:
                place = _honest(entry)
                if place is not None:
                    with archive.open(entry) as packed:
                        counted.write(packed, folder, place)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        # zipfile raises RuntimeError and ValueError, too, for archives that are damaged in some ways, and its own
        # NotImplementedError for packings that it does not know.
        raise BadData(f"the archive is damaged ({error}): pack it again.") from error


def _honest(entry: zipfile.ZipInfo) -> str | None:
    """The place of an entry, if it is a file that is packed in a usual way."""
    # `filename` ends at a zero byte and has other separators than the archive.
    place = place_of(entry.orig_filename)
    if entry.create_system == 3 and stat.S_IFMT(entry.external_attr >> 16) not in KINDS:
        kind = "a link" if stat.S_ISLNK(entry.external_attr >> 16) else "no file but a device or the like"
        raise BadData(f"{entry.orig_filename[:80]!r} in the archive is {kind}: pack files alone.")
    if entry.flag_bits & 0x1:
        raise BadData(f"{entry.orig_filename[:80]!r} in the archive is encrypted: pack it without a password.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadData(f"{entry.orig_filename[:80]!r} is packed in an unusual way: pack it as an ordinary zip.")
    return place


class _Bounded:
    """A file of which not too much is read at once: zipfile reads an archive's list in one piece, however long."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, max(most, PIECE)

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, self._most + 1) if size >= 0 else self._most + 1)
        if len(content) > self._most:
            raise BadData("the archive's list of files is too long: send fewer files.")
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _pieces(content: IO[bytes], place: str) -> Iterator[bytes]:
    """The content; of an archive's first bytes it is refused."""
    first = content.read(PIECE)
    if first.startswith(PACKED[1:]):
        raise BadData(f"{place[:80]!r} is an archive in the upload: unpack it first.")
    yield first
    while piece := content.read(PIECE):
        yield piece


def _begins(sent: Sent) -> bytes:
    with sent.open() as content:
        return content.read(8)


def _look(path: Path, folder: Path, room: Room) -> None:
    """Refuse what becomes too large where it is read: pictures by their heads, gzip by what comes out."""
    name = path.relative_to(folder).as_posix()
    with path.open("rb") as file:
        packed = file.read(2) == PACKED[0]
    if packed:
        most, out = min(room.bytes, int(path.stat().st_size * room.ratio + room.free)), 0
        try:
            with gzip.open(path) as unpacked:
                while piece := unpacked.read(PIECE):
                    out += len(piece)
                    if out > most:
                        raise BadData(f"{name[:80]!r} unpacks to more than {most / MB:,.0f} MB: no data does.")
        except (OSError, EOFError, zlib.error) as error:
            raise BadData(f"{name[:80]!r} is a damaged gzip file ({error}).") from error
    elif path.suffix.lower() in SUFFIXES:
        try:
            height, width = picture_size(path)
        except BadData:
            return  # the doctor names it, with all other faults
        if height * width > room.pixels:
            raise BadData(
                f"picture {name[:80]!r} has {width:,} x {height:,} pixels, {room.pixels / MB:g} million at most are "
                "taken: make it smaller."
            )
