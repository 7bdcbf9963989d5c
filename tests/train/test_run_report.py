"""The report of a run: all in one file, without an address; of a run that is not done, what there is."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from tiny_task import Bright, bright

from isotrain.errors import BadCheckpoint
from isotrain.tasks import TASKS
from isotrain.train.auditable import AUDITED, REASONS
from isotrain.train.loop import Training, fit
from isotrain.train.recipes import Plan
from isotrain.train.run_report import run_report
from isotrain.train.rundir import RunFolder

PLAN = Plan(epochs=3, batch=8)
CLASSES = {"classes": ["left", "right"]}


def test_it_has_the_scores_and_the_pictures_and_needs_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    outcome = fit(Bright(CLASSES), bright(), folder, PLAN)
    folder.write("pictures/predictions.png", b"\x89PNG not looked at")
    folder.write("samples.txt", "it says <script>alert(1)</script>")
    text = run_report(folder.path, "<i>mine</i>")
    accuracy = outcome.scores["held-out"]["accuracy"]
    assert f'<td class="">{accuracy:.4g}</td>' in text or f">{accuracy:.4g}<" in text
    assert base64.b64encode(b"\x89PNG not looked at").decode() in text
    assert "<svg" in text and "&lt;i&gt;mine" in text and "<script" not in text and "<i>" not in text
    assert not re.search(r"https?://", text) and str(tmp_path) not in text


def test_of_a_run_that_is_not_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    training = Training(Bright(CLASSES), bright(), folder, PLAN)
    folder.write_card(training.task, {"epochs": 3}, {"source": str(tmp_path / "me/photos"), "samples": {"train": 40}})
    text = run_report(folder.path)
    assert "not done" in text and "photos" in text and str(tmp_path) not in text
    with pytest.raises(BadCheckpoint, match="holds no run"):
        run_report(tmp_path / "nothing")


def test_of_every_task_it_is_known_whether_it_can_be_audited() -> None:
    assert {*AUDITED, *REASONS} == set(TASKS) and not set(AUDITED) & set(REASONS)
