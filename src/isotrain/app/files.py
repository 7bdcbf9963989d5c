"""Picture files that were named on the command line, and files that are written for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isotrain.aside import write_aside
from isotrain.data.pictures import SUFFIXES
from isotrain.errors import BadData, BadOption


def files_of(pictures: Sequence[Path], leave: Path | None = None) -> list[Path]:
    """Files as they were named, and all pictures in folders that were named.

    Args:
        pictures: files and folders.
        leave: a folder below one of them, where drawings of an earlier run may be.

    Raises:
        BadData: a folder holds no picture.
    """
    files = []
    for path in pictures:
        if path.is_dir():
            left = leave.resolve() if leave is not None and leave.resolve() != path.resolve() else None
            found = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.is_dir())
            inside = sorted(file for file in found if left is None or left not in file.resolve().parents)
            if not inside:
                raise BadData(f"folder {path} holds no picture.")
            files += inside
        else:
            files.append(path)
    return files


def free_stem(file: Path, taken: set[str]) -> str:
    """A name for what is written for a file, that no other has; taken from now on.

    >>> taken = {"photo"}
    >>> free_stem(Path("b/photo.jpg"), taken), sorted(taken)
    ('photo-2', ['photo', 'photo-2'])
    """
    stem, number = file.stem, 1
    while stem in taken:
        number += 1
        stem = f"{file.stem}-{number}"
    taken.add(stem)
    return stem


def put(path: Path, content: bytes) -> str:
    """Write a file, aside first; its path.

    Raises:
        BadOption: the place cannot be written.
    """
    try:
        write_aside(path, content)
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}. Choose another --out.") from error
    return str(path)
