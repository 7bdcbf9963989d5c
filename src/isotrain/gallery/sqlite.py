"""A gallery in a file: SQLite of the standard library, and how it is made to forget for good."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isotrain.errors import BadData
from isotrain.gallery.database import PATIENCE, vector_rows
from isotrain.gallery.vault import Vault

APPLICATION = 0x69736F47  # "isoG", where SQLite's file format has a place for whose file it is
WORDS = {"KEY": "INTEGER PRIMARY KEY AUTOINCREMENT", "BYTES": "BLOB", "VECTOR": "BLOB"}
REASONS = {
    "SQLITE_FULL": "the disk is full. Nothing was changed: make room",
    "SQLITE_READONLY": "it may only be read, and a gallery is also written to: change its permissions, or copy it",
    "SQLITE_PERM": "it may only be read, and a gallery is also written to: change its permissions, or copy it",
    "SQLITE_BUSY": f"another program has kept it busy for {PATIENCE:.0f} seconds. Nothing was changed: try again",
    "SQLITE_LOCKED": "this program itself reads it at the same time. Nothing was changed: try again",
    "SQLITE_NOTADB": "it is no gallery, or a damaged one",
    "SQLITE_CORRUPT": "it is damaged: restore a copy",
    "SQLITE_CANTOPEN": "it cannot be opened: look at the folder and its permissions",
    "SQLITE_IOERR": "the disk does not read or write: look at it, and at the room on it",
}


class Sqlite:
    """One connection to a gallery file. WAL: readers do not wait for the writer.

    Args:
        path: of the file.
        create: whether it may be made, readable by its owner only.

    Raises:
        BadData: it cannot be opened, is no gallery, or is missing.
    """

    approximate = False

    def __init__(self, path: Path, create: bool) -> None:
        self.where = str(path)
        # Absolute, or SQLite would take a file called `:memory:` or `file:x` for something else.
        place = os.path.abspath(path)
        if not os.path.exists(place):
            if not create:
                raise BadData(f"there is no gallery {self.where}: enrol somebody to begin one.")
            try:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
            except OSError as error:
                raise BadData(f"gallery {self.where} cannot be made: {error.strerror}.") from error
        self._lock = RLock()
        with self._clearly():
            self._connection = sqlite3.connect(
                place, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        try:
            # Before anything is written: a file that is somebody else's stays as it is.
            self.has_gallery()
            for pragma in ("trusted_schema = OFF", "foreign_keys = ON", "secure_delete = ON", "synchronous = FULL"):
                self.rows(f"PRAGMA {pragma}")
            self._to_wal()
        except BaseException:
            self._connection.close()
            raise

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows.

        Raises:
            BadData: the file cannot be read or written.
        """
        with self._lock, self._clearly():
            return self._connection.execute(sql, values).fetchall()

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every row.

        Raises:
            BadData: the file cannot be read or written.
        """
        with self._lock, self._clearly():
            self._connection.executemany(sql, rows)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock:
            self.rows(begin)
            try:
                yield
                self.rows("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself gives up some when the disk is full
                    self.rows("ROLLBACK")
                raise

    def reading(self) -> Any:
        """Everything read inside is of one moment."""
        return self._transaction("BEGIN")

    def writing(self) -> Any:
        """One transaction and the only writer: all of it or nothing."""
        return self._transaction("BEGIN IMMEDIATE")

    def has_gallery(self) -> bool:
        """Whether there are tables of a gallery.

        Raises:
            BadData: there is something else.
        """
        kinds = [kind for (kind,) in self.rows("SELECT type FROM sqlite_master")]
        if not kinds:
            return False
        if self.rows("PRAGMA application_id") != [(APPLICATION,)]:
            raise BadData(f"{self.where} is an SQLite file of something else, no gallery. Nothing was changed.")
        if {"trigger", "view"} & set(kinds):  # a gallery has none: somebody wants them run
            raise BadData(f"gallery {self.where} holds triggers or views, which are not ours. It is not opened.")
        return True

    def prepare(self, sealed: bool) -> None:
        """Say in the file whose it is."""
        self.rows(f"PRAGMA application_id = {APPLICATION}")

    def dialect(self, sql: str, sealed: bool) -> str:
        """A statement with the words in braces replaced."""
        return sql.format(**WORDS)

    def after_migration(self) -> None:
        """Nothing is left to do."""

    def keep_vectors(self, vault: Vault, model: int, faces: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Write vectors [n, D] of faces."""
        self.many(
            "INSERT INTO vectors (face, model, vector) VALUES (?, ?, ?)", sealed_rows(vault, model, faces, vectors)
        )

    def read_vectors(self, vault: Vault, which: int | Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Faces with an id beyond `which`, or one of them, rising, and their vectors [n, D]."""
        return unsealed_rows(vault, vector_rows(self, "vector", which))

    def clear_vectors(self) -> None:
        """Delete every vector."""
        self.rows("DELETE FROM vectors")

    def index(self, dims: int) -> None:
        """There is none: the search is exact."""

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, int | None, float]]:
        """There is no index.

        Raises:
            AssertionError: always: whoever asks looks at `approximate` first.
        """
        raise AssertionError("SQLite has no index of nearest neighbours: `approximate` says so")

    def shred(self) -> bool:
        """Write every page anew and empty the log, so that nothing of deleted rows is left in the files.

        Deleted rows were overwritten already (secure_delete), but pages that were rearranged may hold copies, and the
        log holds pages as they were. False where another program reads or writes for too long.

        Raises:
            BadData: the file cannot be written.
        """
        try:
            self.rows("VACUUM")
            return not self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
        except BadData as error:
            if _busy(error):
                return False
            raise

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._connection.close()

    def _to_wal(self) -> None:
        """SQLite does not wait for others here, as it does elsewhere."""
        deadline = time.monotonic() + PATIENCE
        while self.rows("PRAGMA journal_mode") != [("wal",)]:
            try:
                self.rows("PRAGMA journal_mode = WAL")
                return  # a network file system may have refused: the older journal is as safe
            except BadData as error:
                if not _busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _clearly(self) -> Iterator[None]:
        """What goes wrong with the file, in words."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "")
            for start, reason in REASONS.items():
                if name.startswith(start):
                    raise BadData(f"gallery {self.where}: {reason}.") from error
            raise


def _busy(error: BadData) -> bool:
    """Whether another program was in the way."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) and cause.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def sealed_rows(
    vault: Vault, model: int, faces: Sequence[int], vectors: NDArray[np.float32]
) -> Iterator[tuple[int, int, bytes]]:
    """Rows of the table of vectors, as bytes."""
    for face, vector in zip(faces, vectors.astype("<f4"), strict=True):
        yield face, model, vault.seal("vector", vector.tobytes())


def unsealed_rows(vault: Vault, rows: list[tuple[Any, ...]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Faces [n] and vectors [n, D] of rows of the table of vectors."""
    faces = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    joined = b"".join(vault.unseal_all("vector", (row[1] for row in rows)))
    vectors = np.frombuffer(joined, "<f4").astype(np.float32, copy=False)
    return faces, vectors.reshape(len(rows), -1) if rows else vectors.reshape(0, 0)
