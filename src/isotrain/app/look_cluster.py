"""`isotrain look FOLDER --cluster`: a folder of any size, by the processes of Ray on this machine or many."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from isotrain.app.faces_look import place_of
from isotrain.app.telling import say
from isotrain.errors import BadOption
from isotrain.look.cluster import Tick, look_at_folder
from isotrain.progress import progress_bar
from isotrain.version import __version__

VERSION = 1


def look_on_cluster(
    photos: Sequence[Path],
    parts: Mapping[str, str],
    gallery: dict[str, Any],
    threshold: float | None,
    out: Path,
    workers: int | None,
    address: str | None,
    batch: int,
    quiet: bool,
) -> dict[str, Any]:
    """Look at every photo of a folder, on all cores or machines, and write down what each shows.

    Args:
        photos: one folder.
        parts: as `Looker.of` takes them.
        gallery: where people are looked for.
        threshold: similarity; None: calibrated.
        out: folder for what is written.
        workers: processes; None: one for each core.
        address: of a running cluster of Ray; None: processes of this machine.
        batch: photos looked at together.
        quiet: no progress.

    Returns:
        How many there were, and where it is written, as JSON can hold it.

    Raises:
        BadOption: not one folder, a folder of something else's results, or no such cluster.
        BadData: no photos.
        MissingExtra: Ray is not installed.
    """
    if len(photos) != 1 or not photos[0].is_dir():
        raise BadOption("--cluster looks at one folder: name it, with as many folders in it as you like.")
    if batch < 1 or (workers is not None and workers < 1):
        raise BadOption(f"--batch {batch} and --workers {workers}: both are 1 at least.")
    with ExitStack() as stack:

        def begin(total: int) -> Tick:
            return stack.enter_context(progress_bar("look", total, not quiet))("")

        looked = look_at_folder(
            photos[0], out, parts, _gallery(gallery), threshold,
            workers=workers, address=address, batch=batch, tell=say, begin=begin,
        )  # fmt: skip
    return {
        "kind": "look --cluster", "version": VERSION, "isotrain": __version__, "photos": looked.photos,
        "looked": looked.photos - looked.kept, "kept": looked.kept, "unreadable": looked.errors,
        "skipped": looked.unreadable, "workers": looked.workers, "seconds": looked.seconds,
        "written": [str(out / looked.result.name)],
    }  # fmt: skip


def _gallery(chosen: dict[str, Any]) -> str | None:
    """The gallery's place; None where none was named and there is none yet.

    Raises:
        BadOption: a passphrase is to be asked for: workers have nobody to ask.
    """
    if chosen["ask"]:
        raise BadOption("--passphrase asks here alone: with --cluster set $ISOTRAIN_PASSPHRASE, for all workers.")
    place = place_of(chosen)
    named = chosen["place"] or os.environ.get("ISOTRAIN_GALLERY")
    return place if named or Path(place).exists() else None
