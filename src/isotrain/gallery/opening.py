"""A gallery opened or begun, by a path or an address."""

from __future__ import annotations

from pathlib import Path

from isotrain.gallery import schema
from isotrain.gallery.address import database_at
from isotrain.gallery.again import again
from isotrain.gallery.store import Gallery


def open_gallery(place: Path | str, passphrase: str | None = None, create: bool = True) -> Gallery:
    """Open a gallery, or begin one.

    Args:
        place: a file, `sqlite:///file`, or `postgresql://user:password@host/database`.
        passphrase: opens an encrypted gallery; a new one is encrypted with it.
        create: whether a missing one is made.

    Raises:
        BadData: no gallery, damaged, of a newer version, locked for too long, on a full or read-only disk.
        BadOption: a wrong, missing or needless passphrase, or an address of another kind.
        MissingExtra: PostgreSQL or encryption without its packages.
    """
    database = database_at(place, create)
    try:
        vault = again(schema.opened)(database, passphrase, create)
        gallery = Gallery(database, vault)
        gallery.finish_erasing()  # an erasure that was cut off
    except BaseException:
        database.close()
        raise
    return gallery
