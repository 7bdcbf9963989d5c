"""What the training loop of the tasks costs beside the bare forward, backward and step.

    .venv/bin/python benchmarks/looptime.py            classify, with the smallest net, whose steps are the shortest
    .venv/bin/python benchmarks/looptime.py masks      another task: longer steps, the same loop

Each round trains the same steps twice, in turn first and second: by `isotrain.train.loop`, with its batches made ahead,
averages, looks at held-out samples, checkpoints and curve; and bare, on the same batches made before. The ratio is
taken within a round. Scoring at the end of a run is left out: it is once, not a part of a step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from isotrain.app.run_data import twin
from isotrain.data.samples import Dataset
from isotrain.tasks import task_named
from isotrain.tasks.base import Task
from isotrain.train.loop import Training
from isotrain.train.optimizers import chosen
from isotrain.train.recipes import Plan, recipe
from isotrain.train.rundir import RunFolder
from machine import REPORTS, described, heading, table

TASKS = ("classify", "localise", "detect", "masks")
SIZES = {"classify": (1600, 100, 0), "localise": (1600, 100, 0), "detect": (160, 20, 0), "masks": (320, 20, 0)}
STEPS = {"classify": 200, "localise": 200, "detect": 500, "masks": 400}
OPTIONS = {"classify": {"net": "resnet8"}}


class Loop(Training):
    """A training without the scores at its end."""

    def _finish(self, progress: bool) -> None:  # type: ignore[override]
        """Nothing."""


def by_loop(training: Training) -> float:
    began = time.perf_counter()
    training.run()
    return time.perf_counter() - began


def bare(task: Task, training: Training, plan: Plan) -> float:
    torch.manual_seed(plan.seed)
    net = task.net()
    optimizer = chosen(plan.optimizer)(net, task.likelihood, plan.seed)
    batches = [training.batches[step] for step in range(training.steps)]
    net.train()
    began = time.perf_counter()
    for batch in batches:
        loss = task.loss(net(*batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def ratios(name: str, rounds: int) -> list[float]:
    dataset: Dataset = twin(name, 0, SIZES[name])
    kind = task_named(name)
    task = kind(kind.plan(dataset, OPTIONS.get(name, {})))
    size = recipe(name).batch
    plan = Plan(epochs=STEPS[name] * size / len(dataset.train), batch=size)
    found = []
    for turn in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            training = Loop(task, dataset, RunFolder(Path(folder)), plan)
            # Read before: a first epoch reads what later ones find in memory.
            training.batches.shelf.take(range(len(dataset.train)))
            training.judges.take(range(len(training.judges)))
            if turn % 2:
                seconds = by_loop(training), bare(task, training, plan)
            else:
                seconds = bare(task, training, plan), by_loop(training)
                seconds = seconds[::-1]
        if turn:  # the first warms up
            found.append(seconds[0] / seconds[1])
            print(f"{name}: {seconds[0]:.1f} s against {seconds[1]:.1f} s, {found[-1]:.3f}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; default: classify")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    asked = parser.parse_args()
    if strange := set(asked.tasks) - set(TASKS):
        parser.error(f"no task {', '.join(sorted(strange))}")
    rows = []
    for name in asked.tasks or TASKS[:1]:
        found = ratios(name, asked.rounds)
        middle = statistics.median(found)
        rows.append([name, str(STEPS[name]), f"{middle:.3f}", f"{min(found):.3f} to {max(found):.3f}"])
    facts = described()
    page = table(["task", "steps", "loop over bare, median", "spread"], rows)
    path = REPORTS / f"looptime-{facts['date']}.md"
    path.write_text(heading("The training loop beside the bare step", facts) + "\n" + page + "\n")
    print(page)
    print(f"Written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
