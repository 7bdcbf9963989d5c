"""A dataset of one class for each picture written as folders: `train/circle/000001.png`."""

from __future__ import annotations

from pathlib import Path

from isotrain.data.samples import Dataset
from isotrain.data.synthetic.coco import write_picture
from isotrain.progress import Tick


def write_folders(dataset: Dataset, folder: Path, tick: Tick | None = None) -> list[Path]:
    """Write `train/`, `val/` and `test/`, in each a folder for every class; empty parts are left out.

    Args:
        dataset: of one class for each picture.
        folder: made if it is not there; files of the same names are replaced.
        tick: called after every sample.

    Returns:
        The parts' folders.

    Raises:
        OSError: a place cannot be written, or a picture's file not read.
    """
    written = []
    for part, samples in (("train", dataset.train), ("val", dataset.held_out), ("test", dataset.test)):
        for number, sample in enumerate(samples, 1):
            write_picture(sample, folder / part / dataset.classes[sample.labels[0]], number)
            if tick is not None:
                tick(1)
        if samples:
            written.append(folder / part)
    return written
