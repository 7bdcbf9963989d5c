"""The data's doctor: looks at every label and every picture, and never stops at the first fault."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from isotrain.data.faults import Fault, Severity
from isotrain.data.opened import read_source
from isotrain.data.pictures import picture_size, read_picture
from isotrain.data.readers import masks
from isotrain.data.readers.reading import TEST, TRAIN, VAL, Reading
from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadData
from isotrain.progress import Tick

__all__ = ["Fault", "check", "summary"]

SMALL = 48
"""Sides below which pictures look alike without being so (digits); near duplicates are looked for above only."""
BITS = 6
"""Bits of 64 in which the hashes of near duplicates may differ."""
ALIKE = 0.99
"""Correlation of the small grey versions of two pictures above which they are near duplicates."""
THUMB = 16


def check(source: str, tick: Tick | None = None) -> list[Fault]:
    """Everything that is wrong with a source, in the order of its files; errors and warnings.

    Args:
        source: as of `open_dataset`.
        tick: called with 1 after every picture.

    Raises:
        BadData: absent, of no known format, or nothing of it can be read.

    >>> check("digits")
    []
    """
    reading = read_source(source)
    faults = [*reading.faults, *_classes(reading), *looked_at(reading, tick)]
    return list(dict.fromkeys(faults))


def summary(dataset: Dataset) -> dict[str, Any]:
    """Counts by split and class, and the pictures' sizes. Plain JSON.

    >>> from isotrain.data.opened import open_dataset
    >>> found = summary(open_dataset("digits", "labels"))
    >>> found["splits"]["test"]["pictures"], found["sizes"]["largest"]
    (297, [8, 8])
    """
    splits = {"train": dataset.train, "held out": dataset.held_out, "test": dataset.test}
    sizes: list[tuple[int, int]] = []
    unreadable = 0
    for sample in (sample for samples in splits.values() for sample in samples):
        try:
            sizes.append(picture_size(sample.picture))
        except BadData:
            unreadable += 1
    sizes.sort(key=lambda size: (size[0] * size[1], size))
    places = {"smallest": 0, "median": len(sizes) // 2, "largest": -1}
    return {
        "source": dataset.source,
        "format": dataset.format,
        "classes": list(dataset.classes),
        "splits": {name: _counts(samples, dataset.classes) for name, samples in splits.items()},
        # [height, width], by their number of pixels.
        "sizes": {name: list(sizes[place]) for name, place in places.items()} if sizes else {},
        "unreadable": unreadable,
    }


def _counts(samples: list[Sample], classes: tuple[str, ...]) -> dict[str, Any]:
    things = [thing for sample in samples for thing in sample.things]
    pictures = Counter(label for sample in samples for label in _shown(sample))
    objects = Counter(thing.label for thing in things)
    return {
        "pictures": len(samples),
        "without label": sum(not _shown(sample) for sample in samples),
        "objects": len(things),
        "masks": sum(thing.mask is not None for thing in things),
        "crowds": sum(thing.crowd for thing in things),
        "groups": len({sample.group for sample in samples if sample.group}),
        "pictures of class": {name: pictures[number] for number, name in enumerate(classes)},
        "objects of class": {name: objects[number] for number, name in enumerate(classes)} if things else {},
    }


def _shown(sample: Sample) -> set[int]:
    return {*sample.labels, *(thing.label for thing in sample.things)}


def _classes(reading: Reading) -> Iterable[Fault]:
    """Classes that cannot be learned, or cannot be told apart."""
    shown = {
        split: {label: sample for sample in reversed(samples) for label in _shown(sample)}
        for split, samples in reading.splits.items()
    }
    for split in (VAL, TEST):
        for label, sample in sorted(shown[split].items(), key=lambda item: item[0]):
            if label not in shown[TRAIN]:
                what = f"class {reading.classes[label]!r} is in {split} and in no training picture"
                severity: Severity = "error" if reading.labelled else "warning"
                yield Fault(sample.where, what, "Add training pictures of it, or take it out.", severity)
    if reading.labelled and len(reading.classes) == 1:
        what = f"one class only ({reading.classes[0]!r})"
        yield Fault("classes", what, "Add pictures of another class: there is nothing to tell apart.")
    # A mask of zeros says that nothing is there, and a file with a fault has had its say.
    said = {fault.where.split(":")[0] for fault in reading.faults}
    for sample in (sample for samples in reading.splits.values() for sample in samples):
        if not _shown(sample) and reading.format != masks.NAME and sample.where not in said:
            what = f"nothing is labelled in picture {sample.name}"
            yield Fault(sample.where, what, "Fine if nothing is on it; else label it.", "warning")
    groups = {split: {s.group for s in samples if s.group} for split, samples in reading.splits.items()}
    for split in (VAL, TEST):
        for group in sorted(groups[TRAIN] & groups[split]):
            yield Fault(group, f"group is in train and in {split}", "Move all of it to one of the two.")


@dataclass(frozen=True)
class _Look:
    """What is kept of a picture: where it is from, a hash of its pixels, and a small grey version."""

    split: str
    sample: Sample
    pixels: bytes
    bits: int
    thumb: Tensor | None


def looked_at(reading: Reading, tick: Tick | None) -> list[Fault]:
    """Pictures that cannot be read, or are there twice; `tick(1)` after each."""
    faults: list[Fault] = []

    def look(item: tuple[str, Sample]) -> _Look | Fault:
        split, sample = item
        try:
            picture = read_picture(sample.picture)
        except BadData as error:
            return Fault(sample.where or sample.name, str(error).rstrip("."), "Replace the picture or take it out.")
        size = int(picture.shape[1]), int(picture.shape[2])
        pixels = hashlib.blake2b(str(tuple(picture.shape)).encode(), digest_size=16)
        pixels.update(picture.contiguous().numpy().tobytes())
        bits, thumb = _small(picture) if min(size) >= SMALL else (0, None)
        return _Look(split, sample, pixels.digest(), bits, thumb)

    items = [
        (split, sample)
        for split, samples in reading.splits.items()
        for sample in samples
        if sample.picture not in reading.unreadable
    ]
    looks: list[_Look] = []
    with ThreadPoolExecutor(2) as pool:
        for seen in pool.map(look, items):
            if isinstance(seen, Fault):
                faults.append(seen)
            else:
                looks.append(seen)
            if tick:
                tick(1)
    return faults + _twice(looks) + _near(looks)


def _small(picture: Tensor) -> tuple[int, Tensor | None]:
    """A hash of 64 bits (is a place darker than its right neighbour?) and [256] grey values around 0, of length 1."""
    grey = picture.float().mean(0)[None, None]
    rows = interpolate(grey, (8, 9), mode="area")[0, 0]
    bits = np.packbits((rows[:, :-1] < rows[:, 1:]).numpy()).view(np.uint64)[0]
    thumb = interpolate(grey, (THUMB, THUMB), mode="area").flatten()
    thumb = thumb - thumb.mean()
    length = thumb.norm()
    # A plain picture is like every other plain one.
    return int(bits), thumb / length if length > THUMB else None


def _twice(looks: list[_Look]) -> list[Fault]:
    """Pictures with the same pixels, the second of each two named."""
    faults = []
    first: dict[bytes, _Look] = {}
    for look in looks:
        other = first.setdefault(look.pixels, look)
        if other is look:
            continue
        names = f"picture {look.sample.name} has the same pixels as {other.sample.name}"
        where = look.sample.where or look.sample.name
        if other.split != look.split:
            what = f"{names}: it leaks from {other.split} to {look.split}"
            faults.append(Fault(where, what, f"Take it out of {look.split} or of {other.split}."))
        elif _shown(other.sample) != _shown(look.sample):
            faults.append(Fault(where, f"{names}, and another label", "Keep the right one.", "warning"))
        else:
            faults.append(Fault(where, names, "Delete one.", "warning"))
    return faults


def _near(looks: list[_Look]) -> list[Fault]:
    """Pictures to learn from that look like others to be scored on: other pixels, the same view."""
    train = [look for look in looks if look.split == TRAIN and look.thumb is not None]
    others = [look for look in looks if look.split in (VAL, TEST) and look.thumb is not None]
    if not train or not others:
        return []
    hashes = np.array([look.bits for look in train], dtype=np.uint64)
    thumbs = torch.stack([look.thumb for look in train if look.thumb is not None])
    known = {look.pixels for look in train}
    ones = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)
    faults = []
    for look in others:
        if look.pixels in known or look.thumb is None:
            continue
        differ = ones[(hashes ^ np.uint64(look.bits)).view(np.uint8)].reshape(-1, 8).sum(1)
        candidates = np.flatnonzero(differ <= BITS)
        if not len(candidates):
            continue
        alike = thumbs[candidates] @ look.thumb
        best = int(alike.argmax())
        if alike[best] > ALIKE:
            twin = train[int(candidates[best])].sample.name
            what = f"picture {look.sample.name} looks like {twin}: it may leak from {TRAIN} to {look.split}"
            where = look.sample.where or look.sample.name
            faults.append(Fault(where, what, f"If it is the same picture, take it out of {look.split}.", "warning"))
    return faults
