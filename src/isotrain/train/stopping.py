"""Stopping a training from outside: the step is finished and a checkpoint saved before it goes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Whether someone asked to stop, by Ctrl-C or a signal to end."""

    asked = False


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Within, the first SIGINT or SIGTERM is noted, to be heeded after the step; a second one has its usual effect.

    A signal that is ignored stays ignored (a job of a shell in the background), and outside of the main thread nothing
    is changed: Python allows it there alone.

    >>> with stopping() as stop:
    ...     print(stop.asked)
    False
    """
    noted = Stopping()
    before: dict[signal.Signals, Any] = {}

    def usual() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        noted.asked = True
        usual()

    try:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                # None: a handler that was not set from Python, and could not be put back.
                if handler not in (signal.SIG_IGN, None):
                    before[number] = handler
                    signal.signal(number, note)
        yield noted
    finally:
        usual()
