"""Photo folders of any size, looked at by the processes of Ray Data: each photo once, whoever is killed meanwhile.

Ray gives out the numbers of shards, starts the workers, and begins again what a killed one had in hand. Everything that
must last is in files (`cluster_shards`): a run that was cut off goes on when the same is asked again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from isotrain.errors import BadData, BadOption, IsotrainError
from isotrain.gallery import open_gallery
from isotrain.look.cluster_listing import Listing, Photo, photos_in
from isotrain.look.cluster_ray import connected, import_ray, quiet
from isotrain.look.cluster_shards import RESULT, Manifest, merged, records_of, shard_path, shards_in
from isotrain.look.cluster_worker import ATTEMPTS, Job, ShardLooker
from isotrain.look.looker import Looker
from isotrain.look.parts import NONE, SHIPPED

SHARD = 256
"""Photos of a shard at most: some minutes' work, which is what a killed worker loses."""
SHARDS_A_WORKER = 8
"""Shards for each worker at least, while they hold a batch, so that none waits long for the last."""
SHOWN = 20
"""Photos that could not be looked at which are named to the user; the result names all."""
TASKS = 10_000
"""Tasks given to Ray at most: what it keeps of each must not grow with the photos."""
Tick = Callable[[int], None]


@dataclass
class Looked:
    """What came of it.

    Attributes:
        result: the file of all records.
        photos: in it.
        kept: photos that an earlier run had looked at.
        errors: photos that could not be looked at; the result says why.
        unreadable: the first of them, with why.
        workers: processes that looked.
        seconds: spent on each step.
    """

    result: Path
    photos: int
    kept: int
    errors: int = 0
    unreadable: list[dict[str, str]] = field(default_factory=list)
    workers: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def look_at_folder(
    folder: Path,
    out: Path,
    parts: Mapping[str, Any] | None = None,
    gallery: str | None = None,
    threshold: float | None = None,
    *,
    workers: int | None = None,
    address: str | None = None,
    batch: int = 16,
    shard: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
    begin: Callable[[int], Tick] = lambda _: lambda _: None,
) -> Looked:
    """Look at every photo of a folder, on all cores or machines; go on where an earlier run was cut off.

    Args:
        folder: of the photos, with all below.
        out: of the results; another machine's workers see both at the same paths.
        parts: as `Looker.of` takes them.
        gallery: where people are looked for: of workers on several machines a postgresql:// address.
        threshold: similarity from which on a face is somebody's; None: calibrated.
        workers: processes; None: one for each core.
        address: of a running cluster of Ray, host:port; None: processes of this machine, for this run alone.
        batch: photos looked at together.
        shard: photos of a shard; None: as many as leave every worker some shards.
        tell: is called with what a user should know.
        begin: is called with the number of photos to be looked at; gives what is called as they are done.

    Raises:
        BadData: no photos, a folder that cannot be read, or a gallery that is gone.
        BadOption: the results are of other parts, somebody is at work there, or there is no such cluster.
        MissingExtra: Ray is not installed.
    """
    folder, out = folder.resolve(), out.resolve()
    chosen: dict[str, Any] = {name: _absolute(str(choice)) for name, choice in (parts or {}).items()}
    gallery = None if gallery is None else absolute_gallery(gallery)
    looked = Looked(out / RESULT, 0, 0)
    import_ray(address)
    with ExitStack() as stack:
        with _timed(looked, "parts"):
            identity = Looker.of(**chosen).identity
            if gallery is not None:  # one clear error here, not one from every worker
                open_gallery(gallery, passphrase=os.environ.get("ISOTRAIN_PASSPHRASE"), create=False).close()
        stack.enter_context(_alone(out))
        run = Manifest(str(folder), identity, without_password(gallery), threshold).begun(out).runs
        for plan in out.glob(".plan-*"):  # of runs that were killed
            plan.unlink()
        listing = Listing(out / ".listing.db")
        stack.callback(listing.close)
        with _timed(looked, "list"):
            listing.add(photos_in(folder, out))
            looked.photos = left = len(listing)
        if not looked.photos:
            raise BadData(f"folder {folder} holds no picture.")
        with _timed(looked, "resume"):
            for name in shards_in(out):
                left -= _taken(listing, out, name, tell)
        looked.kept = looked.photos - left
        if looked.kept:
            tell(f"{looked.kept:,} of {looked.photos:,} photos were looked at by an earlier run.")
        if left:
            job = Job(folder, out, run, identity, chosen, gallery, threshold, batch)
            _look(stack, job, listing, left, looked, workers, address, shard, begin)
            with _timed(looked, "read"):
                for name in shards_in(out, run):
                    left -= _taken(listing, out, name, tell)
        if left:
            lost = next(iter(listing.left())).path
            raise BadData(f"{left:,} photos were not looked at, {lost} among them: give the same command again.")
        with _timed(looked, "merge"):
            for line in merged(out, listing.places()):
                looked.errors += 1
                if looked.errors <= SHOWN:
                    told = json.loads(line)
                    looked.unreadable.append({"photo": told["photo"], "why": told["error"]})
        shutil.rmtree(out / ATTEMPTS, ignore_errors=True)
    return looked


def _look(
    stack: ExitStack,
    job: Job,
    listing: Listing,
    left: int,
    looked: Looked,
    workers: int | None,
    address: str | None,
    shard: int | None,
    begin: Callable[[int], Tick],
) -> None:
    """Have all that is left looked at."""
    with _timed(looked, "start"):
        cores = stack.enter_context(connected(address, workers))
    looked.workers = workers or cores
    few = max(left // (looked.workers * SHARDS_A_WORKER), min(job.batch, SHARD))
    some = shard or min(SHARD, few)
    path = job.out / f".plan-{job.run:04d}.jsonl"
    stack.callback(path.unlink, missing_ok=True)
    with _timed(looked, "plan"):
        tasks = _plan(path, listing.left(), some, -(-left // some))
    tick = begin(left)
    with _timed(looked, "look"):
        for photos in _results(job, Plan(str(path), some), tasks, looked.workers):
            tick(photos)


@dataclass(frozen=True)
class Plan:
    """What is in which shard: a file of photos, a line each, and how many make a shard."""

    path: str
    shard: int

    def shards(self, first: int, count: int, offset: int) -> Iterator[tuple[int, list[Photo]]]:
        """Consecutive shards, whose first photo is `offset` bytes into the file."""
        with open(self.path, "rb") as file:
            file.seek(offset)
            for number in range(first, first + count):
                yield number, [Photo(*json.loads(line)) for line in islice(file, self.shard)]


def _plan(path: Path, photos: Iterator[Photo], some: int, shards: int) -> list[dict[str, int]]:
    """Write down what is to be done; the tasks, of equally many shards each."""
    together = -(-shards // TASKS)
    tasks: list[dict[str, int]] = []
    with path.open("wb") as file:
        for place, photo in enumerate(photos):
            if place % (some * together) == 0:
                first = place // some
                tasks.append({"first": first, "count": min(together, shards - first), "offset": file.tell()})
            file.write(json.dumps(photo).encode() + b"\n")
    return tasks


def _results(job: Job, plan: Plan, tasks: list[dict[str, int]], workers: int) -> Iterator[int]:
    """Give the tasks to the workers; photos of every shard, as they are done.

    Raises:
        BadData: what a worker raised of ours.
        RayError: any other failure.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_items

    with quiet():
        context = DataContext.get_current()
        context.enable_progress_bars = False
        todo = from_items(tasks, override_num_blocks=len(tasks))
        # One task in hand: with two, a worker would keep what an idle one could do.
        pool = ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1)
        done = todo.map_batches(
            Worker, fn_constructor_args=(job, plan), batch_size=1, batch_format="numpy", compute=pool, num_cpus=1
        )
        try:
            for row in done.iter_rows():
                yield int(row["photos"])
        except ray.exceptions.RayError as error:
            ours = _own(error)
            if ours is None:
                raise
            raise ours from error


class Worker:
    """An actor of Ray Data: a looker, and the shards it is given. A killed one is made anew, and given them again."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self._looker, self._plan = ShardLooker(job), plan

    def __call__(self, tasks: dict[str, Any]) -> Iterator[dict[str, list[int]]]:
        """Look at the shards of some tasks; a row for each shard."""
        for first, count, offset in zip(tasks["first"], tasks["count"], tasks["offset"], strict=True):
            for number, photos in self._plan.shards(int(first), int(count), int(offset)):
                yield {"photos": [self._looker.look(number, photos)]}


def _own(error: BaseException) -> IsotrainError | None:
    """The error of ours that Ray has wrapped, if there is one."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, IsotrainError):
            return BadData(str(inner))
        inner = getattr(inner, "cause", None) or inner.__cause__
    return None


def _taken(listing: Listing, out: Path, name: str, tell: Callable[[str], None]) -> int:
    """Take a shard's records into the listing; how many were new. A damaged one does not count, and is named."""
    path = shard_path(out, name)
    try:
        return listing.done(records_of(path, name))
    except (ValueError, KeyError, TypeError) as error:
        tell(f"{path} is damaged ({error}): its photos are looked at again.")
        return 0


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Nobody else works on these results, in this program or another; a killed one no longer does."""
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)  # who is in photos is nobody else's business
        if not any(out.iterdir()):
            out.chmod(0o700)  # also one that was there, while it holds nothing of somebody's
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise BadOption(f"{out} cannot be written: {error.strerror}. Choose another --out.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadOption(f"another isotrain is at work on {out}: wait for it, or choose another --out.") from error
        yield


@contextmanager
def _timed(looked: Looked, step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    looked.seconds[step] = round(time.perf_counter() - began, 3)


def _absolute(choice: str) -> str:
    return choice if choice in (SHIPPED, NONE) else str(Path(choice).resolve())


def absolute_gallery(place: str) -> str:
    """A gallery's place as it is for every process.

    >>> absolute_gallery("postgresql://host/people")
    'postgresql://host/people'
    """
    return place if "://" in place else str(Path(place).resolve())


def without_password(place: str | None) -> str | None:
    """A gallery's place as it may be written down.

    >>> without_password("postgresql://me:secret@host:5433/people")
    'postgresql://host:5433/people'
    """
    if place is None or "://" not in place:
        return place
    parts = urlsplit(place)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
