"""Two processes train as one: the same curve, whatever is drawn or left out, and one clear line when one is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_task import Bright, bright

from isotrain.errors import BadOption
from isotrain.train.distributed import Processes
from isotrain.train.rundir import CHECKPOINT, SCORES, WEIGHTS, RunFolder

SCRIPT = Path(__file__).with_name("run_shared.py")


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def start(folder: Path, size: int, resume: str = "", kill_at: int = -1, epochs: float = 8) -> list[subprocess.Popen]:
    port = free_port()
    arguments = [sys.executable, str(SCRIPT), str(folder), "riemannian", resume, str(kill_at), str(epochs)]
    return [
        subprocess.Popen(
            arguments,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": port},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip


def end(running: list[subprocess.Popen]) -> tuple[list[int], list[str]]:
    try:
        said = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], said


def test_one_curve(tmp_path: Path) -> None:
    """Norms over the batch, dropout, noise in the pictures, labels that do not count: all as in one process."""
    running = start(tmp_path / "one", 1), start(tmp_path / "two", 2)
    for codes, said in map(end, running):
        assert set(codes) == {0}, "\n".join(said)
    one, first, second = (
        torch.load(tmp_path / name, weights_only=True) for name in ("one/kept0.pt", "two/kept0.pt", "two/kept1.pt")
    )
    assert max(abs(a - b) for a, b in zip(one["losses"], first["losses"], strict=True)) < 1e-8
    assert first["losses"] == second["losses"] and len(first["losses"]) == 40
    for share, averages in one["averages"].items():
        for alone, left, right in zip(averages, first["averages"][share], second["averages"][share], strict=True):
            torch.testing.assert_close(left, alone, rtol=1e-6, atol=1e-6)
            assert torch.equal(left, right)
    scores = [json.loads((tmp_path / name / SCORES).read_text())["scores"] for name in ("one", "two")]
    assert scores[0] == scores[1] and scores[0]["held-out"]["accuracy"] > 0.5


def test_one_is_killed_all_end_and_one_process_goes_on(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", 1)
    codes, said = end(start(tmp_path / "run", 2, kill_at=36))
    assert codes == [2, -signal.SIGKILL]
    assert "another process of this training is gone" in said[0] and len(said[0].splitlines()) == 1
    assert not (tmp_path / "run" / WEIGHTS).exists() and (tmp_path / "run" / CHECKPOINT).exists()
    codes, said = end(start(tmp_path / "run", 1, "resume"))
    assert codes == [0], said
    assert end(whole)[0] == [0]
    one, again = (torch.load(tmp_path / name / "kept0.pt", weights_only=True) for name in ("whole", "run"))
    assert max(abs(a - b) for a, b in zip(one["losses"], again["losses"], strict=True)) < 1e-8


def test_shares_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    monkeypatch.setattr("torch.distributed.get_backend", lambda: "gloo")
    with pytest.raises(BadOption, match="batch of 8 samples cannot be shared evenly by 3 processes: give --batch 6"):
        Processes().prepare(Bright({"classes": ["left", "right"]}).net(), 8)


def test_others_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_backend", lambda: "gloo")
    folder = Processes().folder(RunFolder(tmp_path / "run"))
    folder.write("a", "b")
    folder.write_checkpoint({})
    assert not (tmp_path / "run").exists() and len(bright(9).train) == 6


def test_from_the_command_line(tmp_path: Path) -> None:
    """torchrun's engine, started by --processes; a fault is told once."""
    command = [
        sys.executable,
        "-m",
        "isotrain",
        "train",
        "characters",
        "--processes",
        "2",
        "--epochs",
        "0.01",
        "--json",
    ]
    small = ["-o", "hidden=8", "-o", "embedded=4", "--out", str(tmp_path / "run")]
    done = subprocess.run([*command, *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] >= 1 and (tmp_path / "run" / WEIGHTS).exists()
    again = subprocess.run([*command, *small], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and not again.stdout
    (line,) = again.stderr.strip().splitlines()
    assert "holds a run already" in line
