"""The contest as a page and as panels of curves."""

from __future__ import annotations

import math
from typing import Any

from isotrain.lab.curves import curves
from isotrain.lab.plots import PALETTE, Line, Panel
from isotrain.page import opening, page, paragraph, section, table
from isotrain.version import __version__

OURS = "isotrain"
MEASURES = {
    "loss": ("Training loss at equal steps", "Mean of the last tenth of the run, median over seeds."),
    "timed": ("Training loss at equal seconds", "A rival has as many steps as fit into isotrain's time."),
    "published": ("At the published rate, equal seconds", "What an untuned rival reaches."),
    "held_out": ("Held-out loss", "On samples never trained on, median over seeds."),
    "accuracy": ("Right answers held out", "Share of them, median over seeds."),
    "averaged": (
        "Held-out loss with averaged weights",
        "isotrain.Averages, checked thrice: chosen on one half of the samples, judged on the other.",
    ),
    "averaged_accuracy": ("Right answers held out with averaged weights", "In the same way."),
    "cost": ("Time of a step over SGD's", "Blocks of ten steps, taken in turns."),
}
"""A figure's name in `Score` -> its table's title, and what it is."""


def panels(document: dict[str, Any]) -> list[Panel]:
    """A panel a problem: the training loss of every optimizer at its best rate, by share of the run."""
    optimizers = list(dict.fromkeys(o for row in document["scores"].values() for o in row))
    found = []
    for problem, row in document["scores"].items():
        lines = [
            Line(
                name,
                row[name]["curve"],
                PALETTE[optimizers.index(name) % len(PALETTE)],
                dashed=optimizers.index(name) >= len(PALETTE),
                width=3.0 if name.startswith(OURS) else 1.3,
                x=[100 * (at + 1) / len(row[name]["curve"]) for at in range(len(row[name]["curve"]))],
            )
            for name in optimizers
            if name in row
        ]
        found.append(Panel(problem, document["titles"][problem], lines, "part of the run, in hundredths", apart=True))
    return found


def contest_page(document: dict[str, Any]) -> str:
    """The whole page."""
    scores = document["scores"]
    optimizers = list(dict.fromkeys(o for row in scores.values() for o in row))
    facts = {k: str(v) for k, v in document["facts"].items()}
    parts = [
        opening(
            "The contest",
            "The same networks from the same starts on the same minibatches. Every rival runs at the best of five "
            "rates, and up to two past an end of them, chosen on each problem by its own training loss; isotrain has "
            "no rate and one setting everywhere. Only isotrain-start begins with isotrain.start; all others, isotrain "
            "itself among them, with torch's own weights.",
            document["verdict"],
            facts,
        ),
        section(
            "Curves",
            paragraph("Training loss on the minibatches; each problem has axes of its own."),
            curves(panels(document)),
        ),
    ]
    for name, (title, words) in MEASURES.items():
        parts.append(section(title, paragraph(words), table(["", *scores], _rows(scores, optimizers, name), title)))
    return page("isotrain contest", parts, __version__)


def contest_markdown(document: dict[str, Any]) -> str:
    """The verdict and a table a measure, a row a problem."""
    scores = document["scores"]
    optimizers = list(dict.fromkeys(o for row in scores.values() for o in row))
    parts = ["\n".join(f"* {line}" for line in document["verdict"])]
    for name, (title, words) in MEASURES.items():
        columns = _rows(scores, optimizers, name)
        lines = [f"| | {' | '.join(optimizers)} |", "|---" * (len(optimizers) + 1) + "|"]
        for place, problem in enumerate(scores):
            cells = [f"**{text}**" if style else text for text, style in (column[1][place] for column in columns)]
            lines.append(f"| {problem} | {' | '.join(cells)} |")
        parts.append(f"## {title}\n\n{words}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _rows(scores: dict[str, Any], optimizers: list[str], name: str) -> list[tuple[str, list[tuple[str, str]]]]:
    best = max if name.endswith("accuracy") else min
    least = {p: best((s[name] for s in row.values() if s[name] is not None), default=None) for p, row in scores.items()}
    rows = []
    for optimizer in optimizers:
        cells = []
        for problem, row in scores.items():
            value = row[optimizer][name] if optimizer in row else None
            missing = optimizer not in row or (value is None and name not in ("loss", "timed"))
            text = "–" if missing else "diverged" if value is None else short(value)
            cells.append((text, "strong" if value is not None and value == least[problem] else ""))
        rows.append((optimizer, cells))
    return rows


def short(value: float) -> str:
    """Three digits.

    >>> short(0.01234), short(137.2)
    ('0.0123', '137')
    """
    if not math.isfinite(value):
        return "diverged"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
