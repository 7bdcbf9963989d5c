"""What a worker does: looks at the photos of a shard and writes it, once, however often it is killed and begins again.

Nothing here knows Ray. A shard that is there already is only counted. One whose worker was killed again and again is
looked at photo by photo, and a photo that killed its worker twice while it was looked at alone is left out, and named.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from isotrain.data.pictures import read_picture
from isotrain.errors import BadData, IsotrainError
from isotrain.gallery import Gallery, open_gallery
from isotrain.gallery.again import ServerGone
from isotrain.look.cluster_listing import Photo
from isotrain.look.cluster_shards import read_manifest, record, shard_name, shard_path, write_shard
from isotrain.look.looker import Looker

ATTEMPTS = "attempts"
CAREFUL = 3
"""At the third attempt a shard is looked at photo by photo."""
LARGE = 8_000_000
"""Pixels from which on no more photos are looked at together."""
PATIENCE = 120.0
"""Seconds that a worker waits for the gallery's server before it gives up."""
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Attributes:
        folder: of the photos.
        out: of the results; both are there for every worker.
        run: which run of it this is.
        identity: of the looker: all workers look alike.
        parts: of the looker, as `Looker.of` takes them.
        gallery: where people are looked for; a passphrase comes from $ISOTRAIN_PASSPHRASE.
        threshold: of their similarity.
        batch: photos looked at together.
    """

    folder: Path
    out: Path
    run: int
    identity: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    gallery: str | None = None
    threshold: float | None = None
    batch: int = 16


class ShardLooker:
    """Looks at shards, one after another.

    Args:
        job: what to do.

    Raises:
        BadData: the folders are not to be seen from here, the parts differ here, or the gallery does not open.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        if not job.folder.is_dir() or read_manifest(job.out) is None:
            raise BadData(
                f"this worker ({os.uname().nodename}) does not see {job.folder} or {job.out}: both must be on a disk "
                "that all machines share, at the same path."
            )
        self._looker = Looker.of(**job.parts)
        if self._looker.identity != job.identity:
            raise BadData(
                f"this worker ({os.uname().nodename}) has parts {self._looker.identity}, not {job.identity}: install "
                "the same isotrain on all machines, and put run folders where all see them."
            )
        self._gallery: Gallery | None = None
        if job.gallery is not None:
            place = job.gallery
            words = os.environ.get("ISOTRAIN_PASSPHRASE")
            self._gallery = patiently(lambda: open_gallery(place, passphrase=words, create=False))

    def close(self) -> None:
        """Let go of the gallery."""
        if self._gallery is not None:
            self._gallery.close()

    def look(self, number: int, photos: Sequence[Photo]) -> int:
        """Look at the photos of a shard, and write it; how many are in it.

        Raises:
            IsotrainError: the gallery is another model's, or is gone for good.
        """
        name = shard_name(self.job.run, number)
        path = shard_path(self.job.out, name)
        if path.exists():  # it was killed before it could say so
            return len(photos)
        attempts = Attempts(self.job.out / ATTEMPTS / f"{name}.txt")
        careful = attempts.begin() >= CAREFUL
        records = [record(*seen) for seen in self._seen(photos, attempts if careful else None)]
        write_shard(path, self.job.identity, records)
        attempts.end()
        return len(records)

    def _seen(
        self, photos: Sequence[Photo], attempts: Attempts | None
    ) -> Iterator[tuple[Photo, dict[str, Any] | None, str | None]]:
        """Photos in order, each with what is seen in it or why nothing is; one by one where attempts are kept."""
        waiting: list[tuple[Photo, Tensor | str]] = []
        deadly = set() if attempts is None else attempts.deadly
        for place, photo in enumerate(photos):
            if attempts is not None:
                attempts.at(place)
            if place in deadly:
                waiting.append(
                    (photo, "the worker was killed whenever it looked at this photo: see whether it is whole")
                )
            else:
                try:
                    waiting.append((photo, read_picture(self.job.folder / photo.path, reduce=True)))
                except BadData as error:
                    waiting.append((photo, str(error)))
            pixels = sum(one[0].numel() for _, one in waiting if isinstance(one, Tensor))
            if attempts is not None or len(waiting) >= self.job.batch or pixels >= LARGE or place == len(photos) - 1:
                yield from self._together(waiting)
                waiting = []

    def _together(
        self, waiting: Sequence[tuple[Photo, Tensor | str]]
    ) -> Iterator[tuple[Photo, dict[str, Any] | None, str | None]]:
        readable = [(photo, picture) for photo, picture in waiting if isinstance(picture, Tensor)]
        told = iter(self._looked(readable))
        for photo, picture in waiting:
            yield (photo, None, picture) if isinstance(picture, str) else (photo, *next(told))

    def _looked(self, pictures: Sequence[tuple[Photo, Tensor]]) -> list[tuple[dict[str, Any] | None, str | None]]:
        """Sights of readable photos. A photo that a part fails at is named; those beside it are looked at alone."""
        try:
            sights = patiently(
                lambda: self._looker.look(
                    [picture for _, picture in pictures],
                    [photo.path for photo, _ in pictures],
                    self._gallery,
                    self.job.threshold,
                )
            )
        except IsotrainError:
            raise  # not a photo's fault
        except Exception as error:
            if len(pictures) == 1:
                return [(None, f"a part failed at it: {type(error).__name__}: {error}")]
            return [one for picture in pictures for one in self._looked([picture])]
        return [(sight.document(), None) for sight in sights]


class Attempts:
    """How often a shard was begun, and in careful attempts at which photo; a file, which a killed worker leaves.

    >>> attempts = Attempts(getfixture("tmp_path") / "0.txt")
    >>> for _ in range(2):
    ...     began = attempts.begin()
    ...     attempts.at(0), attempts.at(1)  # and killed
    (None, None)
    (None, None)
    >>> attempts.begin(), attempts.deadly
    (3, {1})
    >>> attempts.end()
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.deadly: set[int] = set()

    def begin(self) -> int:
        """One more attempt; how many there were, with this one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        before = self._path.read_text().split() if self._path.exists() else []
        last = [word for word, then in pairwise([*before, "begin"]) if then == "begin" and word != "begin"]
        self.deadly = {int(place) for place, times in Counter(last).items() if times >= 2}
        self._write("begin")
        return before.count("begin") + 1

    def at(self, place: int) -> None:
        """Which photo is looked at now."""
        self._write(str(place))

    def end(self) -> None:
        """The shard is written."""
        self._path.unlink(missing_ok=True)

    def _write(self, word: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{word}\n")


def patiently(work: Callable[[], T], patience: float = PATIENCE) -> T:
    """Do something that needs the gallery's server; again while the server is gone, for some time.

    Raises:
        ServerGone: it has not come back.
    """
    until = time.monotonic() + patience
    wait = 0.1
    while True:
        try:
            return work()
        except ServerGone:
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        wait = min(2 * wait, 5.0)
