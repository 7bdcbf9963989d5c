"""Verification as a picture: the ROC curve twice, with the spread of the folds, and the similarities of both kinds."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isotrain.faces.protocol import Verification
from isotrain.figures import FAINT, INK, frame, inline_svg, new_figure
from isotrain.tasks.scores.verification import roc

CURVE, SAME, OTHER = "#2f7fd6", "#22a06b", "#e07b25"
POINTS = 400
"""Of a drawn curve at most."""
BINS = 50
TITLES = ("ROC", "ROC, few strangers let in", "Similarities")
"""Of the three pictures."""


def verification_png(found: Verification) -> bytes:
    """The three pictures beside one another, under the protocol's name."""
    figure, axes = new_figure(1, 3, (14.0, 4.6))
    for ax, title, draw in zip(axes, TITLES, (_roc, _roc_of_few, _histograms), strict=True):
        draw(ax, found)
        ax.set_title(title, fontsize=11, fontweight="bold", loc="left", color=INK)
    figure.suptitle(_wrapped(str(found)), fontsize=10, x=0.01, ha="left", color=INK, parse_math=False)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor="white")
    return buffer.getvalue()


def verification_svgs(found: Verification) -> list[tuple[str, str]]:
    """Title and ``<svg>`` of each of the three pictures."""
    drawn = []
    for title, draw in zip(TITLES, (_roc, _roc_of_few, _histograms), strict=True):
        figure, (ax,) = new_figure(1, 1, (4.6, 3.6))
        draw(ax, found)
        drawn.append((title, inline_svg(figure, f"{title}. Area under the curve {found.auc.value:.4f}.", title)))
    return drawn


def _wrapped(text: str, width: int = 150) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _roc(ax: Any, found: Verification) -> None:
    _curve(ax, found, np.linspace(0, 1, POINTS))
    ax.plot([0, 1], [1, 0], color=FAINT, linewidth=0.8, linestyle=(0, (3, 3)))
    ax.plot([found.eer.value], [1 - found.eer.value], "o", color=CURVE, markersize=5)
    ax.annotate(
        f"equal error {found.eer.value:.1%}", (found.eer.value, 1 - found.eer.value), textcoords="offset points",
        xytext=(9, -9), fontsize=8.5, color=INK,
    )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.01)


def _roc_of_few(ax: Any, found: Verification) -> None:
    least = 1 / max(2, int((~found.same).sum()))
    ax.set_xscale("log")
    _curve(ax, found, np.geomspace(least, 1, POINTS))
    for operating in found.tar.values():
        if operating is not None and operating.far > 0:
            below, above = operating.tar.value - operating.tar.low, operating.tar.high - operating.tar.value
            error = [[max(0.0, below)], [max(0.0, above)]]
            ax.errorbar(
                [operating.far], [operating.tar.value], yerr=error, fmt="o", color=CURVE, markersize=5, capsize=3
            )
    ax.set_xlim(least, 1)
    ax.set_ylim(0, 1.01)


def _curve(ax: Any, found: Verification, grid: NDArray[np.float64]) -> None:
    """The curve of all pairs over a grid of FAR, between the least and the greatest of the folds."""
    folds = [found.fold == fold for fold in np.unique(found.fold)]
    spread = [_at(found.similarities[here], found.same[here], grid) for here in folds]
    usable = [one for one in spread if one is not None]
    if len(usable) > 1:
        ax.fill_between(grid, np.min(usable, 0), np.max(usable, 0), color=CURVE, alpha=0.16, linewidth=0, label="folds")
    ax.plot(grid, _at(found.similarities, found.same, grid), color=CURVE, linewidth=1.8, label="all pairs")
    ax.set_xlabel("strangers let in (FAR)", fontsize=9, color=INK)
    ax.set_ylabel("true pairs accepted (TAR)", fontsize=9, color=INK)
    ax.legend(loc="lower right", frameon=False, fontsize=8.5, labelcolor=INK)
    frame(ax)


def _at(
    similarities: NDArray[np.float64], same: NDArray[np.bool_], grid: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """TAR at each FAR of the grid, no more let in than that; None for a fold with one kind of pairs."""
    if same.all() or not same.any():
        return None
    curve = roc(similarities, same)
    return np.asarray(curve.tar[np.searchsorted(curve.far, grid * (1 + 1e-12), side="right") - 1])


def _histograms(ax: Any, found: Verification) -> None:
    low, high = np.quantile(found.similarities, [0.001, 0.999]).tolist()
    edges = np.linspace(low, high, BINS + 1) if low < high else np.linspace(low - 0.5, low + 0.5, BINS + 1)
    for name, kind, color in (("two people", ~found.same, OTHER), ("one person", found.same, SAME)):
        values = found.similarities[kind].clip(edges[0], edges[-1])
        counts, _ = np.histogram(values, edges)
        ax.stairs(counts / len(values), edges, fill=True, color=color, alpha=0.45, label=name)
    if found.calibration is not None:
        ax.axvline(found.calibration.threshold, color=INK, linewidth=1.2, label="most answers right")
        for far, level in found.calibration.levels.items():
            if edges[0] <= level.threshold <= edges[-1]:
                ax.axvline(level.threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)))
                ax.annotate(
                    f"{far:g}", (level.threshold, 1), xycoords=("data", "axes fraction"), xytext=(2, -9),
                    textcoords="offset points", fontsize=8, color=INK,
                )  # fmt: skip
    ax.set_xlabel("similarity; dotted: at most this share of strangers", fontsize=9, color=INK)
    ax.set_ylabel("share of the pairs", fontsize=9, color=INK)
    ax.set_ylim(bottom=0)
    ax.legend(loc="upper left", frameon=False, fontsize=8.5, labelcolor=INK)
    frame(ax)
