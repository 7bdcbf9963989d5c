"""`isotrain look --cluster` on real processes of Ray: a worker is killed, then the whole program, and each is once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

pytest.importorskip("ray", reason="no Ray: pip install 'isotrain[cluster]'")
PHOTOS = 120
PATIENCE = 600
"""Seconds: Ray starts ten programs, which on a busy machine is slow."""


def command(folder, out):
    return [
        *(sys.executable, "-m", "isotrain", "look", str(folder), "--cluster", "--out", str(out), "--workers", "1"),
        *("--batch", "2", "--objects", "none", "--faces", "none", "--caption", "none", "--json"),
    ]


@pytest.fixture
def started():
    """Starts a program, which ends with the test together with all that it started."""
    family = []

    def start(words):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        family.append(process)
        return process

    yield start
    for process in family:
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.communicate()
            psutil.wait_procs(children, timeout=60)


def until(happened, process=None):
    """Wait for something; what it gave."""
    end = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < end, "it takes too long"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def test_a_killed_worker_is_replaced_and_a_killed_program_goes_on_each_photo_once(tmp_path, monkeypatch, started):
    # Ray starts a dozen programs, each of which would compile all its modules.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    folder, out = tmp_path / "photos", tmp_path / "out"
    draw = np.random.default_rng(0)
    for number in range(PHOTOS):
        place = folder / f"{number % 3}" / f"{number:03d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (300, 400, 3), dtype=np.uint8)).save(place)
    (folder / "broken.png").write_bytes(b"\x89PNG")

    def shards():
        return {path: path.stat().st_mtime_ns for path in (out / "shards").rglob("[0-9]*.jsonl")}

    first = started(command(folder, out))
    until(shards, first)
    family = psutil.Process(first.pid).children(recursive=True)
    (worker,) = [one for one in family if one.name().startswith("ray::") and "Worker" in " ".join(one.cmdline())]
    worker.kill()
    done = len(shards())
    until(lambda: len(shards()) > done, first)  # Ray has made another, which went on

    listening = {
        one.laddr.ip for process in psutil.Process(first.pid).children(recursive=True)
        for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN
    }  # fmt: skip
    assert {address.removeprefix("::ffff:") for address in listening} <= {"127.0.0.1", "::1"}
    family = psutil.Process(first.pid).children(recursive=True)
    # They report to a dead server for a minute before they end, too.
    agents = [one for one in family if one.name() in ("ray::DashboardAgent", "ray::RuntimeEnvAgent")]
    first.kill()
    printed, said = first.communicate()
    assert not printed, "Ray's word on the killed worker stands where the JSON belongs"
    assert "worker died or was killed" in said
    kept = shards()
    assert not (out / "photos.jsonl").exists(), "it was done before it was killed"
    rest = [one for one in family if one not in agents]
    assert not psutil.wait_procs(rest, timeout=60)[1], "Ray's programs outlived it"
    for agent in agents:
        with contextlib.suppress(psutil.NoSuchProcess):
            agent.kill()

    second = subprocess.run(command(folder, out), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 0, second.stderr
    told = json.loads(second.stdout)
    assert (told["photos"], told["unreadable"]) == (PHOTOS + 1, 1) and 0 < told["kept"] < PHOTOS
    assert told["kept"] + told["looked"] == PHOTOS + 1
    assert second.stderr.strip().splitlines() == [
        f"isotrain: {told['kept']:,} of {PHOTOS + 1:,} photos were looked at by an earlier run."
    ], "logs of Ray reach the user"
    now = shards()
    assert {path: now.get(path) for path in kept} == kept, "a finished shard was made again"
    records = [json.loads(line) for line in (out / "photos.jsonl").read_bytes().splitlines()]
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")]
    assert [one["photo"] for one in records] == sorted(paths, key=os.fsencode)
    assert [one["photo"] for one in records if one["error"]] == ["broken.png"]
    assert not list(out.glob(".plan*")) and not (out / "attempts").exists(), "something of the killed run is left"
