"""A folder of photos looked through: batch by batch, each photo drawn, what was done already left as it is."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from torch import Tensor

from isotrain.aside import write_aside
from isotrain.data.pictures import SUFFIXES, read_picture
from isotrain.errors import BadData, BadOption, IsotrainError
from isotrain.gallery import Gallery
from isotrain.look.drawing import draw
from isotrain.look.kept import Kept, Key
from isotrain.look.looker import Looker
from isotrain.look.sight import Sight
from isotrain.progress import Tick
from isotrain.vision.drawing import image_of

TOGETHER, PIXELS = 16, 8_000_000
"""Photos, and pixels of them, that are looked at together, at most."""
THUMBNAIL = 360
"""Longer side in pixels."""
DRAWN, SMALL = "drawn", "thumbnails"
QUALITY = 88
Refuse = Callable[[Path, str], None]


class NoPictures(BadData):
    """A folder holds no picture."""


@dataclass(frozen=True)
class How:
    """How photos are looked through.

    Attributes:
        looker: the parts.
        out: folder of the drawings.
        layers: that are drawn.
        gallery: of people who consented; None: nobody is named.
        threshold: similarity from which on a face is somebody's; None: calibrated.
    """

    looker: Looker
    out: Path
    layers: Sequence[str]
    gallery: Gallery | None = None
    threshold: float | None = None

    @property
    def parts(self) -> str:
        """Identity of what looks and how it is drawn."""
        return f"{self.looker.identity} {','.join(self.layers)}"

    @property
    def people(self) -> str:
        """Identity of who can be named: another where anybody was added, renamed, merged or forgotten."""
        if self.gallery is None or self.gallery.model is None:
            return ""
        table = self.gallery.table()
        told = hashlib.sha256(f"{self.threshold} {self.gallery.model}".encode())
        told.update(table.faces.tobytes() + table.people.tobytes())
        for person in self.gallery.people(named=True):
            stands = person.consent is not None and person.consent.stands(date.today())
            told.update(f"{person.id} {person.name!r} {stands}".encode())
        return told.hexdigest()[:16]


@dataclass
class Done:
    """What came of it.

    Attributes:
        looked: photos looked at now.
        kept: photos that had been looked at before.
        skipped: photos that could not be read: path and why.
        records: of all photos that could: a sight's document, and where its drawing and its thumbnail are.
        seconds: for each step.
    """

    looked: int = 0
    kept: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def photos_in(folder: Path, leave: Path) -> list[Path]:
    """All pictures in a folder and below it, in order; not those in `leave`, where drawings are written.

    Links to folders are not followed: they may lead round in a circle.

    Raises:
        NoPictures: there is none.
        BadData: the folder, or one in it, cannot be read.
    """
    left = {leave.resolve() / name for name in (DRAWN, SMALL)} | ({leave.resolve()} - {folder.resolve()})
    failed: list[OSError] = []
    found = []
    for at, below, files in os.walk(folder, onerror=failed.append):
        below[:] = sorted(name for name in below if name[0] != "." and (Path(at) / name).resolve() not in left)
        found += [Path(at) / name for name in files if Path(name).suffix.lower() in SUFFIXES and name[0] != "."]
    if failed:  # its photos would count as gone
        raise BadData(f"folder {failed[0].filename or folder} cannot be read: {failed[0].strerror or failed[0]}.")
    if not found:
        raise NoPictures(f"folder {folder} holds no picture ({', '.join(sorted(SUFFIXES))}).")
    return sorted(found)


def look_through(how: How, photos: Sequence[Path], refuse: Refuse, tick: Tick, folders: Sequence[Path] = ()) -> Done:
    """Look at photos and keep what was seen in `how.out`.

    Args:
        how: they are looked at.
        photos: files.
        folders: that were looked through whole: what is kept of photos that are no longer in there is removed.
        refuse: is called with a photo that cannot be read, and why.
        tick: after every n photos.

    Raises:
        BadOption: the place cannot be written.
        BadCheckpoint: what is kept there is damaged, or not isotrain's.
    """
    done = Done()
    with Kept(how.out) as kept:
        parts, people = how.parts, how.people
        keys: list[Key] = []
        waiting: list[tuple[Path, Key]] = []
        for path in photos:
            try:
                key = Key.of(path)
            except OSError as error:
                refuse(path, f"picture {path} cannot be read: {error.strerror or error}.")
                done.skipped.append({"photo": str(path), "why": str(error.strerror or error)})
                tick(1)
                continue
            keys.append(key)
            before = kept.record(key, parts, people)
            if before is not None and all((how.out / before[name]).is_file() for name in ("drawn", "thumbnail")):
                done.kept += 1
                tick(1)
            else:
                waiting.append((path, key))
        for rows in _looked(how, waiting, done, refuse, tick):
            kept.keep(rows, parts, people)
        unread = {os.path.abspath(one["photo"]) for one in done.skipped}
        read = [key.path for key in keys if key.path not in unread]
        for gone in kept.forget_others(read, [os.path.abspath(folder) for folder in folders]):
            for name in ("drawn", "thumbnail"):
                (how.out / gone[name]).unlink(missing_ok=True)
        done.records = kept.records(read)
    return done


def _looked(
    how: How, waiting: Sequence[tuple[Path, Key]], done: Done, refuse: Refuse, tick: Tick
) -> Iterator[list[tuple[Key, dict[str, Any]]]]:
    """Batch by batch, the records of photos, drawn already."""
    batch: list[tuple[Path, Key, Tensor]] = []
    reading: list[float] = []
    for place, (path, key) in enumerate(waiting):
        began = time.perf_counter()
        try:
            batch.append((path, key, read_picture(path, reduce=True)))
            reading.append(time.perf_counter() - began)
        except BadData as error:
            refuse(path, str(error))
            done.skipped.append({"photo": str(path), "why": str(error)})
            tick(1)
        pixels = sum(one.shape[1] * one.shape[2] for _, _, one in batch)
        if batch and (len(batch) == TOGETHER or pixels >= PIXELS or place == len(waiting) - 1):
            pictures = [picture for _, _, picture in batch]
            try:
                sights = how.looker.look(pictures, [str(path) for path, _, _ in batch], how.gallery, how.threshold)
            except IsotrainError:  # of a part or a gallery: the other photos would be told the same
                raise
            except Exception:
                sights, batch = _alone(how, batch, done, refuse, tick)
                reading = reading[: len(batch)]
            for sight, spent in zip(sights, reading, strict=True):
                sight.seconds = {"read": spent, **sight.seconds}
                for name, spent in sight.seconds.items():
                    done.seconds[name] = done.seconds.get(name, 0.0) + spent
            with _timed(done, "draw"):
                yield [
                    (key, put_drawn(how, key, picture, sight))
                    for (_, key, picture), sight in zip(batch, sights, strict=True)
                ]
            done.looked += len(batch)
            tick(len(batch))
            batch, reading = [], []


def _alone(
    how: How, batch: Sequence[tuple[Path, Key, Tensor]], done: Done, refuse: Refuse, tick: Tick
) -> tuple[list[Sight], list[tuple[Path, Key, Tensor]]]:
    """Each photo of a lot by itself, as a part has failed at one of them: that one is left out, and why is said."""
    sights, seen = [], []
    for path, key, picture in batch:
        try:
            sights += how.looker.look([picture], [str(path)], how.gallery, how.threshold)
            seen.append((path, key, picture))
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            refuse(path, f"picture {path} cannot be looked at: {lines[0]}")
            done.skipped.append({"photo": str(path), "why": lines[0]})
            tick(1)
    return sights, seen


def put_drawn(how: How, key: Key, picture: Tensor, sight: Sight) -> dict[str, Any]:
    """Draw a photo and write it, with its thumbnail; gives the record of it.

    Raises:
        BadOption: the place cannot be written.
    """
    # A photo's name may hold anything, and two may have one: a digest of the whole path names its files.
    stem = hashlib.sha256(os.fsencode(key.path)).hexdigest()[:20]
    record = {**sight.document(), "drawn": f"{DRAWN}/{stem}.jpg", "thumbnail": f"{SMALL}/{stem}.jpg"}
    small = image_of(picture)
    small.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2.0)
    for name, image in (("drawn", draw(picture, sight, how.layers)), ("thumbnail", small)):
        content = io.BytesIO()
        image.save(content, format="jpeg", quality=QUALITY)
        path = how.out / record[name]
        try:
            write_aside(path, content.getvalue())
        except OSError as error:
            raise BadOption(f"{path} cannot be written: {error.strerror or error}. Choose another --out.") from error
    return record


class _timed:
    """Adds what a step takes."""

    def __init__(self, done: Done, name: str) -> None:
        self.done, self.name = done, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self.began
        self.done.seconds[self.name] = self.done.seconds.get(self.name, 0.0) + spent
