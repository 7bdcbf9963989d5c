"""Data that users upload to train on: put into a folder aside, checked by `isotrain data fits`, then named.

    datasets/ID/dataset.json    what it is, and the report of the data's doctor
    datasets/ID/data/           the files

A folder without its name is what a kill left, and is swept up at the next start.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isotrain.aside import write_aside
from isotrain.errors import BadCheckpoint, BadData
from isotrain.serve.datasets_unpacked import Room, Sent, put
from isotrain.serve.jobs import hidden
from isotrain.serve.jobs_process import environment
from isotrain.serve.limits import MB

LOG = logging.getLogger("isotrain.serve")
VERSION = 1
RECORD, DATA, NEW = "dataset.json", "data", ".new-"
QUOTA = 10_000 * MB
"""Bytes of all data of one user."""
PATIENCE = 900.0
"""Seconds that a check may take."""
REPORTED = 200
"""Faults that are kept: the worst come first."""
SIDES = (("source", "target"), ("src", "tgt"))
TABLES = (".tsv", ".jsonl")
IDS = re.compile(r"[0-9a-f]{12}")


class Refused(BadData):
    """Data that a task cannot learn from.

    Args:
        words: why.
        report: all faults.
    """

    def __init__(self, words: str, report: list[dict[str, Any]]) -> None:
        super().__init__(words)
        self.report = report


@dataclass(frozen=True)
class Kept:
    """A dataset of a user's.

    Attributes:
        folder: of its own; its name is the dataset's id.
        task: that it was checked for.
        format: in words.
        samples: to learn from, held out, to test on.
        classes: names.
        report: faults that do not keep it from being learned from: where, what, fix, severity.
        notes: what was left out.
        arguments: that name it to `isotrain train`; places below its data folder.
        bytes: of its files.
        created: in seconds since 1970.
    """

    folder: Path
    task: str
    format: str
    samples: dict[str, int]
    classes: list[str]
    report: list[dict[str, Any]]
    notes: list[str]
    arguments: list[str]
    bytes: int
    created: float

    @property
    def id(self) -> str:
        """Unique among a user's."""
        return self.folder.name

    def command(self) -> tuple[str, ...]:
        """Arguments of `isotrain train` that name it."""
        return _placed(self.arguments, self.folder / DATA)


class Datasets:
    """All datasets of one user. Its methods may be called from any thread.

    Args:
        home: the user's folder.
        room: that one upload has.
    """

    def __init__(self, home: Path, room: Room | None = None) -> None:
        self._home, self._room = home, room or Room()
        self._place = home / "datasets"
        self._checks: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def sweep(self) -> None:
        """Take away what a kill left: at the start of a server, before anything is uploaded."""
        for path in self._place.glob(f"{NEW}*"):
            shutil.rmtree(path, ignore_errors=True)

    def add(self, task: str, files: Sequence[Sent]) -> Kept:
        """Keep an upload, if the task can learn from it; takes seconds to minutes.

        Raises:
            BadData: it cannot be unpacked, or learned from (then a `Refused`).
            OSError: the disk is full.
        """
        used = sum(kept.bytes for kept in self.all())
        if used >= QUOTA:
            raise BadData(f"your data takes {used / MB:,.0f} MB of {QUOTA / MB:,.0f} MB: delete some first.")
        aside = self._place / f"{NEW}{secrets.token_hex(6)}"
        (aside / DATA).mkdir(parents=True)
        try:
            size = put(files, aside / DATA, self._room)
            arguments = _arguments(task, aside / DATA)
            found = self._checked(task, arguments, aside)
            record = {
                "task": task, "format": found["format"], "samples": found["samples"], "classes": found["classes"],
                "report": found["faults"][:REPORTED], "notes": found["notes"], "arguments": arguments, "bytes": size,
                "created": time.time(),
            }  # fmt: skip
            write_aside(aside / RECORD, json.dumps({"isotrain_dataset": VERSION, **record}).encode())
            os.sync()  # the files are on the disk before the folder has its name: power may fail, too
            folder = self._place / secrets.token_hex(6)
            os.rename(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return Kept(folder=folder, **record)

    def all(self) -> list[Kept]:
        """Every dataset, the newest first; one that is damaged is told to who runs the server, and left out."""
        found = []
        for path in self._place.glob("*"):
            if IDS.fullmatch(path.name):
                try:
                    found.append(dataset_at(path))
                except BadCheckpoint as error:
                    LOG.error("%s", error)
        return sorted(found, key=lambda kept: kept.created, reverse=True)

    def find(self, id: str) -> Kept | None:
        """A dataset by its id."""
        folder = self._place / id
        return dataset_at(folder) if IDS.fullmatch(id) and folder.is_dir() else None

    def delete(self, kept: Kept) -> None:
        """Erase it."""
        gone = self._place / f"{NEW}{secrets.token_hex(6)}"
        os.rename(kept.folder, gone)
        shutil.rmtree(gone)

    def close(self) -> None:
        """End the checks that are under way; their uploads are refused."""
        with self._lock:
            for process in self._checks:
                process.kill()

    def _checked(self, task: str, arguments: list[str], aside: Path) -> dict[str, Any]:
        """What `isotrain data fits` finds: in a process of its own, that a hostile file may break."""
        command = [sys.executable, "-m", "isotrain", "data", "fits", task, *_placed(arguments, aside / DATA), "--json"]
        own = environment(OMP_NUM_THREADS="1", PYTHONSAFEPATH="1")
        # In files, not pipes, so that waiting is a wait.
        out, err = aside / "out", aside / "err"
        with out.open("wb") as to, err.open("wb") as told:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=to, stderr=told, cwd=aside, env=own)
        with self._lock:
            self._checks.add(process)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise BadData(f"the check took more than {PATIENCE / 60:g} minutes: send less.") from error
        finally:
            process.kill()
            process.wait()
            with self._lock:
                self._checks.discard(process)
        words = err.read_text(errors="replace").strip().splitlines()
        content = hidden(hidden(out.read_text(errors="replace"), aside / DATA), self._home)
        out.unlink()
        err.unlink()
        if code not in (0, 1) or not content:
            last = hidden(hidden(words[-1], aside / DATA), self._home) if words else "it ended without a word"
            raise BadData(f"{task} cannot learn from it: {last.removeprefix('isotrain: ')}")
        found: dict[str, Any] = json.loads(content)
        if found["why"] is not None:
            raise Refused(f"{task} cannot learn from it: {found['why']}", found["faults"][:REPORTED])
        return found


def dataset_at(folder: Path) -> Kept:
    """A dataset that was kept.

    Raises:
        BadCheckpoint: damaged, or of another version.
    """
    path = folder / RECORD
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        version = known.pop("isotrain_dataset")
        kept = Kept(folder=folder, **known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{path} cannot be read ({error}): send the data again.") from error
    if version != VERSION:
        raise BadCheckpoint(f"{path} is of version {version}, this isotrain reads {VERSION}: send the data again.")
    return kept


def _arguments(task: str, data: Path) -> list[str]:
    """How `isotrain train` is told of files: "." or a place below, as arguments.

    Raises:
        BadData: of translations, neither a table nor two files.
    """
    files = sorted(path for path in data.rglob("*") if path.is_file())
    inside = [path.relative_to(data).as_posix() for path in files]
    if task != "translate":
        return inside if len(files) == 1 and task == "characters" else ["."]
    tables = [name for name in inside if name.endswith(TABLES)]
    if len(tables) == 1:
        return tables
    by_end = {path.name.lower().rpartition(".")[2]: name for path, name in zip(files, inside, strict=True)}
    for source, target in SIDES:
        if len(files) == 2 and source in by_end and target in by_end:
            return ["--source", by_end[source], "--target", by_end[target]]
    if len(files) == 2:
        return ["--source", inside[0], "--target", inside[1]]
    raise BadData(
        f"translate learns from one table of two columns (.tsv, .jsonl) or from two files, as many lines each; "
        f"the upload holds {len(files)} files."
    )


def _placed(arguments: Sequence[str], data: Path) -> tuple[str, ...]:
    """The arguments with whole paths: none of them begins like an option."""
    return tuple(name if name in ("--source", "--target") else str(data / name) for name in arguments)
