"""The memory runs summed up: who solved which length in how many steps, as a page, panels of curves, and tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isotrain.lab.curves import curves
from isotrain.lab.plots import PALETTE, Line, Panel
from isotrain.page import opening, page, paragraph, section, table
from isotrain.version import __version__

if TYPE_CHECKING:  # what is summed up was read from files: nothing of the runs is needed but their names
    from isotrain.data.synthetic.memory import MemoryProblem
    from isotrain.lab.suite.memory_runs import MemoryEntry, Way

OURS = "isotrain"
LEAD = (
    "Problems that ask at the end for what was shown at the beginning, T steps before. Endless sequences, the same for "
    "all; a run ends when the problem is solved on sequences held out, and a length is tried once the shorter are "
    "solved. Chrono initialisation lets the gates begin with memories of all lengths up to T; a plain recurrent net "
    "has no gates."
)


@dataclass(frozen=True)
class Memories:
    """All of it.

    Attributes:
        problems: name -> title, goal, and the loss of the best guess without memory.
        rows: problem -> a row for every way: cell, chrono, optimizer, and its outcome at each length tried.
        verdict: the findings in words.
        facts: how it was made.
    """

    problems: dict[str, dict[str, Any]]
    rows: dict[str, list[dict[str, Any]]]
    verdict: list[str]
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "kind": "memory",
            "problems": self.problems,
            "rows": self.rows,
            "verdict": self.verdict,
            "facts": self.facts,
        }

    def save(self, path: str | Path) -> Path:
        """Write it as the name says: ``.html``, ``.json``, ``.png`` or ``.md``."""
        from isotrain.lab.report import save

        return save(self, path)


def summed(
    found: dict[str, dict[Way, dict[int, list[MemoryEntry]]]],
    problems: dict[str, MemoryProblem],
    steps: int,
    every: int,
    facts: dict[str, Any],
) -> Memories:
    """Sum up runs.

    Args:
        found: problem -> way -> length -> the runs at its best rate.
        problems: by name.
        steps: most of a run.
        every: steps between two checks.
        facts: how it was made.
    """
    rows = {
        name: [
            {**way._asdict(), "lengths": {str(t): _outcome(made, every) for t, made in by_length.items()}}
            for way, by_length in ways.items()
        ]
        for name, ways in found.items()
    }
    told = {n: {"title": p.title, "goal": p.goal, "baseline": p.baseline} for n, p in problems.items()}
    return Memories(told, rows, verdict(rows), {**facts, "most": steps})


def _outcome(made: Sequence[MemoryEntry], every: int) -> dict[str, Any]:
    """Medians over seeds; of runs that were not solved, the loss they ended with."""
    solved = [math.inf if e.solved_at is None else e.solved_at for e in made]
    steps = statistics.median(solved)
    losses = [math.inf if e.held_out is None or e.diverged_at is not None else e.held_out for e in made]
    loss = statistics.median(losses)
    return {
        "steps": steps if math.isfinite(steps) else None,
        "seconds": statistics.median(e.seconds for e in made),
        "solved": sum(math.isfinite(s) for s in solved),
        "seeds": len(made),
        "loss": loss if math.isfinite(loss) else None,
        "right": statistics.median(e.accuracy or 0.0 for e in made),
        "rate": made[0].key.rate,
        "checks": [c if math.isfinite(c) else None for c in made[0].checks],
        "every": every,
    }


def named(row: dict[str, Any], optimizer: bool = True) -> str:
    """How tables and legends call a way.

    >>> named({"cell": "gru", "chrono": True, "optimizer": "adam"})
    'gru chrono, adam'
    """
    cell = f"{row['cell']} chrono" if row["chrono"] else str(row["cell"])
    return f"{cell}, {row['optimizer']}" if optimizer else cell


def verdict(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """How far each net remembers, and what chrono initialisation and the optimizers have to do with it."""
    words = []
    for problem, ways in rows.items():
        reach: dict[str, int] = {}
        for row in ways:
            name = named(row, optimizer=False)
            longest = max((int(t) for t, o in row["lengths"].items() if o["steps"] is not None), default=0)
            reach[name] = max(reach.get(name, 0), longest)
        told = [f"{name} up to T = {t}" if t else f"{name} at no length" for name, t in reach.items()]
        words.append(f"{problem} was solved by {', '.join(told)}.")
    every = [row for ways in rows.values() for row in ways]
    gated = [row for row in every if row["cell"] != "rnn"]
    words += _counts("With and without chrono initialisation", [(named_chrono(r), r) for r in gated], rows)
    words += _counts("By optimizer", [(row["optimizer"], row) for row in every], rows)
    return words


def named_chrono(row: dict[str, Any]) -> str:
    """With it, or without."""
    return "with" if row["chrono"] else "without"


def _counts(title: str, labelled: list[tuple[str, dict[str, Any]]], rows: dict[str, Any]) -> list[str]:
    """How many settings, lengths that were not reached among them, each label solved."""
    lengths = {t for ways in rows.values() for row in ways for t in row["lengths"]}
    labels = list(dict.fromkeys(label for label, _ in labelled))
    if len(labels) < 2:
        return []
    told = []
    for label in labels:
        own = [row for name, row in labelled if name == label]
        solved = sum(o["steps"] is not None for row in own for o in row["lengths"].values())
        told.append(f"{label} {solved} of {len(own) * len(lengths)}")
    return [f"{title}, of all nets, problems and lengths solved: {', '.join(told)}."]


def memory_panels(document: dict[str, Any]) -> list[Panel]:
    """By length: steps until solved, a panel a problem and cell. By step: the loss held out, a panel a problem."""
    return _by_length(document) + _by_step(document)


def _by_length(document: dict[str, Any]) -> list[Panel]:
    found = []
    optimizers = list(dict.fromkeys(row["optimizer"] for ways in document["rows"].values() for row in ways))
    for problem, ways in document["rows"].items():
        for cell in dict.fromkeys(row["cell"] for row in ways):
            lines, none = [], []
            for row in (row for row in ways if row["cell"] == cell):
                solved = {int(t): o["steps"] for t, o in row["lengths"].items() if o["steps"] is not None}
                label = f"{row['optimizer']}{', chrono' if row['chrono'] else ''}"
                color = PALETTE[optimizers.index(row["optimizer"]) % len(PALETTE)]
                if not solved:
                    none.append(label)
                elif len(row["lengths"]) > 1:
                    steps = [*solved.values()] + [None] * (len(row["lengths"]) - len(solved))
                    lines.append(Line(label, steps, color, not row["chrono"], 2.4, [int(t) for t in row["lengths"]]))
            if lines:
                ends = any(None in line.y for line in lines)
                note = (
                    f"at no length: {'; '.join(none)}" if none else f"steps until solved{'; × where that ends' * ends}"
                )
                title = f"{problem}, {cell}"
                found.append(Panel(title, note, lines, "length T", apart=True, ylabel="steps until solved"))
    return found


def _by_step(document: dict[str, Any]) -> list[Panel]:
    found = []
    cells = list(dict.fromkeys(row["cell"] for ways in document["rows"].values() for row in ways))
    for problem, ways in document["rows"].items():
        optimizer = OURS if any(row["optimizer"] == OURS for row in ways) else ways[0]["optimizer"]
        own = [row for row in ways if row["optimizer"] == optimizer and row["lengths"]]
        if not own:
            continue
        everywhere = set.intersection(*(set(row["lengths"]) for row in own))
        length = max(everywhere or {t for row in own for t in row["lengths"]}, key=int)
        lines, last = [], 1
        for row in own:
            outcome = row["lengths"].get(length)
            if outcome is None or not outcome["checks"]:
                continue
            x = [outcome["every"] * (at + 1) for at in range(len(outcome["checks"]))]
            last = max(last, x[-1])
            color = PALETTE[(3 + cells.index(row["cell"])) % len(PALETTE)]
            plain = row["cell"] == "rnn"
            label = f"{row['cell']}{', chrono' if row['chrono'] else ''}"
            lines.append(Line(label, outcome["checks"], color, not (row["chrono"] or plain), 2.2, x))
        baseline = document["problems"][problem]["baseline"]
        lines.append(Line("best guess without memory", [baseline, baseline], dashed=True, width=1.0, x=[0, last]))
        title = f"{problem}, T = {length}, {optimizer}"
        found.append(Panel(title, "a curve ends where it is solved", lines, apart=True, ylabel="loss held out"))
    return found


def memory_page(document: dict[str, Any]) -> str:
    """The whole page."""
    facts = {k: str(v) for k, v in document["facts"].items() if k != "most"}
    parts = [
        opening("What memory is for", LEAD, document["verdict"], facts),
        section("Curves", paragraph(HOW), curves(memory_panels(document))),
    ]
    for problem, told in document["problems"].items():
        head, rows = _table(document, problem)
        cells = [(name, [(text, style) for text, style in row]) for name, row in rows]
        parts.append(section(problem, paragraph(_told(told)), table(["", *head], cells, problem)))
    return page("isotrain compare --suite memory", parts, __version__)


HOW = "Steps until solved, by length; then the loss held out, by step, at the longest length that all nets were run at."


def _told(told: dict[str, Any]) -> str:
    return (
        f"{told['title']}. Solved: {told['goal']}. The best guess without memory has the loss {told['baseline']:.3g}. "
        "A cell tells steps until solved and seconds of one core, or the loss held out where it was not solved."
    )


def memory_markdown(document: dict[str, Any]) -> str:
    """The verdict and a table a problem."""
    parts = ["\n".join(f"* {line}" for line in document["verdict"])]
    for problem, told in document["problems"].items():
        head, rows = _table(document, problem)
        lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
        for name, row in rows:
            cells = [f"**{text}**" if style else text for text, style in row]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        parts.append(f"## {problem}\n\n{_told(told)}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table(document: dict[str, Any], problem: str) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]]:
    """Heads and rows; what was solved stands out."""
    ways = document["rows"][problem]
    lengths = sorted({t for row in ways for t in row["lengths"]}, key=int)
    rows = []
    for row in ways:
        cells = []
        for length in lengths:
            outcome = row["lengths"].get(length)
            cells.append(("–", "") if outcome is None else cell(outcome))
        rows.append((named(row), cells))
    return [f"T = {t}" for t in lengths], rows


def cell(outcome: dict[str, Any]) -> tuple[str, str]:
    """What a table says of one way at one length, and how.

    >>> cell({"steps": 450, "seconds": 12.4, "solved": 1, "seeds": 1, "loss": 0.01})
    ('450 steps, 12 s', 'strong')
    >>> cell({"steps": None, "seconds": 12.4, "solved": 1, "seeds": 3, "loss": 0.1664})
    ('not solved, 0.166 (1 of 3 seeds)', '')
    """
    seeds = f" ({outcome['solved']} of {outcome['seeds']} seeds)" if 0 < outcome["solved"] < outcome["seeds"] else ""
    if outcome["steps"] is None:
        loss = "diverged" if outcome["loss"] is None else f"not solved, {outcome['loss']:.3g}"
        return f"{loss}{seeds}", ""
    return f"{outcome['steps']:g} steps, {outcome['seconds']:.0f} s{seeds}", "strong"
