"""How a job begins, in its own process: it takes its folder's lock, writes down who it is, and becomes the command.

    python -m isotrain.serve.jobs_child FOLDER COMMAND...

A server that is killed between starting a job and writing that down finds the job again: by the lock, which is held
until the process ends.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

from isotrain.serve.jobs_process import LOCK, TAKEN, note_myself

PRIORITY = 10
"""How nice a job is to the server, and to whoever else works on the machine."""
PATIENCE = 2.0
"""Seconds in which the lock has to come free: a server looks whether it is held, which takes a moment."""


def main(folder: Path, command: list[str]) -> None:
    """Become `isotrain COMMAND`."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                sys.exit(TAKEN)
            time.sleep(0.05)
    os.set_inheritable(lock, True)  # across the exec below
    note_myself(folder)
    os.nice(PRIORITY)
    os.execv(sys.executable, [sys.executable, "-m", "isotrain", *command])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
