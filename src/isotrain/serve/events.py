"""Server-sent events of a training: the points of its curve, and its state, for any number of watchers.

One task of the event loop looks at a training's files while somebody watches; watchers wait for what it finds. The id
of an event is the step of its point, so that a browser that lost its connection, or whose server was killed, goes on
with the point after the last one it saw: none is missing, none comes twice.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from isotrain.train.live import Follower

LOOK = 0.5
"""Seconds between two looks at a training that is watched: as often as it writes a point."""
HEARTBEAT = 15.0
"""Seconds of silence after which a line says that the connection lives."""
RETRY = 2000
"""Milliseconds after which a browser comes back that lost its connection."""
State = Callable[[], dict[str, Any] | None]
"""What a training is now, as JSON can hold it; None: it was deleted."""
OVER = ("stopped", "done", "failed")


class Hub:
    """All trainings that somebody watches. To be used from one event loop."""

    def __init__(self) -> None:
        self._feeds: dict[Path, _Feed] = {}

    def watch(
        self, run: Path, state: State, last: str | None = None, allowed: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[bytes] | None:
        """The events of a training from the beginning, or after the last one that was seen.

        Args:
            run: its folder.
            state: asked for while it is watched, in a thread.
            last: the header Last-Event-ID.
            allowed: whether whoever watches still may; asked before each lot of events and with each heartbeat.

        Returns:
            None where a browser that has seen the end comes back: it is to be told not to (204).
        """
        step, ended = _seen(last)
        if ended is not None:
            now = state()
            if now is None or now["state"] == ended:
                return None
        return self._watch(run, state, step, allowed)

    async def _watch(self, run: Path, state: State, after: int, allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
        feed = self._feeds.get(run)
        if feed is None or feed.over:
            feed = self._feeds[run] = _Feed(run, state)
        feed.watchers += 1
        try:
            yield b"retry: %d\n\n" % RETRY
            while not feed.ready and feed.error is None:
                await feed.changed.wait()
            at, told = bisect_right(feed.steps, after), 0
            while feed.error is None and allowed():
                # Taken before anything is sent: while it is sent, more may be found.
                changed, over, version, points = feed.changed, feed.over, feed.version, feed.points[at:]
                at += len(points)
                if points:
                    yield b"".join(points)
                if version != told or over:
                    yield feed.last(ended=over)
                    told = version
                if over:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT)
                except TimeoutError:
                    yield b": still here\n\n"
            if feed.error is not None:
                raise feed.error
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                feed.close()
                if self._feeds.get(run) is feed:
                    del self._feeds[run]


class _Feed:
    """What was found of one training."""

    def __init__(self, run: Path, state: State) -> None:
        self.steps: list[int] = []
        self.points: list[bytes] = []
        self.state: dict[str, Any] | None = None
        self.version, self.watchers = 0, 0
        self.ready = self.over = False
        self.error: Exception | None = None
        self.changed = asyncio.Event()
        self._follower, self._state = Follower(run), state
        self._task = asyncio.create_task(self._follow())

    def last(self, ended: bool) -> bytes:
        """The event of the state; of the last one the id says so."""
        id = None
        if ended:
            id = f"{self.steps[-1] if self.steps else 0}-{self.state['state'] if self.state else 'deleted'}"
        return event("state", self.state if self.state is not None else {"state": "deleted"}, id)

    def close(self) -> None:
        """Nobody watches any more."""
        self._task.cancel()

    async def _follow(self) -> None:
        try:
            while not self.over:
                state, found = await asyncio.to_thread(self._look)
                self.steps += [point["step"] for point in found]
                self.points += [event("point", point, str(point["step"])) for point in found]
                another = not self.ready or _sign(state) != _sign(self.state)
                self.version += another
                self.state, self.ready = state, True
                self.over = state is None or state["state"] in OVER
                if found or another:
                    self.changed.set()
                    self.changed = asyncio.Event()
                if not self.over:
                    await asyncio.sleep(LOOK)
        except Exception as error:  # whoever watches is to hear of it, and not wait for ever
            self.error = error
            self.changed.set()

    def _look(self) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        # In this order: when a training is over, so are its points.
        return self._state(), self._follower.new()


def event(kind: str, data: dict[str, Any], id: str | None = None) -> bytes:
    r"""An event as it is sent.

    >>> event("point", {"step": 3}, "3")
    b'id: 3\nevent: point\ndata: {"step": 3}\n\n'
    """
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _seen(last: str | None) -> tuple[int, str | None]:
    """The step of the last point that was seen, and the state if it was the last one."""
    step, _, ended = (last or "").partition("-")
    return (int(step), ended or None) if step.isascii() and step.isdecimal() and len(step) < 16 else (0, None)


def _sign(state: dict[str, Any] | None) -> Any:
    """What makes a state another one: not the step, which is in the points."""
    return state and tuple(repr(state.get(key)) for key in ("state", "error", "scores", "pictures", "name"))
