"""Pictures that a run leaves: its curve, and predictions on a sheet."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from isotrain.data.pictures import read_picture
from isotrain.data.samples import Sample, evenly
from isotrain.errors import BadData
from isotrain.tasks.looking import PictureTask

if TYPE_CHECKING:
    from PIL.Image import Image

Row = tuple[float, float, float, float, float | None]
"""Of a curve: step, epoch, seconds, loss, held out."""
INK, FAINT, BLUE, ORANGE = "#1b1f24", "#8a8f98", "#2f7fd6", "#e07b25"
CELL, CAPTION, COLUMNS = 240, 22, 4
"""Of a sheet: pixels of a picture's side, pixels of the line under it, pictures in a row."""
LINE, WIDE = 16, 34
"""Pixels of a second line, characters of a line."""
SMOOTHED = 30
"""The curve's line is a mean over one in so many of its points."""


def curve_png(rows: Sequence[Row], title: str, smooth: int | None = None) -> bytes:
    """The training loss by step, as it was and smoothed; under it what was held out, where it was looked at.

    What is held out is what `Task.weigh` gives: the lower, the better.

    Args:
        rows: of the curve.
        title: above it.
        smooth: points that a mean goes over; None: one in thirty of them.
    """
    steps, losses = [row[0] for row in rows], [row[3] for row in rows]
    held_out = [(row[0], row[4]) for row in rows if row[4] is not None and math.isfinite(row[4])]
    figure, axes = _figure(1 + bool(held_out), 1, (7.2, 3.2 + 1.9 * bool(held_out)), [3, 1.8][: 1 + bool(held_out)])
    top = axes[0]
    if len(rows) > SMOOTHED:
        top.plot(steps, losses, color=BLUE, alpha=0.22, linewidth=0.8)
    top.plot(steps, running_mean(losses, smooth or max(1, len(rows) // SMOOTHED)), color=BLUE, linewidth=1.8)
    if losses and all(loss > 0 for loss in losses if math.isfinite(loss)):
        _logarithmic(top)
    top.set_ylabel("training loss", color=INK)
    if held_out:
        at, values = zip(*held_out, strict=True)
        best = min(range(len(values)), key=lambda place: values[place])
        axes[1].plot(at, values, "o-", color=ORANGE, linewidth=1.6, markersize=3.5)
        axes[1].annotate(
            f"best {values[best]:.3g}", (at[best], values[best]), textcoords="offset points", xytext=(0, 7),
            fontsize=8.5, color=INK, ha="center",
        )  # fmt: skip
        axes[1].margins(y=0.3)
        axes[1].set_ylabel("held out\n(lower is better)", color=INK)
        axes[1].sharex(top)
    seconds, epochs = (rows[-1][2], rows[-1][1]) if rows else (0.0, 0.0)
    axes[-1].set_xlabel(f"step   ({epochs:.3g} epochs, {_spent(seconds)})", color=INK)
    top.set_title(title, fontsize=11, fontweight="bold", loc="left", color=INK)
    return _png(figure)


def sheet(task: PictureTask, net: nn.Module, samples: Sequence[Sample], most: int = 12) -> bytes | None:
    """Predictions on some samples, evenly spaced, drawn side by side; what is true is written under each.

    None if no sample could be read.
    """
    from PIL import Image, ImageDraw, ImageFont

    cells: list[tuple[Image.Image, list[str]]] = []
    for sample in evenly(samples, most):
        try:
            picture = read_picture(sample.picture, reduce=True)
        except BadData:
            continue  # the scores have named it, or will; a sheet of examples can do without
        with torch.no_grad():
            prediction = task.predict_sample(net, picture, sample)
            drawn = task.thumbnail(picture, prediction)
        said = [f"says: {prediction.answer['caption']}"] if sample.said else []
        cells.append((fitted(drawn, CELL), [*said, _caption(task, sample)]))
    if not cells:
        return None
    columns = min(COLUMNS, len(cells))
    told = [
        [line for words in said for line in textwrap.wrap(words, WIDE, max_lines=2, placeholder="…")]
        for _, said in cells
    ]
    caption = CAPTION + LINE * (max(1, *map(len, told)) - 1)
    page = Image.new("RGB", (columns * (CELL + 8) + 8, -(-len(cells) // columns) * (CELL + caption + 8) + 8), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for place, (cell, _) in enumerate(cells):
        row, column = divmod(place, columns)
        left, top = 8 + column * (CELL + 8), 8 + row * (CELL + caption + 8)
        page.paste(cell, (left + (CELL - cell.width) // 2, top + (CELL - cell.height) // 2))
        for turn, line in enumerate(told[place]):
            pen.text((left + 2, top + CELL + 3 + turn * LINE), line, fill=INK, font=font)
    buffer = io.BytesIO()
    page.save(buffer, format="png")
    return buffer.getvalue()


def fitted(picture: Image, side: int) -> Image:
    """The picture in a square of `side` pixels: made smaller with care, or larger by whole pixels."""
    from PIL import Image as Pillow

    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Pillow.Resampling.NEAREST if scale > 2 else Pillow.Resampling.LANCZOS)


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean over the last `window` values.

    >>> running_mean([4.0, 2.0, 0.0], 2)
    [4.0, 3.0, 1.0]
    """
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=float)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    return list(((sums[ends] - sums[begins]) / (ends - begins)).tolist())


def _logarithmic(axes: Any) -> None:
    """A logarithmic axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _caption(task: PictureTask, sample: Sample) -> str:
    """What is true; of people who are not learned from no class is known, so that it is the sample's name."""
    if task.open_set:
        return sample.name
    if sample.said:
        return f"is: {sample.said[0]}"
    things = [thing.label for thing in sample.things if not thing.crowd]
    labels = list(sample.labels) or things
    counted = {label: labels.count(label) for label in sorted(set(labels))}
    words = [
        f"{number} {task.classes[label]}" if number > 1 else task.classes[label] for label, number in counted.items()
    ]
    return f"is: {', '.join(words) or '–'}"


def _spent(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _figure(rows: int, columns: int, size: tuple[float, float], heights: Sequence[float]) -> tuple[Any, list[Any]]:
    # Figure directly, not pyplot: nothing global is touched, no window is opened.
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flat)
    for ax in axes:
        ax.tick_params(labelsize=8.5, colors=INK, color=FAINT, length=3, which="both")
        ax.grid(True, color=FAINT, alpha=0.22, linewidth=0.7)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(FAINT)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor="white")
    return buffer.getvalue()
