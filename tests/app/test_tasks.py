"""The real tasks from end to end by the command line: made data, scored, drawn, exported; killed and resumed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

RUN = [sys.executable, "-c", "from isotrain.app.cli import main; main()"]


@pytest.fixture
def isotrain(answer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], dict]:
    """A command, typed in an empty folder; its answer as JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)

    def run(words: str) -> dict:
        answer = answer_of(*words.split(), "--json")
        assert answer.code == 0, answer.err
        return answer.json

    return run


def refused(answer: Any, said: str) -> None:
    """One line, exit code 2."""
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_masks_both_ways(isotrain: Callable[[str], dict]) -> None:
    isotrain("data make masks made --train 8 --held-out 3 --test 2 -o size=64")
    for system in ("refine", "regions"):
        trained = isotrain(f"train masks made --epochs 2 --batch 4 -o system={system} --out {system}")
        assert trained["steps"] == 4
        assert {"AP", "box_AP", "proposals_AR100", "dice"} <= set(trained["scores"]["test"])
        seen = isotrain(f"predict {system} made/test")
        assert len(seen["predictions"]) == 2
        assert all(Path(one["drawn"]).stat().st_size > 0 and one["seconds"] > 0 for one in seen["predictions"])
        assert isotrain(f"export {system}")["difference"] < 1e-4
        assert isotrain(f"evaluate {system} made --split train")["samples"] == 8


def test_regions_from_labels_alone(isotrain: Callable[[str], dict], answer_of: Callable[..., Any]) -> None:
    """Heat maps give regions; a detector learns from these; its vectors and its narrowed layers can be had."""
    isotrain("data make detect made --train 8 --held-out 3 --test 2 -o size=64")
    located = isotrain("train localise made --epochs 1 --batch 4 --out located")
    assert "pointing" in located["scores"]["test"]
    isotrain("predict located made/train made/val made/test --out warm")
    with Path("warm/regions.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    # The names of the files are those of three folders; a region lies inside of its picture.
    assert {row["picture"] for row in rows} == {f"{number:06d}.png" for number in range(1, 9)}
    for row in rows:
        left, top, right, bottom = (float(row[side]) for side in ("left", "top", "right", "bottom"))
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 64
    assert isotrain("export located")["difference"] < 1e-4
    trained = isotrain("train detect made --epochs 2 --batch 4 -o regions=warm/regions.csv --out run")
    assert set(trained["scores"]) == {"held-out", "test"}
    seen = isotrain("predict run made/test/000001.png --regions warm/regions.csv --features --rank 16 --out seen")
    vectors = load_file("seen/000001.safetensors")
    regions = [row for row in rows if row["picture"] == "000001.png"]
    assert vectors["regions"].shape == (len(regions), 4)
    assert vectors["features"].shape[0] == len(regions)
    assert bool((vectors["features"] >= 0).all())
    assert vectors["regions"].max() <= 64 + 1e-3
    assert len(seen["predictions"]) == 1
    isotrain("predict run made/test/000001.png --regions warm/regions.csv --features --out whole")
    whole = load_file("whole/000001.safetensors")
    torch.testing.assert_close(whole["regions"], vectors["regions"])
    assert not torch.equal(whole["features"], vectors["features"])  # a rank of 16 is not all
    narrow, wide = isotrain("export run --rank 8 --out narrow.onnx"), isotrain("export run")
    assert narrow["difference"] < 1e-4
    assert narrow["bytes"] < wide["bytes"]
    assert isotrain("evaluate run --rank 8")["samples"] == 3
    refused(answer_of(*"predict located made/test --features".split()), "localise looks at whole pictures")
    refused(answer_of(*"predict located made/test --rank 8".split()), "has a Multiscale")
    refused(answer_of(*"evaluate located --rank 8".split()), "has a Multiscale")


def test_a_run_that_is_killed_goes_on_as_if_nothing_had_been(isotrain: Callable[[str], dict], tmp_path: Path) -> None:
    isotrain("data make detect made --train 12 --held-out 2 --test 0 -o size=64")
    words = "train detect made --epochs 24 --batch 4 -o regions=net --out".split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*RUN, *words, "whole"], check=True, capture_output=True, env=environment)
    with subprocess.Popen([*RUN, *words, "cut"], stderr=subprocess.DEVNULL, env=environment) as running:
        until = time.monotonic() + 120
        while not (tmp_path / "cut" / "checkpoint.pt").exists() and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    assert not (tmp_path / "cut" / "model.safetensors").exists(), "it was done before it was killed"
    subprocess.run([*RUN, *words, "cut", "--resume"], check=True, capture_output=True, env=environment)
    first, second = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "cut"))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
