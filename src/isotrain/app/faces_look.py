"""`isotrain faces look`, `identify` and `verify`: what is seen in photos, and who it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from isotrain.app.files import files_of, free_stem, put
from isotrain.app.telling import say
from isotrain.data.pictures import read_picture
from isotrain.errors import BadData
from isotrain.faces.calibration import Calibration
from isotrain.faces.chain import EMBEDDER, Chain, Face
from isotrain.faces.keeping import from_left, the_face
from isotrain.faces.recognise import Recognised, read_calibration, recognise, threshold_of
from isotrain.gallery import Gallery, open_gallery
from isotrain.progress import progress_bar

CHUNK = 16
"""Photos looked at together; large ones fewer."""
LARGE = 2_000_000
"""Pixels from which on a photo is looked at alone."""


@dataclass(frozen=True)
class Means:
    """What looks at photos, and what is known of its similarities."""

    chain: Chain
    embedder: Path
    calibration: Calibration | None

    @classmethod
    def of(cls, chosen: dict[str, Any]) -> Means:
        """The chain by names, with its calibration if there is one.

        Raises:
            IsotrainError: a part of it is not there, or not what it should be.
        """
        chain = Chain.of(**chosen, tell=say)
        embedder = Path(chosen["embedder"] or EMBEDDER)
        return cls(chain, embedder, read_calibration(embedder, chain.embedder.id))

    def threshold(self, threshold: float | None, far: float) -> float:
        """See `threshold_of`."""
        return threshold_of(self.calibration, threshold, far, str(self.embedder))


def place_of(chosen: dict[str, Any]) -> str:
    """Where the gallery is: as it was typed, as the environment says, or in the user's data folder."""
    named = chosen["place"] or os.environ.get("ISOTRAIN_GALLERY")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return named or str(Path(home) / "isotrain" / "gallery.db")


def gallery_at(chosen: dict[str, Any]) -> Gallery:
    """The gallery that was asked for.

    Raises:
        BadData: there is none, or it cannot be opened.
        BadOption: a wrong, missing or needless passphrase.
    """
    place, make = place_of(chosen), bool(chosen["create"])
    if not make and "://" not in place and not Path(place).exists():
        raise BadData(f"there is no gallery at {place}: `isotrain faces enroll NAME PHOTO` begins one.")
    passphrase = os.environ.get("ISOTRAIN_PASSPHRASE")
    if chosen["ask"]:
        import typer

        passphrase = typer.prompt("Passphrase", hide_input=True, err=True)
    if make and "://" not in place:
        Path(place).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return open_gallery(place, passphrase=passphrase, create=make)


@contextmanager
def optional_gallery(chosen: dict[str, Any]) -> Iterator[Gallery | None]:
    """The gallery; None where none was named and there is none yet: a photo can be looked at without."""
    named = chosen["place"] or os.environ.get("ISOTRAIN_GALLERY")
    if named is None and not Path(place_of(chosen)).exists():
        yield None
        return
    with gallery_at({**chosen, "create": False}) as gallery:
        yield gallery


def seen(
    photos: Sequence[Path],
    chain: Chain,
    title: str,
    quiet: bool,
    skip: list[dict[str, str]],
    spent: dict[str, float] | None = None,
) -> Iterator[tuple[Path, Tensor, list[Face]]]:
    """Every photo with its faces from left to right, with a bar; those that cannot be read are named and skipped.

    Raises:
        BadData: the only photo cannot be read.
    """
    files = files_of(photos)
    with progress_bar(title, len(files), not quiet) as part:
        tick = part("")
        waiting: list[tuple[Path, Tensor]] = []
        for place, path in enumerate(files):
            began = time.perf_counter()
            try:
                waiting.append((path, read_picture(path, reduce=True)))
            except BadData as error:
                if len(files) == 1:
                    raise
                say(f"skipped: {error}")
                skip.append({"photo": str(path), "why": str(error)})
                tick(1)
            if spent is not None:
                spent["read"] = spent.get("read", 0.0) + time.perf_counter() - began
            full = waiting and (len(waiting) == CHUNK or waiting[-1][1][0].numel() >= LARGE)
            if waiting and (full or place == len(files) - 1):
                found = chain.look([picture for _, picture in waiting])
                for (photo, picture), faces in zip(waiting, found, strict=True):
                    yield photo, picture, from_left(faces)
                    tick(1)
                waiting = []


def look(
    photos: list[Path],
    chosen: dict[str, Any],
    gallery: dict[str, Any],
    threshold: float | None,
    far: float,
    out: Path | None,
    steps: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Find, align and name the faces of photos; leave drawings.

    Args:
        photos: files or folders.
        chosen: of the chain.
        gallery: where people are looked for.
        threshold: similarity; None: calibrated.
        far: share of strangers let in.
        out: folder for pictures.
        steps: draw each step of the alignment too.
        quiet: no progress.

    Returns:
        What was found, as JSON can hold it.
    """
    from isotrain.app.faces_drawing import drawn, sheet_of, steps_of

    folder = Path("runs/faces") if out is None else out
    document = _asked(photos, chosen, gallery, threshold, far, quiet, "look")
    written: list[str] = []
    taken: set[str] = set()
    for record, picture, faces, names in document.pop("kept"):
        stem = free_stem(Path(record["photo"]), taken)
        pages = {f"{stem}-faces.png": drawn(picture, faces, names)}
        if faces:
            pages[f"{stem}-crops.png"] = sheet_of(faces, names)
        if steps:
            model = document["means"].chain.cutter.aligner.model
            pages |= {f"{stem}-face{n}-steps.png": steps_of(picture, face, model) for n, face in enumerate(faces, 1)}
        for name, page in pages.items():
            written.append(put(folder / name, page))
        record["drawn"] = str(folder / f"{stem}-faces.png")
    document.pop("means")
    return document | {"written": written}


def identify(
    photos: list[Path],
    chosen: dict[str, Any],
    gallery: dict[str, Any],
    threshold: float | None,
    far: float,
    quiet: bool,
) -> dict[str, Any]:
    """Name the faces of photos; nothing is written. See `look`."""
    document = _asked(photos, chosen, gallery, threshold, far, quiet, "identify", keep=False)
    del document["kept"], document["means"]
    return document


def verify(
    first: Path, second: Path, chosen: dict[str, Any], threshold: float | None, far: float, quiet: bool
) -> dict[str, Any]:
    """Whether two photos show the same person.

    Raises:
        BadData: a photo cannot be read, or does not show one face.
    """
    means = Means.of(chosen)
    least = means.threshold(threshold, far)
    faces = []
    for path in (first, second):
        (some,) = means.chain.look([read_picture(path, reduce=True)])
        faces.append(the_face(path, from_left(some), None, say))
    similarity = float(faces[0].vector @ faces[1].vector)
    probability = None if means.calibration is None else float(means.calibration.probability([similarity])[0])
    return {
        "kind": "verify", "photos": [str(first), str(second)], "same": similarity >= least, "similarity": similarity,
        "threshold": least, "probability": probability, "model": means.chain.embedder.id,
    }  # fmt: skip


def _asked(
    photos: list[Path],
    chosen: dict[str, Any],
    gallery: dict[str, Any],
    threshold: float | None,
    far: float,
    quiet: bool,
    kind: str,
    keep: bool = True,
) -> dict[str, Any]:
    began = time.perf_counter()
    means = Means.of(chosen)
    loaded = time.perf_counter() - began
    skipped: list[dict[str, str]] = []
    records: list[dict[str, Any]] = []
    kept: list[tuple[dict[str, Any], Tensor, list[Face], list[str]]] = []
    reading: dict[str, float] = {"read": 0.0}
    began = time.perf_counter()
    with optional_gallery(gallery) as people:
        known = people is not None and people.model is not None
        least = means.threshold(threshold, far) if known else None
        searched = time.perf_counter() - began
        for path, picture, faces in seen(photos, means.chain, kind, quiet, skipped, reading):
            began = time.perf_counter()
            if known and people is not None and least is not None:
                found = recognise(people, faces, means.chain.embedder.id, least, means.calibration)
            else:
                found = [Recognised(None, None, None)] * len(faces)
            searched += time.perf_counter() - began
            record = {
                "photo": str(path), "size": list(picture.shape[1:]),
                "faces": [_record(n, face, one) for n, (face, one) in enumerate(zip(faces, found, strict=True), 1)],
            }  # fmt: skip
            records.append(record)
            if keep:
                kept.append((record, picture, faces, [_called(one) for one in found]))
    seconds = {"load": loaded, **reading, **means.chain.seconds, "gallery": searched}
    return {
        "kind": kind, "photos": records, "skipped": skipped, "people known": known, "threshold": least,
        "model": means.chain.embedder.id, "seconds": {name: round(spent, 4) for name, spent in seconds.items()},
        "kept": kept, "means": means,
    }  # fmt: skip


def _called(one: Recognised) -> str:
    """What is written at a face."""
    if one.hit is None or one.hit.person is None:
        return "?"
    return one.name or f"#{one.hit.person.id}"


def _record(number: int, face: Face, one: Recognised) -> dict[str, Any]:
    nearest = one.nearest
    return {
        "face": number, "box": [round(edge, 1) for edge in face.box], "score": face.score,
        "landmarks": [[round(x, 1), round(y, 1)] for x, y in face.points.tolist()], "confidence": face.confidence,
        "alignment": "2d, turned too far for 3d" if face.turned else "as asked",
        "person": None if one.hit is None else _called(one),
        "similarity": None if nearest is None else nearest.similarity,
        "probability": one.probability,
    }  # fmt: skip
