"""`isotrain predict`: what a run's net says of pictures, drawn and written down."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from isotrain.app.files import files_of, free_stem, put
from isotrain.app.smaller import compressed, shallow
from isotrain.data.pictures import read_picture
from isotrain.data.samples import Sample
from isotrain.errors import BadData, BadOption
from isotrain.progress import progress_bar
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.regionfiles import COLUMNS, RegionFile
from isotrain.tasks.sentences import Search
from isotrain.train.rundir import RunFolder, load_run

ANSWERS, REGIONS = "predictions.json", "regions.csv"


@dataclass(frozen=True)
class How:
    """What differs from the usual way to look at pictures.

    Attributes:
        depth: how many residual blocks are kept; None: all.
        rank: of region nets, that their fully connected layers are cut down to; None: as they are.
        regions: file of the regions to look at; None: the task finds its own.
        features: also write the feature vectors of the regions.
        search: of captions, how they are looked for; None: as is usual.
    """

    depth: int | None = None
    rank: int | None = None
    regions: Path | None = None
    features: bool = False
    search: Search | None = None


def predict(run: Path, pictures: list[Path], out: Path | None, how: How, quiet: bool) -> dict[str, Any]:
    """Predict on pictures, draw each, and write all answers as JSON.

    A picture that cannot be read does not keep the others from being looked at.

    Args:
        run: its folder.
        pictures: files, or folders of them.
        out: folder for the drawings and predictions.json; None: predictions/ in the run's.
        how: they are looked at.
        quiet: no progress.

    Returns:
        The answers, as JSON can hold it.

    Raises:
        BadCheckpoint: no run, or damaged.
        BadData: a picture cannot be read; the others have been written.
        BadOption: the net has no depth to choose, or no regions, or the place cannot be written.
    """
    out = run / "predictions" if out is None else out
    files = files_of(pictures, out)
    task, net, _ = load_run(run)
    assert isinstance(task, PictureTask), "the caller knows the task"
    if how.depth is not None:
        net = shallow(task, net, how.depth, RunFolder(run))
    if how.rank is not None:
        net = compressed(task, net, how.rank)
    ask = _asking(task, net, how)
    answers, unread, taken = [], [], set[str]()
    rows = [",".join((*COLUMNS, "score"))]
    with progress_bar("predict", len(files), not quiet) as part, torch.no_grad():
        tick = part(task.name)
        for file in files:
            tick(1)
            began = time.perf_counter()
            try:
                picture = read_picture(file, reduce=True)
            except BadData as error:
                unread.append(str(error))
                continue
            prediction, features = ask(file, picture)
            seconds = round(time.perf_counter() - began, 4)
            name = f"{free_stem(file, taken)}.png"
            drawn = io.BytesIO()
            task.draw(picture, prediction).save(drawn, format="png")
            put(out / name, drawn.getvalue())
            if features is not None:
                put((out / name).with_suffix(".safetensors"), save(features))
            if prediction.regions is not None:
                rows += [_row(file, region) for region in prediction.regions.tolist()]
            answers.append({"picture": str(file), **prediction.answer, "seconds": seconds, "drawn": str(out / name)})
    document = {"kind": "predict", "run": str(run), "task": task.name, "classes": task.classes, "predictions": answers}
    if answers:
        put(out / ANSWERS, (json.dumps(document, indent=1) + "\n").encode())
        if len(rows) > 1:
            put(out / REGIONS, ("\n".join(rows) + "\n").encode())
    if unread:
        others = f" ({len(unread) - 1} more could not be read.)" if len(unread) > 1 else ""
        done = f" The other {len(answers)} are in {out}." if answers else ""
        raise BadData(f"{unread[0]}{others}{done}")
    return {**document, "written": str(out / ANSWERS)}


Asking = Callable[[Path, Tensor], tuple[Prediction, dict[str, Tensor] | None]]


def _asking(task: PictureTask, net: nn.Module, how: How) -> Asking:
    """What is done with each picture.

    Raises:
        BadOption: regions or their features, and the task looks at none.
        BadData: the regions cannot be read.
    """
    if (how.regions is not None or how.features) and "regions" not in signature(task.predict).parameters:
        asked = "--features" if how.regions is None else f"--regions {how.regions}"
        raise BadOption(f"{asked}: {task.name} looks at whole pictures, not at regions.")
    known = None if how.regions is None else RegionFile(how.regions)

    def ask(file: Path, picture: Tensor) -> tuple[Prediction, dict[str, Tensor] | None]:
        height, width = picture.shape[1:]
        words: dict[str, Any] = {} if how.search is None else {"search": how.search}
        if known is not None:
            words["regions"] = known.of(Sample(file, name=file.stem), height, width)
        features = task.features(net, picture, **words) if how.features else None  # type: ignore[attr-defined]
        return task.predict(net, picture, **words), features

    return ask


def _row(file: Path, region: list[float]) -> str:
    """A line of the regions' file; names that hold a comma or a quote are quoted."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(
        [file.name, *(f"{side:.1f}" for side in region[:4]), f"{region[4]:.4f}"]
    )
    return line.getvalue()
