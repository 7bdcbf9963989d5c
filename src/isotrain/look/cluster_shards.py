"""Shards: files of some hundred photos' records each, finished or not there, and what they were made with.

    OUT/manifest.json                     what made the records: nothing else may add to them
    OUT/shards/0001/00000/00000017.jsonl  run 1, shard 17: a head, then a record a line
    OUT/photos.jsonl                      all of them, each photo once, in the order of the paths

A shard is written aside and renamed, by whoever looked at its photos. Two that hold the same photo do no harm: the
first record of each photo counts. Nobody writes a shard of another run, so that a worker that has outlived its run
cannot replace what a later one wrote.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from isotrain.aside import write_aside
from isotrain.errors import BadCheckpoint, BadOption
from isotrain.look.cluster_listing import Photo, Place
from isotrain.version import __version__

KIND, VERSION = "isotrain photo records", 1
MANIFEST, RESULT, SHARDS = "manifest.json", "photos.jsonl", "shards"
A_FOLDER = 1000
"""Shards in one folder."""
OPEN = 64
"""Shards that are read side by side while all are put in order."""


@dataclass(frozen=True)
class Manifest:
    """What made the records of a folder of results.

    Attributes:
        folder: of the photos.
        parts: the looker's identity.
        gallery: whose people were looked for, without a password.
        threshold: of their similarity, if one was given.
        runs: how often it was begun.
        isotrain: the version that began it.
    """

    folder: str
    parts: str
    gallery: str | None
    threshold: float | None
    runs: int = 0
    isotrain: str = __version__

    def begun(self, out: Path) -> Manifest:
        """Write down that one more run begins; the manifest with its number.

        Raises:
            BadCheckpoint: there is a manifest of another kind or version.
            BadOption: what is there was made with other parts, or of another folder.
        """
        before = read_manifest(out)
        runs = 1
        if before is not None:
            for name, words in (
                ("folder", "of the photos in"), ("parts", "with parts"), ("gallery", "with the gallery"),
                ("threshold", "with the threshold"),
            ):  # fmt: skip
                old, new = getattr(before, name), getattr(self, name)
                if old != new:
                    raise BadOption(
                        f"the records in {out} were made {words} {old}, not {new}: choose another --out, or look "
                        "with the same."
                    )
            runs = before.runs + 1
        now = replace(self, runs=runs)
        write_aside(out / MANIFEST, json.dumps({"kind": KIND, "version": VERSION, **asdict(now)}, indent=1).encode())
        return now


def read_manifest(out: Path) -> Manifest | None:
    """What made the records there; None where there are none.

    Raises:
        BadCheckpoint: a manifest of another kind or version.
        BadOption: there is something else.
    """
    path = out / MANIFEST
    if not path.exists():
        if out.is_dir() and any(not inside.name.startswith(".") for inside in out.iterdir()):
            raise BadOption(f"{out} holds something else already: choose another --out, which may be new.")
        return None
    try:
        told = json.loads(path.read_bytes())
        kind, version = told.pop("kind"), told.pop("version")
        if (kind, version) == (KIND, VERSION):
            return Manifest(**told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{path} is damaged ({error}): choose another --out.") from error
    raise BadCheckpoint(f"{path} is {kind!r} of version {version!r}, this program reads {KIND!r} {VERSION}.")


def shard_name(run: int, number: int) -> str:
    """What a shard is called, within the folder of shards.

    >>> shard_name(1, 12345)
    '0001/00012/00012345'
    """
    return f"{run:04d}/{number // A_FOLDER:05d}/{number:08d}"


def shard_path(out: Path, name: str) -> Path:
    """Where a shard is."""
    return out / SHARDS / f"{name}.jsonl"


def record(photo: Photo, sight: dict[str, Any] | None, error: str | None) -> bytes:
    r"""A line of a shard: what was seen in a photo, or why it was not looked at.

    >>> record(Photo("a.png", 1, 10), None, "it is no picture")
    b'{"photo": "a.png", "bytes": 1, "modified": 10, "sight": null, "error": "it is no picture"}\n'
    """
    told = {"photo": photo.path, "bytes": photo.size, "modified": photo.modified, "sight": sight, "error": error}
    return json.dumps(told).encode() + b"\n"


def write_shard(path: Path, parts: str, records: list[bytes]) -> None:
    """Write a finished shard."""
    head = {"kind": KIND, "version": VERSION, "parts": parts, "photos": len(records)}
    write_aside(path, b"".join([json.dumps(head).encode() + b"\n", *records]))


def records_of(path: Path, name: str) -> list[tuple[Photo, Place]]:
    """Photos of a shard, and where their records are.

    Raises:
        ValueError: it is damaged, or another version's.
    """
    found = []
    with path.open("rb") as file:
        head = json.loads(file.readline())
        if (head["kind"], head["version"]) != (KIND, VERSION):
            raise ValueError(f"it is {head['kind']!r} of version {head['version']!r}")
        offset = file.tell()
        for line in file:
            told = json.loads(line)
            found.append(
                (Photo(told["photo"], told["bytes"], told["modified"]), Place(name, offset, told["error"] is not None))
            )
            offset += len(line)
    if len(found) != head["photos"]:
        raise ValueError(f"it should hold {head['photos']} photos and holds {len(found)}")
    return found


def shards_in(out: Path, run: int | None = None) -> Iterator[str]:
    """The finished shards of a run, or of all, the older first."""
    root = out / SHARDS
    which = "*" if run is None else f"{run:04d}"
    for folder in sorted(root.glob(f"{which}/*")):
        for path in sorted(folder.glob("[0-9]*.jsonl")):
            yield str(path.relative_to(root).with_suffix(""))


def merged(out: Path, places: Iterable[Place]) -> Iterator[bytes]:
    """Put the records at places, in that order, into one file; gives those of photos that could not be looked at.

    Memory does not depend on how many there are: consecutive photos are mostly in one shard.
    """
    aside = out / f".{RESULT}"
    opened: dict[str, IO[bytes]] = {}
    try:
        with aside.open("wb") as whole:
            for place in places:
                file = opened.pop(place.shard, None)
                if file is None:
                    file = shard_path(out, place.shard).open("rb")
                    if len(opened) >= OPEN:
                        opened.pop(next(iter(opened))).close()
                opened[place.shard] = file  # the last is the one that was used last
                if file.tell() != place.offset:
                    file.seek(place.offset)
                line = file.readline()
                whole.write(line)
                if place.failed:
                    yield line
        os.replace(aside, out / RESULT)
    finally:
        for file in opened.values():
            file.close()
