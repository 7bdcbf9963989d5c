"""A training's curve for who watches it: points appended to a file while it runs, and read again as they come.

The curve in full is written with the checkpoint, each minute or less often. Here a line is appended twice a second, at
most, and whole: a reader takes what ends in a newline, and the step of a point tells it what it has seen already, also
after a kill, when the run goes on from a step before.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from isotrain.aside import write_aside
from isotrain.errors import BadOption

LIVE = "live.jsonl"
EVERY, SHARE = 0.5, 1 / 2000
"""Seconds between two points, and the share of the time so far: 2,000 in 17 minutes, 10,000 in 15 hours."""
TAIL = 4096
"""Bytes at the end of the file that hold its last point."""
Row = tuple[int, float, float, float, float | None]
"""Step, epoch, seconds, loss, score of the held-out samples or None."""


class Live:
    """Appends points to the file of a run; to be used as a context.

    A point's loss is the mean over the steps since the point before. Every score of held-out samples is a point.

    Args:
        folder: of the run; made if it is not there.
        done: steps that the run goes on from; points of later steps, left by a run that was killed, are taken away.
        write: False: write nothing (of several processes that train together, one writes).

    Raises:
        BadOption: the folder cannot be written.
    """

    def __init__(self, folder: Path, done: int = 0, write: bool = True) -> None:
        self.path = folder / LIVE
        self._losses: list[float] = []
        self._last = float("-inf")
        self._file: int | None = None
        if write:
            kept = [point for point in points(folder) if point["step"] <= done]
            try:
                write_aside(self.path, b"".join(_line(point) for point in kept))
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            except OSError as error:
                raise BadOption(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def point(self, row: Row) -> None:
        """A step was made.

        Raises:
            BadOption: the file cannot be written (a full disk).
        """
        if self._file is None:
            return
        step, epoch, seconds, loss, held_out = row
        self._losses.append(loss)
        if held_out is None and seconds - self._last < max(EVERY, SHARE * seconds):
            return
        mean = sum(self._losses) / len(self._losses)
        found = {"step": step, "epoch": epoch, "seconds": seconds, "loss": mean, "held_out": held_out}
        self._last, self._losses = seconds, []
        try:
            os.write(self._file, _line(found))
        except OSError as error:
            raise BadOption(
                f"{self.path} cannot be written: {error.strerror or error}. Make room, then go on with --resume."
            ) from error

    def __enter__(self) -> Live:
        """The file is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Follower:
    """Reads the points of a run as they come, each step once.

    Args:
        folder: of the run, which need not be there yet.
        after: the step of the last point that was seen.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> follower = Follower(folder)
    >>> with Live(folder) as live:
    ...     live.point((1, 0.5, 0.1, 2.0, None))
    ...     live.point((2, 1.0, 0.2, 1.0, None))  # too soon after the first
    ...     live.point((3, 1.5, 0.8, 3.0, None))
    >>> [(point["step"], point["loss"]) for point in follower.new()], follower.new()
    ([(1, 2.0), (3, 2.0)], [])
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.path = folder / LIVE
        self.after = after
        self._place, self._of = 0, -1

    def new(self) -> list[dict[str, Any]]:
        """The points since the last call."""
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                if about.st_ino != self._of:  # written anew by a run that goes on
                    self._place, self._of = 0, about.st_ino
                if about.st_size <= self._place:
                    return []
                file.seek(self._place)
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._place += len(whole)
        found = []
        for line in whole.splitlines():
            point = _point(line)
            if point is not None and point["step"] > self.after:
                found.append(point)
                self.after = point["step"]
        return found


def points(folder: Path) -> list[dict[str, Any]]:
    """All points of a run so far; none if it has none.

    >>> points(Path("no-such-run"))
    []
    """
    return Follower(folder).new()


def last_point(folder: Path) -> dict[str, Any] | None:
    """The last point of a run so far, from the end of its file; None if it has none.

    >>> last_point(Path("no-such-run")) is None
    True
    """
    try:
        with (folder / LIVE).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            content = file.read()
    except FileNotFoundError:
        return None
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    return next((point for line in reversed(whole) if (point := _point(line)) is not None), None)


def _line(point: dict[str, Any]) -> bytes:
    return json.dumps(point).encode() + b"\n"


def _point(line: bytes) -> dict[str, Any] | None:
    """None for half a line, which a kill on a full disk can leave in the middle of a file."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("step"), int) else None
