"""A depth report as one picture of three panels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isotrain.aside import write_aside

if TYPE_CHECKING:
    from isotrain.tasks.depth import DepthReport

INK, FAINT = "#24272c", "#9aa0a8"
DROP, REPEAT, SWAP, MOVE = "#2f7fd6", "#e07b25", "#22a06b", "#7c6ae0"
"""Told apart by colour-blind readers too; the marks differ in shape besides."""


def plot(report: DepthReport, path: Path) -> None:
    """Write the picture, whose format is the ending of `path`.

    Raises:
        OSError: the place cannot be written.
    """
    # Figure directly, not pyplot: nothing global is touched, no window is opened.
    from matplotlib.figure import Figure

    width = min(24.0, max(8.0, 3.0 + 0.42 * len(report.blocks)))
    figure = Figure(figsize=(width, 10.0), facecolor="white")
    costs, moves, depths = figure.subplots(3, 1)
    _costs(costs, report)
    _moves(moves, report)
    _depths(depths, report)
    for axes in (costs, moves, depths):
        _sober(axes)
    title = f"{report.net}: accuracy {100 * report.score:.1f} % on {report.samples:,} pictures"
    figure.suptitle(title, x=0.02, ha="left", fontsize=13, fontweight="bold", color=INK)
    figure.tight_layout(rect=(0, 0, 1, 0.98), h_pad=2.0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lstrip(".") or "png", dpi=130, facecolor="white")
    write_aside(path, buffer.getvalue())


def _costs(axes: Any, report: DepthReport) -> None:
    def lost(score: float) -> float:
        return 100 * (report.score - score)

    places = [worth.block for worth in report.blocks]
    axes.bar(places, [lost(worth.dropped) for worth in report.blocks], 0.62, color=DROP, label="dropped", zorder=2)
    repeated = [(worth.block, lost(worth.repeated)) for worth in report.blocks if worth.repeated is not None]
    swapped = [(worth.block + 0.5, lost(worth.swapped)) for worth in report.blocks if worth.swapped is not None]
    for points, colour, mark, label in (
        (repeated, REPEAT, "o", "repeated"),
        (swapped, SWAP, "D", "exchanged with the next"),
    ):
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, mark, color=colour, label=label, markersize=7, markeredgecolor="white", zorder=3)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_title("What a change of one block costs", loc="left", fontsize=11, color=INK)
    axes.set_ylabel("points of accuracy lost")
    # On the line of the title, where no bar can be behind it.
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.05), borderaxespad=0)
    _name_blocks(axes, report)


def _moves(axes: Any, report: DepthReport) -> None:
    bars = axes.bar([worth.block for worth in report.blocks], [w.movement for w in report.blocks], 0.62, color=MOVE)
    for bar, worth in zip(bars, report.blocks, strict=True):
        if worth.reshapes:
            bar.set(hatch="///", edgecolor="white", linewidth=0)
    axes.set_title("How far a block moves the representation (hatched: changes its shape)", loc="left", fontsize=11)
    axes.set_ylabel("norm of branch / shortcut")
    _name_blocks(axes, report)


def _depths(axes: Any, report: DepthReport) -> None:
    depths = sorted(report.depths)
    axes.plot(depths, [100 * report.depths[d] for d in depths], "-o", color=DROP, linewidth=1.8, markersize=5)
    axes.axhline(100 * report.score, color=FAINT, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.set_title("Shallower nets: the cheapest blocks are dropped first", loc="left", fontsize=11)
    axes.set_xlabel("residual blocks kept (predict --depth)")
    axes.set_ylabel("accuracy, %")
    axes.set_xlim(0.5, len(report.blocks) + 0.5)
    axes.set_xticks(_some(depths))


def _name_blocks(axes: Any, report: DepthReport) -> None:
    """Numbers of the blocks under the axis, a line and a name for each stage."""
    places = [worth.block for worth in report.blocks]
    axes.set_xticks(_some(places))
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.set_xlabel("residual block")
    for stage in sorted({worth.stage for worth in report.blocks}):
        own = [worth.block for worth in report.blocks if worth.stage == stage]
        if stage:
            axes.axvline(own[0] - 0.5, color=FAINT, linestyle=(0, (2, 3)), linewidth=1)
        axes.annotate(
            f"stage {stage + 1}",
            ((own[0] + own[-1]) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color="#6a7078",
        )


def _some(places: list[int]) -> list[int]:
    """Every one of few places, every so many of many."""
    return places[:: 1 + len(places) // 30]


def _sober(axes: Any) -> None:
    axes.set_title(axes.get_title("left"), loc="left", fontsize=11, color=INK, pad=16)
    axes.grid(True, axis="y", color=FAINT, alpha=0.25, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=INK, color=FAINT, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=9.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
