"""A connection to PostgreSQL that is made again when it was lost, and knows what became of what it was doing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, TypeVar

from isotrain.errors import BadData
from isotrain.gallery.again import TIMES, ServerGone, TransactionLost
from isotrain.gallery.database import PATIENCE

WRITERS = 0x69736F47  # the advisory lock that writers take, as SQLite lets one write at a time
LOCKED = f"SELECT pg_advisory_xact_lock({WRITERS})"
# A connection whose other end is gone without a word is noticed within a minute.
ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "connect_timeout": 10,
}
RESTARTING = ("starting up", "recovery mode", "shutting down", "not yet accepting")
TOKEN, TOKENS = 8, 128
"""Bytes of the random number that each transaction leaves, and how many of the last are kept."""
WRITTEN = f"""
INSERT INTO settings (name, value) VALUES ('written', ?)
ON CONFLICT (name) DO UPDATE SET value = substring(excluded.value || settings.value FROM 1 FOR {TOKEN * TOKENS})
"""
T = TypeVar("T")


class Connection:
    """One connection, which threads may share; the psycopg package is there.

    Args:
        url: postgresql://user:password@host/database.

    Attributes:
        where: which database, without a password.

    Raises:
        BadData: the address is none.
        ServerGone: the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        alive: dict[str, Any] = ALIVE
        self._open: Callable[[], Any] = lambda: psycopg.connect(url, autocommit=True, **alive)
        self._lock, self._inside = RLock(), False
        self._connection: Any = None
        self.where = "on PostgreSQL"
        with self._clearly():
            parts = conninfo_to_dict(url)
            self.where = f"postgresql://{parts.get('host', '')}/{parts.get('dbname', '')}"
        self._connect(at_once=True)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._connection.close()

    def _tell(self) -> None:
        """What every connection has to be told before it is used."""

    def _connect(self, at_once: bool = False) -> None:
        """Connect, and say what every connection has to be told; waits for a server that is on its way.

        Raises:
            ServerGone: it was not there in `PATIENCE` seconds; or at all, where it must be there at once.
        """
        until, wait = time.monotonic() + PATIENCE, 0.05
        while True:
            try:
                with self._clearly():
                    self._connection = self._open()
                try:
                    self._tell()
                except BaseException:
                    self._connection.close()
                    raise
                return
            except ServerGone as error:
                away = at_once and not any(words in str(error) for words in RESTARTING)
                if away or time.monotonic() + wait > until:
                    raise
            time.sleep(wait)
            wait = min(2 * wait, 1.0)

    def _steadily(self, work: Callable[[], T]) -> T:
        """Do something that may be done twice; on a new connection if the old one was lost.

        Raises:
            ServerGone: there is no server, or it goes away each time.
            TransactionLost: a transaction was begun, and is gone.
        """
        for _ in range(TIMES):
            try:
                return work()
            except ServerGone as error:
                self._connection.close()
                if self._inside:
                    raise TransactionLost(str(error)) from error
            self._connect()
        return work()

    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._clearly(), self._connection.cursor(binary=bool(values)) as cursor:
            cursor.execute(sql.replace("?", "%s"), values or None)  # type: ignore[call-overload, arg-type, unused-ignore]
            return cursor.fetchall() if cursor.description else []

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows. Outside of a transaction only what may be done twice.

        Raises:
            BadData: the server refuses, or is gone.
        """
        with self._lock:
            return self._steadily(lambda: self._run(sql, values))

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every row, inside of a transaction.

        Raises:
            BadData: the server refuses, or is gone.
        """
        several = list(rows)

        def work() -> None:
            with self._clearly(), self._connection.cursor() as cursor:
                cursor.executemany(sql.replace("?", "%s"), several)  # type: ignore[arg-type, unused-ignore]

        with self._lock:
            self._steadily(work)

    @contextmanager
    def _transaction(self, *begin: str, token: bytes | None = None) -> Iterator[None]:
        with self._lock:
            self._steadily(lambda: [self._run(statement) for statement in begin])
            self._inside = True
            try:
                yield
                if token is not None:
                    self.rows(WRITTEN, (token,))
                try:
                    self._run("COMMIT")
                except ServerGone as error:
                    self._inside = False
                    if token is None or not self._was_written(token):
                        raise TransactionLost(str(error)) from error
            except BaseException:
                if self._inside and not self._connection.closed:
                    with suppress(ServerGone):  # then there is nothing to roll back
                        self._run("ROLLBACK")
                raise
            finally:
                self._inside = False

    def reading(self) -> Any:
        """Everything read inside is of one moment."""
        return self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def writing(self) -> Any:
        """One transaction and the only writer: all of it or nothing.

        Each leaves a random number. A server that goes away at the very end may have written all before it did, and by
        that number it can be asked.
        """
        return self._transaction("BEGIN", LOCKED, token=os.urandom(TOKEN))

    def _was_written(self, token: bytes) -> bool:
        """Whether a transaction was written whose end was not heard of.

        Raises:
            BadData: there is no server that could be asked, or too much was written since to tell.
        """
        self._connection.close()

        def ask() -> list[tuple[Any, ...]]:
            self._run("BEGIN")
            self._run(LOCKED)  # waits for the end of that transaction, should the server still be about it
            found = self._run("SELECT value FROM settings WHERE name = 'written'")
            self._run("COMMIT")
            return found

        found = self._steadily(ask)
        kept = bytes(found[0][0]) if found else b""
        tokens = [kept[start : start + TOKEN] for start in range(0, len(kept), TOKEN)]
        if token in tokens:
            return True
        if len(tokens) < TOKENS:
            return False
        raise BadData(f"gallery {self.where} went away at the end of a change: look whether it was made.")

    @contextmanager
    def _clearly(self) -> Iterator[None]:
        """What goes wrong with the server, in words; a fault in a statement is ours and stays as it is."""
        from psycopg import OperationalError, ProgrammingError, errors

        try:
            yield
        except (OperationalError, errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
            lines = str(error).strip().splitlines()
            words = f"gallery {self.where}: {lines[0].rstrip('.') if lines else type(error).__name__}."
            # The class 57P: the server was told to stop, or has crashed and begins again.
            gone = (error.sqlstate or "").startswith("57P") or self._connection is None or bool(self._connection.closed)
            raise (ServerGone if gone else BadData)(words) from error
        except ProgrammingError as error:
            if error.sqlstate is None:  # an address that is none
                raise BadData(f"gallery {self.where}: {str(error).strip()}.") from error
            raise
