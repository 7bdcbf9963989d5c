"""Events of a training: all points once, also after a lost connection; many watchers, one look; an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from isotrain.serve import events
from isotrain.serve.events import Hub
from isotrain.train.live import Live


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK", 0.02)
    monkeypatch.setattr(events, "HEARTBEAT", 0.1)


class Told:
    """What was read of a stream."""

    def __init__(self, content: bytes) -> None:
        self.steps: list[int] = []
        self.states: list[str] = []
        self.last: str | None = None
        self.beats = content.count(b": still here\n\n")
        for block in content.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
            self.last = fields.get("id", self.last)
            if fields.get("event") == "point":
                self.steps.append(json.loads(fields["data"])["step"])
            elif fields.get("event") == "state":
                self.states.append(json.loads(fields["data"])["state"])


async def read(stream: AsyncIterator[bytes] | None, points: int = 10**9) -> Told:
    assert stream is not None
    content = b""
    async for piece in stream:
        content += piece
        if content.count(b"event: point") >= points:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return Told(content)


def write(live: Live, first: int, last: int) -> None:
    for step in range(first, last + 1):
        live.point((step, step / 10, float(step), 1.0, None))


def test_every_watcher_gets_every_point_once_and_one_task_looks(tmp_path: Path) -> None:
    looked = []
    state: dict[str, Any] = {"state": "running"}

    def now() -> dict[str, Any]:
        looked.append(1)
        return dict(state)

    async def scene() -> list[Told]:
        hub = Hub()
        with Live(tmp_path) as live:
            write(live, 1, 3)
            early = [asyncio.create_task(read(hub.watch(tmp_path, now))) for _ in range(200)]
            await asyncio.sleep(0.3)
            write(live, 4, 5)
            late = asyncio.create_task(read(hub.watch(tmp_path, now, "2")))
            await asyncio.sleep(0.1)
            write(live, 6, 6)
        state["state"] = "done"
        told = [*await asyncio.gather(*early), await late]
        assert hub._feeds == {}  # nobody watches, nothing looks
        assert hub.watch(tmp_path, now, told[0].last) is None  # a browser that comes back after the end
        return told

    *early, late = asyncio.run(scene())
    for told in early:
        assert told.steps == [1, 2, 3, 4, 5, 6] and told.states == ["running", "done"] and told.beats
        assert told.last == "6-done"
    assert late.steps == [3, 4, 5, 6] and late.states[-1] == "done"
    assert len(looked) < 60  # and not for each of 200 watchers


def test_after_a_restart_and_a_resumed_run_there_is_no_gap_and_nothing_twice(tmp_path: Path) -> None:
    state: dict[str, Any] = {"state": "running"}

    async def scene() -> tuple[Told, Told]:
        with Live(tmp_path) as live:
            write(live, 1, 8)
            before = await read(Hub().watch(tmp_path, lambda: state), points=8)
        with Live(tmp_path, done=5) as live:  # killed, and gone on from the checkpoint of step 5, under another server
            second = asyncio.create_task(read(Hub().watch(tmp_path, lambda: state, before.last)))
            write(live, 6, 12)
            await asyncio.sleep(0.1)
        state["state"] = "stopped"
        return before, await second

    before, after = asyncio.run(scene())
    assert before.last == "8" and before.steps + after.steps == list(range(1, 13))
    assert after.states[-1] == "stopped"


def test_one_that_is_resumed_goes_on_for_who_has_seen_it_stop(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        write(live, 1, 2)
    states = iter(["running"] * 3 + ["failed"] * 100)

    async def scene() -> Told:
        return await read(Hub().watch(tmp_path, lambda: {"state": next(states)}, "2-stopped"))

    told = asyncio.run(scene())
    assert told.steps == [] and told.states == ["running", "failed"]


def test_a_deleted_training_ends_its_stream(tmp_path: Path) -> None:
    async def scene() -> Told:
        return await read(Hub().watch(tmp_path, lambda: None))

    assert asyncio.run(scene()).states == ["deleted"]


def test_a_stream_ends_with_its_session(tmp_path: Path) -> None:
    """And nobody else's with it."""
    sessions = {"mine": True}

    async def scene() -> tuple[Told, Told]:
        hub, state = Hub(), {"state": "running"}
        with Live(tmp_path) as live:
            write(live, 1, 2)
            mine = asyncio.create_task(read(hub.watch(tmp_path, lambda: state, None, lambda: sessions["mine"])))
            other = asyncio.create_task(read(hub.watch(tmp_path, lambda: state)))
            await asyncio.sleep(0.3)
            sessions["mine"] = False
            told = await asyncio.wait_for(mine, 5)
            write(live, 3, 3)
            await asyncio.sleep(0.1)
        state["state"] = "done"
        return told, await other

    mine, other = asyncio.run(scene())
    assert (mine.steps, mine.states) == ([1, 2], ["running"])
    assert (other.steps, other.states) == ([1, 2, 3], ["running", "done"])


def test_an_error_while_looking_reaches_who_watches(tmp_path: Path) -> None:
    def broken() -> dict[str, Any]:
        raise OSError("the disk is gone")

    async def scene() -> None:
        await read(Hub().watch(tmp_path, broken))

    with pytest.raises(OSError, match="the disk is gone"):
        asyncio.run(scene())


@pytest.mark.parametrize("last", ["", "x", "-", "9" * 40, "-1", "1e3", "²"])
def test_ids_that_are_none_begin_at_the_beginning(tmp_path: Path, last: str) -> None:
    with Live(tmp_path) as live:
        write(live, 1, 2)

    async def scene() -> Told:
        return await read(Hub().watch(tmp_path, lambda: {"state": "done"}, last))

    assert asyncio.run(scene()).steps == [1, 2]
