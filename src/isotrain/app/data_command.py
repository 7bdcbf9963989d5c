"""`isotrain data`: what is wrong with a data set, which public sets there are, and generated ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isotrain.data.public import PUBLIC_SETS
from isotrain.errors import BadOption
from isotrain.progress import progress_bar

if TYPE_CHECKING:
    from isotrain.data.faults import Fault  # torch comes with it

WRITERS = {
    "classify": "write_folders",
    "faces": "write_folders",
    "characters": "write_text",
    "translate": "write_parallel",
    "caption": "write_captions",
}
"""Of `isotrain.data.synthetic`, what writes a twin; the others are written in COCO's layout."""
UNCOUNTED = ("characters", "translate")
"""Written in a moment, without counting."""


def check(data: Sequence[str], source: str | None, target: str | None, task: str | None, quiet: bool) -> dict[str, Any]:
    """Every fault of a data set, the worst first, as JSON can hold it.

    Args:
        data: folder or file, and the one that belongs to it: of captions, of translations.
        source: instead, the file of sentences.
        target: the file of their translations.
        task: whose data it is; None: found out.
        quiet: no progress.

    Raises:
        BadData: it is not there, or of none of the known formats.
        BadOption: nothing is named, or too much.
        UnknownName: no such task.
    """
    from isotrain.app.run_data import need_of
    from isotrain.data.opened import folder_of
    from isotrain.data.readers.reading import Tree
    from isotrain.data.textdoctor import check as examine_text
    from isotrain.data.textdoctor import kind_of

    places = [*data, *(place for place in (source, target) if place is not None)]
    if not 1 <= len(places) <= 2 or (target and not source):
        raise BadOption("data check takes DATA, or a folder of pictures and its captions, or --source and --target.")
    kind = kind_of(places[0], *places[1:]) if task is None else need_of(task)
    if kind in ("text", "parallel", "captions"):
        number = len(Tree(folder_of(places[0])).pictures) if kind == "captions" else 0
        with progress_bar("check", max(1, number), not quiet and number > 0) as part:
            found = examine_text(kind, places[0], places[1] if len(places) > 1 else None, part("pictures"))
        return {"kind": "data check", **found, **_counted(found["faults"])}
    if len(places) > 1:
        raise BadOption(f"{task} takes one DATA: {places[1]} is a second one.")
    return _pictures(places[0], quiet)


def _counted(faults: Sequence[Fault]) -> dict[str, Any]:
    """The faults, the worst first, and how many of them keep the data from being learned from."""
    ranked = sorted(dict.fromkeys(faults), key=lambda fault: fault.severity != "error")
    errors = sum(fault.severity == "error" for fault in ranked)
    return {"errors": errors, "faults": [asdict(fault) for fault in ranked]}


def _pictures(folder: str, quiet: bool) -> dict[str, Any]:
    """Of labelled pictures."""
    from isotrain.data.doctor import check as examine
    from isotrain.data.doctor import summary
    from isotrain.data.opened import read_source
    from isotrain.data.readers.reading import TEST, TRAIN, VAL
    from isotrain.data.samples import Dataset

    reading = read_source(folder)
    train, val, test = (reading.splits[split] for split in (TRAIN, VAL, TEST))
    with progress_bar("check", max(1, len(train) + len(val) + len(test)), not quiet) as part:
        faults = examine(folder, part("pictures"))
    return {
        "kind": "data check",
        **summary(Dataset(tuple(reading.classes), train, val, test, folder, reading.format)),
        **_counted(faults),
    }


def listed() -> dict[str, Any]:
    """The public sets, and which of them are in the folder of ``$ISOTRAIN_DATA``."""
    home = os.environ.get("ISOTRAIN_DATA") or None
    rows = []
    for known in PUBLIC_SETS:
        found = known.found(Path(home) if home else None)
        row = {key: value for key, value in asdict(known).items() if key != "signs"}
        rows.append({**row, "found": None if found is None else str(found)})
    return {"kind": "data list", "home": home, "sets": rows}


def make(
    task: str, folder: Path, sizes: tuple[int, int, int], seed: int, options: dict[str, Any], quiet: bool
) -> dict[str, Any]:
    """Write the generated twin of a task's data into a folder.

    Args:
        task: its name.
        folder: new, or empty.
        sizes: samples to learn from, held out, to test on.
        seed: of everything.
        options: of the twin.
        quiet: no progress.

    Raises:
        BadOption: the folder holds something or cannot be written, or an option is outside its range.
        UnknownName: no such task or option.
    """
    from isotrain.app.run_data import twin
    from isotrain.data import synthetic

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadOption(f"{folder} is there already and not empty: name a new folder.")
    with progress_bar("make", max(1, 2 * sum(sizes)), not quiet) as part:
        made = twin(task, seed, sizes, options, part("drawn"))
        try:
            write, tick = getattr(synthetic, WRITERS.get(task, "write_coco")), part("written")
            written = write(made, folder) if task in UNCOUNTED else write(made, folder, tick)
        except OSError as error:
            raise BadOption(f"{folder} cannot be written: {error.strerror or error}.") from error
    samples = dict(zip(("train", "held_out", "test"), sizes, strict=True))
    return {"kind": "data make", "format": made.format, "samples": samples, "written": [str(path) for path in written]}
