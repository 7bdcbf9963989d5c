"""Loss curves as a part of a page: a legend and a figure for each panel."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from isotrain.figures import INK
from isotrain.lab.plots import Line, Panel, svgs


def curves(panels: Sequence[Panel], ours: Sequence[str] = ()) -> str:
    """A legend, then one figure a panel; the panels named in `ours` are framed."""
    lines = {line.label: line for panel in panels for line in panel.lines}
    legend = "".join(f"<li>{_swatch(line)}{escape(label)}</li>" for label, line in lines.items())
    figures = "".join(
        f'<figure class="{_kind(panel, ours)}"><figcaption><strong>{escape(panel.title)}</strong>'
        f"<span>{escape(panel.note)}</span></figcaption>{svg}</figure>"
        for panel, svg in zip(panels, svgs(panels), strict=True)
    )
    return f'<ul class="legend">{legend}</ul><div class="panels">{figures}</div>'


def _kind(panel: Panel, ours: Sequence[str]) -> str:
    return " ".join(["ours"] * (panel.title in ours) + ["wide"] * panel.wide)


def _swatch(line: Line) -> str:
    dash = ' stroke-dasharray="6 4"' if line.dashed else ""
    color = "currentColor" if line.color == INK else line.color
    return (
        f'<svg viewBox="0 0 34 10" aria-hidden="true"><line x1="1" x2="33" y1="5" y2="5" stroke="{color}" '
        f'stroke-width="3"{dash}/></svg>'
    )
