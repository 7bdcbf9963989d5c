"""Names of files in an upload or an archive: places below a folder, or refused. Nothing else of them is believed."""

from __future__ import annotations

import re
import unicodedata

from isotrain.errors import BadData

LONGEST, PART, DEEPEST = 1000, 200, 16
"""Bytes of a name, and of each part of it; parts."""
DRIVE = re.compile(r"[A-Za-z]:")
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d|clock\$)(?:\..*)?", re.IGNORECASE)
"""What some systems take for a device, whatever the folder."""
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")
PACKED = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".lzma")
"""Ends of archives' names; .gz is read where a format knows it, and its size is looked at."""


def place_of(name: str) -> str | None:
    r"""The place of a file by its name, parts joined by a slash; None for what systems leave lying about.

    Raises:
        BadData: a name that leads out of the folder, or that is none on some system.

    >>> place_of("cats/a b.jpg"), place_of("./cats\\tom.jpg"), place_of("cats/.DS_Store"), place_of("__MACOSX/a.jpg")
    ('cats/a b.jpg', 'cats/tom.jpg', None, None)
    >>> place_of("cats/../../a.jpg")
    Traceback (most recent call last):
    isotrain.errors.BadData: file 'cats/../../a.jpg': its name leads out of the folder. Pack the folder itself.
    """
    shown = repr(name if len(name) <= 80 else f"{name[:77]}...")
    plain = name.replace("\\", "/")
    if plain.startswith("/") or DRIVE.match(plain):
        raise BadData(f"file {shown}: its name is a place of its own, not one in the folder. Pack the folder itself.")
    parts = [unicodedata.normalize("NFC", part) for part in plain.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadData(f"file {shown}: its name leads out of the folder. Pack the folder itself.")
    if not parts:
        raise BadData(f"file {shown} has no name.")
    for part in parts:
        odd = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in part)
        if odd or DEVICES.fullmatch(part) or part != part.rstrip(". ") or ":" in part:
            raise BadData(f"file {shown}: {part[:80]!r} is no name on every system. Rename it.")
        if len(part.encode()) > PART:
            raise BadData(f"file {shown}: a part of its name is longer than {PART} bytes. Rename it.")
    if len(parts) > DEEPEST or sum(len(part.encode()) + 1 for part in parts) > LONGEST:
        raise BadData(f"file {shown}: its name is longer than {LONGEST} bytes or {DEEPEST} folders. Rename it.")
    if any(part in JUNK or part.startswith(".") for part in parts):
        return None
    if parts[-1].lower().endswith(PACKED):
        raise BadData(f"file {shown} is an archive in the upload: unpack it first.")
    return "/".join(parts)


class Taken:
    """The names in use: each once, also where capitals are no difference, and no file where a folder is.

    >>> taken = Taken()
    >>> taken.add("a/b.jpg")
    >>> taken.add("A/B.jpg")
    Traceback (most recent call last):
    isotrain.errors.BadData: files 'a/b.jpg' and 'A/B.jpg' are one on systems without capitals. Rename one.
    """

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def __len__(self) -> int:
        """How many files."""
        return len(self._files)

    def add(self, place: str) -> None:
        """Use a name.

        Raises:
            BadData: it is in use.
        """
        key = place.casefold()
        other = self._files.get(key)
        if other == place:
            raise BadData(f"file {place[:80]!r} is there twice. Keep one.")
        if other is not None:
            raise BadData(f"files {other[:80]!r} and {place[:80]!r} are one on systems without capitals. Rename one.")
        while (key := key.rpartition("/")[0]) and key not in self._folders:
            self._folders[key] = place
        key = place.casefold()
        if key in self._folders or any(folder in self._files for folder in _above(key)):
            raise BadData(f"{place[:80]!r} is a file and a folder. Rename one.")
        self._files[key] = place


def _above(place: str) -> list[str]:
    parts = place.split("/")
    return ["/".join(parts[:number]) for number in range(1, len(parts))]
