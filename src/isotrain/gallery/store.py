"""The gallery as callers use it: everything is a method of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from types import TracebackType

from numpy.typing import ArrayLike

from isotrain.errors import BadData
from isotrain.gallery import exporting, schema
from isotrain.gallery.again import all_again, once
from isotrain.gallery.arranging import Arranger
from isotrain.gallery.consent import Consent
from isotrain.gallery.database import Database
from isotrain.gallery.erasing import Eraser
from isotrain.gallery.faces import Faces
from isotrain.gallery.finding import Finder, Of
from isotrain.gallery.people import People, Who
from isotrain.gallery.records import By, Enrolled, Erased, Face, FaceTable, Group, Hit, NewFace, Person, Undone
from isotrain.gallery.vault import Vault

LOG = logging.getLogger("isotrain.gallery")


@all_again
class Gallery:
    """People, their faces, and who agreed that they are kept. Threads may share one; processes open their own.

    Every method that writes does all of it or nothing, whatever happens to the process; a lost server is waited for.

    Attributes:
        sealed: whether it is encrypted.

    >>> from isotrain.gallery import Consent, NewFace, PhotoSource, open_gallery
    >>> folder = getfixture("tmp_path")
    >>> face = NewFace(PhotoSource("ada.jpg", "0" * 64), box=[0, 0, 9, 9], score=1.0, vector=[0.6, 0.8])
    >>> with open_gallery(folder / "gallery.db") as gallery:
    ...     done = gallery.enroll("Ada", [face], model="tiny:1", consent=Consent("given", "Ada", date(2024, 1, 1)))
    ...     [[hit.person.name for hit in hits] for hits in gallery.search([[0.0, 1.0]], model="tiny:1")]
    ...     gallery.forget("Ada").faces
    [['Ada']]
    1
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault
        self._people, self._faces = People(database, vault), Faces(database, vault)
        self._arranger = Arranger(database, self._people, self._faces)
        self._eraser = Eraser(database, vault)
        self._finder = Finder(database, vault, self._people, self._faces)
        self.sealed = vault.sealed

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    # --- who is here -------------------------------------------------------------------------------------------

    def people(self, named: bool | None = None) -> list[Person]:
        """Everybody, the older first; only those with (or without) a name. Clusters without faces are left out."""
        with self._database.reading():
            people = self._people.records().values()
        here = [person for person in people if person.name is not None or person.faces]
        return [person for person in here if named in (None, person.name is not None)]

    def person(self, who: Who) -> Person:
        """Somebody by name (exact, after Unicode's NFC and without spaces around it) or id.

        Raises:
            UnknownName: nobody has that name.
            BadData: nobody has that id, or no longer.
        """
        with self._database.reading():
            return self._people.record(self._people.id_of(who))

    def consents(self, who: Who) -> list[Consent]:
        """Every consent recorded for somebody, in that order."""
        with self._database.reading():
            person = self._people.id_of(who)
            return self._people.consents([person]).get(person, [])

    def faces(self, who: Who | None = None) -> list[Face]:
        """Somebody's faces, or those that are nobody's, the older first."""
        with self._database.reading():
            if who is not None:
                return self._faces.records("f.person IN ({})", [self._people.id_of(who)])
            loose = self._database.rows("SELECT id FROM faces WHERE person IS NULL")
            return self._faces.records("f.id IN ({})", [row[0] for row in loose])

    def face(self, face: int) -> Face:
        """One face by id.

        Raises:
            BadData: there is none, or no longer.
        """
        with self._database.reading():
            self._faces.places([face])
            return self._faces.records("f.id IN ({})", [face])[0]

    def crop(self, face: int) -> bytes | None:
        """The crop of a face as a PNG file's bytes, if one is kept."""
        return self._faces.crop(face)

    @property
    def model(self) -> str | None:
        """Whose vectors are kept; None while there are none."""
        kept = self._faces.model()
        return kept[1] if kept else None

    def table(self) -> FaceTable:
        """Every face in columns, for clustering."""
        return self._finder.table()

    def search(
        self, vectors: ArrayLike, k: int = 1, *, model: str, of: Of = "people", exact: bool = True
    ) -> list[list[Hit]]:
        """The nearest people, or faces, of each vector, most similar first.

        Args:
            vectors: [q, D] or [D], of length 1.
            k: how many for each; fewer where there are fewer.
            model: the id of the model that made them.
            of: "people": everybody once, by their nearest face, and only faces that are somebody's; or "faces".
            exact: compare all of them, in memory. Otherwise PostgreSQL's index answers, which may miss some.

        Raises:
            BadData: vectors of another model, or none.
            BadOption: k below 1, or another `of`.
        """
        return self._finder.search(vectors, model, k, of, exact)

    # --- putting faces in --------------------------------------------------------------------------------------

    def enroll(
        self,
        name: str,
        faces: Sequence[NewFace],
        model: str,
        consent: Consent | None = None,
        today: date | None = None,
    ) -> Enrolled:
        """Put faces to a name, by hand: all of them or, if anything is wrong, none.

        A face that is known already (the photo by its content, the box by its overlap) is not kept twice.

        Args:
            name: a new one, or one that gets more faces.
            faces: of that person.
            model: the id of the model that made the vectors.
            consent: needed with a new name, and where the one on record has ended.
            today: on which a consent has to stand; the day it is, unless given.

        Raises:
            BadOption: no consent, or none that stands.
            BadData: no faces, something wrong with one, vectors of another model, or a face that is another's.
        """
        with self._database.writing():
            return self._arranger.enroll(name, faces, model, consent, today or date.today())

    def add(self, faces: Sequence[NewFace], model: str) -> list[int]:
        """Keep faces that are nobody's yet, as of an album; ids in the order given, known ones as they are.

        Raises:
            BadData: something wrong with one (none is kept then), or vectors of another model.
        """
        with self._database.writing():
            return self._arranger.add(faces, model)

    def represent(self, model: str, vectors: Mapping[int, ArrayLike]) -> None:
        """Replace the vector of every face (by id) by one of another model.

        Raises:
            BadData: a face is missing or unknown, or a vector is none; nothing is changed then.
        """
        with self._database.writing():
            self._faces.represent(model, vectors)
            self._eraser.written_down()
        self.finish_erasing()

    def reindex(self) -> None:
        """Make PostgreSQL's index of nearest neighbours anew: worth it after very much was added or erased."""
        kept = self._faces.model()
        if kept is not None:
            with self._database.writing():
                self._database.index(kept[2])

    # --- arranging: steps that can be undone -------------------------------------------------------------------

    def assign(self, faces: Sequence[int], person: Who | None, by: By = "hand") -> Person | None:
        """Put faces to somebody who is here, or (None) to nobody. One step.

        Raises:
            BadData: no such face or person; by machine: a face that a hand has put, or two of one photo.
            UnknownName: nobody has that name.
        """
        return self.arrange([Group(faces, person)], by)[0]

    def arrange(self, groups: Sequence[Group], by: By = "machine") -> list[Person | None]:
        """Put many groups of faces to people, new ones without a name among them: a clustering. One step.

        Returns:
            The person of each group, as they are now.

        Raises:
            BadData: no such face or person; by machine: a face that a hand has put, or two of one photo.
            UnknownName: nobody has that name.
        """
        with self._database.writing():
            return self._arranger.arrange(groups, by)

    def rename(self, who: Who, name: str, consent: Consent | None = None, today: date | None = None) -> Person:
        """Call somebody otherwise. Who had no name yet gets one only with a consent. One step.

        Raises:
            BadOption: somebody else is called so, or there is no consent that stands.
            UnknownName: nobody has that name.
        """
        with self._database.writing():
            return self._arranger.rename(who, name, consent, today or date.today())

    def merge(self, who: Who, into: Who) -> Person:
        """Two are one: the first one's faces and consents become the other's, the name still leads there. One step.

        Raises:
            BadOption: they are one already.
            UnknownName: nobody has that name.
        """
        with self._database.writing():
            return self._arranger.merge(who, into)

    def split(self, faces: Sequence[int], name: str, consent: Consent | None = None) -> Person:
        """Put faces to a name by hand: a new one, which needs a consent, or one that is known. One step.

        Raises:
            BadData: no faces, or one that is not here.
            BadOption: no consent, or none that stands.
        """
        with self._database.writing():
            return self._arranger.split(faces, name, consent, date.today())

    def undo(self) -> Undone:
        """Take back the last step: assign, arrange, rename, merge, split, or what enrolling did to known faces.

        Raises:
            BadData: there is none. Nothing before an erasure can be undone.
        """
        with self._database.writing():
            return self._arranger.journal.undo()

    # --- letting go --------------------------------------------------------------------------------------------

    def forget(self, who: Who) -> Erased:
        """Erase somebody for good: names, consents, faces, vectors, crops, links and the journal.

        Faces of theirs that were never put to them are not known to be theirs: search first, and erase those too.

        Raises:
            UnknownName: nobody has that name.
            BadData: nobody has that id, or no longer.
        """
        with self._database.writing():
            erased = self._eraser.people(self._people.all_ids(self._people.id_of(who)))
        return self._finished(erased)

    def erase(self, faces: Sequence[int]) -> Erased:
        """Erase faces for good, whoever's they are.

        Raises:
            BadData: there is no such face, and nothing is erased.
        """
        with self._database.writing():
            erased = self._eraser.faces(list(self._faces.places(faces)))
        return self._finished(erased)

    def expired(self, today: date | None = None) -> list[Person]:
        """Those whose consent on record has ended before today."""
        day = today or date.today()
        return [person for person in self.people() if not person.agrees(day)]

    def purge(self, today: date | None = None) -> Erased:
        """Forget all who are `expired`."""
        day, erased = today or date.today(), Erased()
        with self._database.writing():
            for person, consents in self._people.consents().items():
                if not consents[-1].stands(day):
                    erased += self._eraser.people(self._people.all_ids(person))
        return self._finished(erased) if erased.people else erased

    def finish_erasing(self) -> bool:
        """Remove the bytes of what was erased and could not be yet; whether nothing is left to do.

        Where it fails (a full disk, a server that is gone) that is logged, and the next opening tries again.
        """
        try:
            return self._eraser.finish()
        except BadData as error:
            LOG.warning("deleted rows are gone, their last bytes are not yet: %s", error)
            return False

    @once
    def export(self, who: Who, folder: Path | str) -> Path:
        """Write all that is kept about somebody, person.json and crops, into a new folder; the JSON's path.

        Raises:
            BadOption: the folder holds something already, or cannot be written.
            UnknownName: nobody has that name.
        """
        with self._database.reading():
            person = self._people.record(self._people.id_of(who))
            return exporting.export(self._database, self._people, self._faces, person, Path(folder))

    def change_passphrase(self, new: str) -> None:
        """Seal the gallery's key with another passphrase; the old one opens nothing any more.

        Raises:
            BadOption: the gallery is not encrypted, or the passphrase is empty.
        """
        with self._database.writing():
            schema.reseal(self._database, self._vault, new)
            self._eraser.written_down()
        self.finish_erasing()

    def _finished(self, erased: Erased) -> Erased:
        self._finder.drop()
        return erased + Erased(finished=self.finish_erasing())
