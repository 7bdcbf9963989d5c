"""Memory, shown at the figure's lengths; the table is written to reports/memory-DATE.md.

    .venv/bin/python benchmarks/memory.py            what is not there yet; reckoned at an hour and a half of one core
    .venv/bin/python benchmarks/memory.py adding     one of the two, its report printed alone
    .venv/bin/python benchmarks/memory.py copy --cells gru --steps 40000      longer than the figure has it
    .venv/bin/python benchmarks/memory.py --quick    a look at whether it runs: short, small, its report printed alone

GRU and LSTM with chrono initialisation, and a plain recurrent net beside them at equal steps, on adding with T = 400
and copy with T = 200. Runs are kept in runs/memory: a run that was made is told again, not made again. Times are of one
core.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

from isotrain.lab.suite.memory import remember
from isotrain.lab.suite.memory_report import Memories, cell, named
from machine import REPORTS, ROOT, described, heading, table

RUNS = ROOT / "runs" / "memory"
CELLS = ("gru", "lstm", "rnn")


@dataclass(frozen=True)
class Figure:
    """One row of the issue's table."""

    problem: str
    length: int
    hidden: int
    batch: int
    steps: int
    optimizers: tuple[str, ...]

    def made(self, quick: bool, workers: int, cells: list[str], longer: int | None) -> Memories:
        """One optimizer after the other: the first alone already tells whether the nets learn it."""
        length, steps, hidden = (8, 100, 8) if quick else (self.length, longer or self.steps, self.hidden)
        apart = "-quick" * quick or (f"-{longer}" if longer else "")
        for count in range(1, len(self.optimizers) + 1):
            found = remember(
                RUNS / f"{self.problem}{apart}",
                [self.problem],
                self.optimizers[:count],
                cells,
                [length],
                chrono=True,
                steps=steps,
                hidden=hidden,
                batch=self.batch,
                workers=workers,
            )
        return found


FIGURES = {
    figure.problem: figure
    for figure in (
        Figure("adding", 400, 64, 32, 3000, ("adam@3e-3", "isotrain")),
        Figure("copy", 200, 128, 32, 24_000, ("adam-falling@6e-3",)),
    )
}


def rows(figure: Figure, found: Memories) -> list[list[str]]:
    return [
        [figure.problem, str(length), named(row), cell(outcome)[0], f"{outcome['loss'] or float('nan'):.3g}"]
        for row in found.rows[figure.problem]
        for length, outcome in row["lengths"].items()
    ]


def aims(figure: Figure, found: Memories) -> str:
    """Whether the figure is reached, by any of the optimizers."""
    solved = {
        row["cell"]
        for row in found.rows[figure.problem]
        if any(outcome["steps"] is not None for outcome in row["lengths"].values())
    }
    made = {row["cell"] for row in found.rows[figure.problem]}
    told = ", ".join(f"{one} {'solved' if one in solved else 'not solved'}" for one in CELLS if one in made)
    reached = "Reached" if {"gru", "lstm"} & made <= solved else "Not reached"
    return f"{reached}: {figure.problem}, T = {figure.length}: {told}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a look at whether it runs")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, of a core each")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS, help="all when none is named")
    parser.add_argument("--steps", type=int, help="more steps than the figure has; its report is printed alone")
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="adding, copy; both when none is named")
    asked = parser.parse_args()
    facts, began = described(), time.time()
    figures = [FIGURES[name] for name in asked.problems or FIGURES]
    made = [(one, one.made(asked.quick, asked.workers, asked.cells, asked.steps)) for one in figures]
    parts = [heading("Memory, shown", facts)]
    parts += [f"- {aims(figure, found)}" for figure, found in made]
    parts.append("\n" + table(HEAD, [row for figure, found in made for row in rows(figure, found)]))
    for figure, found in made:
        told = found.problems[figure.problem]
        kept = "; ".join(f"{name}: {value}" for name, value in found.facts.items() if name not in ("folder", "most"))
        parts.append(
            f"\n**{figure.problem}**: {told['title']}. Solved: {told['goal']}. "
            f"Best guess without memory: {told['baseline']:.4g}. {kept}."
        )
    text = "\n".join(parts) + "\n"
    print(text)
    print(f"made in {(time.time() - began) / 60:.1f} min", file=sys.stderr)
    whole = not asked.quick and not asked.steps and set(asked.cells) == set(CELLS)
    if whole and {figure.problem for figure, _ in made} == set(FIGURES):
        (REPORTS / f"memory-{facts['date']}.md").write_text(text)


HEAD = ["problem", "T", "net and optimizer", "solved at", "loss held out"]

if __name__ == "__main__":
    main()
