"""Results as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from isotrain.lab.audit import Report
from isotrain.lab.compare import Comparison
from isotrain.lab.demo import Demo
from isotrain.lab.report import WORDS, number
from isotrain.lab.suite.memory_report import Memories, cell, named
from isotrain.lab.suite.standing import Standing

FIGURE = 8
"""Characters of a figure."""
COLORS = {"same": "green", "close": "yellow", "differs": "red", "diverged": "red"}


def show_demo(result: Demo, written: Sequence[Path]) -> None:
    """Final losses, a row a trainer."""
    table = _table()
    table.add_column("", no_wrap=True)
    settings = list(next(iter(result.finals.values())))
    for setting in settings:
        name, _, inverted = setting.partition(", ")
        table.add_column(f"{name}\n{'1 - x' if inverted else 'x'}", justify="right")
    table.add_column("spread", justify="right")
    for trainer, finals in result.finals.items():
        color = COLORS[result.reading(trainer)]
        cells = [number(finals[s]) for s in settings]
        table.add_row(trainer, *cells, f"[bold {color}]{number(result.spread(trainer))}[/]")
    _show("Final training loss: one function at the start, written down six ways", table, result.verdict, written)


def show_audit(result: Report, written: Sequence[Path]) -> None:
    """Gaps, a row a change and a column a trainer."""
    table = _table()
    table.add_column("change")
    for optimizer in result.gaps:
        table.add_column(optimizer, justify="right")
    for change in result.details:
        cells = []
        for optimizer, gaps in result.gaps.items():
            word = result.reading(optimizer, change)
            cells.append(f"[{COLORS[word]}]{WORDS[word]} {number(gaps[change])}[/]")
        table.add_row(change, *cells)
    left_out = [f"Left out, {change}: {reason}" for change, reason in result.refused.items()]
    _show("Largest difference of the loss curves", table, [result.verdict, *left_out], written)


def show_compare(result: Comparison, written: Sequence[Path]) -> None:
    """Final scores, a row a trainer."""
    table = _table()
    for column in ("", "train loss", "held-out loss", "accuracy", "a step", "in all", "memory /\nparameters"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in result.rows.items():
        table.add_row(
            name,
            number(row.train_loss),
            "–" if row.held_out_loss is None else number(row.held_out_loss),
            "–" if row.accuracy is None else f"{100 * row.accuracy:.1f} %",
            f"{1e3 * row.seconds[-1] / len(row.seconds):.2f} ms",
            f"{row.seconds[-1]:.1f} s",
            f"{row.state_bytes / result.facts['parameter_bytes']:.2f}",
        )
    _show("Side by side", table, [result.verdict], written)


def show_contest(result: Standing, written: Sequence[Path]) -> None:
    """Training losses at equal steps, a row an optimizer, a column a problem; as many tables as the width needs."""
    optimizers = dict.fromkeys(o for row in result.scores.values() for o in row)
    room = Console().width - max((len(name) for name in optimizers), default=0)
    groups: list[list[str]] = []
    used = room
    for problem in result.scores:
        used += 1 + max(len(problem), FIGURE)
        if used > room:
            groups.append([])
            used = 1 + max(len(problem), FIGURE)
        groups[-1].append(problem)
    tables = []
    for group in groups:
        tables.append(_table())
        tables[-1].add_column("", no_wrap=True)
        for problem in group:
            tables[-1].add_column(problem, justify="right", no_wrap=True)
        for optimizer in optimizers:
            rows = [result.scores[problem] for problem in group]
            tables[-1].add_row(optimizer, *("–" if optimizer not in r else number(r[optimizer].loss) for r in rows))
    _show("Training loss at equal steps, rivals at their best rates", Group(*tables), result.verdict, written)


def show_memory(result: Memories, written: Sequence[Path]) -> None:
    """Steps until solved, or the loss where it was not: a table a problem, a row a way of learning it."""
    tables: list[RenderableType] = []
    for problem, rows in result.rows.items():
        lengths = sorted({length for row in rows for length in row["lengths"]}, key=int)
        told = result.problems[problem]
        table = _table()
        for column in ("", *(f"T = {length}" for length in lengths)):
            table.add_column(column, justify="right" if column else "left")
        for row in rows:
            cells = [cell(row["lengths"][t]) if t in row["lengths"] else ("–", "") for t in lengths]
            table.add_row(named(row), *(f"[bold]{words}[/]" if strong else words for words, strong in cells))
        tables += [escape(f"\n{problem}: {told['title']}. Solved: {told['goal']}."), table]
    _show("Steps until what was shown T steps before is remembered", Group(*tables), result.verdict, written)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)


def _show(title: str, table: RenderableType, words: Sequence[str], written: Sequence[Path]) -> None:
    console = Console(highlight=False)
    console.print(title, style="bold")
    console.print(table)
    for sentence in words:
        console.print(sentence, markup=False)
    if written:
        console.print("Written: " + ", ".join(str(path) for path in written), markup=False, soft_wrap=True)
