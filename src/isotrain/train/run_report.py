"""The report of a run: one page in one file, its curve, scores, plan, data and pictures in it."""

from __future__ import annotations

import base64
import csv
import json
import math
from pathlib import Path
from typing import Any

from isotrain.figures import INK, frame, inline_svg, new_figure
from isotrain.page import opening, page, paragraph, section, table
from isotrain.train.live import points
from isotrain.train.rundir import CURVE, PICTURES, SCORES, SHOWN, RunFolder
from isotrain.version import __version__

BLUE, ORANGE = "#2f7fd6", "#e07b25"
MOST = 2000
"""Points of the curve that are drawn."""
LONGEST = 6000
"""Characters of what a task wrote that are shown, the last ones."""
CLASSES = 40
"""Rows of a table of classes."""
Row = tuple[float, float, float, float | None]
"""Step, seconds, loss, held out."""


def run_report(path: Path | str, name: str = "") -> str:
    """The report of a run, whether it is done or not.

    Args:
        path: the run folder.
        name: the user's words for it.

    Raises:
        BadCheckpoint: the folder holds no run, or a damaged one.
    """
    folder = RunFolder(path)
    card = folder.card()
    found = _json(folder.path / SCORES)
    rows = _curve(folder.path)
    plan, data = card["plan"], card["data"]
    spent = float(found.get("seconds") or (rows[-1][1] if rows else 0))
    steps = int(found.get("steps") or (rows[-1][0] if rows else 0))
    facts = {
        "task": card["task"],
        "data": f"{Path(str(data.get('source') or 'generated')).name}, {data.get('format', '')}".rstrip(", "),
        "samples": ", ".join(f"{n:,} {part.replace('_', ' ')}" for part, n in data.get("samples", {}).items()),
        "classes": f"{len(card['card'].get('classes', [])):,}" if card["card"].get("classes") else "none",
        "steps": f"{steps:,}",
        "time": f"{spent:.0f} s" if spent < 120 else f"{spent / 60:.1f} min",
        "optimizer": str(plan.get("optimizer", "")),
        "isotrain": str(card["isotrain"]),
    }
    sections = [
        opening(
            name or f"A run of {card['task']}",
            "What was learned, from what, and how well it does on samples that it has not learned from.",
            _verdict(found),
            facts,
        ),
        _drawn(rows),
        *(_scores(part, scores) for part, scores in found.get("scores", {}).items()),
        _pictures(folder.path / PICTURES),
        _written(folder.path / SHOWN),
        section("The plan", table(("what", "value"), [(k, [(str(v), "")]) for k, v in plan.items()], "plan")),
        section("The notes", *(paragraph(note) for note in found["notes"])) if found.get("notes") else "",
    ]
    return page(name or f"A run of {card['task']}", sections, __version__)


def _verdict(found: dict[str, Any]) -> list[str]:
    if not found.get("scores"):
        return ["The training is not done: it has no scores yet."]
    words = []
    for part, scores in found["scores"].items():
        plain = [f"{name} {_number(value)}" for name, value in scores.items() if _is_number(value)]
        words.append(f"{part}: {', '.join(plain[:4])}.")
    return words


def _scores(part: str, scores: dict[str, Any]) -> str:
    """One table of numbers, and one for each that is given by class."""
    plain = [(name, [(_number(value), "")]) for name, value in scores.items() if _is_number(value)]
    tables = [table(("score", part), plain, f"scores, {part}")]
    for name, value in scores.items():
        if isinstance(value, dict) and value and all(_is_number(one) for one in value.values()):
            rows = [(key, [(_number(one), "")]) for key, one in list(value.items())[:CLASSES]]
            more = f", the first {CLASSES} of {len(value)}" if len(value) > CLASSES else ""
            tables.append(paragraph(f"{name[:1].upper()}{name[1:]}{more}:"))
            tables.append(table((name, part), rows, f"{name}, {part}"))
    return section(f"Scores, {part}", *tables)


def _drawn(rows: list[Row]) -> str:
    rows = [row for row in rows if math.isfinite(row[2])]
    if not rows:
        return ""
    held = [(row[0], row[3]) for row in rows if row[3] is not None and math.isfinite(row[3])]
    every = max(1, len(rows) // MOST)
    thin = [rows[start : start + every] for start in range(0, len(rows), every)]
    figure, axes = new_figure(1 + bool(held), 1, (7.2, 3.0 + 2.0 * bool(held)))
    axes[0].plot([part[-1][0] for part in thin], [sum(r[2] for r in part) / len(part) for part in thin], color=BLUE)
    if all(row[2] > 0 for row in rows):
        axes[0].set_yscale("log")
    axes[0].set_ylabel("training loss", color=INK)
    if held:
        axes[1].plot(*zip(*held, strict=True), "o-", color=ORANGE, markersize=3.5)
        axes[1].set_ylabel("held out, lower is better", color=INK)
    for ax in axes:
        frame(ax)
    axes[-1].set_xlabel("step", color=INK)
    return section("The curve", inline_svg(figure, f"training loss over {int(rows[-1][0])} steps", "run"))


def _pictures(folder: Path) -> str:
    """The pictures themselves, in the page; the curve is drawn anew above."""
    parts = []
    for path in sorted(folder.glob("*.png")):
        if path.stem != "curve":
            content = base64.b64encode(path.read_bytes()).decode()
            words = path.stem.replace("_", " ").replace("-", " ")
            size = "max-width:100%;height:auto"
            parts.append(f'<p><img alt="{words}" style="{size}" src="data:image/png;base64,{content}"></p>')
    return section("On samples it has not learned from", *parts) if parts else ""


def _written(path: Path) -> str:
    from html import escape

    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    return section("What it wrote", f'<pre style="white-space:pre-wrap">{escape(text[-LONGEST:])}</pre>')


def _curve(folder: Path) -> list[Row]:
    """Of a run that goes on, what it has told so far."""
    told: list[Row] = [(p["step"], p["seconds"], p["loss"], p["held_out"]) for p in points(folder)]
    try:
        with (folder / CURVE).open(encoding="utf-8", newline="") as file:
            kept = list(csv.DictReader(file))
    except FileNotFoundError:
        return told
    whole: list[Row] = [
        (float(r["step"]), float(r["seconds"]), float(r["loss"]), float(r["held_out"]) if r["held_out"] else None)
        for r in kept
    ]
    return whole + [row for row in told if not whole or row[0] > whole[-1][0]]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
