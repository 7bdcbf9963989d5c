"""The photos of a folder of any size: listed onto the disk, in order, with what is done of them.

A billion names fit no memory. They are walked as the disk has them and put into one table of SQLite, whose tree of
paths is their order. The table is a scratch file, made anew from the folder and the finished shards at every start.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from isotrain.data.pictures import SUFFIXES
from isotrain.errors import BadData

AT_ONCE = 10_000
"""Rows written together."""
CACHE = 64
"""Megabytes of the table that are held in memory, however long it is."""


class Photo(NamedTuple):
    """What a photo is known by: another size or time is another photo.

    Attributes:
        path: within the folder, its parts joined by "/".
        size: bytes.
        modified: nanoseconds since 1970.
    """

    path: str
    size: int
    modified: int


class Place(NamedTuple):
    """Where a photo's record stands.

    Attributes:
        shard: which file.
        offset: bytes before the record in it.
        failed: whether the record says why the photo could not be looked at.
    """

    shard: str
    offset: int
    failed: bool


def photos_in(folder: Path, leave_out: Path) -> Iterator[Photo]:
    """Every picture below a folder, in no order; linked folders are not followed.

    Args:
        folder: it and all below.
        leave_out: a folder that is passed over: the results', if they are kept inside.

    Raises:
        BadData: a folder cannot be read.

    >>> folder = getfixture("tmp_path")
    >>> (folder / "a.JPG").write_bytes(b"no picture"), (folder / "notes.txt").write_bytes(b"")
    (10, 0)
    >>> [photo[:2] for photo in photos_in(folder, folder / "out")]
    [('a.JPG', 10)]
    """
    waiting = [""]
    passed = os.stat(leave_out) if os.path.exists(leave_out) else None
    while waiting:
        inside = waiting.pop()
        where = os.path.join(folder, inside)
        try:
            with os.scandir(where) as entries:
                for entry in entries:
                    path = f"{inside}/{entry.name}" if inside else entry.name
                    if _is_folder(entry):
                        results = passed is not None and os.path.samestat(entry.stat(), passed)
                        if not entry.is_symlink() and not results:
                            waiting.append(path)
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                        yield from _photo(path, entry)
        except OSError as error:
            raise BadData(
                f"folder {where} cannot be read ({error.strerror}): let it be read, or leave it out."
            ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one; a link that leads back to itself is none."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _photo(path: str, entry: os.DirEntry[str]) -> Iterator[Photo]:
    """The photo; none if it was deleted a moment ago. A link to nothing, or itself, is one that cannot be read."""
    for follow in (True, False):
        try:
            status = entry.stat(follow_symlinks=follow)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            continue
        yield Photo(path, status.st_size, status.st_mtime_ns)
        return


class Listing:
    """Photos in the order of their paths, and where the records of those that are done stand.

    Args:
        path: of the table, which is made anew.

    >>> listing = Listing(getfixture("tmp_path") / "listing.db")
    >>> listing.add([Photo("b.png", 2, 20), Photo("a.png", 1, 10)])
    >>> listing.done([(Photo("a.png", 1, 10), Place("0001/00000000", 0, False))])
    1
    >>> listing.done([(Photo("b.png", 2, 21), Place("0002/00000000", 0, False))])  # of a photo as it was before
    0
    >>> len(listing), [photo.path for photo in listing.left()], [place.shard for place in listing.places()]
    (2, ['b.png'], ['0001/00000000'])
    >>> listing.close()
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._table = sqlite3.connect(path, isolation_level=None)
        # Nobody reads a table that was cut off.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._table.execute(f"PRAGMA {pragma}").fetchall()
        self._table.execute(f"PRAGMA cache_size = -{CACHE * 1024}")
        # Paths are bytes: a name on the disk need not be text.
        self._table.execute(
            "CREATE TABLE photos (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, "
            "shard TEXT, offset INTEGER, failed INTEGER) "
            "WITHOUT ROWID"
        )

    def __len__(self) -> int:
        return int(self._table.execute("SELECT count(*) FROM photos").fetchone()[0])

    def add(self, photos: Iterable[Photo]) -> None:
        """Take in photos."""
        rows = ((os.fsencode(photo.path), photo.size, photo.modified) for photo in photos)
        while some := list(islice(rows, AT_ONCE)):
            self._table.execute("BEGIN")
            self._table.executemany("INSERT OR REPLACE INTO photos (path, size, modified) VALUES (?, ?, ?)", some)
            self._table.execute("COMMIT")

    def done(self, records: Iterable[tuple[Photo, Place]]) -> int:
        """Take in where records stand, the first of each photo; of photos that are no longer there, or others, none.

        Returns:
            How many were new.
        """
        self._table.execute("BEGIN")
        count = 0
        for photo, place in records:
            count += self._table.execute(
                "UPDATE photos SET shard = ?, offset = ?, failed = ? "
                "WHERE path = ? AND size = ? AND modified = ? AND shard IS NULL",
                (*place, os.fsencode(photo.path), photo.size, photo.modified),
            ).rowcount
        self._table.execute("COMMIT")
        return count

    def left(self) -> Iterator[Photo]:
        """Photos without a record, in order."""
        for path, size, modified in self._table.execute(
            "SELECT path, size, modified FROM photos WHERE shard IS NULL ORDER BY path"
        ):
            yield Photo(os.fsdecode(path), size, modified)

    def places(self) -> Iterator[Place]:
        """Where the records are, in the order of the photos."""
        for shard, offset, failed in self._table.execute(
            "SELECT shard, offset, failed FROM photos WHERE shard IS NOT NULL ORDER BY path"
        ):
            yield Place(shard, offset, bool(failed))

    def close(self) -> None:
        """Let go of the table, and delete it."""
        self._table.close()
        self._path.unlink(missing_ok=True)
