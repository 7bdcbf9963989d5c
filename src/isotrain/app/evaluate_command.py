"""`isotrain evaluate`: the field's standard scores of a run, on its own data or on other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isotrain.app.named_data import Named
from isotrain.app.run_data import asked_by, part_of, renumbered
from isotrain.app.smaller import DEPTH, compressed, residual
from isotrain.data.samples import Dataset
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption
from isotrain.progress import progress_bar
from isotrain.tasks.base import Task
from isotrain.tasks.characters import Characters
from isotrain.train.rundir import PICTURES, RunFolder, load_run


def evaluate(run: Path, data: Named, split: str | None, depth: bool, rank: int | None, quiet: bool) -> dict[str, Any]:
    """Score a run.

    Args:
        run: its folder.
        data: what was named; nothing for what it was trained on.
        split: "held-out", "test" or "train"; None: held-out of the run's own data; of other data the test samples if
            it has some, else all; of another text all.
        depth: also what each residual block is worth.
        rank: of region nets, that their fully connected layers are cut down to; None: as they are.
        quiet: no progress.

    Returns:
        The scores and where they are from, as JSON can hold it.

    Raises:
        BadCheckpoint: no run, or damaged.
        BadData: the data cannot be read, or has classes the run does not know.
        UnknownName: no such split.
        BadOption: `depth`, and the net has no residual blocks; `rank`, and it has no regions.
    """
    task, net, _ = load_run(run)
    if rank is not None:
        net = compressed(task, net, rank)
    if depth:
        residual(task, net)
    folder = RunFolder(run)
    if data.data is None:
        dataset = asked_by(folder).open(task.name, quiet)
        split = split or ("held-out" if dataset.held_out else None)
    else:
        asked = asked_by(folder).naming(data)
        if split is None or not isinstance(task, Characters):
            asked = replace(asked, held_out=0.0)  # of new data nothing has to be, but for a part that is asked for
        dataset = asked.open(task.name, quiet)
    if isinstance(task, Characters) and data.data is not None:
        known_throughout(task, dataset)
    if isinstance(task, Characters) and data.data is not None and split is None:
        name, samples = "all", dataset.test
    else:
        name, samples = part_of(dataset if task.open_set else renumbered(dataset, task.classes), split)
    shelf = Shelf(samples, task.load)
    with progress_bar("scores", len(samples), not quiet) as part, torch.no_grad():
        scores = task.evaluate(net, shelf, part(name))
    document: dict[str, Any] = {
        "kind": "evaluate",
        "run": str(run),
        "task": task.name,
        "data": {"source": dataset.source, "format": dataset.format, "notes": list(dataset.notes)},
        "split": name,
        "samples": len(samples),
        "score": task.score,
        "scores": {name: scores},
    }
    return document | _depth(task, net, shelf, folder, quiet) if depth else document


def known_throughout(task: Characters, dataset: Dataset) -> None:
    """That a text has no other characters than those a run has learned from.

    Raises:
        BadData: it has; the message names the first of them and its place.
    """
    known = set(task.symbols.alphabet)
    for sample in () if task.symbols.bytes_ else (*dataset.train, *dataset.held_out, *dataset.test):
        if set(sample.text) <= known:
            continue
        place, strange = next((n, c) for n, c in enumerate(sample.text) if c not in known)
        where, _, offset = sample.where.rpartition(" ")
        around = sample.text[max(0, place - 10) : place + 10]
        raise BadData(
            f"{where} {int(offset) + place}: {strange!r} (U+{ord(strange):04X}, around it {around!r}) is not one of "
            f"the {len(known)} characters that the run has learned from. Take it out of the text, or train with "
            "--bytes, which know every character."
        )


def _depth(task: Task, net: nn.Module, shelf: Shelf[Any], folder: RunFolder, quiet: bool) -> dict[str, Any]:
    """What each block is worth, also written into the run folder, where `predict --depth` reads it."""
    from isotrain.tasks.depth import PASSES, depth_report

    with progress_bar("depth", PASSES * len(shelf), not quiet) as part:
        report = depth_report(task, residual(task, net), shelf, part("blocks dropped, repeated, exchanged"))
    found = report.to_dict()
    written = folder.write_json(DEPTH, found)
    picture = folder.path / PICTURES / "depth.png"
    try:
        report.plot(picture)
    except OSError as error:
        raise BadOption(f"{picture} cannot be written: {error.strerror or error}.") from error
    return {"depth": found, "written": [str(written), str(picture)]}
