"""Does the default ever diverge? Every problem of the contest, ten seeds, small and large batches, inputs as they come.

    .venv/bin/python benchmarks/divergence.py                            all that is missing: two hours
    .venv/bin/python benchmarks/divergence.py --problems digits mlp --seeds 3
    .venv/bin/python benchmarks/divergence.py --again isotrain-start     those that diverged, from isotrain.start

Inputs are taken as they are, times 1e-3, times 1e3 and plus 100, into the same initial network: a raw table in the
wrong units. (Symbols have no units: the three recurrent problems and the transformer run as they are.) A run is a
fifth of the problem's steps, the part in which runs explode. It diverged if a loss was not finite or the last tenth
lies above the first losses. Interrupt it and start it again at will.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import torch

from isotrain.aside import write_aside
from isotrain.lab.suite.contest import Step
from isotrain.lab.suite.problems import PROBLEMS, Pairs, SuiteProblem
from isotrain.lab.suite.rivals import RIVALS
from isotrain.progress import progress_bar

RESULTS = Path(__file__).parent / "results" / "divergence" / "runs.json"
VERSION = 1
BATCHES = (16, 128, 512)
INPUTS = {"as they are": (1.0, 0.0), "x 1e-3": (1e-3, 0.0), "x 1e3": (1e3, 0.0), "+ 100": (1.0, 100.0)}
SHARE = 0.2
ONE = tuple[str, int, int, str]


def changed(problem: SuiteProblem, batch: int, inputs: str) -> SuiteProblem:
    """The problem with another batch and other units."""
    scale, shift = INPUTS[inputs]

    def data() -> tuple[Pairs, Pairs]:
        (x, y), held_out = problem.data()
        return (x * scale + shift if inputs != "as they are" else x, y), held_out

    return replace(problem, batch=batch, data=data)


def diverges(one: ONE, optimizer: str = "isotrain") -> dict[str, object]:
    """Make one run."""
    name, batch, seed, inputs = one
    torch.set_num_threads(1)
    problem = changed(PROBLEMS[name], batch, inputs)
    steps = max(50, round(problem.steps * SHARE))
    step = Step(problem, RIVALS[optimizer], RIVALS[optimizer].rate or 0.0, seed, steps)
    losses = []
    for pair in problem.stream(seed, steps):
        losses.append(step(pair))
        if not math.isfinite(losses[-1]):
            break
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:3]) / len(losses[:3]), sum(losses[-tenth:]) / tenth
    return {"run": list(one), "first": first, "last": last, "diverged": not last <= first}


def planned(problems: list[str], seeds: int) -> list[ONE]:
    """All runs."""
    return [
        (name, batch, seed, inputs)
        for name in problems
        for batch in BATCHES
        for seed in range(seeds)
        for inputs in (INPUTS if PROBLEMS[name].data()[0][0].is_floating_point() else ["as they are"])
    ]


def kept_runs(path: Path) -> list[dict[str, object]]:
    """The runs made so far."""
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if (content.get("kind"), content.get("version")) != ("divergence", VERSION):
        raise SystemExit(f"{path} is not a file of divergence runs of version {VERSION}: name another with --results.")
    return content["runs"]


def keep(rows: list[dict[str, object]], path: Path) -> None:
    """All runs, in a readable order."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_aside(path, f'{{"kind": "divergence", "version": {VERSION}, "runs": [\n{lines}\n]}}\n'.encode())


def tell(row: dict[str, object]) -> None:
    name, batch, seed, inputs = row["run"]
    print(f"  {name}, batch {batch}, seed {seed}, inputs {inputs}: {row['first']:.4g} to {row['last']:.4g}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"file of the runs made (default {RESULTS})")
    parser.add_argument(
        "--again", choices=["isotrain-start"], help="make the runs that diverged again, by another entrant"
    )
    asked = parser.parse_args()
    rows = kept_runs(asked.results)
    made = {tuple(row["run"]) for row in rows}
    wanted = planned(asked.problems, asked.seeds)
    missing = [one for one in wanted if one not in made]
    with (
        progress_bar("divergence", len(wanted), sys.stderr.isatty()) as part,
        ProcessPoolExecutor(asked.workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        part("kept runs")(len(wanted) - len(missing))
        for done in as_completed(pool.submit(diverges, one) for one in missing):
            rows.append(done.result())
            keep(rows, asked.results)
            part(str(rows[-1]["run"][0]))(1)
    kept = [row for row in rows if tuple(row["run"]) in set(wanted)]
    broken = [row for row in kept if row["diverged"]]
    print(f"{len(broken)} of {len(kept)} runs diverged.")
    for row in broken:
        tell(row)
    if asked.again:
        print(f"Again by {asked.again}:")
        for row in broken:
            tell(diverges(tuple(row["run"]), asked.again))
    print("by problem:", dict(Counter(row["run"][0] for row in kept)))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
