"""What one may ask for: sizes of uploads, requests in a time, and how slowly a body may come."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isotrain.errors import BadOption

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Of one server.

    Attributes:
        file_bytes: of one photo.
        files: photos in one upload.
        upload_bytes: of one upload of photos, all files together.
        dataset_bytes: of one upload of training data.
        dataset_files: in one upload of training data, those in a zip too.
        pixels: of a photo, as its head says.
        stored: pixels of the longer side beyond which a photo is kept smaller than it came.
        photos: that one user may keep.
        waiting: photos of one user that may wait to be looked at.
        uploads: of one user at the same time.
        rate: requests a second of one user, or of one address without a session, in the long run.
        burst: of them that may come at once.
        attempts: to sign in that may fail, of one address in a minute.
        patience: seconds in which the next piece of a body has to come.
        slowest: bytes a second of a body, on the whole.

    Raises:
        BadOption: one of them is not above zero.
    """

    file_bytes: int = 32 * MB
    files: int = 64
    upload_bytes: int = 256 * MB
    dataset_bytes: int = 1024 * MB
    dataset_files: int = 80_000
    pixels: int = 50 * MB
    stored: int = 4096
    photos: int = 20_000
    waiting: int = 256
    uploads: int = 32
    rate: float = 50.0
    burst: float = 300.0
    attempts: int = 10
    patience: float = 20.0
    slowest: float = 4096.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise BadOption(f"limit {name}={value} should be above zero.")


class Rates:
    """Buckets of tokens, one for each who asks: full at first, refilled steadily, a token a request.

    Args:
        rate: tokens a second.
        burst: in a full bucket.
        clock: in seconds.

    >>> rates = Rates(rate=1.0, burst=2.0, clock=lambda: 0.0)
    >>> [rates.wait("me") for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    KNOWN = 10_000
    """Buckets that are kept: who asks under ever new addresses does not fill the memory."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, who: str) -> float:
        """Take a token; the seconds to wait if there is none."""
        with self._lock:
            now = self._clock()
            tokens, since = self._buckets.pop(who, (self._burst, now))
            tokens = min(self._burst, tokens + (now - since) * self._rate)
            taken = tokens >= 1
            self._buckets[who] = (tokens - 1 if taken else tokens, now)
            if len(self._buckets) > self.KNOWN:
                self._buckets.popitem(last=False)
            return 0.0 if taken else (1 - tokens) / self._rate


class Bodies:
    """Middleware: a body that is too large or comes too slowly is refused while it comes, whatever reads it.

    Args:
        app: what is behind it.
        limits: of the server.
        allowed: bytes by the beginning of the path; the first that fits. Other bodies: `small`.
        small: bytes of a body that is no upload.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, allowed: tuple[tuple[str, int], ...], small: int = 256_000
    ) -> None:
        self._app, self._limits, self._allowed, self._small = app, limits, allowed, small

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, with a body that is watched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = next((size for start, size in self._allowed if scope["path"] == start), self._small)
        began, got, complete = time.monotonic(), 0, False

        async def watched() -> Message:
            nonlocal got, complete
            if complete:  # what is waited for now is that the browser goes away, and that may take long
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._limits.patience)
            except TimeoutError as error:
                raise HTTPException(408, "the upload stands still: send it again.") from error
            got += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if got > most:
                raise HTTPException(413, f"more than {most / MB:g} MB are not taken at once: send less.")
            if time.monotonic() - began > self._limits.patience + got / self._limits.slowest:
                raise HTTPException(408, "the upload comes too slowly: send it again, or less at once.")
            return message

        await self._app(scope, watched, send)
