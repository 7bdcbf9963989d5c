"""Whose a face is: enrolling by name, putting faces to people by hand or by machine, naming and merging people.

Inside of a transaction that the caller began. What a hand did, no machine changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import get_args

from isotrain.errors import BadData, BadOption
from isotrain.gallery.consent import Consent
from isotrain.gallery.database import Database, rows_of
from isotrain.gallery.faces import Faces, Place
from isotrain.gallery.journal import Journal
from isotrain.gallery.people import People, Who, shown
from isotrain.gallery.records import By, Enrolled, Group, NewFace, Person


class Arranger:
    """Changes whose faces are. `Gallery`'s methods of the same names say what is raised."""

    def __init__(self, database: Database, people: People, faces: Faces) -> None:
        self._database, self._people, self._faces = database, people, faces
        self.journal = Journal(database)

    def enroll(self, name: str, faces: Sequence[NewFace], model: str, consent: Consent | None, today: date) -> Enrolled:
        """`Gallery.enroll`.

        Raises:
            BadData: no faces, or a face that is another's by hand.
        """
        if not faces:
            raise BadData(f"no face to enrol as {shown(name)}: give one at least.")
        found = self._people.find(name)
        person = self._people.make(name) if found is None else found
        self._agree(person, name, consent, today)
        known: dict[int, Place] = {}

        def whose(photo: int, face: NewFace) -> Place | int:
            place = self._faces.at(photo, face.box)
            if place is None:
                return self._faces.insert(photo, face, person, "hand")
            if place.person not in (None, person) and place.by == "hand":
                other = self._people.record(place.person).name
                raise BadData(
                    f"a face in photo {face.photo.path!r} cannot be enrolled as {shown(name)}: a hand has put it to "
                    f"{'somebody without a name' if other is None else shown(other)}. Assign it, or merge the two."
                )
            known[place.id] = place
            return place

        added = self._faces.keep(faces, model, whose)
        for face in added:  # the same face twice in one call
            known.pop(face, None)
        moved = [place for place in known.values() if (place.person, place.by) != (person, "hand")]
        if moved:
            self.journal.move(self.journal.step("enroll"), moved, person, "hand")
        return Enrolled(self._people.record(person), tuple(added), tuple(known))

    def add(self, faces: Sequence[NewFace], model: str) -> list[int]:
        """`Gallery.add`."""
        ids: list[int] = []

        def whose(photo: int, face: NewFace) -> Place | int:
            place = self._faces.at(photo, face.box)
            answer = self._faces.insert(photo, face, None, None) if place is None else place
            ids.append(answer if isinstance(answer, int) else answer.id)
            return answer

        if faces:
            self._faces.keep(faces, model, whose)
        return ids

    def arrange(self, groups: Sequence[Group], by: By) -> list[Person | None]:
        """`Gallery.arrange`.

        Raises:
            BadOption: `by` is neither hand nor machine.
            BadData: a face that a hand has put, one in two groups, or two of one photo.
        """
        if by not in get_args(By):
            raise BadOption(f"faces are put by 'hand' or by 'machine', not by {by!r}.")
        asked = [int(face) for group in groups for face in group.faces]
        if len(set(asked)) < len(asked):
            twice = next(face for face in asked if asked.count(face) > 1)
            raise BadData(f"face {twice} is to be put twice: a face is one person's.")
        places = self._faces.places(asked)
        if by == "machine" and (hand := [place for place in places.values() if place.by == "hand"]):
            raise BadData(f"face {hand[0].id} was put where it is by hand, which no machine changes: leave it out.")
        step = self.journal.step("assign" if len(groups) == 1 else "arrange")
        people: list[int | None] = []
        for group in groups:
            person = None if group.person is None else self._people.id_of(group.person)
            if group.new:
                person = self._people.make(None)
                self.journal.person(step, person, made=True)
            self.journal.move(step, [places[int(face)] for face in group.faces], person, by)
            people.append(person)
        receiving = sorted({person for person in people if person is not None})
        if by == "machine":
            self._never_twice_in_a_photo(receiving)
        records = self._people.records(receiving)
        return [None if person is None else records[person] for person in people]

    def rename(self, who: Who, name: str, consent: Consent | None, today: date) -> Person:
        """`Gallery.rename`."""
        person = self._people.id_of(who)
        step = self.journal.step("rename")
        recorded = self._agree(person, name, consent, today)
        self.journal.person(step, person, consent=recorded)
        self._people.call(person, name)
        return self._people.record(person)

    def split(self, faces: Sequence[int], name: str, consent: Consent | None, today: date) -> Person:
        """`Gallery.split`.

        Raises:
            BadData: no faces, or one twice.
        """
        if not faces or len(set(faces)) < len(faces):
            raise BadData("a person is split off by faces: give their ids, each once.")
        places = self._faces.places(faces)
        step = self.journal.step("split")
        found = self._people.find(name)
        person = self._people.make(None) if found is None else found
        recorded = self._agree(person, name, consent, today)
        if found is None or recorded is not None:
            self.journal.person(step, person, made=found is None, consent=recorded)
        if found is None:
            self._people.call(person, name)
        self.journal.move(step, list(places.values()), person, "hand")
        return self._people.record(person)

    def merge(self, who: Who, into: Who) -> Person:
        """`Gallery.merge`.

        Raises:
            BadOption: they are one already.
        """
        person, other = self._people.id_of(who), self._people.id_of(into)
        if person == other:
            raise BadOption(f"{who!r:.80} and {into!r:.80} are one person already: nothing to merge.")
        step = self.journal.step("merge")
        rows = self._database.rows("SELECT id, person, put_by FROM faces WHERE person = ?", (person,))
        # Each face keeps who put it: that two people are one says nothing new about a face the machine put.
        for by in get_args(By):
            self.journal.move(step, [Place(*row) for row in rows if row[2] == by], other, by)
        for alias in self._people.all_ids(person):
            self.journal.person(step, alias)
            self._database.rows("UPDATE people SET merged = ? WHERE id = ?", (other, alias))
        return self._people.record(other)

    def _agree(self, person: int, name: str, consent: Consent | None, today: date) -> int | None:
        """Record a consent, or see that one is on record; a name is not kept without."""
        recorded = None if consent is None else self._people.agree(person, consent)
        on_record = self._people.consents([person]).get(person)
        if not on_record:
            raise BadOption(f"nobody has agreed that {shown(name)} is kept: say who did, when and how (consent).")
        if not on_record[-1].stands(today):
            raise BadOption(
                f"the consent for {shown(name)} ended on {on_record[-1].until}, and it is {today}: record a new one, "
                "or forget them."
            )
        return recorded

    def _never_twice_in_a_photo(self, people: Sequence[int]) -> None:
        twice = "SELECT person, photo FROM faces WHERE person IN ({}) GROUP BY person, photo HAVING count(*) > 1"
        for _, photo in rows_of(self._database, twice, people):
            faces = self._database.rows("SELECT id FROM faces WHERE photo = ? ORDER BY id", (photo,))
            raise BadData(
                f"faces {', '.join(str(row[0]) for row in faces)} are of one photo, and two of them would be one "
                "person: only a hand may say so."
            )
