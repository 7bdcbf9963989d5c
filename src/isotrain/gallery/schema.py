"""The tables of a gallery, and the numbered steps by which an older one becomes a newer one."""

from __future__ import annotations

from collections.abc import Callable

from isotrain.errors import BadData, BadOption
from isotrain.gallery.database import Database, set_setting, setting
from isotrain.gallery.vault import Vault, check_passphrase, new_vault, opened_vault

FIRST = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value {BYTES} NOT NULL);

CREATE TABLE models (id {KEY}, name TEXT NOT NULL UNIQUE, dims BIGINT NOT NULL);

CREATE TABLE people (
    id {KEY},
    name {BYTES},                                                -- sealed, none for a cluster without a name
    lookup {BYTES} UNIQUE,                                       -- digest of the name
    merged BIGINT REFERENCES people (id) ON DELETE CASCADE,      -- is the same as this one
    added TEXT NOT NULL,
    CHECK ((name IS NULL) = (lookup IS NULL))
);
CREATE INDEX people_merged ON people (merged);

CREATE TABLE consents (
    id {KEY},
    person BIGINT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    basis TEXT NOT NULL,
    about {BYTES} NOT NULL,                                      -- sealed: who agreed, and how
    given TEXT NOT NULL,
    until TEXT
);
CREATE INDEX consents_person ON consents (person);

CREATE TABLE photos (
    id {KEY},
    lookup {BYTES} NOT NULL UNIQUE,                              -- digest of the file's sha256
    about {BYTES} NOT NULL,                                      -- sealed: path, sha256, size
    added TEXT NOT NULL
);

CREATE TABLE faces (
    id {KEY},
    photo BIGINT NOT NULL REFERENCES photos (id),
    person BIGINT REFERENCES people (id),
    put_by TEXT CHECK (put_by IN ('hand', 'machine')),
    x0 DOUBLE PRECISION NOT NULL,
    y0 DOUBLE PRECISION NOT NULL,
    x1 DOUBLE PRECISION NOT NULL,
    y1 DOUBLE PRECISION NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    about {BYTES} NOT NULL,                                      -- sealed: provenance
    landmarks {BYTES},                                           -- sealed: float32 x, y
    added TEXT NOT NULL,
    CHECK (person IS NULL OR put_by IS NOT NULL)                 -- NULL and 'hand': taken out, and not put back
);
CREATE INDEX faces_photo ON faces (photo);
CREATE INDEX faces_person ON faces (person);

CREATE TABLE crops (
    face BIGINT PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
    png {BYTES} NOT NULL                                         -- sealed
);

CREATE TABLE vectors (
    face BIGINT PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
    model BIGINT NOT NULL REFERENCES models (id),
    vector {VECTOR} NOT NULL                                     -- sealed: float32, little end first
);

CREATE TABLE journal (id {KEY}, what TEXT NOT NULL, made TEXT NOT NULL);

CREATE TABLE journal_faces (
    step BIGINT NOT NULL REFERENCES journal (id) ON DELETE CASCADE,
    face BIGINT NOT NULL REFERENCES faces (id) ON DELETE CASCADE,
    person BIGINT,                                               -- what was so before
    put_by TEXT
);
CREATE INDEX journal_faces_step ON journal_faces (step);
CREATE INDEX journal_faces_face ON journal_faces (face);

CREATE TABLE journal_people (
    step BIGINT NOT NULL REFERENCES journal (id) ON DELETE CASCADE,
    person BIGINT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    made BIGINT NOT NULL,                                        -- 1 where the step made the person
    consent BIGINT,                                              -- the one the step recorded
    name {BYTES},                                                -- what was so before
    lookup {BYTES},
    merged BIGINT
);
CREATE INDEX journal_people_step ON journal_people (step);
CREATE INDEX journal_people_person ON journal_people (person)
"""

MIGRATIONS: list[str | Callable[[Database, Vault], None]] = [FIRST]
"""Migration i leads from version i to i + 1; one that is released is never edited again."""


def opened(database: Database, passphrase: str | None, create: bool) -> Vault:
    """Make the tables, or bring them up to date; the vault that reads them.

    Raises:
        BadData: there is no gallery and none is to be made, or it is newer than this program.
        BadOption: the passphrase does not open it.
    """
    if not database.has_gallery():
        if not create:
            raise BadData(f"there is no gallery in {database.where}: enrol somebody to begin one.")
        vault = new_vault(passphrase)
        written = vault.written(passphrase)
        with database.writing():
            # Another process may have been first.
            if not database.has_gallery():
                database.prepare(vault.sealed)
                _migrate(database, vault, 0)
                set_setting(database, "vault", written)
                return vault
    version = int(setting(database, "version") or b"0")
    if version > len(MIGRATIONS):
        raise BadData(
            f"gallery {database.where} is of version {version}, this program knows up to {len(MIGRATIONS)}: "
            "update isotrain."
        )
    vault = opened_vault(setting(database, "vault") or b"", passphrase, database.where)
    if version < len(MIGRATIONS):
        with database.writing():
            _migrate(database, vault, int(setting(database, "version") or b"0"))
    return vault


def reseal(database: Database, vault: Vault, passphrase: str) -> None:
    """Seal the keys of a gallery with another passphrase.

    Raises:
        BadOption: the gallery is not encrypted, or the passphrase is empty.
    """
    check_passphrase(passphrase)
    if not vault.sealed:
        raise BadOption(f"gallery {database.where} is not encrypted: make a new one with a passphrase.")
    set_setting(database, "vault", vault.written(passphrase))


def _migrate(database: Database, vault: Vault, version: int) -> None:
    for migration in MIGRATIONS[version:]:
        if callable(migration):
            migration(database, vault)
            continue
        for statement in database.dialect(migration, vault.sealed).split(";"):
            database.rows(statement)
    set_setting(database, "version", str(len(MIGRATIONS)).encode())
    database.after_migration()
