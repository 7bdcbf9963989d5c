"""A piece of work of a user's, as it is kept: a training, or the audit of one. Its state survives the server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from isotrain.aside import write_aside
from isotrain.errors import BadCheckpoint
from isotrain.serve.jobs import Job
from isotrain.train.rundir import CHECKPOINT

State = Literal["waiting", "running", "stopping", "stopped", "done", "failed"]
OVER: tuple[State, ...] = ("stopped", "done", "failed")
VERSION = 1
RECORD, RUN, JOB, AUDIT, REPORT, EXPORT, GONE = "work.json", "run", "job", "audit", "report.html", "export", ".gone-"
AUDITING = ("--steps", "10", "--batch", "32", "--optimizers", "adam,riemannian")
"""A look that is over in a minute or two: every version of the net is trained for a moment by each optimizer."""


@dataclass(frozen=True)
class Work:
    """What is to be done, and how far it is.

    Attributes:
        folder: of its own; its name is the work's id.
        kind: what it is.
        state: waiting for its turn, at work, ...
        error: why it failed.
        attempts: how often its process died.
        queued: since when it waits or has waited, in seconds since 1970.
        created: when it was asked for.
        name: the user's words for it.
        task: of the training.
        dataset: the id of the data, None for the generated twin.
        data: arguments of `isotrain train` that name the data.
        minutes: that it may take.
    """

    folder: Path
    kind: Literal["training", "audit"]
    task: str
    state: State = "waiting"
    error: str | None = None
    attempts: int = 0
    queued: float = field(default_factory=time.time)
    created: float = field(default_factory=time.time)
    name: str = ""
    dataset: str | None = None
    data: tuple[str, ...] = ()
    minutes: float | None = None

    @property
    def id(self) -> str:
        """Of the training, or of the training that is audited."""
        return self.folder.name if self.kind == "training" else self.folder.parent.name

    @property
    def run(self) -> Path:
        """The run folder."""
        return (self.folder if self.kind == "training" else self.folder.parent) / RUN

    @property
    def home(self) -> Path:
        """The folder of its user."""
        return self.folder.parents[1 if self.kind == "training" else 2]

    def job(self) -> Job:
        """Its process."""
        return Job(self.folder / JOB, self.home)

    def command(self) -> list[str]:
        """What isotrain is asked to do: begin, or go on from the last checkpoint."""
        if self.kind == "audit":
            return ["audit", str(self.run), *AUDITING, "--out", str(self.folder / REPORT)]
        begun = (self.run / CHECKPOINT).is_file()
        length = [] if self.minutes is None else ["--minutes", f"{self.minutes:g}"]
        return ["train", self.task, *self.data, "--out", str(self.run), *length, "--resume" if begun else "--overwrite"]

    def kept(self, **changes: Any) -> Work:
        """The same with changes, written down.

        Raises:
            OSError: the place cannot be written.
        """
        changed = replace(self, **changes)
        record = {name: value for name, value in asdict(changed).items() if name != "folder"}
        write_aside(self.folder / RECORD, json.dumps({"isotrain_work": VERSION, **record}, indent=1).encode())
        return changed


def work_at(folder: Path) -> Work:
    """A piece of work that was written down.

    Raises:
        BadCheckpoint: damaged, or of another version.
    """
    path = folder / RECORD
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        version = known.pop("isotrain_work")
        work = Work(folder=folder, **{**known, "data": tuple(known["data"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{path} cannot be read ({error}): take its folder away.") from error
    if version != VERSION:
        raise BadCheckpoint(f"{path} is of version {version}, this isotrain reads {VERSION}: take its folder away.")
    return work


def all_work(data: Path) -> Iterator[Path]:
    """The folders of all trainings and audits of all users below a data folder."""
    for pattern in (f"users/*/trainings/*/{RECORD}", f"users/*/trainings/*/{AUDIT}/{RECORD}"):
        for path in sorted(data.glob(pattern)):
            if not path.relative_to(data).parts[3].startswith("."):
                yield path.parent
