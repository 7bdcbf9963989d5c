"""Pictures of a run: there whatever the run was like."""

from __future__ import annotations

from pathlib import Path

import pytest

from isotrain.data.pictures import read_picture
from isotrain.train.plots import Row, curve_png, running_mean

RUNS: dict[str, list[Row]] = {
    "none": [],
    "one step": [(1, 0.1, 0.5, 2.3, None)],
    "plain": [(s, s / 10, s * 0.1, 2.0 / s, None) for s in range(1, 101)],
    "held out": [(s, s / 10, s * 0.1, 2.0 / s, 0.5 if s % 20 == 0 else None) for s in range(1, 101)],
    "below zero": [(s, s / 10, s * 0.1, 2.0 / s - 1, None) for s in range(1, 101)],
}


@pytest.mark.parametrize("run", RUNS)
def test_a_curve_of_any_run(run: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    path.write_bytes(curve_png(RUNS[run], "a task on data"))
    height, width = read_picture(path).shape[1:]
    assert width == 864
    assert height == (612 if run == "held out" else 384)


def test_a_running_mean_of_a_window_longer_than_the_run() -> None:
    assert running_mean([1.0, 3.0], 10) == [1.0, 2.0]
    assert running_mean([], 10) == []
