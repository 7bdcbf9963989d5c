"""What a gallery needs of a database; SQLite and PostgreSQL each keep it in a file of their own.

SQL is written once, with `?` for values, which are never put into the text. Where the dialects differ, a word in
braces stands for the difference: {KEY} a number the database gives out and never twice, {BYTES}, {VECTOR}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isotrain.gallery.vault import Vault

PATIENCE = 30.0
"""Seconds that one writer waits for another."""
AT_ONCE = 500
"""Values in one statement: SQLite may be built to take 999."""


class Database(Protocol):
    """One connection, which threads may share.

    Attributes:
        where: which gallery, for messages; never with a password.
        approximate: whether it has an index of nearest neighbours.
    """

    where: str
    approximate: bool

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        ...

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every row."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Everything read inside is of one moment."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """One transaction and the only writer: all of it or nothing."""
        ...

    def has_gallery(self) -> bool:
        """Whether there are tables of a gallery.

        Raises:
            BadData: there is something else.
        """
        ...

    def prepare(self, sealed: bool) -> None:
        """Before the first table is made: what the dialect needs to know."""
        ...

    def dialect(self, sql: str, sealed: bool) -> str:
        """A statement with the words in braces replaced."""
        ...

    def after_migration(self) -> None:
        """Runs in the transaction that made or changed the tables."""
        ...

    def keep_vectors(self, vault: Vault, model: int, faces: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Write vectors [n, D] of faces."""
        ...

    def read_vectors(self, vault: Vault, which: int | Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Faces with an id beyond `which`, or one of them (`AT_ONCE` at most), rising, and their vectors [n, D]."""
        ...

    def clear_vectors(self) -> None:
        """Delete every vector."""
        ...

    def index(self, dims: int) -> None:
        """Make the index of nearest neighbours anew, where the database has one."""
        ...

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, int | None, float]]:
        """Faces, whose they are, and similarities by the index, nearest first; not exact."""
        ...

    def shred(self) -> bool:
        """Leave nothing of deleted rows in the files; False where a reader was in the way for too long."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def rows_of(database: Database, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of a statement with `IN ({})`, for any number of values."""
    for start in range(0, len(values), AT_ONCE):
        some = values[start : start + AT_ONCE]
        yield from database.rows(sql.format(",".join("?" * len(some))), some)


def vector_rows(database: Database, column: str, which: int | Sequence[int]) -> list[tuple[Any, ...]]:
    """Rows of the table of vectors: beyond a face, or of some faces; `column` is the dialect's way to read one."""
    start = f"SELECT face, {column} FROM vectors WHERE face"
    if isinstance(which, int):
        return database.rows(f"{start} > ? ORDER BY face", (which,))
    return sorted(rows_of(database, start + " IN ({})", which), key=lambda row: int(row[0]))


def setting(database: Database, name: str) -> bytes | None:
    """A setting of the gallery."""
    found = database.rows("SELECT value FROM settings WHERE name = ?", (name,))
    return bytes(found[0][0]) if found else None


def set_setting(database: Database, name: str, value: bytes) -> None:
    """Write a setting, over an older one."""
    database.rows(
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
