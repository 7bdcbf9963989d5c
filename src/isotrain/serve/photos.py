"""A user's photos: two files each under a random name, and a table with what was seen in them.

A photo's files are there before its row, and its row goes before its files; what stands in the folder without a row
was cut off on the way and is swept at the start. Names of people are in the gallery alone: the table knows numbers.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isotrain.aside import write_aside
from isotrain.errors import BadData
from isotrain.look import Sight
from isotrain.serve.database import Tables
from isotrain.serve.uploads_pictures import Encoded

STEPS = [
    """
CREATE TABLE photos (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    added TEXT NOT NULL,
    sight TEXT,                             -- the document without people, none until it was looked at
    words TEXT NOT NULL DEFAULT '',         -- to search in, casefolded
    stale INTEGER NOT NULL DEFAULT 0,       -- the gallery changed since its faces were compared with it
    tries INTEGER NOT NULL DEFAULT 0        -- to look at it that ended with the process
);
CREATE TABLE faces (
    photo INTEGER NOT NULL REFERENCES photos (place) ON DELETE CASCADE,
    face INTEGER NOT NULL,
    person INTEGER,
    similarity REAL,
    probability REAL,
    PRIMARY KEY (photo, face)
);
CREATE INDEX faces_person ON faces (person)
""",
    # A row: something was deleted whose bytes may still be in the file. A random number, which says nothing about it.
    "CREATE TABLE erasing (mark BLOB NOT NULL)",
]
LOG = logging.getLogger("isotrain.serve")
TRIES = 3
"""A photo at which the process ended this often is left alone."""
COLUMNS = "p.place, p.id, p.name, p.width, p.height, p.added, p.sight, p.tries"


class Gone(BadData):
    """What is asked for was deleted, or was never there."""


@dataclass(frozen=True)
class Photo:
    """One photo.

    Attributes:
        place: in the order of their coming.
        id: random.
        name: as it was sent, for people to read.
        width: in pixels.
        height: in pixels.
        added: when, UTC, ISO 8601.
        sight: what was seen, without people; None until it was looked at.
        tries: to look at it that have not ended.
    """

    place: int
    id: str
    name: str
    width: int
    height: int
    added: str
    sight: dict[str, Any] | None
    tries: int = 0

    @property
    def failed(self) -> bool:
        """Whether it is not looked at again, as that ended badly each time."""
        return self.sight is None and self.tries >= TRIES


@dataclass(frozen=True)
class Likeness:
    """What the gallery says of one face in a photo.

    Attributes:
        person: by number; None for nobody that is known.
        similarity: of that person's nearest face.
        probability: that it is that person.
    """

    person: int | None
    similarity: float | None
    probability: float | None


class Photos:
    """The photos of one user.

    Args:
        folder: the user's.

    Raises:
        BadData: the table is something else, newer or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._files = folder / "photos"
        self._files.mkdir(mode=0o700, exist_ok=True)
        self._tables = Tables(folder / "photos.db", "photos", "isoP", STEPS)
        self._sweep()

    def _sweep(self) -> None:
        known = {row[0] for row in self._tables.rows("SELECT id FROM photos")}
        for path in self._files.iterdir():
            if path.name.partition(".")[0] not in known:
                path.unlink()

    def add(self, encoded: Encoded, name: str) -> Photo:
        """Keep a photo, not yet looked at.

        Raises:
            OSError: the disk does not take it; nothing is kept then.
        """
        id, (height, width) = secrets.token_hex(16), encoded.size
        try:
            write_aside(self.file(id), encoded.picture, 0o600)
            write_aside(self.file(id, small=True), encoded.thumbnail, 0o600)
            added = datetime.now(UTC).isoformat(timespec="seconds")
            ((place,),) = self._tables.rows(
                "INSERT INTO photos (id, name, width, height, added, words) VALUES (?, ?, ?, ?, ?, ?) RETURNING place",
                (id, name, width, height, added, searched(name)),
            )
        except BaseException:
            self._remove(id)
            raise
        return Photo(place, id, name, width, height, added, None)

    def file(self, id: str, small: bool = False) -> Path:
        """Where a photo's picture is, or its thumbnail. Only ids of rows get here, never words of a request."""
        return self._files / (f"{id}.small.jpg" if small else f"{id}.jpg")

    def get(self, id: str) -> Photo:
        """One photo.

        Raises:
            Gone: there is none of that id, or no longer.
        """
        rows = self._tables.rows(f"SELECT {COLUMNS} FROM photos p WHERE p.id = ?", (id,))
        if not rows:
            raise Gone(f"there is no photo {id[:40]!r}: deleted, or never there.")
        return _photo(rows[0])

    def found(self, words: Sequence[str], people: Sequence[Sequence[int]], after: int | None, most: int) -> list[Photo]:
        """Photos, the newest first.

        Args:
            words: each of which a photo has to show: in its class, objects, caption or name.
            people: for each word those who are called so; showing one of them will do as well.
            after: the place below which to go on.
            most: photos.
        """
        where, values = ["true"], list[Any]()
        if after is not None:
            where.append("p.place < ?")
            values.append(after)
        for word, called in zip(words, people, strict=True):
            where.append(
                "(instr(p.words, ?) OR EXISTS (SELECT 1 FROM faces f WHERE f.photo = p.place AND f.person IN "
                "(SELECT value FROM json_each(?))))"
            )
            values += [searched(word), json.dumps(list(called))]
        rows = self._tables.rows(
            f"SELECT {COLUMNS} FROM photos p WHERE {' AND '.join(where)} ORDER BY p.place DESC LIMIT ?", (*values, most)
        )
        return [_photo(row) for row in rows]

    def seen(self, place: int, sight: Sight, likenesses: Sequence[Likeness]) -> None:
        """Keep what was seen in a photo, unless it was deleted meanwhile."""
        document = sight.document()
        for face in document["faces"] or []:
            face |= {"person": None, "person_id": None, "similarity": None, "probability": None}
        caption, kind = document["caption"] or {}, document["class"] or {}
        with self._tables.writing():
            rows = self._tables.rows("SELECT name FROM photos WHERE place = ?", (place,))
            if not rows:
                return
            said = [rows[0][0], kind.get("name"), caption.get("text"), *(o["name"] for o in document["objects"] or [])]
            words = "\n".join(dict.fromkeys(searched(str(word)) for word in said if word))
            self._tables.rows(
                "UPDATE photos SET sight = ?, words = ? WHERE place = ?",
                (json.dumps(document), words, place),
            )
            self._compared(place, likenesses)

    def compared(self, place: int, likenesses: Sequence[Likeness]) -> None:
        """Keep who the faces of a photo are, as the gallery is now."""
        with self._tables.writing():
            if self._tables.rows("SELECT 1 FROM photos WHERE place = ?", (place,)):
                self._compared(place, likenesses)

    def _compared(self, place: int, likenesses: Sequence[Likeness]) -> None:
        self._tables.rows("DELETE FROM faces WHERE photo = ?", (place,))
        for face, like in enumerate(likenesses, 1):
            values = (place, face, like.person, like.similarity, like.probability)
            self._tables.rows("INSERT INTO faces VALUES (?, ?, ?, ?, ?)", values)
        self._tables.rows("UPDATE photos SET stale = 0, tries = 0 WHERE place = ?", (place,))

    def likenesses(self, places: Sequence[int]) -> dict[int, dict[int, Likeness]]:
        """By place and number of the face."""
        found: dict[int, dict[int, Likeness]] = {}
        for place, face, *rest in self._tables.rows(
            "SELECT photo, face, person, similarity, probability FROM faces WHERE photo IN "
            "(SELECT value FROM json_each(?))",
            (json.dumps(list(places)),),
        ):
            found.setdefault(place, {})[face] = Likeness(*rest)
        return found

    def outdate(self) -> list[int]:
        """The gallery is about to change: photos with faces are to be compared with it again; which were not yet."""
        rows = self._tables.rows(
            "UPDATE photos SET stale = 1 WHERE NOT stale AND place IN (SELECT photo FROM faces) RETURNING place"
        )
        return [row[0] for row in rows]

    def current(self, places: Sequence[int]) -> None:
        """The gallery has not changed after all."""
        asked = json.dumps(list(places))
        self._tables.rows("UPDATE photos SET stale = 0 WHERE place IN (SELECT value FROM json_each(?))", (asked,))

    def stale(self) -> list[int]:
        """Places of photos whose faces wait to be compared."""
        return [row[0] for row in self._tables.rows("SELECT place FROM photos WHERE stale ORDER BY place DESC")]

    def here(self, ids: Sequence[str]) -> set[str]:
        """Those of some ids that are photos."""
        asked = json.dumps(list(ids))
        return {
            row[0]
            for row in self._tables.rows("SELECT id FROM photos WHERE id IN (SELECT value FROM json_each(?))", (asked,))
        }

    def unlink(self, person: int, into: int | None = None) -> list[str]:
        """Nobody's face (or another's) is what was this person's; ids of the photos. `finish_erasing` does the rest."""
        with self._tables.writing():
            rows = self._tables.rows(
                "SELECT DISTINCT p.id FROM photos p JOIN faces f ON f.photo = p.place WHERE f.person = ?", (person,)
            )
            if into is None:
                self._tables.rows(
                    "UPDATE faces SET person = NULL, similarity = NULL, probability = NULL WHERE person = ?", (person,)
                )
                self._written_down()
            else:
                self._tables.rows("UPDATE faces SET person = ? WHERE person = ?", (into, person))
        return [row[0] for row in rows]

    def _written_down(self) -> None:
        """Note, in the transaction that deletes, that bytes are still to go."""
        self._tables.rows("DELETE FROM erasing")
        self._tables.rows("INSERT INTO erasing VALUES (?)", (os.urandom(16),))

    def finish_erasing(self) -> bool:
        """Remove the bytes of what was deleted; whether nothing is left to do, or else it is to be tried again."""
        marks = self._tables.rows("SELECT mark FROM erasing")
        if not marks:
            return True
        try:
            if not self._tables.shred():
                return False
            # Not if more was deleted meanwhile: its bytes may be there still.
            self._tables.rows("DELETE FROM erasing WHERE mark = ?", marks[0])
        except BadData as error:
            LOG.warning("deleted photos are gone, their last bytes in the table are not yet: %s", error)
            return False
        return True

    def undone(self) -> Photo | None:
        """A photo that still has to be looked at, or whose faces have to be compared; the newest, waiting ones first.

        A photo that was handed out `TRIES` times and never came back ended the process: it is not handed out again.
        """
        with self._tables.writing():
            rows = self._tables.rows(
                f"SELECT {COLUMNS} FROM photos p WHERE (p.sight IS NULL OR p.stale) AND p.tries < ? "
                "ORDER BY p.sight IS NOT NULL, p.place DESC LIMIT 1",
                (TRIES,),
            )
            for row in rows:
                self._tables.rows("UPDATE photos SET tries = tries + 1 WHERE place = ?", (row[0],))
        return _photo(rows[0]) if rows else None

    def begin(self, place: int) -> None:
        """A photo is about to be looked at."""
        self._tables.rows("UPDATE photos SET tries = tries + 1 WHERE place = ?", (place,))

    def delete(self, id: str) -> None:
        """Remove a photo and everything seen in it. `finish_erasing` does the rest.

        Raises:
            Gone: there is none of that id, or no longer.
        """
        photo = self.get(id)
        with self._tables.writing():
            self._tables.rows("DELETE FROM photos WHERE place = ?", (photo.place,))
            self._written_down()
        self._remove(id)

    def count(self) -> int:
        """How many photos there are."""
        return int(self._tables.rows("SELECT count(*) FROM photos")[0][0])

    def _remove(self, id: str) -> None:
        for small in (False, True):
            with suppress(FileNotFoundError):
                os.unlink(self.file(id, small))

    def close(self) -> None:
        """End the connection to the table."""
        self._tables.close()


def searched(words: str) -> str:
    r"""Words as they are searched: whatever their case, and however their letters were composed.

    >>> searched("Zoe\u0308") == searched("ZOË") == searched("zoë")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", words).casefold())


def _photo(row: tuple[Any, ...]) -> Photo:
    place, id, name, width, height, added, sight, tries = row
    return Photo(place, id, name, width, height, added, None if sight is None else json.loads(sight), tries)
