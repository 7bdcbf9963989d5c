"""What the API takes and gives of datasets and trainings, as its description at /api/openapi.json has it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from isotrain.serve.datasets import Kept
from isotrain.serve.trainings_work import State, Work
from isotrain.tasks import TASKS
from isotrain.train.live import last_point
from isotrain.train.rundir import PICTURES, SCORES

LONGEST = 24 * 60
"""Minutes of a training, at most."""


class Finding(BaseModel):
    """One thing that the data's doctor found."""

    where: str
    what: str
    fix: str
    severity: str


class Dataset(BaseModel):
    """Data to train on."""

    id: str
    task: str
    format: str
    samples: dict[str, int] = Field(description="To learn from, held out, to test on.")
    classes: list[str]
    report: list[Finding]
    notes: list[str]
    bytes: int
    created: str


class DatasetList(BaseModel):
    """The newest first."""

    datasets: list[Dataset]


class Unfit(BaseModel):
    """Data that was not taken."""

    error: str
    report: list[Finding] = []


class Begin(BaseModel):
    """A training to begin."""

    task: str = Field(json_schema_extra={"enum": list(TASKS)})
    dataset: Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")] | None = Field(
        None, description="Null: generated data, to try the task."
    )
    minutes: float = Field(5.0, gt=0, le=LONGEST, allow_inf_nan=False)
    name: str = Field("", max_length=100)


class Training(BaseModel):
    """A training."""

    id: str
    name: str
    task: str
    dataset: str | None
    state: State
    error: str | None
    step: int
    epoch: float
    seconds: float
    minutes: float | None
    scores: dict[str, Any] | None = Field(description="Of held-out and test samples, when it is done.")
    pictures: list[str]
    created: str


class TrainingList(BaseModel):
    """The newest first."""

    trainings: list[Training]


class Audit(BaseModel):
    """How much a training depends on the coordinates that its net was written down in."""

    state: State | None = Field(description="Null: none was asked for.")
    error: str | None = None
    verdict: str | None = None
    gaps: dict[str, dict[str, float | None]] = Field(
        {}, description="Optimizer, change of variables: the largest difference of two curves; null: one diverged."
    )
    refused: dict[str, str] = Field({}, description="Changes that this net cannot be rewritten by, and why.")


def shown_dataset(kept: Kept) -> Dataset:
    """A dataset as the API gives it."""
    return Dataset(
        id=kept.id, task=kept.task, format=kept.format, samples=kept.samples, classes=kept.classes,
        report=[Finding(**fault) for fault in kept.report], notes=kept.notes, bytes=kept.bytes,
        created=_when(kept.created),
    )  # fmt: skip


def shown(work: Work) -> Training:
    """A training as the API gives it, with what its run says by now."""
    point = last_point(work.run) or {"step": 0, "epoch": 0.0, "seconds": 0.0}
    return Training(
        id=work.id, name=work.name, task=work.task, dataset=work.dataset, state=work.state, error=work.error,
        step=point["step"], epoch=point["epoch"], seconds=point["seconds"], minutes=work.minutes,
        scores=_scores(work.run) if work.state == "done" else None, pictures=pictures_of(work.run),
        created=_when(work.created),
    )  # fmt: skip


def pictures_of(run: Path) -> list[str]:
    """Names of the pictures that a run left."""
    return sorted(path.name for path in (run / PICTURES).glob("*.png") if not path.name.startswith("."))


def shown_audit(work: Work | None) -> Audit:
    """The audit of a training as the API gives it."""
    if work is None:
        return Audit(state=None, gaps={}, refused={})
    found = (work.job().result() or {}) if work.state == "done" else {}
    return Audit(
        state=work.state, error=work.error, verdict=found.get("verdict"), gaps=found.get("gaps", {}),
        refused=found.get("refused", {}),
    )  # fmt: skip


def _scores(run: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((run / SCORES).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found.get("scores") if isinstance(found, dict) else None


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
