"""The desk of the server's trainings: a queue, a few at a time, each in a process of its own.

A thread looks after the processes. It knows nothing but what is on the disk: a server that was killed finds trainings
again. One that still runs is adopted, one that died goes on from its last checkpoint, three times at most.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from isotrain.errors import BadCheckpoint
from isotrain.serve.jobs import Job
from isotrain.serve.trainings_work import AUDIT, EXPORT, GONE, OVER, RECORD, Work, all_work, work_at

LOG = logging.getLogger("isotrain.serve")
LOOK = 0.25
"""Seconds between two looks at the processes while some are at work; at rest nothing is looked at."""
PATIENCE = 120.0
"""Seconds in which a process that is asked to stop finishes its step and saves."""
ATTEMPTS = 3
"""How often a training whose process died goes on by itself."""
FAREWELL = 20.0
"""Seconds for all of them to save when the server ends."""


class Busy(Exception):
    """What is asked for does not go with the state that something is in."""


class Desk:
    """All trainings and audits below a data folder. Its methods may be called from any thread.

    Args:
        data: the server's folder; those of users are in its folder "users".
        at_once: processes that are at work at the same time.
        threads: of each of them; all but one of the machine's unless given.
        waiting: pieces of work of one user that may wait at the same time.
    """

    def __init__(self, data: Path, at_once: int = 1, threads: int | None = None, waiting: int = 20) -> None:
        self._data, self._at_once, self._most = data.resolve(), at_once, waiting
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._works: dict[Path, Work] = {}
        self._jobs: dict[Path, Job] = {}
        self._asked: dict[Path, float] = {}
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Find what was there, sweep up what a kill left, and begin."""
        for path in self._data.glob(f"users/*/trainings/{GONE}*"):
            shutil.rmtree(path, ignore_errors=True)  # another try at the next start
        for path in self._data.glob(f"users/*/trainings/*/{EXPORT}-*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self._data.glob("users/*/trainings/*"):
            if path.is_dir() and not (path / RECORD).exists():  # killed before it was written down
                shutil.rmtree(path, ignore_errors=True)
        with self._lock:
            for folder in all_work(self._data):
                try:
                    self._works[folder] = work_at(folder)
                except BadCheckpoint as error:  # one that is damaged does not keep the others from going on
                    LOG.error("%s", error)
        self._ending = False
        self._thread = threading.Thread(target=self._watch, name="trainings", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask all processes to save and go; they go on when the server starts again."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            at_work = [work for work in self._works.values() if work.state in ("running", "stopping")]
            for work in at_work:
                self._job(work).ask_to_stop()
            until = time.monotonic() + FAREWELL
            while time.monotonic() < until and any(self._job(work).running() for work in at_work):
                time.sleep(0.05)
            for work in at_work:
                if not self._job(work).running() and self._job(work).result() is None and work.state == "running":
                    self._keep(work, state="waiting")
            self._works.clear()
            self._jobs.clear()

    def begin(
        self, home: Path, task: str, data: tuple[str, ...], dataset: str | None, minutes: float | None, name: str
    ) -> Work:
        """Put a training at the end of the queue.

        Args:
            home: the user's folder.
            task: its name, one of `isotrain.tasks.TASKS`.
            data: arguments that name the data; none for the generated twin.
            dataset: the id of the data.
            minutes: that it may take.
            name: the user's words for it.

        Raises:
            Busy: too much is waiting.
        """
        folder = home / "trainings" / secrets.token_hex(6)
        work = Work(folder, "training", task, name=name, dataset=dataset, data=data, minutes=minutes)
        return self._queue(work)

    def audit(self, training: Work) -> Work:
        """Put the audit of a training at the end of the queue; one that is there is replaced, unless it is at work.

        Raises:
            Busy: too much is waiting, or the training is not done.
        """
        if training.state != "done":
            raise Busy(f"the training is {training.state}: it is audited when it is done.")
        folder = training.folder / AUDIT
        with self._lock:
            old = self._works.get(folder)
            if old is not None and old.state not in OVER:
                return old
            if old is not None:
                self._forget(old)
            return self._queue(Work(folder, "audit", training.task))

    def audit_of(self, training: Work) -> Work | None:
        """The audit of a training, if it was asked for."""
        with self._lock:
            return self._works.get(training.folder / AUDIT)

    def of(self, home: Path) -> list[Work]:
        """All trainings of a user, the newest first."""
        with self._lock:
            found = [work for work in self._works.values() if work.kind == "training" and work.home == home]
        return sorted(found, key=lambda work: work.created, reverse=True)

    def find(self, home: Path, id: str) -> Work | None:
        """A training of a user's by its id."""
        with self._lock:
            work = self._works.get(home / "trainings" / id)
        return work if work is not None and work.home == home else None

    def stop(self, work: Work) -> Work:
        """Save and stop a training; one that waits does not begin.

        Raises:
            Busy: it is over.
        """
        with self._lock:
            work = self._now(work)
            if work.state in OVER:
                raise Busy(f"the training is {work.state} already.")
            if work.state == "waiting":
                return self._keep(work, state="stopped")
            self._asked.setdefault(work.folder, time.monotonic())
            self._job(work).ask_to_stop()
            self._wake.set()
            return self._keep(work, state="stopping")

    def resume(self, work: Work) -> Work:
        """Let a training that was stopped or failed go on.

        Raises:
            Busy: it is done, or at work; or too much is waiting.
        """
        with self._lock:
            work = self._now(work)
            if work.state not in ("stopped", "failed"):
                raise Busy(f"the training is {work.state}: only one that was stopped or failed goes on.")
            self._room(work.home)
            self._wake.set()
            return self._keep(work, state="waiting", error=None, attempts=0, queued=time.time())

    def delete(self, work: Work) -> None:
        """End a training at once and erase all that it left."""
        with self._lock:
            for one in (self._works.get(work.folder / AUDIT), self._works.get(work.folder)):
                if one is not None:
                    self._forget(one)

    def __contains__(self, dataset: tuple[Path, str]) -> bool:
        """Whether a training that is not over learns from a dataset of a user's (its folder, the dataset's id)."""
        home, id = dataset
        return any(work.dataset == id and work.state not in OVER for work in self.of(home))

    def _queue(self, work: Work) -> Work:
        with self._lock:
            self._room(work.home)
            work = work.kept()
            self._works[work.folder] = work
        self._wake.set()
        return work

    def _room(self, home: Path) -> None:
        waiting = sum(work.state == "waiting" and work.home == home for work in self._works.values())
        if waiting >= self._most:
            raise Busy(f"{waiting} trainings and audits wait already: wait, or delete some.")

    def _now(self, work: Work) -> Work:
        return self._works.get(work.folder, work)

    def _job(self, work: Work) -> Job:
        return self._jobs.setdefault(work.folder, work.job())

    def _keep(self, work: Work, **changes: object) -> Work:
        self._works[work.folder] = work.kept(**changes)
        return self._works[work.folder]

    def _forget(self, work: Work) -> None:
        self._job(work).kill()
        gone = work.folder.with_name(f"{GONE}{work.folder.name}-{secrets.token_hex(3)}")
        os.rename(work.folder, gone)  # at once, and what a kill leaves of it is swept up
        self._works.pop(work.folder, None)
        self._jobs.pop(work.folder, None)
        self._asked.pop(work.folder, None)
        shutil.rmtree(gone)

    # The thread ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ending:
            with self._lock:
                at_work = False
                for work in list(self._works.values()):
                    if work.state in ("running", "stopping"):
                        with self._told(work):
                            at_work |= self._look(work)
                at_work |= self._launch()
            self._wake.wait(LOOK if at_work else None)
            self._wake.clear()

    @contextlib.contextmanager
    def _told(self, work: Work) -> Iterator[None]:
        """What goes wrong with one piece of work (a full disk, no room for a process) fails it, and not the others."""
        try:
            yield
        except Exception as error:
            LOG.exception("training %s", work.id)
            words = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            self._works[work.folder] = replace(work, state="failed", error=f"the server failed at it: {words}.")

    def _look(self, work: Work) -> bool:
        """Whether it is still at work; what became of it otherwise."""
        job = self._job(work)
        if job.running():
            since = self._asked.get(work.folder)
            if work.state == "stopping":
                if since is None:  # asked by a server before this one
                    self._asked[work.folder] = time.monotonic()
                    job.ask_to_stop()
                elif time.monotonic() - since > PATIENCE:
                    job.kill()
            return True
        self._asked.pop(work.folder, None)
        _sweep(work.run)
        words = job.complaint()
        if job.result() is not None:
            self._keep(work, state="done", error=None)
        elif work.state == "stopping":
            self._keep(work, state="stopped")
        elif job.code == 2:  # the user's fault: another try ends the same way
            self._keep(work, state="failed", error=words or "it failed without a word.")
        elif work.attempts < ATTEMPTS:
            self._keep(work, state="waiting", attempts=work.attempts + 1)
        else:
            ended = f"its process ended {work.attempts + 1} times"
            self._keep(work, state="failed", error=f"{ended}, at last with: {words}" if words else f"{ended} silently.")
        return False

    def _launch(self) -> bool:
        """Begin what waits for longest, as far as there is room; whether something was begun."""
        works = self._works.values()
        free = self._at_once - sum(work.state in ("running", "stopping") for work in works)
        waiting = sorted((work for work in works if work.state == "waiting"), key=lambda work: work.queued)
        for work in waiting[: max(0, free)]:
            with self._told(work):
                _sweep(work.run)
                shutil.rmtree(work.folder / EXPORT, ignore_errors=True)  # of weights that will be others
                # Written down before it begins: a server that is killed in between looks whether it did.
                running = self._keep(work, state="running")
                self._jobs[work.folder] = running.job()
                self._jobs[work.folder].start(running.command(), self._threads)
        return bool(waiting) and free > 0


def _sweep(run: Path) -> None:
    """Take away files that a kill left beside those they were to replace (`isotrain.aside`)."""
    for path in [*run.glob(".*"), *run.glob("pictures/.*")]:
        if path.is_file():
            path.unlink(missing_ok=True)
