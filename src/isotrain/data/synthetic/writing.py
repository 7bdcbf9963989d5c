"""The text twins written as files that are read back: a text, parallel sentences, pictures with COCO's captions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isotrain.aside import write_aside
from isotrain.data.samples import Dataset, Sample
from isotrain.data.synthetic.coco import write_picture
from isotrain.errors import BadData
from isotrain.progress import Tick


def write_text(dataset: Dataset, folder: Path) -> list[Path]:
    """Write `text.txt`: what is learned from, what is held out and what is tested on, one after the other.

    `open_text` cuts a text after 90 and 95 %: a dataset of 18 to 1 to 1 comes back to within a stretch of each part.

    Args:
        dataset: of stretches that follow one another.
        folder: made if it is not there; the file is replaced.

    Returns:
        The file.

    Raises:
        OSError: the place cannot be written.
    """
    text = ""
    for samples in (dataset.train, dataset.held_out, dataset.test):
        if samples:  # the last symbol of a stretch is the first of the next
            text += "".join(sample.text[:-1] for sample in samples) + samples[-1].text[-1]
    write_aside(folder / "text.txt", text.encode())
    return [folder / "text.txt"]


def write_parallel(dataset: Dataset, folder: Path) -> list[Path]:
    """Write `train.source` and `train.target`, and the same of val and test, a sentence a line.

    Held-out samples are `val`; empty parts are left out.

    Args:
        dataset: of sentences with a translation each.
        folder: made if it is not there; files of the same names are replaced.

    Returns:
        The files.

    Raises:
        BadData: a sentence has no translation, or takes several lines.
        OSError: a place cannot be written.
    """
    written = []
    for part, samples in _parts(dataset):
        for sample in samples:
            if len(sample.said) != 1 or "\n" in sample.text + sample.said[0]:
                raise BadData(f"sentence {sample.name!r} has {len(sample.said)} translations, or takes several lines.")
        for side, texts in (("source", [s.text for s in samples]), ("target", [s.said[0] for s in samples])):
            written.append(folder / f"{part}.{side}")
            write_aside(written[-1], "".join(f"{text}\n" for text in texts).encode())
    return written


def write_captions(dataset: Dataset, folder: Path, tick: Tick | None = None) -> list[Path]:
    """Write `train/`, `val/` and `test/` with pictures, and `annotations/captions_<part>.json` for each.

    Held-out samples are `val`; empty parts are left out.

    Args:
        dataset: its pictures in memory (written as PNG) or in files (copied byte for byte).
        folder: made if it is not there; files of the same names are replaced.
        tick: called after every picture.

    Returns:
        The files with captions.

    Raises:
        OSError: a place cannot be written, or a picture's file not read.
    """
    written = []
    for part, samples in _parts(dataset):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, sample in enumerate(samples, 1):
            name, height, width = write_picture(sample, folder / part, number)
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            for said in sample.said:
                annotations.append({"id": len(annotations) + 1, "image_id": number, "caption": said})
            if tick is not None:
                tick(1)
        content = {"info": {"description": dataset.format}, "images": images, "annotations": annotations}
        written.append(folder / "annotations" / f"captions_{part}.json")
        write_aside(written[-1], json.dumps(content).encode())
    return written


def _parts(dataset: Dataset) -> Iterator[tuple[str, list[Sample]]]:
    for part, samples in (("train", dataset.train), ("val", dataset.held_out), ("test", dataset.test)):
        if samples:
            yield part, samples
