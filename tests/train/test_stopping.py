"""A training that is asked to stop finishes its step and saves; one that goes on is the one that never stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isotrain.train.live import LIVE, Follower, Live, points
from isotrain.train.rundir import RunFolder

RUN = Path(__file__).with_name("run_tiny.py")


def run(folder: Path, *how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUN), str(folder), "riemannian", *how], capture_output=True, text=True, timeout=100
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("whole")
    assert run(folder, "new", "-1").returncode == 0
    return folder


@pytest.mark.parametrize("by", ["SIGTERM", "SIGINT"])
def test_stopped_at_a_step_it_goes_on_bit_for_bit(tmp_path: Path, whole: Path, by: str) -> None:
    stopped = run(tmp_path, "new", "31", by)  # between two checks
    assert "KeyboardInterrupt: stopped at step 32; go on with --resume." in stopped.stderr
    assert RunFolder(tmp_path).read_checkpoint()["done"] == 32
    assert not (tmp_path / "model.safetensors").exists()
    assert run(tmp_path, "resume", "-1").returncode == 0
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [row.split(",")[3:] for row in (tmp_path / "curve.csv").read_text().splitlines()] == [
        row.split(",")[3:] for row in (whole / "curve.csv").read_text().splitlines()
    ]


def test_live_points_of_a_killed_run_have_no_gap_and_no_doubles(tmp_path: Path, whole: Path) -> None:
    killed = run(tmp_path, "new", "37")
    assert killed.returncode == -signal.SIGKILL
    follower = Follower(tmp_path)
    first = follower.new()
    assert run(tmp_path, "resume", "-1").returncode == 0
    steps = [point["step"] for point in first + follower.new()]
    assert steps == sorted(set(steps))
    ends = [
        [point["step"] for point in points(folder) if point["held_out"] is not None] for folder in (tmp_path, whole)
    ]
    assert ends[0] == ends[1]
    assert steps[-1] == ends[0][-1]


def test_a_follower_takes_whole_lines_and_sees_that_a_file_was_written_anew(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        for step in range(1, 6):
            live.point((step, step / 5, float(step), 10.0 - step, None))
    follower = Follower(tmp_path, after=2)
    assert [point["step"] for point in follower.new()] == [3, 4, 5]
    with (tmp_path / LIVE).open("ab") as file:
        file.write(b'{"step": 6, "lo')
    assert follower.new() == []
    with Live(tmp_path, done=4) as live:  # killed; it goes on from the checkpoint at step 4
        assert [point["step"] for point in points(tmp_path)] == [1, 2, 3, 4]
        live.point((5, 1.0, 9.0, 5.0, None))
        live.point((6, 1.2, 10.0, 4.0, 0.5))
    assert [point["step"] for point in follower.new()] == [6]
    assert [json.loads(line)["step"] for line in (tmp_path / LIVE).read_text().splitlines()] == [1, 2, 3, 4, 5, 6]


def test_points_are_rare_and_their_losses_means(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        for step in range(1000):
            live.point((step + 1, 0.0, step / 100, float(step), None))
    found = points(tmp_path)
    assert 19 <= len(found) <= 21
    assert found[1]["loss"] == sum(range(1, 51)) / 50
