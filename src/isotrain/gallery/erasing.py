"""Erasing for good: rows in one transaction, then their bytes in the files.

The transaction also writes down that bytes are still to go. Whoever is stopped in between is finished by the next
opening, and what is written down is a random number, which says nothing about who was forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from isotrain.gallery.database import Database, rows_of, set_setting, setting
from isotrain.gallery.faces import changed
from isotrain.gallery.records import Erased
from isotrain.gallery.vault import Vault

PENDING = "erasing"


class Eraser:
    """Erases people and faces."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    def people(self, ids: Sequence[int]) -> Erased:
        """Erase people (with those merged into them) and all their faces. Inside of a transaction."""
        faces = [row[0] for row in rows_of(self._database, "SELECT id FROM faces WHERE person IN ({})", ids)]
        consents = list(rows_of(self._database, "SELECT id FROM consents WHERE person IN ({})", ids))
        erased = self.faces(faces)
        self._database.many("DELETE FROM people WHERE id = ?", [(person,) for person in ids])
        return erased + Erased(people=len(ids), consents=len(consents))

    def faces(self, ids: Sequence[int]) -> Erased:
        """Erase faces, and photos in which no other face is kept. Inside of a transaction."""
        vectors = list(rows_of(self._database, "SELECT face FROM vectors WHERE face IN ({})", ids))
        crops = list(rows_of(self._database, "SELECT face FROM crops WHERE face IN ({})", ids))
        photos = sorted({row[0] for row in rows_of(self._database, "SELECT photo FROM faces WHERE id IN ({})", ids)})
        steps = len(self._database.rows("SELECT id FROM journal"))
        self._database.rows("DELETE FROM journal")
        self._database.many("DELETE FROM faces WHERE id = ?", [(face,) for face in ids])
        still = (
            "SELECT p.id, p.about FROM photos p WHERE p.id IN ({}) "
            "AND EXISTS (SELECT 1 FROM faces f WHERE f.photo = p.id)"
        )
        kept = dict(rows_of(self._database, still, photos))
        self._database.many("DELETE FROM photos WHERE id = ?", [(photo,) for photo in photos if photo not in kept])
        shared = sorted(self._vault.unseal_words("photo", about)["path"] for about in kept.values())
        self.written_down()
        return Erased(
            faces=len(ids),
            vectors=len(vectors),
            crops=len(crops),
            photos=len(photos) - len(kept),
            steps=steps,
            shared=tuple(shared),
        )

    def written_down(self) -> None:
        """Note, in the transaction that deletes, that bytes are still to go."""
        set_setting(self._database, PENDING, os.urandom(16))
        changed(self._database)

    def finish(self) -> bool:
        """Remove the bytes of whatever was deleted; whether nothing is left to do."""
        pending = setting(self._database, PENDING)
        if pending is None:
            return True
        if not self._database.shred():
            return False
        # Not if somebody else has deleted more meanwhile: their bytes may be there still.
        self._database.rows("DELETE FROM settings WHERE name = ? AND value = ?", (PENDING, pending))
        return True
