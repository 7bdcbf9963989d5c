"""The server's own tables in an SQLite file: whose file it is, of which version, and what is deleted is overwritten."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from isotrain.errors import BadData

PATIENCE = 30.0
"""Seconds that one writer waits for another."""


class Tables:
    """One file, which threads and processes may share. Values never get into the text of a statement.

    Args:
        path: of the file, made readable by its owner only.
        kind: what it holds, in words, for messages.
        application: four letters by which the file is known for ours (SQLite's application_id).
        steps: the statements by which version n becomes n + 1; the file of a newer isotrain is refused.

    Raises:
        BadData: the file is something else, newer, damaged, or cannot be opened.

    >>> path = getfixture("tmp_path") / "a.db"
    >>> Tables(path, "numbers", "isoX", ["CREATE TABLE a (b)"]).rows("SELECT count(*) FROM a")
    [(0,)]
    >>> Tables(path, "letters", "isoY", [])
    Traceback (most recent call last):
    isotrain.errors.BadData: a.db is no file of letters: it is left as it is. Move it away.
    """

    def __init__(self, path: Path, kind: str, application: str, steps: Sequence[str]) -> None:
        self._name, self._kind, self._lock = path.name, kind, RLock()
        number = int.from_bytes(application.encode("ascii"), "big")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            self._connection = sqlite3.connect(
                os.path.abspath(path), timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise BadData(f"{self._name} cannot be opened: {error}. Look at the folder and its permissions.") from error
        try:
            self._prepare(number, steps)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, number: int, steps: Sequence[str]) -> None:
        with self.writing():
            empty = not self.rows("SELECT 1 FROM sqlite_master LIMIT 1")
            if not empty and self.rows("PRAGMA application_id") != [(number,)]:
                raise BadData(f"{self._name} is no file of {self._kind}: it is left as it is. Move it away.")
            ((version,),) = self.rows("PRAGMA user_version")
            if version > len(steps):
                raise BadData(
                    f"{self._name} is of version {version}, this isotrain knows {len(steps)}: use the newer isotrain."
                )
            for step in steps[version:]:
                for statement in step.split(";"):
                    self.rows(statement)
            self.rows(f"PRAGMA application_id = {number}")
            self.rows(f"PRAGMA user_version = {len(steps)}")
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            self.rows(f"PRAGMA {pragma}")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows.

        Raises:
            BadData: the file cannot be read or written.
            DatabaseError: the statement is wrong, which is our fault.
        """
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                    raise
                raise BadData(f"{self._kind} in {self._name}: {error}.") from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction and the only writer: all of it or nothing."""
        with self._lock:
            self.rows("BEGIN IMMEDIATE")
            try:
                yield
                self.rows("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself gives up some when the disk is full
                    self.rows("ROLLBACK")
                raise

    def shred(self) -> bool:
        """Write every page anew and empty the log; False where another reader is in the way.

        Deleted rows are overwritten already (secure_delete), but pages that were rearranged may hold copies, and the
        log holds pages as they were.

        Raises:
            BadData: the disk is full, or does not write.
        """
        with self._lock:
            self.rows("VACUUM")
            return not self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._connection.close()
