"""Users and their sessions: signed in by a link that works once, known again by a cookie.

A user is a name and a folder; there are no passwords. Secrets are 32 random bytes, of which the file keeps only
SHA-256 digests: who reads the file signs in as nobody. (Slow hashes are for passwords, which can be guessed.)
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isotrain.errors import BadData, BadOption
from isotrain.serve.database import Tables

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""What a user may be called: it is the name of a folder too."""
LINK_SECONDS = 24 * 3600
"""A link that nobody opens ends."""
IDLE_SECONDS, SESSION_SECONDS = 7 * 24 * 3600, 30 * 24 * 3600
"""A session ends when it is not used, and in any case."""
SEEN_SECONDS = 60
"""The use of a session is written down this often, not with every request."""
LOG = logging.getLogger("isotrain.serve")
STEPS = [
    """
CREATE TABLE links (digest BLOB PRIMARY KEY, user TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE sessions (digest BLOB PRIMARY KEY, user TEXT NOT NULL, seen REAL NOT NULL, until REAL NOT NULL)
"""
]


@dataclass(frozen=True)
class User:
    """Who is signed in.

    Attributes:
        name: unique on this server.
        folder: of their own: gallery.db, photos/, datasets/, trainings/.
    """

    name: str
    folder: Path


def user_at(data: Path, name: str) -> User:
    """A user of that name, whose folder is made.

    Raises:
        BadOption: the name cannot be that of a folder.

    >>> user_at(getfixture("tmp_path"), "../me")
    Traceback (most recent call last):
    isotrain.errors.BadOption: user '../me': a name has 1 to 32 of the letters A-Z a-z 0-9 _ -, and begins with no sign.
    """
    if not NAME.fullmatch(name):
        raise BadOption(
            f"user {name[:40]!r}: a name has 1 to 32 of the letters A-Z a-z 0-9 _ -, and begins with no sign."
        )
    folder = data / "users" / name
    for place in (data, data / "users", folder):
        place.mkdir(mode=0o700, exist_ok=True, parents=True)
        os.chmod(place, 0o700)
    return User(name, folder)


class Sessions:
    """Links and sessions in a file of the data folder; `isotrain serve --link` writes to it too.

    Args:
        data: the data folder.
        users: who may sign in; a session of anybody else is none.
        clock: in seconds since 1970.

    Raises:
        BadOption: a name that cannot be one, or the same twice.
        BadData: the file is something else, newer or damaged.

    >>> sessions = Sessions(getfixture("tmp_path"), ["me"])
    >>> link = sessions.link("me")
    >>> secret, user = sessions.sign_in(link)
    >>> user.name, sessions.user_of(secret) == user, sessions.sign_in(link)
    ('me', True, None)
    """

    def __init__(self, data: Path, users: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        if len({name.lower() for name in users}) < len(users) or not users:
            raise BadOption(f"users {', '.join(users) or '(none)'}: at least one, and each name once.")
        self.users = {name: user_at(data, name) for name in users}
        self._tables = Tables(data / "sessions.db", "sessions", "isoS", STEPS)
        self._clock = clock

    def link(self, name: str) -> str:
        """A new secret that signs a user in once.

        Raises:
            BadOption: there is no such user.
        """
        if name not in self.users:
            raise BadOption(f"there is no user {name[:40]!r}: {', '.join(self.users)}; or start with --user NAME.")
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._tables.writing():
            self._tables.rows("DELETE FROM links WHERE until < ?", (now,))
            self._tables.rows("INSERT INTO links VALUES (?, ?, ?)", (_digest(secret), name, now + LINK_SECONDS))
        return secret

    def sign_in(self, link: str) -> tuple[str, User] | None:
        """A session for a link, which is used up; None for one that is none, or no longer."""
        now = self._clock()
        with self._tables.writing():
            found = self._tables.rows("DELETE FROM links WHERE digest = ? RETURNING user, until", (_digest(link),))
            if not found or found[0][1] < now or found[0][0] not in self.users:
                return None
            secret = secrets.token_urlsafe(32)
            self._tables.rows("DELETE FROM sessions WHERE until < ? OR seen < ?", (now, now - IDLE_SECONDS))
            self._tables.rows(
                "INSERT INTO sessions VALUES (?, ?, ?, ?)", (_digest(secret), found[0][0], now, now + SESSION_SECONDS)
            )
        return secret, self.users[found[0][0]]

    def user_of(self, secret: str) -> User | None:
        """Whose session it is; None where it is none, or has ended."""
        digest, now = _digest(secret), self._clock()
        found = self._tables.rows("SELECT user, seen, until FROM sessions WHERE digest = ?", (digest,))
        if not found or found[0][2] < now or found[0][1] < now - IDLE_SECONDS:
            return None
        if found[0][1] < now - SEEN_SECONDS:
            try:
                self._tables.rows("UPDATE sessions SET seen = ? WHERE digest = ?", (now, digest))
            except BadData as error:  # a full disk signs nobody out
                LOG.warning("the use of a session is not written down: %s", error)
        return self.users.get(found[0][0])

    def sign_out(self, secret: str) -> None:
        """End a session."""
        self._tables.rows("DELETE FROM sessions WHERE digest = ?", (_digest(secret),))

    def close(self) -> None:
        """End the connection to the file."""
        self._tables.close()


def csrf_of(secret: str) -> str:
    """The token that goes with a session: what another site cannot know, as it cannot read the cookie."""
    return hashlib.sha256(b"csrf\0" + secret.encode("utf-8", "surrogatepass")).hexdigest()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
