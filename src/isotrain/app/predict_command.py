"""`isotrain predict`: what a run's net says of pictures, drawn and written down."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.app.evaluate_command import shallow
from isotrain.aside import write_aside
from isotrain.data.pictures import SUFFIXES, read_picture
from isotrain.data.samples import Sample
from isotrain.errors import BadData, BadOption
from isotrain.progress import progress_bar
from isotrain.tasks.base import Prediction, Task
from isotrain.train.rundir import RunFolder, load_run

ANSWERS = "predictions.json"


def predict(
    run: Path, pictures: list[Path], out: Path | None, depth: int | None, regions: Path | None, quiet: bool
) -> dict[str, Any]:
    """Predict on pictures, draw each, and write all answers as JSON.

    A picture that cannot be read does not keep the others from being looked at.

    Args:
        run: its folder.
        pictures: files, or folders of them.
        out: folder for the drawings and predictions.json; None: predictions/ in the run's.
        depth: how many residual blocks are kept; None: all.
        regions: file of the regions to look at; None: the task finds its own.
        quiet: no progress.

    Returns:
        The answers, as JSON can hold it.

    Raises:
        BadCheckpoint: no run, or damaged.
        BadData: a picture cannot be read; the others have been written.
        BadOption: the net has no depth to choose, or the place cannot be written.
    """
    files = _listed(pictures)
    task, net, _ = load_run(run)
    if depth is not None:
        net = shallow(task, net, depth, RunFolder(run))
    ask = _asking(task, net, regions)
    out = run / "predictions" if out is None else out
    answers, unread, taken = [], [], set[str]()
    with progress_bar("predict", len(files), not quiet) as part, torch.no_grad():
        tick = part(task.name)
        for file in files:
            tick(1)
            try:
                picture = read_picture(file, reduce=True)
            except BadData as error:
                unread.append(str(error))
                continue
            prediction = ask(file, picture)
            name = _free(file, taken)
            drawn = io.BytesIO()
            task.draw(picture, prediction).save(drawn, format="png")
            _write(out / name, drawn.getvalue())
            answers.append({"picture": str(file), **prediction.answer, "drawn": str(out / name)})
    document = {"kind": "predict", "run": str(run), "task": task.name, "classes": task.classes, "predictions": answers}
    if answers:
        _write(out / ANSWERS, (json.dumps(document, indent=1) + "\n").encode())
    if unread:
        others = f" ({len(unread) - 1} more could not be read.)" if len(unread) > 1 else ""
        done = f" The other {len(answers)} are in {out}." if answers else ""
        raise BadData(f"{unread[0]}{others}{done}")
    return {**document, "written": str(out / ANSWERS)}


def _asking(task: Task, net: nn.Module, regions: Path | None) -> Callable[[Path, Tensor], Prediction]:
    """What is done with each picture.

    Raises:
        BadOption: regions, and the task looks at none.
        BadData: the regions cannot be read.
    """
    if regions is None:
        return lambda file, picture: task.predict(net, picture)
    if "regions" not in signature(task.predict).parameters:
        raise BadOption(f"--regions {regions}: {task.name} looks at whole pictures, not at regions.")
    from isotrain.tasks.regionfiles import RegionFile

    known = RegionFile(regions)
    predict: Callable[..., Prediction] = task.predict

    def ask(file: Path, picture: Tensor) -> Prediction:
        height, width = picture.shape[1:]
        return predict(net, picture, regions=known.of(Sample(file, name=file.stem), height, width))

    return ask


def _listed(pictures: list[Path]) -> list[Path]:
    files = []
    for path in pictures:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise BadData(f"folder {path} holds no picture.")
            files += inside
        else:
            files.append(path)
    return files


def _free(file: Path, taken: set[str]) -> str:
    """A name for a drawing that no other has."""
    name, number = f"{file.stem}.png", 1
    while name in taken:
        number += 1
        name = f"{file.stem}-{number}.png"
    taken.add(name)
    return name


def _write(path: Path, content: bytes) -> None:
    try:
        write_aside(path, content)
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}.") from error
