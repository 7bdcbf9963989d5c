"""What was seen in the photos of a folder, kept so that a photo that has not changed is not looked at again.

SQLite's file is written batch by batch, each whole or not at all: after a kill the next run goes on behind the last.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from isotrain.errors import BadCheckpoint, BadOption

FILE = "look.db"
VERSION = 1
APPLICATION = 0x69736F6C  # "isol"


@dataclass(frozen=True)
class Key:
    """By what a photo is known to be the same.

    Attributes:
        path: of the photo, absolute.
        size: in bytes.
        modified: in nanoseconds.
    """

    path: str
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Key:
        """As the file is now.

        Raises:
            OSError: it is gone.
        """
        state = path.stat()
        return cls(os.path.abspath(path), state.st_size, state.st_mtime_ns)


class Kept:
    """The file of what was seen.

    Args:
        folder: it lies in; made if it is not there.

    Raises:
        BadCheckpoint: the file is damaged, of another version, or not isotrain's.
        BadOption: it cannot be written, or somebody else is at work there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            self._base = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise BadOption(f"{self.path} cannot be written: {error}. Choose another --out.") from error
        try:
            if new:
                os.chmod(self.path, 0o600)
            self._begin()
        except sqlite3.Error as error:
            self._base.close()
            if "locked" in str(error):
                raise BadOption(f"{self.path}: another look is at work in {folder}. Choose another --out.") from error
            raise BadCheckpoint(
                f"{self.path} is damaged ({error}): remove it, and all photos are looked at anew."
            ) from error
        except BaseException:
            self._base.close()
            raise

    def _begin(self) -> None:
        base = self._base
        # One writer at a time, and what is forgotten is overwritten in the file.
        base.execute("PRAGMA locking_mode = EXCLUSIVE")
        base.execute("PRAGMA secure_delete = ON")
        base.execute("BEGIN IMMEDIATE")
        version = base.execute("PRAGMA user_version").fetchone()[0]
        owner = base.execute("PRAGMA application_id").fetchone()[0]
        if not version and not owner and not base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            base.execute(f"PRAGMA application_id = {APPLICATION}")
            base.execute(f"PRAGMA user_version = {VERSION}")
            base.execute(
                "CREATE TABLE photos (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, parts TEXT, people TEXT, "
                "faces INTEGER, record TEXT) WITHOUT ROWID"
            )
        elif owner != APPLICATION or version != VERSION:
            base.execute("ROLLBACK")
            raise BadCheckpoint(
                f"{self.path} is of version {version}, or not isotrain's: this isotrain reads version {VERSION}. "
                "Remove it, or choose another --out."
            )
        base.execute("COMMIT")

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._base.close()

    def record(self, key: Key, parts: str, people: str) -> dict[str, Any] | None:
        """What was seen in a photo; None if it is new, has changed, or was looked at by other parts.

        Args:
            key: of the photo.
            parts: identity of what looks.
            people: identity of the gallery, which matters where there are faces alone.
        """
        row = self._base.execute(
            "SELECT record FROM photos WHERE path = ? AND size = ? AND modified = ? AND parts = ? "
            "AND (people = ? OR faces = 0)",
            (os.fsencode(key.path), key.size, key.modified, parts, people),
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def keep(self, rows: Iterable[tuple[Key, dict[str, Any]]], parts: str, people: str) -> None:
        """Keep what was seen in some photos, all of it or nothing.

        Raises:
            BadOption: the disk is full.
        """
        given = [
            (
                os.fsencode(key.path), key.size, key.modified, parts, people, len(record["faces"] or ()),
                json.dumps(record),
            )
            for key, record in rows
        ]  # fmt: skip
        self._write(("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)", given))

    def forget_others(self, paths: Sequence[str], folders: Sequence[str]) -> list[dict[str, Any]]:
        """Leave out what is kept of photos in some folders, but for those at `paths`; gives it once more.

        Raises:
            BadOption: the disk is full.
        """
        known = set(map(os.fsencode, paths))
        starts = tuple(os.fsencode(os.path.join(folder, "")) for folder in folders)
        rows = self._base.execute("SELECT path FROM photos").fetchall() if starts else []
        gone = [path for (path,) in rows if path.startswith(starts) and path not in known]
        records = self.records([os.fsdecode(path) for path in gone])
        self._write(("DELETE FROM photos WHERE path = ?", [(path,) for path in gone]))
        return records

    def records(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        """What is kept of photos, in their order."""
        asked = "SELECT record FROM photos WHERE path = ?"
        rows = (self._base.execute(asked, (os.fsencode(path),)).fetchone() for path in paths)
        return [json.loads(row[0]) for row in rows if row is not None]

    def _write(self, what: tuple[str, list[tuple[Any, ...]]]) -> None:
        words, rows = what
        if not rows:
            return
        try:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany(words, rows)
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise BadOption(f"{self.path} cannot be written: {error}. What was kept before is untouched.") from error
