"""People to learn from: a folder of them made into aligned crops, some people held out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from isotrain.data.opened import open_dataset
from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadData, BadOption
from isotrain.faces.aligning import Aligner
from isotrain.faces.chain import Cutter, central, cutter_of
from isotrain.faces.parts import Marked
from isotrain.faces.splits import split_people
from isotrain.progress import Tick
from isotrain.tasks.faces import defaults

CHUNK = 32
"""Pictures looked at together."""


class Skipped(list[tuple[str, str]]):
    """Pictures that were left out: name and why."""

    def said(self) -> str:
        """One sentence, "" if there are none."""
        if not self:
            return ""
        shown = "; ".join(f"{name}: {why}" for name, why in self[:3])
        return f"{len(self):,} pictures left out ({shown}{' ...' if len(self) > 3 else ''})."


def people(
    source: str | Dataset,
    options: dict[str, Any],
    held_out: float,
    seed: int,
    tick: Tick | None = None,
    detector: str = "shipped",
    landmarks: str = "shipped",
) -> tuple[Dataset, Skipped]:
    """Aligned crops of people, for the task faces.

    Args:
        source: a folder with a folder for each person, or samples with one label each.
        options: of the task; alignment, size and net matter here.
        held_out: share of the people, all of whose pictures are held out. 0: none, for scores alone.
        seed: draws who.
        tick: called with the number of pictures done.
        detector: see `isotrain.faces.chain.Chain.of`.
        landmarks: the same.

    Returns:
        The crops, the people learned from first in `classes` and those held out behind them; and what was left out.

    Raises:
        BadData: no such folder, no people in it, or no face in any picture.
    """
    dataset = open_dataset(source, "people", held_out=0.0, seed=seed) if isinstance(source, str) else source
    known = defaults(str(options.get("net", "residual"))) | options
    channels = int(known.get("channels") or 1)
    aligner = Aligner(known["alignment"], int(known["size"]), channels)
    if held_out and not (dataset.held_out or dataset.test):
        _check(len({label for sample in dataset.train for label in sample.labels}), held_out)
    cutter = cutter_of(aligner, detector, landmarks)
    skipped = Skipped()
    parts: list[list[Sample]] = []
    for samples in (dataset.train, dataset.held_out, dataset.test):
        found, missed = crops_of(samples, cutter, tick)
        parts.append(found)
        skipped += missed
    number = sum(len(part) for part in (dataset.train, dataset.held_out, dataset.test))
    if not number:
        raise BadData(f"{dataset.source} shows nobody.")
    if not any(parts):
        raise BadData(f"{dataset.source}: no face was found in any of {number:,} pictures. {skipped.said()}")
    train, kept, test = parts
    if held_out and not (kept or test):
        names = {dataset.classes[one.labels[0]] for one in train}
        out = set(split_people(names, [1 - held_out, held_out], seed)[1])
        kept = [one for one in train if dataset.classes[one.labels[0]] in out]
        train = [one for one in train if dataset.classes[one.labels[0]] not in out]
    order = [label for part in (train, kept, test) for label in sorted({one.labels[0] for one in part})]
    place = {label: at for at, label in enumerate(dict.fromkeys(order))}
    shown = f"{dataset.format}, faces aligned"
    classes = tuple(dataset.classes[label] for label in place)
    train, kept, test = ([_relabelled(one, place) for one in part] for part in (train, kept, test))
    return Dataset(classes, train, kept, test, dataset.source, shown), skipped


def _check(people: int, held_out: float) -> None:
    """Raise early, before every face is looked for."""
    if people and (round(people * held_out) < 1 or round(people * (1 - held_out)) < 2):
        raise BadOption(
            f"{people} people are too few to hold out {held_out:.0%} of them: give more people, --held-out 0.5 or 0."
        )


def _relabelled(sample: Sample, place: dict[int, int]) -> Sample:
    return Sample(sample.picture, (place[sample.labels[0]],), name=sample.name, group=sample.group, where=sample.where)


def crops_of(samples: Sequence[Sample], cutter: Cutter, tick: Tick | None = None) -> tuple[list[Sample], Skipped]:
    """The samples with the central face's crop in place of the picture; without those that show none.

    Samples whose things have landmarks are aligned by those.
    """
    found: list[Sample] = []
    skipped = Skipped()
    for start in range(0, len(samples), CHUNK):
        chunk = samples[start : start + CHUNK]
        with ThreadPoolExecutor(2) as pool:
            pictures = list(pool.map(_read, chunk))
        for sample, picture in zip(chunk, pictures, strict=True):
            if isinstance(picture, str):
                skipped.append((sample.name, picture))
        there = [(s, p) for s, p in zip(chunk, pictures, strict=True) if isinstance(p, Tensor)]
        marked = [(s, p) for s, p in there if len(s.things) == 1 and len(s.things[0].points) == 68]
        for sample, crop in zip([s for s, _ in marked], _by_landmarks(marked, cutter.aligner), strict=True):
            found.append(_with(sample, crop))
        looked = [(s, p) for s, p in there if not (len(s.things) == 1 and len(s.things[0].points) == 68)]
        for (sample, _), faces in zip(looked, cutter.cut([p for _, p in looked], central), strict=True):
            if faces:
                found.append(_with(sample, faces[0].crop))
            else:
                skipped.append((sample.name, "no face was found"))
        if tick is not None:
            tick(len(chunk))
    return found, skipped


def _by_landmarks(marked: Sequence[tuple[Sample, Tensor]], aligner: Aligner) -> list[Tensor]:
    """Crops of pictures whose landmarks are known."""
    if not marked:
        return []
    points = torch.stack([torch.tensor(sample.things[0].points) for sample, _ in marked])
    boxes = torch.tensor([sample.things[0].box for sample, _ in marked])
    aligned = aligner.crops([picture for _, picture in marked], boxes, Marked(points, torch.ones(len(points))))
    return list(aligned.crops.mul(255).round_().to(torch.uint8))


def _with(sample: Sample, crop: Tensor) -> Sample:
    return Sample(crop, sample.labels, name=sample.name, group=sample.group, where=sample.where)


def _read(sample: Sample) -> Tensor | str:
    try:
        return read_picture(sample.picture, reduce=True)
    except BadData as error:
        return str(error)
