"""`isotrain train`: from data to a run folder."""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from isotrain.app.named_data import Named
from isotrain.app.run_data import Asked, asked_by
from isotrain.data.samples import Dataset
from isotrain.data.shelf import Shelf
from isotrain.errors import BadCheckpoint, BadOption
from isotrain.look.familiar import FILE as FAMILIAR
from isotrain.look.familiar import learn_of
from isotrain.tasks import task_named
from isotrain.tasks.looking import PictureTask
from isotrain.train.distributed import joined
from isotrain.train.live import LIVE
from isotrain.train.loop import fit
from isotrain.train.modelcard import README, model_card
from isotrain.train.optimizers import chosen as trainer_named
from isotrain.train.plots import curve_png, sheet
from isotrain.train.recipes import Plan, recipe
from isotrain.train.rundir import CARD, CHECKPOINT, CURVE, PICTURES, SCORES, SHOWN, WEIGHTS, RunFolder, load_run
from isotrain.train.tensorboard import BOARD, Board

TRIED = 1.0
"""Minutes that generated data is learned from, if nothing else is asked for."""
SAMPLES = {"characters": "stretches", "translate": "sentences", "caption": "pictures"}
"""What is counted of data that has no classes."""


def train(
    task: str,
    data: Named,
    out: Path,
    chosen: dict[str, Any],
    held_out: float | None,
    options: dict[str, Any],
    resume: bool,
    overwrite: bool,
    quiet: bool,
    board: bool = False,
) -> dict[str, Any]:
    """Train a task and leave the run in a folder.

    Args:
        task: its name.
        data: what was named; nothing for the generated twin.
        out: the run folder.
        chosen: fields of the plan that differ from the recipe's, or from the run's that is taken up again.
        held_out: share of the samples to hold out; None: the usual one.
        options: of the task.
        resume: go on with the run in the folder.
        overwrite: begin anew though there is a run in the folder.
        quiet: neither progress nor words.
        board: write what TensorBoard shows, too.

    Returns:
        What was done, as JSON can hold it; nothing in a process that does not lead the others.

    Raises:
        BadOption: the folder is taken, or an option is wrong.
        BadCheckpoint: `resume`, and the folder holds no run of this task that could go on.
        KeyboardInterrupt: asked to stop; the step was finished and a checkpoint saved.
    """
    team = joined()
    quiet = quiet or not team.lead
    kind = task_named(task)
    folder = RunFolder(out)
    watch = Board(out) if board and team.lead else None
    if resume:
        asked, plan, card = _begun(folder, task, data, held_out, options)
    elif team.lead and folder.taken and not overwrite:
        raise BadOption(f"{out} holds a run already: go on with it by --resume, replace it by --overwrite, or --out.")
    else:
        asked = Asked.of(task, data, held_out, chosen.get("seed", 0), options)
        plan, card = recipe(task), None
        if data.data is None and not {"epochs", "minutes"} & set(chosen):
            plan = replace(plan, minutes=TRIED)
    plan = replace(plan, **chosen)
    trainer_named(plan.optimizer)
    dataset = asked.open(task, quiet)
    if not quiet:
        _announce(task, asked, dataset)
    made = kind(kind.plan(dataset, asked.options) if card is None else card)
    if not resume and team.lead:
        _clear(folder)
        asked.keep(folder)
    with watch or nullcontext():
        try:
            outcome = fit(made, dataset, folder, plan, resume=resume, progress=not quiet, team=team, watch=watch)
        except KeyboardInterrupt as error:
            if str(error) and not quiet:
                print(f"isotrain: {error}", file=sys.stderr)
            raise
        if not team.lead:
            return {}
        written = _left(folder, dataset, outcome.curve)
        if watch is not None:
            watch.end(outcome.steps, outcome.scores, folder.path / PICTURES)
            written.append(str(watch.folder))
    return {
        "kind": "train",
        "run": str(out),
        "task": task,
        "plan": asdict(plan),
        "data": {
            "source": dataset.source,
            "format": dataset.format,
            "classes": list(dataset.classes),
            "notes": list(dataset.notes),
        },
        "samples": {name: len(getattr(dataset, name)) for name in ("train", "held_out", "test")},
        "score": kind.score,
        **outcome.to_dict(),
        "written": [str(out / name) for name in (WEIGHTS, CARD, SCORES, CURVE)] + written,
    }


def _begun(
    folder: RunFolder, task: str, data: Named, held_out: float | None, options: dict[str, Any]
) -> tuple[Asked, Plan, dict[str, Any]]:
    """What a run was begun with; what is given now must agree with it."""
    card = folder.card()
    if card["task"] != task:
        raise BadCheckpoint(f"{folder.path} holds a run of {card['task']}, not of {task}.")
    asked = asked_by(folder)
    if data.data is not None:
        asked = asked.naming(data)  # the same data may have moved; the loop compares the numbers of samples
    if held_out is not None and held_out != asked.held_out:
        raise BadOption(f"the run in {folder.path} held out {asked.held_out:g}, not {held_out:g}: leave --held-out.")
    odd = [key for key, value in options.items() if asked.options.get(key) != value]
    if odd:
        raise BadOption(f"the run in {folder.path} was begun with another {odd[0]}: leave it, or choose another --out.")
    try:
        plan = Plan(**card["plan"])
    except TypeError as error:
        raise BadCheckpoint(f"{folder.path / CARD} has another plan than this version knows: train again.") from error
    return asked, plan, card["card"]


def _announce(task: str, asked: Asked, dataset: Dataset) -> None:
    things = f" {SAMPLES[task]}" if task in SAMPLES else ""
    sizes = f"{len(dataset.train):,}{things} to learn from, {len(dataset.held_out):,} held out, "
    sizes += f"{len(dataset.test):,} to test on"
    what = f"{dataset.source}{f' and {asked.beside}' if asked.beside else ''}, {dataset.format}"
    if asked.data is None:
        what = f"No data given: to try it, {dataset.format.replace(': ', ', ')}"
    classes = "" if task in SAMPLES else f"{len(dataset.classes)} classes; "
    print(f"{what}; {classes}{sizes}.", file=sys.stderr)
    for note in dataset.notes:
        print(f"{note[:1].upper()}{note[1:].removesuffix('.')}.", file=sys.stderr)


def _clear(folder: RunFolder) -> None:
    """Take away what an earlier run left, only now that there is something to train."""
    names = (CHECKPOINT, WEIGHTS, SCORES, CURVE, CARD, SHOWN, LIVE, README, FAMILIAR)
    old = [folder.path / name for name in names] + list((folder.path / PICTURES).glob("*.png"))
    old += (folder.path / BOARD).glob("events.*")
    for path in old:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise BadOption(f"{path} cannot be replaced: {error.strerror or error}.") from error


def _left(folder: RunFolder, dataset: Dataset, curve: list[Any]) -> list[str]:
    """Beside weights and scores: the curve, and what the kept weights make of samples it has not learned from."""
    task, net, _ = load_run(folder.path)
    title = f"{task.name} on {Path(dataset.source).name or 'data'}"
    written = [folder.path / SHOWN] if (folder.path / SHOWN).is_file() else []
    written.append(folder.write(README, model_card(folder)))
    written.append(folder.write(f"{PICTURES}/curve.png", curve_png(curve, title)))
    samples = dataset.held_out or dataset.test or dataset.train
    page = sheet(task, net, samples) if isinstance(task, PictureTask) else None
    if page is not None:
        written.append(folder.write(f"{PICTURES}/predictions.png", page))
    for name, picture in task.pictures(net, Shelf(samples, task.load)).items():
        drawn = io.BytesIO()
        picture.save(drawn, format="png")
        written.append(folder.write(f"{PICTURES}/{name}.png", drawn.getvalue()))
    known = learn_of(folder.path, dataset)
    return [str(path) for path in (*written, *([] if known is None else [known]))]
