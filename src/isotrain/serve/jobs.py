"""A command of isotrain as a job: a process of its own, with low priority, that outlives the server if it has to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isotrain.serve.jobs_process import TAKEN, environment, locked, pid_in, send

OUT, ERR = "out.json", "err.txt"
DYING = 5.0
"""Seconds that a process may take to end when it is killed."""
MOST_SAID = 20_000
"""Bytes at the end of what a job wrote to stderr that are looked at."""


class Job:
    """A command at work in a folder, begun by this server or by one before it.

    Args:
        folder: of the job's own: its lock, who it is, what it writes to stdout and stderr.
        hide: what is taken out of its words: a place on this machine that they need not name.
    """

    def __init__(self, folder: Path, hide: Path) -> None:
        self.folder, self._hide = folder, hide
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], threads: int) -> None:
        """Begin `isotrain COMMAND --json`, in a process group of its own.

        Raises:
            OSError: there is no room for another process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # The folder holds nothing that could be taken for a module of Python; all the same it is not looked in.
        own = environment(OMP_NUM_THREADS=str(threads), PYTHONSAFEPATH="1", PYTHONUNBUFFERED="1")
        arguments = [sys.executable, "-m", "isotrain.serve.jobs_child", str(self.folder), *command, "--json"]
        with (self.folder / OUT).open("wb") as out, (self.folder / ERR).open("wb") as err:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.folder, env=own,
                start_new_session=True,
            )  # fmt: skip

    def running(self) -> bool:
        """Whether a process is at work."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return True
            if code != TAKEN:
                return False
        return locked(self.folder)

    def wait(self, seconds: float) -> int | None:
        """The exit code of a job that this server began; None: it took too long, and was ended."""
        assert self._process is not None, "it was begun"
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs, and of a job that a server before this one began."""
        return None if self._process is None else self._process.poll()

    def ask_to_stop(self) -> None:
        """To finish its step, save and go."""
        if self._process is not None and pid_in(self.folder) is None:
            self._process.terminate()  # it has not become the command yet
        send(self.folder, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all it began, at once."""
        send(self.folder, signal.SIGKILL, group=True)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        until = time.monotonic() + DYING
        while locked(self.folder) and time.monotonic() < until:  # one that is not our child cannot be waited for
            time.sleep(0.02)

    def result(self) -> dict[str, Any] | None:
        """What it found, if it came to its end."""
        try:
            found = json.loads((self.folder / OUT).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def complaint(self) -> str:
        """The last line of stderr, without places on this machine; "" if it said nothing."""
        try:
            with (self.folder / ERR).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_SAID))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return ""
        return hidden(lines[-1].removeprefix("isotrain: "), self._hide) if lines else ""


def hidden(words: str, place: Path) -> str:
    """Words without the place of a folder on this machine: files below it are named as from within.

    >>> hidden("/data/me/photos/a.jpg is no picture", Path("/data/me"))
    'photos/a.jpg is no picture'
    """
    return words.replace(f"{place}/", "").replace(str(place), "the data")
