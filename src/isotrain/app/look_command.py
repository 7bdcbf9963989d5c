"""`isotrain look`: photos looked at, drawn and written down; a folder becomes an album."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isotrain.app.faces_look import optional_gallery
from isotrain.app.files import put
from isotrain.app.telling import say
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.look.album import album
from isotrain.look.drawing import LAYERS
from isotrain.look.folder import Done, How, NoPictures, look_through, photos_in
from isotrain.look.looker import Looker
from isotrain.progress import progress_bar
from isotrain.version import __version__

ANSWERS, PAGE = "look.json", "index.html"
VERSION = 1


def look(
    photos: Sequence[Path],
    parts: Mapping[str, str],
    gallery: dict[str, Any],
    threshold: float | None,
    layers: str,
    out: Path,
    quiet: bool,
) -> dict[str, Any]:
    """Look at photos, draw each, write all down as JSON, and of more than one an album.

    Args:
        photos: files, or folders of them.
        parts: as `Looker.of` takes them.
        gallery: where people are looked for.
        threshold: similarity; None: calibrated.
        layers: that are drawn, between commas.
        out: folder for what is written.
        quiet: no progress.

    Returns:
        What was seen, as JSON can hold it.

    Raises:
        BadData: a folder holds no picture, or none of the photos can be read.
        BadOption: a part or a layer is not there, or the place cannot be written.
    """
    began = time.perf_counter()
    drawn = _layers(layers)
    files = _files(photos, out)
    spoken: list[str] = []

    def refuse(_: Path, why: str) -> None:
        spoken.append(why)
        if len(files) > 1:
            say(f"skipped: {why}")

    looker = Looker.of(**parts, tell=say)
    seconds = {"load": time.perf_counter() - began}
    with optional_gallery(gallery) as people, progress_bar("look", len(files), not quiet) as part:
        how = How(looker, out, drawn, people, threshold)
        done = look_through(how, files, refuse, part(""), [path for path in photos if path.is_dir()])
    if not done.looked and not done.kept and files:
        more = f" ({len(spoken) - 1} more could not be read.)" if len(spoken) > 1 else ""
        raise BadData(f"{spoken[0]}{more}")
    seconds |= done.seconds
    document = {
        "kind": "look", "version": VERSION, "isotrain": __version__, "about": looker.about(), "layers": drawn,
        "looked": done.looked, "kept": done.kept, "skipped": done.skipped,
        "seconds": {name: round(spent, 4) for name, spent in seconds.items()},
        "photos": done.records,
    }  # fmt: skip
    return document | {"written": _written(document, photos, files, out, done)}


def _written(
    document: dict[str, Any], photos: Sequence[Path], files: Sequence[Path], out: Path, done: Done
) -> list[str]:
    """Write the answers, and of more than one photo the album; the paths."""
    written = [put(out / ANSWERS, (json.dumps(document) + "\n").encode())]
    if len(files) == 1 and not (out / PAGE).exists() and not any(path.is_dir() for path in photos):
        return [str(out / document["photos"][0]["drawn"]), *written]
    base = photos[0] if len(photos) == 1 else None
    rows = ((_name(record["photo"], base), record) for record in document["photos"])
    title = base.resolve().name if base is not None else f"{len(files)} photos"
    page = album(title or "Photos", rows, len(done.skipped))
    return [put(out / PAGE, page.encode()), *written]


def _name(photo: str, base: Path | None) -> str:
    path = Path(photo)
    return path.relative_to(base).as_posix() if base is not None and path.is_relative_to(base) else path.as_posix()


def _layers(text: str) -> list[str]:
    """Names between commas, in the order they are drawn in."""
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in LAYERS:
            raise UnknownName("layer", name, LAYERS)
    return [name for name in LAYERS if name in asked]


def _files(photos: Sequence[Path], out: Path) -> list[Path]:
    """All photos that were named, each once."""
    files: dict[Path, None] = {}
    for path in photos:
        if path.is_dir():
            try:
                files |= dict.fromkeys(photos_in(path, out))
            except NoPictures:
                if not (out / PAGE).exists():
                    raise
                say(f"{path} holds no picture any more: the album in {out} is emptied.")
        elif path.exists():
            files[path] = None
        else:
            raise BadOption(f"{path} does not exist: name a photo or a folder of photos.")
    return list(files)
