"""Step time and memory of isotrain and its rivals, side by side in one run.

    .venv/bin/python benchmarks/steptime.py                 everything; reckoned at half an hour
    .venv/bin/python benchmarks/steptime.py --quick         a look, a few minutes, no report
    .venv/bin/python benchmarks/steptime.py --problems mlp lstm --optimizers isotrain muon --rounds 30

On a shared machine seconds drift, so optimizers take turns: a round gives each one block of ten steps (one
refresh period, so a look at the curvature is paid by the block it belongs to), every other round in the
opposite order, and a ratio is taken within a round. SGD and Adam always take part.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isotrain.lab.suite.rivals import PERIOD
from machine import REPORTS, described, heading, table
from problems import PROBLEMS, Problem, loss_of
from rivals import CANNOT, OPTIMIZERS, state_bytes

DEFAULT_OVER_SGD = 1.35  # the project's limit for the default; the one of quasi-diagonal is the problem's
WARM_UP = 30  # the metric is looked at on each of the first 20 steps, a settled run has one look in ten
MIB = 2**20


class Runner:
    """One optimizer on its own copy of a problem; every runner of a problem starts from the same weights."""

    def __init__(self, problem: Problem, name: str) -> None:
        torch.manual_seed(0)
        self.name = name
        self.model: nn.Module = problem.build()
        self.batches: list[tuple[Tensor, Tensor]] = [problem.batch() for _ in range(4)]
        self.optimizers: list[Optimizer] = OPTIMIZERS[name](self.model)
        self.seconds: list[float] = []

    def run(self, steps: int) -> None:
        for step in range(steps):
            inputs, targets = self.batches[step % len(self.batches)]
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss = loss_of(self.model, inputs, targets)
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
        if not torch.isfinite(loss):
            raise SystemExit(f"{self.name}: the loss is {loss.item()}: choose a smaller rate in benchmarks/rivals.py")

    def time_a_block(self) -> None:
        start = time.perf_counter()
        self.run(PERIOD)
        self.seconds.append((time.perf_counter() - start) / PERIOD)


def most_memory() -> int:
    """Most resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peak(problem: str, name: str, threads: int, answer: multiprocessing.SimpleQueue[int]) -> None:
    torch.set_num_threads(threads)
    before = most_memory()
    Runner(PROBLEMS[problem], name).run(PERIOD + 2)
    answer.put(most_memory() - before)


def peak_bytes(problem: str, name: str, threads: int) -> int:
    """Growth of a fresh process over the building of the problem and twelve steps."""
    context = multiprocessing.get_context("fork")  # shares the imports, or each process would cost seconds
    answer = context.SimpleQueue()
    process = context.Process(target=_peak, args=(problem, name, threads, answer))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name} on {problem} failed while its memory was measured")
    return answer.get()


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def measure(problem: str, rounds: int, peaks: dict[str, int]) -> dict[str, dict[str, object]]:
    runners = [Runner(PROBLEMS[problem], name) for name in peaks]
    for runner in runners:
        runner.run(WARM_UP)
    for turn in range(rounds):
        for runner in runners if turn % 2 == 0 else reversed(runners):
            runner.time_a_block()
    by_name = {runner.name: runner for runner in runners}
    results = {}
    for runner in runners:
        ratios = {
            base: quartiles([a / b for a, b in zip(runner.seconds, by_name[base].seconds, strict=True)])
            for base in ("sgd", "adam")
        }
        results[runner.name] = {
            "seconds": runner.seconds,
            "seconds_quartiles": quartiles(runner.seconds),
            "seconds_least": min(runner.seconds),
            "over_sgd": ratios["sgd"],
            "over_adam": ratios["adam"],
            "state_bytes": state_bytes(runner.optimizers),
            "peak_bytes": peaks[runner.name],
        }
    return results


def written(problem: str, results: dict[str, dict[str, object]]) -> str:
    adam_state = results["adam"]["state_bytes"]
    rows = []
    for name, found in results.items():
        low, middle, high = (1e3 * value for value in found["seconds_quartiles"])
        rows.append(
            [
                f"**{name}**" if name.startswith("isotrain") else name,
                f"{middle:.1f}",
                f"{1e3 * found['seconds_least']:.1f}",
                f"{low:.1f}-{high:.1f}",
                "{1:.2f} ({0:.2f}-{2:.2f})".format(*found["over_sgd"]),
                "{1:.2f} ({0:.2f}-{2:.2f})".format(*found["over_adam"]),
                f"{found['state_bytes'] / MIB:.2f}",
                f"{found['state_bytes'] / adam_state:.2f}",
                f"{found['peak_bytes'] / MIB:.0f}",
            ]
        )
    header = ["optimizer", "ms a step, median", "least", "quartiles", "over SGD (quartiles)"]
    header += ["over Adam (quartiles)", "state MiB", "over Adam's", "peak MiB"]
    aim = PROBLEMS[problem]
    verdict = []
    if aim.most_over_sgd is not None and aim.most_over_adam is not None:
        limits = {
            "isotrain": [("sgd", DEFAULT_OVER_SGD)],
            "isotrain-quasi-diagonal": [("sgd", aim.most_over_sgd), ("adam", aim.most_over_adam)],
        }
        for name in sorted(limits.keys() & results.keys()):
            for base, most in limits[name]:
                ratio = results[name][f"over_{base}"][1]
                word = "met" if ratio <= most else "**missed**"
                verdict.append(f"- {name} over {base}: {ratio:.2f}, the aim is at most {most:.2f}: {word}")
            if name == "isotrain-quasi-diagonal":
                share = results[name]["state_bytes"] / adam_state
                word = "met" if share <= 1 else "**missed**"
                verdict.append(f"- {name}'s state over Adam's: {share:.2f}, the aim is at most 1: {word}")
    return "\n".join([f"## {aim.title}", "", table(header, rows), "", *verdict, ""])


NOTES = f"""\
A block is {PERIOD} steps; the first {WARM_UP} steps are not timed. Ratios are medians of the ratios within a
round. Optimizers with a refresh period have it set to {PERIOD}. State is what a checkpoint of the optimizer
holds, in exact bytes. Peak is the growth of a fresh process's resident memory over building the network, its
data and {PERIOD + 2} steps.

Muon: pytorch-optimizer's on hidden weights, in float32 (the libraries iterate in bfloat16, emulated on many
processors), AdamW on the rest. K-FAC: singd, dense and K-FAC-like, AdamW on the layers it does not
know; not run on the LSTM, where it knows the head alone.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="3 rounds, no report")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every measured block too")
    parser.add_argument("--report", type=Path, help="default: benchmarks/reports/steptime-DATE.md")
    chosen = parser.parse_args()
    rounds = 3 if chosen.quick else chosen.rounds
    names = [name for name in OPTIMIZERS if name in {"sgd", "adam", *chosen.optimizers}]

    facts = described() | {"threads": str(chosen.threads), "rounds": str(rounds)}
    # A process whose thread pool has started cannot be forked safely, so memory is measured first.
    peaks = {
        problem: {name: peak_bytes(problem, name, chosen.threads) for name in names if (name, problem) not in CANNOT}
        for problem in chosen.problems
    }
    torch.set_num_threads(chosen.threads)
    measured = {}
    pages = [heading("Step time and memory", facts), NOTES]
    for problem in chosen.problems:
        measured[problem] = measure(problem, rounds, peaks[problem])
        pages.append(written(problem, measured[problem]))
        print(pages[-1], flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"facts": facts, "measured": measured}, indent=1))
    if chosen.report or not chosen.quick:
        report = chosen.report or REPORTS / f"steptime-{facts['date']}.md"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("\n".join(pages))
        print(f"written to {report}")


if __name__ == "__main__":
    main()
