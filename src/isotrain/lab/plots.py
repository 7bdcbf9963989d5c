"""Loss curves as pictures: one small panel a trainer, as SVG for the page and as one PNG for everything else.

The SVG is written to live inside an HTML page: it takes the page's own font and text colour (so that light
and dark both work) and carries no address of any kind.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isotrain.figures import INK, frame, inline_svg, new_figure

LEGEND = 6
"""Names in a row of a picture's legend."""
POINTS = 240
# Colours that keep their distance from one another for colour-blind readers, on white and on near-black.
PALETTE = (
    "#2f7fd6",
    "#e07b25",
    "#22a06b",
    "#b0579f",
    "#c9a100",
    "#22a3b8",
    "#d64545",
    "#7c6ae0",
    "#8a6d4b",
    "#6b8e23",
)


@dataclass(frozen=True)
class Line:
    """One curve. `x` None counts steps."""

    label: str
    y: Sequence[float | None]
    color: str = INK
    dashed: bool = False
    width: float = 1.6
    x: Sequence[float] | None = None


@dataclass(frozen=True)
class Panel:
    """A title, a remark under it, and curves over one another; `apart` where the losses are of a problem of its own.

    What an axis is called is in `xlabel` and `ylabel`.
    """

    title: str
    note: str
    lines: Sequence[Line]
    xlabel: str = "step"
    wide: bool = False
    apart: bool = False
    ylabel: str = "training loss"


def smoothed(values: Sequence[float | None], window: int) -> list[float]:
    """Mean over the last `window` values, to see a curve through the noise of minibatches.

    >>> smoothed([4.0, 2.0, 0.0], 2)
    [4.0, 3.0, 1.0]
    """
    finite = [math.nan if v is None else v for v in values]
    return [sum(part) / len(part) for i in range(len(finite)) if (part := finite[max(0, i + 1 - window) : i + 1])]


def window_for(steps: int) -> int:
    """How many steps a picture averages over: one in thirty."""
    return max(1, steps // 30)


def limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """One range of losses for all panels; a curve that explodes does not set it."""
    values = sorted(
        v
        for p in panels
        for line in p.lines
        for v in smoothed(line.y, window_for(len(line.y)))
        if math.isfinite(v) and v > 0
    )
    if not values:
        return 0.1, 10.0
    starts = [line.y[0] for p in panels for line in p.lines if line.y and line.y[0] is not None]
    top = max(50.0 * max((s for s in starts if s > 0), default=1.0), values[len(values) // 2])
    return max(values[0] / 1.3, top * 1e-9), min(values[-1], top) * 1.25


def ticks(low: float, high: float) -> list[float]:
    """Round numbers to write beside a logarithmic axis, at least two of them where the range allows.

    >>> ticks(0.003, 3.0), ticks(1.3, 3.0)
    ([0.01, 0.1, 1.0], [1.5, 2.0, 2.5, 3.0])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)):
        found = [float(f"{s * 10.0**d:.2g}") for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(found) >= 3:
            break
    return found


def svgs(panels: Sequence[Panel]) -> list[str]:
    """Each panel as an ``<svg>``, on the same axes unless apart; a wide panel twice, for wide and narrow pages."""
    shared = limits(panels)
    found = []
    for at, panel in enumerate(panels):
        low, high = limits([panel]) if panel.apart else shared
        drawn = ""
        for size, kind in (((8.9, 3.0), "broad"), ((4.3, 3.0), "narrow")) if panel.wide else (((4.3, 3.0), ""),):
            figure, (axes,) = new_figure(1, 1, size)
            _draw(axes, panel, low, high, thick=1.6 if kind == "broad" else 1.0)
            drawn += _inline(figure, panel, f"{at} {kind}").replace("<svg", f'<svg class="{kind}"', 1)
        found.append(drawn)
    return found


def png(panels: Sequence[Panel], title: str) -> bytes:
    """All panels in one picture."""
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    lines = {line.label: line for p in panels for line in p.lines}
    foot = 0.1 + 0.2 * math.ceil(len(lines) / LEGEND)  # inches
    height = 3.3 * rows + 0.7 + foot
    figure, axes = new_figure(rows, columns, (4.3 * columns, height))
    shared = limits(panels)
    for ax, panel in zip(axes, panels, strict=False):
        low, high = limits([panel]) if panel.apart else shared
        _draw(ax, panel, low, high, titled=True)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.02, ha="left")
    handles = {handle.get_label(): handle for ax in axes for handle in ax.get_lines()}
    figure.legend(
        [handles[label] for label in lines],
        list(lines),
        loc="lower left",
        ncols=min(LEGEND, len(lines)),
        frameon=False,
        fontsize=8.5,
        bbox_to_anchor=(0.01, 0.0),
    )
    figure.tight_layout(rect=(0, foot / height, 1, 0.97))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()


def _draw(ax: Any, panel: Panel, low: float, high: float, titled: bool = False, thick: float = 1.0) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for line in panel.lines:
        # Far outside the frame is far enough: the largest floats make matplotlib overflow.
        y = [min(v, 1e3 * high) for v in smoothed(line.y, window_for(len(line.y)))]
        x = list(range(1, len(y) + 1)) if line.x is None else list(line.x)
        keep = (
            sorted({round(i * (len(y) - 1) / (POINTS - 1)) for i in range(POINTS)})
            if len(y) > POINTS
            else range(len(y))
        )
        style: Any = (0, (3.2, 2.0)) if line.dashed else "-"
        ax.plot(
            [x[i] for i in keep],
            [y[i] for i in keep],
            color=line.color,
            linewidth=line.width * thick,
            linestyle=style,
            label=line.label,
            solid_capstyle="round",
            dash_capstyle="butt",
        )
        if line.y and (line.y[-1] is None or not math.isfinite(line.y[-1])):
            ends = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
            if ends:
                ax.plot(
                    [ends[-1][0]],
                    [min(ends[-1][1], high)],
                    "x",
                    color=line.color,
                    markersize=8,
                    clip_on=False,
                )
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.margins(x=0.01)
    ax.set_xlabel(panel.xlabel, fontsize=9, color=INK)
    ax.set_ylabel(panel.ylabel, fontsize=9, color=INK)
    ax.yaxis.set_major_locator(FixedLocator(ticks(low, high)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    frame(ax)
    if titled:
        ax.set_title(panel.title, fontsize=11, fontweight="bold", loc="left", color=INK, pad=16)
        ax.text(0, 1.025, panel.note, transform=ax.transAxes, fontsize=8.5, color="#555b66")


def _inline(figure: Any, panel: Panel, salt: str) -> str:
    names = ", ".join(line.label for line in panel.lines)
    return inline_svg(figure, f"{panel.title}: {panel.ylabel} by {panel.xlabel} of {names}. {panel.note}", salt)
