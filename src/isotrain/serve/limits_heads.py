"""A connection whose request does not begin in time is closed: uvicorn itself waits for ever (slowloris)."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 15.0
"""In which the head of a request has to be there, from the connection or from its first byte on."""


class Patient(H11Protocol):
    """uvicorn's HTTP, with an end to its patience."""

    _ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first head has to come."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """More of a head, or of a body; a body has a limit of its own (`isotrain.serve.limits.Bodies`)."""
        # Before the first request uvicorn has no cycle, and its types do not say so.
        cycle: RequestResponseCycle | None = self.cycle
        if self._ends is None and (cycle is None or cycle.response_complete):
            self._wait()
        super().data_received(data)

    def handle_events(self) -> None:
        """A head may be whole now."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._done()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._done()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._ends = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _done(self) -> None:
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None
