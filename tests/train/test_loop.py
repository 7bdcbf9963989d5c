"""The loop: a killed run goes on bit for bit, a bad sample is named, a full disk loses nothing."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_task import Bright, bright

from isotrain.errors import BadCheckpoint, BadData, BadOption
from isotrain.train import rundir
from isotrain.train.live import LIVE
from isotrain.train.loop import Training, fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import CARD, CHECKPOINT, CURVE, SCORES, WEIGHTS, RunFolder

PLAN = Plan(epochs=6, batch=8)
CLASSES = {"classes": ["left", "right"]}


def run(folder: Path, optimizer: str, resume: str = "", kill_at: int = -1) -> int:
    script = Path(__file__).with_name("run_tiny.py")
    arguments = [sys.executable, str(script), str(folder), optimizer, resume, str(kill_at)]
    return subprocess.run(arguments, check=False).returncode


@pytest.mark.parametrize("optimizer", ["riemannian", "muon"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, optimizer: str) -> None:
    assert run(tmp_path / "whole", optimizer) == 0
    assert run(tmp_path / "killed", optimizer, kill_at=33) == -signal.SIGKILL
    assert not (tmp_path / "killed" / WEIGHTS).exists()
    assert run(tmp_path / "killed", optimizer, "resume") == 0
    whole, killed = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("whole", "killed"))
    assert whole == killed
    losses = [
        [row.split(",")[3:] for row in (tmp_path / name / CURVE).read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 61


def test_it_learns_and_leaves_a_run_that_can_be_loaded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    outcome = fit(Bright(CLASSES), bright(300), folder, replace(PLAN, epochs=20))
    assert outcome.scores["held-out"]["accuracy"] > 0.85
    assert outcome.kept is not None and outcome.steps == 500
    assert json.loads((folder.path / SCORES).read_text())["scores"] == outcome.scores
    card = folder.card()
    assert card["data"]["samples"] == {"train": 200, "held_out": 100, "test": 0} and card["plan"]["epochs"] == 20
    net = Bright(CLASSES).net().eval()
    folder.read_weights(net)
    shelf = Training(Bright(CLASSES), bright(300), folder, PLAN).judges
    assert Bright(CLASSES).evaluate(net, shelf) == outcome.scores["held-out"]


def test_without_held_out_samples_the_average_of_the_last_quarter_is_kept(tmp_path: Path) -> None:
    outcome = fit(Bright(CLASSES), replace(bright(), held_out=[]), RunFolder(tmp_path), PLAN)
    assert outcome.scores == {} and outcome.kept is None
    assert any("last quarter" in note for note in outcome.notes)


def test_minutes_end_a_run_with_its_best_weights(tmp_path: Path) -> None:
    outcome = fit(Bright(CLASSES), bright(), RunFolder(tmp_path), replace(PLAN, epochs=1e6, minutes=0.02))
    assert outcome.steps < 1e5 and outcome.kept is not None
    assert any("stopped after 0.02 min" in note for note in outcome.notes)
    assert (tmp_path / WEIGHTS).exists()


def test_a_sample_whose_loss_is_not_finite_is_named(tmp_path: Path) -> None:
    class Broken(Bright):
        def batch(self, loaded, generator):  # type: ignore[no-untyped-def]
            made = super().batch(loaded, generator)
            for x, name in zip(made.inputs[0], made.names, strict=True):
                if name == "p41":
                    x[:] = float("nan")
            return made

    with pytest.raises(BadData, match=r"loss is nan.* sample p41\. "):
        fit(Broken(CLASSES), bright(), RunFolder(tmp_path), PLAN)


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="bright has no samples to train on"):
        fit(Bright(CLASSES), replace(bright(), train=[]), RunFolder(tmp_path), PLAN)


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(BadCheckpoint, match=r"no checkpoint\.pt"):
        Training(Bright(CLASSES), bright(), folder, PLAN, resume=True)
    fit(Bright(CLASSES), bright(), folder, PLAN)
    for plan, dataset in ((replace(PLAN, batch=4), bright()), (PLAN, bright(90))):
        with pytest.raises(BadCheckpoint, match="cannot go on"):
            Training(Bright(CLASSES), dataset, folder, plan, resume=True)
    longer = fit(Bright(CLASSES), bright(), folder, replace(PLAN, epochs=8), resume=True)
    assert longer.steps == 40 and longer.notes == ["resumed at step 30"]


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    fit(Bright(CLASSES), bright(), folder, PLAN)
    before = (tmp_path / CHECKPOINT).read_bytes()
    training = Training(Bright(CLASSES), bright(), folder, replace(PLAN, epochs=7), resume=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # the kernel refuses the rest of the file
    try:
        with pytest.raises(BadOption, match=r"checkpoint\.pt cannot be written.*untouched.*--resume"):
            training.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {CARD, CHECKPOINT, CURVE, LIVE, SCORES, WEIGHTS}
    assert fit(Bright(CLASSES), bright(), folder, replace(PLAN, epochs=7), resume=True).steps == 35


def test_damaged_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(BadCheckpoint, match=r"holds no run: it has no card\.json"):
        folder.card()
    fit(Bright(CLASSES), bright(), folder, PLAN)
    for name, read in (
        (CARD, folder.card),
        (CHECKPOINT, folder.read_checkpoint),
        (WEIGHTS, lambda: folder.read_weights(Bright(CLASSES).net())),
    ):
        whole = (tmp_path / name).read_bytes()
        for part in (b"", whole[: len(whole) // 2]):
            (tmp_path / name).write_bytes(part)
            with pytest.raises(BadCheckpoint, match=rf"{name}.*damaged"):
                read()
        (tmp_path / name).write_bytes(whole)
    with pytest.raises(BadCheckpoint, match="does not fit the net"):
        folder.read_weights(torch.nn.Linear(2, 2))
    monkeypatch.setattr(rundir, "VERSION", 2)
    for read in (folder.card, folder.read_checkpoint):
        with pytest.raises(BadCheckpoint, match="version"):
            read()


@pytest.mark.parametrize(("option", "value"), [("epochs", 0), ("batch", 0), ("minutes", -1), ("epochs", float("nan"))])
def test_plans_out_of_range(option: str, value: float) -> None:
    with pytest.raises(BadOption, match=rf"{option}="):
        replace(PLAN, **{option: value})
