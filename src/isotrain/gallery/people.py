"""Who is in the gallery: names, consents, and people who turned out to be one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime

from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.gallery.consent import Consent
from isotrain.gallery.database import Database, rows_of
from isotrain.gallery.records import Person
from isotrain.gallery.vault import Vault

Who = Person | int | str
"""A person by record, id or name."""
LONGEST_NAME = 10_000
SHOWN = 60
UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")
"""Categories of Unicode: a name of these alone is none."""


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def clean_name(name: str) -> str:
    r"""A name as it is kept: letters composed (Unicode's NFC), no spaces around it, otherwise as it is.

    Raises:
        BadOption: nothing that can be seen is left, it is too long, or it is no text.

    >>> clean_name("  Zoe\u0308 ")
    'Zoë'
    >>> clean_name("\u200b\ufeff")
    Traceback (most recent call last):
    isotrain.errors.BadOption: a name has letters, '\u200b\ufeff' has none: give one.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if all(unicodedata.category(letter) in UNSEEN for letter in cleaned):
        raise BadOption(f"a name has letters, {name!r:.80} has none: give one.")
    if len(cleaned) > LONGEST_NAME:
        raise BadOption(f"the name {shown(cleaned)} has {len(cleaned):,} characters: {LONGEST_NAME:,} at most.")
    try:
        cleaned.encode()
    except UnicodeEncodeError as error:
        raise BadOption(f"the name {shown(cleaned)} is no valid Unicode: half a character is in it.") from error
    return cleaned


def shown(name: str) -> str:
    r"""A name in a message: quoted, not too long, and nothing in it acts on a terminal.

    >>> shown("\x1b[2J")
    "'\\x1b[2J'"
    """
    return repr(name if len(name) <= SHOWN else name[: SHOWN - 1] + "…")


class People:
    """The tables of people and consents. Whoever writes has begun a transaction."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    def find(self, name: str) -> int | None:
        """The person of that name, or into whom that person was merged."""
        lookup = self._vault.digest("name", clean_name(name).encode())
        found = self._database.rows("SELECT coalesce(merged, id) FROM people WHERE lookup = ?", (lookup,))
        return int(found[0][0]) if found else None

    def id_of(self, who: Who) -> int:
        """The id of a person.

        Raises:
            UnknownName: nobody has that name.
            BadData: nobody has that id, or no longer.
        """
        if isinstance(who, str):
            found = self.find(who)
            if found is None:
                raise self._unknown(who)
            return found
        wanted = who.id if isinstance(who, Person) else int(who)
        rows = self._database.rows("SELECT coalesce(merged, id) FROM people WHERE id = ?", (wanted,))
        if not rows:
            raise BadData(f"nobody in gallery {self._database.where} has the id {wanted}: forgotten, or never there.")
        return int(rows[0][0])

    def make(self, name: str | None) -> int:
        """A new person."""
        sealed, lookup = self._written(name)
        made = self._database.rows(
            "INSERT INTO people (name, lookup, added) VALUES (?, ?, ?) RETURNING id", (sealed, lookup, now())
        )
        return int(made[0][0])

    def call(self, person: int, name: str) -> None:
        """Give a person a name.

        Raises:
            BadOption: somebody else has it.
        """
        holder = self.find(name)
        own = self._database.rows("SELECT lookup FROM people WHERE id = ?", (person,))[0][0]
        sealed, lookup = self._written(name)
        if holder is not None and own != lookup:
            raise BadOption(f"somebody is called {shown(clean_name(name))} already: merge the two, or choose a name.")
        self._database.rows("UPDATE people SET name = ?, lookup = ? WHERE id = ?", (sealed, lookup, person))

    def all_ids(self, person: int) -> list[int]:
        """A person's id and those of everybody merged into them."""
        merged = self._database.rows("SELECT id FROM people WHERE merged = ? ORDER BY id", (person,))
        return [person, *(row[0] for row in merged)]

    def agree(self, person: int, consent: Consent) -> int:
        """Record a consent; its id."""
        about = self._vault.seal_words("consent", {"by": consent.by, "how": consent.how})
        until = consent.until.isoformat() if consent.until else None
        made = self._database.rows(
            "INSERT INTO consents (person, basis, about, given, until) VALUES (?, ?, ?, ?, ?) RETURNING id",
            (person, consent.basis, about, consent.on.isoformat(), until),
        )
        return int(made[0][0])

    def consents(self, people: Collection[int] | None = None) -> dict[int, list[Consent]]:
        """Consents of people, in the order of their recording; those of merged people go with the rest."""
        query = (
            "SELECT coalesce(p.merged, p.id), c.id, c.basis, c.about, c.given, c.until "
            "FROM consents c JOIN people p ON p.id = c.person"
        )
        if people is None:
            rows = self._database.rows(query)
        else:
            rows = list(rows_of(self._database, query + " WHERE coalesce(p.merged, p.id) IN ({})", list(people)))
        found: dict[int, list[Consent]] = {}
        for person, _, basis, about, given, until in sorted(rows, key=lambda row: row[1]):
            words = self._vault.unseal_words("consent", about)
            end = date.fromisoformat(until) if until else None
            agreed = Consent(basis, words["by"], date.fromisoformat(given), end, words["how"])
            found.setdefault(person, []).append(agreed)
        return found

    def records(self, people: Sequence[int] | None = None) -> dict[int, Person]:
        """People by id, without those merged into another."""
        query = "SELECT p.id, p.name, p.added, (SELECT count(*) FROM faces f WHERE f.person = p.id) FROM people p"
        aliases = "SELECT merged, name FROM people WHERE name IS NOT NULL AND merged"
        if people is None:
            rows = self._database.rows(query + " WHERE p.merged IS NULL")
            others = self._database.rows(aliases + " IS NOT NULL ORDER BY id")
        else:
            wanted = list(dict.fromkeys(people))
            rows = list(rows_of(self._database, query + " WHERE p.id IN ({})", wanted))
            others = list(rows_of(self._database, aliases + " IN ({}) ORDER BY id", wanted))
        also: dict[int, list[str]] = {}
        for person, name in others:
            also.setdefault(person, []).append(self._vault.unseal("name", name).decode())
        consents = self.consents(people)
        return {
            person: Person(
                person,
                None if name is None else self._vault.unseal("name", name).decode(),
                faces,
                added,
                consents[person][-1] if person in consents else None,
                tuple(also.get(person, ())),
            )
            for person, name, added, faces in sorted(rows)
        }

    def record(self, person: int) -> Person:
        """One person."""
        return self.records([person])[person]

    def _written(self, name: str | None) -> tuple[bytes | None, bytes | None]:
        if name is None:
            return None, None
        plain = clean_name(name).encode()
        return self._vault.seal("name", plain), self._vault.digest("name", plain)

    def _unknown(self, name: str) -> UnknownName:
        names = [person.name for person in self.records().values() if person.name is not None]
        near = difflib.get_close_matches(clean_name(name), names, n=3)
        # A message is no place for a list of a thousand people.
        listed = [*near, *(other for other in names if other not in near)][:10]
        more = [f"and {len(names) - len(listed):,} more"] if len(names) > len(listed) else []
        return UnknownName("person", clean_name(name)[:SHOWN], [*(shown(other)[1:-1] for other in listed), *more])
