"""Figures for pages and files: one look, drawn without a window, as SVG that lives inside an HTML page.

The SVG takes the page's own font and text colour (so that light and dark both work) and carries no address of any kind.
"""

from __future__ import annotations

import io
import re
from typing import Any

INK = "#0b0c0d"  # stands for the page's text colour in the SVG, where it becomes currentColor
FAINT = "#8a8f98"


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A matplotlib figure and its axes, row by row; the size is in inches."""
    # Figure directly, not pyplot: nothing global is touched, no window is opened.
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def frame(ax: Any) -> None:
    """Ticks, a faint grid, and a frame on the left and below."""
    ax.tick_params(labelsize=8.5, colors=INK, color=FAINT, length=3, which="both")
    ax.grid(True, color=FAINT, alpha=0.22, linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(FAINT)


def inline_svg(figure: Any, alt: str, salt: str) -> str:
    """A figure as an ``<svg>``.

    Args:
        figure: matplotlib's.
        alt: what it shows, for those who do not see it.
        salt: unlike that of any other figure on the page, so that their ids are.
    """
    import matplotlib

    figure.tight_layout(pad=0.4)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"panel {salt}"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)
    text = re.sub(r"font: (?:(\d+) )?([\d.]+px) [^;\"]*", r"font-size: \2; font-family: inherit", text)
    text = text.replace(INK, "currentColor").replace("xlink:href", "href")
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"|height="[\d.]+pt"|(?<=<svg )width="[\d.]+pt"', "", text)
    text = re.sub(r">\s+<", "><", text)
    alt = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
