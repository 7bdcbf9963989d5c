"""`isotrain data`: what is wrong with a data set, which public sets there are, and generated ones."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isotrain.data.public import PUBLIC_SETS
from isotrain.errors import BadOption
from isotrain.progress import progress_bar

WRITERS = {
    "classify": "write_folders",
    "characters": "write_text",
    "translate": "write_parallel",
    "caption": "write_captions",
}
"""Of `isotrain.data.synthetic`, what writes a twin; the others are written in COCO's layout."""
UNCOUNTED = ("characters", "translate")
"""Written in a moment, without counting."""


def check(folder: str, quiet: bool) -> dict[str, Any]:
    """Every fault of a data set, the worst first, as JSON can hold it.

    Raises:
        BadData: the folder is not there, or holds none of the known formats.
    """
    from isotrain.data.doctor import check as examine
    from isotrain.data.doctor import summary
    from isotrain.data.opened import read_source
    from isotrain.data.readers.reading import TEST, TRAIN, VAL
    from isotrain.data.samples import Dataset

    reading = read_source(folder)
    train, val, test = (reading.splits[split] for split in (TRAIN, VAL, TEST))
    with progress_bar("check", max(1, len(train) + len(val) + len(test)), not quiet) as part:
        faults = sorted(examine(folder, part("pictures")), key=lambda fault: fault.severity != "error")
    return {
        "kind": "data check",
        **summary(Dataset(tuple(reading.classes), train, val, test, folder, reading.format)),
        "errors": sum(fault.severity == "error" for fault in faults),
        "faults": [asdict(fault) for fault in faults],
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
