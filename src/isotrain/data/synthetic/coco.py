"""A dataset written as a COCO folder: the pictures of each part, and a JSON file of what is in them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from isotrain.aside import write_aside
from isotrain.data.outlines import MaskPicture, Outline, Polygons, RunLengths
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.progress import Tick


def write_coco(dataset: Dataset, folder: Path, tick: Tick | None = None) -> list[Path]:
    """Write `train/`, `val/` and `test/` with pictures, and `annotations/instances_<part>.json` for each.

    Held-out samples are `val`; empty parts are left out. Masks are written as run lengths, polygons as they are;
    categories are numbered from 1, as COCO's.

    Args:
        dataset: its pictures in memory (written as PNG) or in files (copied byte for byte).
        folder: made if it is not there; files of the same names are replaced.
        tick: called after every sample.

    Returns:
        The annotation files.

    Raises:
        OSError: a place cannot be written, or a picture's file not read.
    """
    written = []
    for part, samples in (("train", dataset.train), ("val", dataset.held_out), ("test", dataset.test)):
        if samples:
            path = folder / "annotations" / f"instances_{part}.json"
            write_aside(path, json.dumps(_part(dataset, samples, folder / part, tick)).encode())
            written.append(path)
    return written


def run_lengths(mask: Tensor) -> RunLengths:
    """A mask [H, W] as run lengths, column by column, beginning with a run of 0.

    >>> import torch
    >>> run_lengths(torch.tensor([[False, True], [True, True]]))
    RunLengths(counts=(1, 3), size=(2, 2))
    """
    flat = mask.cpu().numpy().astype(bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = [int(run) for run in np.diff(edges)]
    return RunLengths(tuple([0, *counts] if flat.size and flat[0] else counts), (mask.shape[0], mask.shape[1]))


def _part(dataset: Dataset, samples: list[Sample], folder: Path, tick: Tick | None) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, 1):
        name, height, width = write_picture(sample, folder, number)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for thing in sample.things:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_annotation(thing)})
        if tick is not None:
            tick(1)
    categories = [{"id": label, "name": name, "supercategory": ""} for label, name in enumerate(dataset.classes, 1)]
    info = {"description": dataset.format or dataset.source}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


def write_picture(sample: Sample, folder: Path, number: int) -> tuple[str, int, int]:
    """Write a sample's picture, named by its number; the file's name, the picture's height and width.

    Raises:
        OSError: the place cannot be written, or the picture's file not read.
    """
    from PIL import Image

    if isinstance(sample.picture, Path):
        with Image.open(sample.picture) as picture:
            width, height = picture.size
        name = f"{number:06d}{sample.picture.suffix.lower()}"
        write_aside(folder / name, sample.picture.read_bytes())
        return name, height, width
    levels = sample.picture.permute(1, 2, 0).cpu().numpy()
    content = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(content, "png")
    write_aside(folder / f"{number:06d}.png", content.getvalue())
    return f"{number:06d}.png", levels.shape[0], levels.shape[1]


def _annotation(thing: Thing) -> dict[str, Any]:
    left, top, right, bottom = thing.box
    width, height = right - left, bottom - top
    area, outline = width * height, {}
    if thing.mask is not None:
        segmentation, area = _segmentation(thing.mask, area)
        outline = {"segmentation": segmentation}
    return {
        "category_id": thing.label + 1,
        "bbox": [left, top, width, height],
        "area": area,
        "iscrowd": int(thing.crowd),
        **outline,
    }


def _segmentation(outline: Outline, area: float) -> tuple[Any, float]:
    """As COCO writes it, and the area in pixels: of the mask, or of the polygons."""
    if isinstance(outline, Polygons):
        return [list(ring) for ring in outline.rings], sum(_area(np.array(ring)) for ring in outline.rings)
    if isinstance(outline, MaskPicture):
        from PIL import Image

        values = np.asarray(Image.open(outline.path))
        import torch

        outline = torch.from_numpy(values != 0 if outline.value is None else values == outline.value)
    runs = run_lengths(outline) if isinstance(outline, Tensor) else outline
    return {"counts": list(runs.counts), "size": list(runs.size)}, float(sum(runs.counts[1::2]))


def _area(ring: np.ndarray[Any, Any]) -> float:
    x, y = ring[0::2], ring[1::2]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
