"""One thread that looks at everybody's photos: in turn between users, several at once, the idle time for what is left.

Nets use all cores already; two of them at a time would only take each other's cache and twice the memory.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

from torch import Tensor

from isotrain.errors import BadData
from isotrain.look import Sight
from isotrain.serve.limits import MB

TOGETHER = 8
"""Photos looked at at once."""
PIXELS = 8 * MB
"""Of the photos looked at at once, unless it is one."""
IDLE_SECONDS = 600.0
"""After which an idle thread looks about all the same: some things are due by the clock."""
PHOTO_KEPT = "the server stops: the photo is kept, and looked at when it is back."
ASK_AGAIN = "the server stops: ask again when it is back."
LOG = logging.getLogger("isotrain.serve")


@dataclass(eq=False)
class Job:
    """A photo to be looked at.

    Attributes:
        user: whose it is.
        pixels: it has.
        picture: reads it, uint8 [C, H, W].
        keep: is given what was seen.
        done: is told what `keep` answers.
    """

    user: str
    pixels: int
    picture: Callable[[], Tensor]
    keep: Callable[[Sight], Any]
    done: Future[Any] = field(default_factory=Future)


class Queue:
    """Jobs of users, and the thread that does them.

    Args:
        look: pictures to sights.
        idle: one thing to do when nobody waits; whether there was any.
    """

    def __init__(self, look: Callable[[Sequence[Tensor]], list[Sight]], idle: Callable[[], bool]) -> None:
        self._look, self._idle = look, idle
        self._users: OrderedDict[str, deque[Job]] = OrderedDict()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed, self._ends, self._look_about = Condition(), False, True
        self._thread = Thread(target=self._work, name="looks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is being done."""
        self.end()
        self._thread.join()

    def end(self) -> None:
        """Begin nothing more; what waits is told so at once. Photos are kept, and looked at by the next start."""
        with self._changed:
            self._ends = True
            photos = [job.done for jobs in self._users.values() for job in jobs]
            calls = [done for _, done in self._calls]
            self._users.clear()
            self._calls.clear()
            self._changed.notify_all()
        for done in photos:
            _refuse(done, PHOTO_KEPT)
        for done in calls:
            _refuse(done, ASK_AGAIN)

    def waiting(self, user: str) -> int:
        """Photos of a user that wait."""
        with self._changed:
            return len(self._users.get(user, ()))

    def put(self, job: Job) -> Future[Any]:
        """Wait in a user's own line."""
        with self._changed:
            if not self._ends:
                self._users.setdefault(job.user, deque()).append(job)
                self._changed.notify_all()
                return job.done
        return _refuse(job.done, PHOTO_KEPT)

    def call(self, what: Callable[[], Any]) -> Future[Any]:
        """Have something done between two lots of photos: what a person waits for."""
        done: Future[Any] = Future()
        with self._changed:
            if not self._ends:
                self._calls.append((what, done))
                self._changed.notify_all()
                return done
        return _refuse(done, ASK_AGAIN)

    def wake(self) -> None:
        """There may be something for the idle time."""
        with self._changed:
            self._look_about = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._ends or self._users or self._calls or self._look_about):
                    self._look_about = not self._changed.wait(IDLE_SECONDS) or self._look_about
                if self._ends:
                    return
                call = self._calls.popleft() if self._calls else None
                jobs = self._next() if call is None else []
                if call is None and not jobs:
                    self._look_about = False
            if call is not None:
                if call[1].set_running_or_notify_cancel():
                    self._settle(call[1], call[0])
            elif jobs:
                self._do(jobs)
            elif self._at_ease():
                self.wake()

    def _next(self) -> list[Job]:
        """The next photos: one of each user in turn, until there are enough. The first user goes to the end."""
        jobs: list[Job] = []
        pixels = 0
        while self._users and len(jobs) < TOGETHER:
            user, line = next(iter(self._users.items()))
            if jobs and pixels + line[0].pixels > PIXELS:
                break
            jobs.append(line.popleft())
            pixels += jobs[-1].pixels
            del self._users[user]
            if line:
                self._users[user] = line
        return jobs

    def _do(self, jobs: list[Job]) -> None:
        read: list[tuple[Job, Tensor]] = []
        for job in jobs:
            if not job.done.set_running_or_notify_cancel():
                continue  # nobody waits for it any more: the photo is looked at in the idle time
            try:
                read.append((job, job.picture()))
            except Exception as error:  # deleted meanwhile, or the disk fails: that is its own user's to hear
                job.done.set_exception(error)
        try:
            sights = self._look([picture for _, picture in read])
        except Exception as error:  # one photo of several may be the reason: each by itself
            LOG.exception("looking at %d photos at once failed: each by itself", len(read), exc_info=error)
            for job, picture in read:
                self._settle(job.done, self._alone, job, picture)
            return
        for (job, _), sight in zip(read, sights, strict=True):
            self._settle(job.done, job.keep, sight)

    def _alone(self, job: Job, picture: Tensor) -> Any:
        return job.keep(self._look([picture])[0])

    def _settle(self, done: Future[Any], what: Callable[..., Any], *given: Any) -> None:
        try:
            answer = what(*given)
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(answer)

    def _at_ease(self) -> bool:
        try:
            return self._idle()
        except Exception as error:
            LOG.exception("a photo could not be looked at in the idle time", exc_info=error)
            return True


def _refuse(done: Future[Any], words: str) -> Future[Any]:
    if done.set_running_or_notify_cancel():
        done.set_exception(BadData(words))
    return done
