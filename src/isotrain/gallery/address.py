"""Where a gallery is: a file, or a server by its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from isotrain.errors import BadOption
from isotrain.gallery.database import Database


def database_at(place: Path | str, create: bool) -> Database:
    """Connect to the database at a file, `sqlite:///file` or `postgresql://user:password@host/database`.

    Args:
        place: an absolute path has a fourth slash: `sqlite:////folder/file`.
        create: whether a missing file is made.

    Raises:
        BadOption: an address of another kind, or one that names no file.
    """
    scheme, mark, _ = str(place).partition("://")
    if isinstance(place, Path) or not mark:
        return _file(Path(place), create)
    if scheme == "sqlite":
        path = unquote(urlsplit(place).path)[1:]
        if not path:
            raise BadOption(f"{place!r} names no file: sqlite:///gallery.db, or sqlite:////folder/gallery.db.")
        return _file(Path(path), create)
    if scheme in ("postgresql", "postgres"):
        from isotrain.gallery.postgres import Postgres

        return Postgres(place)
    raise BadOption(f"a gallery is a file, sqlite:///file or postgresql://host/database, not {scheme[:20]}://.")


def _file(path: Path, create: bool) -> Database:
    from isotrain.gallery.sqlite import Sqlite

    return Sqlite(path, create)
