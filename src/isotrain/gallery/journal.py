"""The journal: faces put to people, names given, people merged, and how each of these is taken back.

Enrolling and erasing are no steps of it: the first is taken back by forgetting, the second cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Sequence

from isotrain.errors import BadData
from isotrain.gallery.database import Database
from isotrain.gallery.faces import Place
from isotrain.gallery.people import now
from isotrain.gallery.records import By, Undone


class Journal:
    """What was so before each step. Whoever writes has begun a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def step(self, what: str) -> int:
        """Begin a step."""
        made = self._database.rows("INSERT INTO journal (what, made) VALUES (?, ?) RETURNING id", (what, now()))
        return int(made[0][0])

    def move(self, step: int, places: Sequence[Place], person: int | None, by: By) -> None:
        """Put faces to a person, or to nobody, and keep where they were."""
        self._database.many(
            "INSERT INTO journal_faces (step, face, person, put_by) VALUES (?, ?, ?, ?)",
            [(step, *place) for place in places],
        )
        self._database.many(
            "UPDATE faces SET person = ?, put_by = ? WHERE id = ?",
            [(person, None if person is None and by == "machine" else by, place.id) for place in places],
        )

    def person(self, step: int, person: int, made: bool = False, consent: int | None = None) -> None:
        """Keep what a person is called before it changes (or that the step made the person)."""
        self._database.rows(
            "INSERT INTO journal_people (step, person, made, consent, name, lookup, merged) "
            "SELECT ?, id, ?, ?, name, lookup, merged FROM people WHERE id = ?",
            (step, int(made), consent, person),
        )

    def undo(self) -> Undone:
        """Take the last step back.

        Raises:
            BadData: there is none, or somebody else has got the name meanwhile.
        """
        last = self._database.rows("SELECT id, what FROM journal ORDER BY id DESC LIMIT 1")
        if not last:
            raise BadData(
                f"gallery {self._database.where} has nothing to undo: steps before an erasure are gone with it."
            )
        step, what = last[0]
        faces = self._database.rows("SELECT person, put_by, face FROM journal_faces WHERE step = ?", (step,))
        self._database.many("UPDATE faces SET person = ?, put_by = ? WHERE id = ?", faces)
        people = self._database.rows(
            "SELECT person, made, consent, name, lookup, merged FROM journal_people WHERE step = ?", (step,)
        )
        self._database.rows("DELETE FROM journal WHERE id = ?", (step,))
        for person, made, consent, name, lookup, merged in people:
            if consent is not None:
                self._database.rows("DELETE FROM consents WHERE id = ?", (consent,))
            if made:
                self._unmake(person)
                continue
            taken = self._database.rows("SELECT id FROM people WHERE lookup = ? AND id <> ?", (lookup, person))
            if taken:
                raise BadData("undo would give back a name that somebody else has now: rename that person first.")
            self._database.rows(
                "UPDATE people SET name = ?, lookup = ?, merged = ? WHERE id = ?", (name, lookup, merged, person)
            )
        return Undone(what, len(faces), len(people))

    def _unmake(self, person: int) -> None:
        """Remove a person whom a step made, unless something has come to hang on them since."""
        self._database.rows(
            "DELETE FROM people WHERE id = ? AND NOT EXISTS (SELECT 1 FROM faces WHERE person = people.id) "
            "AND NOT EXISTS (SELECT 1 FROM consents WHERE person = people.id) "
            "AND NOT EXISTS (SELECT 1 FROM people other WHERE other.merged = people.id)",
            (person,),
        )
