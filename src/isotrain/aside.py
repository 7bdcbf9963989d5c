"""Files written aside and renamed: a reader never sees half a file, an interruption leaves the old one."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def write_aside(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put `content` at `path`, whose folder is made.

    Args:
        path: of the file.
        content: of the file.
        mode: who may read it.

    Raises:
        OSError: the place cannot be written, or is a device or a pipe.

    >>> write_aside(getfixture("tmp_path") / "a" / "b", b"whole")
    >>> write_aside(Path(os.devnull), b"half")
    Traceback (most recent call last):
    OSError: [Errno 22] it is no ordinary file: '/dev/null'
    """
    if path.exists() and not path.is_file() and not path.is_dir():  # a device, which would become a file
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(aside, mode)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)  # half a file on a full disk is of no use, and takes the room that is missing
        raise
