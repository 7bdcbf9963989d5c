"""Data of whatever format, found out, read, and split into what is learned from and what is not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from isotrain.data.readers import KNOWN, reader_of
from isotrain.data.readers.arrays import read_digits
from isotrain.data.readers.reading import TEST, TRAIN, VAL, Reading, Tree, split_named
from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadData, BadOption

NEEDS = ("labels", "people", "boxes", "masks", "landmarks")
MOST_HELD_OUT = 5000
"""Enough to tell 98 from 98.5 per cent; the rest is better learned from."""


def open_dataset(source: str, need: str, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """Labelled pictures from a folder, a file or a name, in any of the formats that are read here.

    Args:
        source: a folder or file; "digits"; or the name of a folder in `$ISOTRAIN_DATA`.
        need: "labels", "people" (labels, of whom those held out or tested on need not be learned from), "boxes",
            "masks" or "landmarks". Boxes serve as labels of their pictures, masks as boxes.
        held_out: share of the training samples that is held out, at most 5,000, where the source has no split of its
            own to choose by: as many of every class as its share, no group torn apart. 0: none, and a source that has
            no training samples is welcome too (to be scored on).
        seed: of the draw of those.

    Raises:
        BadData: absent, of no known format, without what is needed, or faulty; the message names the first fault.
        BadOption: the need or the share is not one.

    >>> dataset = open_dataset("digits", "labels")
    >>> len(dataset.train), len(dataset.held_out), len(dataset.test), dataset.classes[:3]
    (1350, 150, 297, ('0', '1', '2'))
    """
    if need not in NEEDS:
        raise BadOption(f"need {need!r} is none of {', '.join(NEEDS)}.")
    if not 0 <= held_out < 1:
        raise BadOption(f"a share of {held_out} cannot be held out: 0 to below 1.")
    reading = read_source(source, need)
    errors = [fault for fault in reading.faults if fault.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: `isotrain data check {source}` lists them.)" if len(errors) > 1 else ""
        raise BadData(f"{errors[0]}{more}")
    splits = {split: [_serving(sample, need) for sample in samples] for split, samples in reading.splits.items()}
    if not splits[TRAIN] and held_out:
        raise BadData(f"{source} ({reading.format}) has no pictures to learn from: its train split is empty.")
    _check(source, need, reading, splits)
    train, kept_out = splits[TRAIN], splits[VAL]
    if not kept_out and held_out:
        train, kept_out = hold_out(train, held_out, seed)
    return Dataset(tuple(reading.classes), train, kept_out, splits[TEST], source, reading.format)


def read_source(source: str, need: str = "") -> Reading:
    """All that a source holds and all that is wrong with it; `need` "" for every split list and mask there is.

    Raises:
        BadData: absent, of no known format, or nothing of it can be read.
    """
    if source == "digits" and not Path(source).exists():
        return read_digits()
    path = folder_of(source)
    tree = Tree(_inner(path), path)
    reader = reader_of(tree)
    if reader is None:
        raise BadData(f"{source} holds none of the known formats: {_found(tree)}. Known: {KNOWN}.")
    reading = reader.read(tree, need)
    _compare_sizes(reading)
    if not any(reading.splits.values()) and not reading.faults:
        raise BadData(f"{source} ({reading.format}) holds no sample.")
    return reading


def folder_of(source: str) -> Path:
    """The folder or file that a path, or the name of a folder in `$ISOTRAIN_DATA`, stands for.

    Raises:
        BadData: there is none.
    """
    path = Path(source)
    if not path.exists() and len(path.parts) == 1 and os.environ.get("ISOTRAIN_DATA"):
        path = Path(os.environ["ISOTRAIN_DATA"]) / source
    if not path.exists():
        known = "" if os.environ.get("ISOTRAIN_DATA") else " (a name is looked for in the folder $ISOTRAIN_DATA)"
        raise BadData(f"data {source} does not exist{known}.")
    return path


def _compare_sizes(reading: Reading) -> None:
    """Note pictures whose heads do not have the size that is stated: their boxes were drawn on other pictures."""
    for sample in (sample for samples in reading.splits.values() for sample in samples):
        stated = reading.sizes.get(sample.name)
        if stated is None or isinstance(sample.picture, Tensor):
            continue
        size = reading.size(sample.picture, sample.where)
        if size is not None and size != stated:
            turned = " (its EXIF rotation is applied)" if stated == size[::-1] else ""
            what = f"size {stated[1]} x {stated[0]} is stated, picture {sample.name} is {size[1]} x {size[0]}{turned}"
            reading.fault(sample.where, what, "State the size it has when looked at, and check its boxes.")


def _inner(path: Path) -> Path:
    """The folder in which there is something: an unpacked archive is often one folder in another."""
    while path.is_dir():
        inside = [entry for entry in path.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        only = inside[0] if len(inside) == 1 and inside[0].is_dir() else None
        if only is None or split_named(only.name) or not any(entry.is_dir() for entry in only.iterdir()):
            return path
        path = only
    return path


def _found(tree: Tree) -> str:
    if tree.only:
        return f"it is a {tree.only.suffix or 'nameless'} file"
    if tree.pictures:
        return f"{len(tree.pictures)} pictures and nothing that says what they show; put those of a class in its folder"
    kinds = Counter(path.suffix.lower() or path.name for path in tree.files).most_common(3)
    inside = ", ".join(f"{count} {kind}" for kind, count in kinds)
    packed = (
        "; unpack it first" if any(kind in (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z") for kind, _ in kinds) else ""
    )
    return (f"it has {inside}{packed}") if kinds else "it has no files"


def _serving(sample: Sample, need: str) -> Sample:
    """A sample whose boxes serve as labels where labels are needed."""
    if need not in ("labels", "people") or not sample.things:
        return sample
    shown = {thing.label for thing in sample.things if not thing.crowd}
    return replace(sample, labels=tuple(sorted(shown | set(sample.labels))))


def _check(source: str, need: str, reading: Reading, splits: dict[str, list[Sample]]) -> None:
    """Raise if what is needed is not there."""
    train = splits[TRAIN] or splits[VAL] + splits[TEST]
    where = f"{source} ({reading.format})"
    if need in ("labels", "people"):
        if not any(sample.labels for sample in train):
            raise BadData(f"{where} has no labels to learn from.")
        known = {label for sample in train for label in sample.labels}
        if reading.labelled and need == "labels":
            for sample in splits[VAL] + splits[TEST]:
                for label in set(sample.labels) - known:
                    name = reading.classes[label]
                    raise BadData(
                        f"{sample.where}: class {name!r} is in no training picture. Add some, or take it out."
                    )
        return
    things = [thing for samples in splits.values() for sample in samples for thing in sample.things]
    if need == "boxes" and not any(sample.things for sample in train):
        raise BadData(
            f"{where} has no boxes to learn from. Formats with boxes: COCO json, Pascal VOC xml, YOLO txt, "
            "metadata.jsonl with objects, csv with left,top,right,bottom."
        )
    if need == "landmarks" and not any(thing.points for sample in train for thing in sample.things):
        raise BadData(
            f"{where} has no landmarks to learn from. Formats with landmarks: csv with file,x0,y0,...,x67,y67; a .pts "
            "file beside each picture."
        )
    bare = [thing for thing in things if need == "masks" and thing.mask is None and not thing.crowd]
    if need == "masks" and not any(thing.mask is not None for sample in train for thing in sample.things):
        raise BadData(
            f"{where} has no masks to learn from. Formats with masks: COCO json, Pascal VOC with "
            "SegmentationObject, YOLO polygons, pictures with mask pictures."
        )
    if bare:
        raise BadData(f"{bare[0].where}: object without a mask ({len(bare)} of {len(things)}). Draw it, or delete it.")


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Samples in two parts, both in their old order, the second with about `share` of every class.

    Samples of a group stay together. The last sample (or group) of a class is never held out, and of two or more at
    least one is, if any class can spare one.

    >>> some = [Sample(torch.zeros(1, 1, 1), (n % 2,), name=str(n)) for n in range(20)]
    >>> [len(part) for part in hold_out(some, 0.2, 0)]
    [16, 4]
    """
    share = min(share, MOST_HELD_OUT / max(1, len(samples)))
    groups: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault(f"group {sample.group}" if sample.group else f"sample {number}", []).append(number)
    counts = Counter(label for sample in samples for label in _shown(sample))
    units = list(groups.values())
    strata = []  # a unit goes with its rarest class, or with none
    for unit in units:
        shown = {label for number in unit for label in _shown(samples[number])}
        strata.append(min(shown, key=lambda label: (counts[label], label), default=-1))
    drawn = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed)).tolist()
    order = sorted(drawn, key=lambda unit: strata[unit])
    left = Counter(strata)
    held: set[int] = set()
    passed = 0
    # One walk over all strata, holding out whenever the held are behind their share: every stratum gives its part.
    for unit in order:
        size = len(units[unit])
        passed += size
        if left[strata[unit]] > 1 and share * passed - len(held) >= size / 2:
            held.update(units[unit])
            left[strata[unit]] -= 1
    if not held:
        spare = [unit for unit in drawn if left[strata[unit]] > 1]
        if spare:
            held.update(units[min(spare, key=lambda unit: len(units[unit]))])
    return (
        [sample for number, sample in enumerate(samples) if number not in held],
        [sample for number, sample in enumerate(samples) if number in held],
    )


def _shown(sample: Sample) -> set[int]:
    return {*sample.labels, *(thing.label for thing in sample.things)}
