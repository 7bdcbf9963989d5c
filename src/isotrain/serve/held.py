"""A data folder belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from isotrain.errors import BadData


def hold(folder: Path) -> IO[bytes]:
    """Take a folder, until the file that is given back is closed, or the process ends in whatever way.

    Raises:
        BadData: another process has it.

    >>> folder = getfixture("tmp_path")
    >>> held = hold(folder)
    >>> hold(folder)
    Traceback (most recent call last):
    isotrain.errors.BadData: ... is served already: ...
    >>> held.close()
    >>> hold(folder).close()
    """
    file = os.fdopen(os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600), "rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BadData(
            f"{folder} is served already: use that server (`isotrain serve --link NAME`), or another --folder."
        ) from error
    return file
