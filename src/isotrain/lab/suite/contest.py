"""Runs of the contest, kept as data: every run is a row of its problem's file, and is not made twice."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from isotrain.aside import write_aside
from isotrain.errors import BadOption, NotFinite
from isotrain.lab.compare import score
from isotrain.lab.problem import Batch
from isotrain.lab.suite.problems import PROBLEMS, SuiteProblem
from isotrain.lab.suite.rivals import PERIOD, RIVALS, Rival, cosine
from isotrain.riemann.iterates import Averages
from isotrain.riemann.start import start

VERSION = 1
BLOCKS = 100
"""Means of the loss that are kept of a run."""
SEEN = 512
"""Samples that a start is made from."""
CHECKS = (0.25, 0.5, 1.0)
"""Parts of a run after which the averages are scored."""
BEYOND = 2
"""How many rates past its grid a rival is given while its best one is the last."""


def length(problem: str, share: float = 1.0) -> int:
    """Steps of a run on a problem, or of a share of it."""
    return max(BLOCKS // 2, round(PROBLEMS[problem].steps * share))


def lengths(problem: str, optimizer: str, share: float = 1.0) -> list[int]:
    """Steps of the runs one rate asks for: at equal steps, and long enough for equal seconds.

    One run serves both, unless the rate falls to zero at its end. Part of a problem is a look, without seconds.
    """
    steps, rival = length(problem, share), RIVALS[optimizer]
    if not rival.cheap or share < 1:
        return [steps]
    longer = round(steps * PROBLEMS[problem].longer)
    return [steps, longer] if rival.cosine else [longer]


@dataclass(frozen=True)
class Key:
    """What tells one run from another."""

    problem: str
    optimizer: str
    rate: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        key: which.
        curve: mean minibatch loss of each of BLOCKS equal parts of the run.
        held_out: loss on samples never trained on, at equal steps.
        accuracy: share of right answers there; None without classes.
        averaged: loss there with `isotrain.Averages`, checked at CHECKS; the choice is made on one half of the samples
            and judged on the other, both ways round. None in runs made before it was measured.
        averaged_accuracy: share of right answers so.
        cost: time of a step over SGD's, interleaved; None when it was not measured.
        diverged_at: step whose loss was not finite, or None.
    """

    key: Key
    curve: list[float]
    held_out: float | None
    accuracy: float | None
    cost: float | None
    diverged_at: int | None
    averaged: float | None = None
    averaged_accuracy: float | None = None

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being finite, or ended above where it began."""
        return self.diverged_at is not None or not self.at(self.key.steps) < self.curve[0]

    def at(self, steps: int) -> float:
        """Mean loss of the tenth of the run before that step; infinite for a run that diverged before it.

        >>> Entry(Key("p", "o", 0.0, 0, 20), [4.0, 2.0], None, None, None, None).at(20)
        2.0
        """
        if (self.diverged_at is not None and self.diverged_at < steps) or not self.curve:
            return math.inf
        last = min(len(self.curve), round(len(self.curve) * steps / self.key.steps))
        first = min(last - 1, math.floor(last * 0.9))
        return sum(self.curve[max(0, first) : last]) / max(1, last - max(0, first))


Held = tuple[float | None, float | None]
"""Loss held out, and share of right answers."""
Halves = tuple[tuple[float, float | None], tuple[float, float | None]]
"""The same on each half of the samples held out."""


class Step:
    """A model and its optimizers as one thing that steps."""

    def __init__(self, problem: SuiteProblem, rival: Rival, rate: float, seed: int, steps: int) -> None:
        self.problem = problem
        self.model: nn.Module = problem.model(seed)
        if rival.started:
            start(self.model, problem.data()[0][0][:SEEN], seed)
        torch.manual_seed(seed)
        self.optimizers: list[Optimizer] = rival.make(self.model, rate, problem.likelihood, seed)
        self.schedules = cosine(self.optimizers, steps) if rival.cosine else []

    def __call__(self, batch: Batch) -> float:
        """One step; gives the loss before it."""
        loss = self.problem.loss(self.model(batch[0]), batch[1])
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        try:
            for optimizer in self.optimizers:
                optimizer.step()
        except (NotFinite, torch.linalg.LinAlgError):  # type: ignore[attr-defined]  # not in its stubs
            # Ours refuses gradients that are not finite, Shampoo's decomposition may fail: neither run can go on.
            return math.nan
        for schedule in self.schedules:
            schedule.step()
        return value


def run(key: Key, timed: bool = False) -> Entry:
    """Make one run."""
    problem, rival = PROBLEMS[key.problem], RIVALS[key.optimizer]
    step = Step(problem, rival, key.rate, key.seed, key.steps)
    losses: list[float] = []
    averages = Averages(step.model)
    held_out: Held = (None, None)
    averaged: Held = (None, None)
    halves: list[Halves] = []
    checks = [round(min(key.steps, problem.steps) * share) for share in CHECKS]
    for batch in problem.stream(key.seed, key.steps):
        losses.append(step(batch))
        if not math.isfinite(losses[-1]):
            break
        if len(losses) <= problem.steps:
            averages.update()
        if len(losses) in checks:
            halves += _halves(step, averages)
        if len(losses) == checks[-1]:
            held_out, averaged = _score(step), _crossed(halves)
    diverged = None if math.isfinite(losses[-1]) else len(losses) - 1
    finite = [value for value in losses if math.isfinite(value)]
    size = max(1, key.steps // BLOCKS)
    curve = [_short(sum(part) / len(part)) for at in range(0, len(finite), size) if (part := finite[at : at + size])]
    return Entry(key, curve, *held_out, cost(key) if timed else None, diverged, *averaged)


def _score(step: Step) -> Held:
    loss, accuracy = _at_rest(step, step.problem.held_out())
    return (_short(loss) if math.isfinite(loss) else None), accuracy


def _at_rest(step: Step, batches: list[Batch]) -> tuple[float, float | None]:
    """The score of the weights that the optimizer means to be used: schedule-free ones keep two sets."""
    double: list[Any] = [o for o in step.optimizers if hasattr(o, "eval")]
    for optimizer in double:
        optimizer.eval()
    found = score(step.model, step.problem.loss, batches)
    for optimizer in double:
        optimizer.train()
    return found


def _halves(step: Step, averages: Averages) -> list[Halves]:
    """What every average, and the present weights, score on either half of the samples held out."""
    x, y = step.problem.data()[1]
    halves = [[(x[part::2], y[part::2])] for part in (0, 1)]
    found: list[Halves] = [(_at_rest(step, halves[0]), _at_rest(step, halves[1]))]
    for share in averages.shares[:-1]:
        averages.load(share)
        found.append(tuple(score(step.model, step.problem.loss, half) for half in halves))  # type: ignore[arg-type]
    averages.load(0.0)
    return found


def _crossed(halves: list[Halves]) -> Held:
    """The best by one half, judged by the other, both ways round."""
    judged = []
    for chosen_on, judged_on in ((0, 1), (1, 0)):
        finite = [pair for pair in halves if math.isfinite(pair[chosen_on][0])]
        if not finite:
            return None, None
        judged.append(min(finite, key=lambda pair: pair[chosen_on][0])[judged_on])
    loss = sum(one[0] for one in judged) / 2
    right = [one[1] for one in judged if one[1] is not None]
    return (_short(loss) if math.isfinite(loss) else None), (sum(right) / 2 if right else None)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def cost(key: Key, rounds: int = 5) -> float:
    """Time of a step over a step of SGD: processor time of blocks of ten steps, taken in turns."""
    problem = PROBLEMS[key.problem]
    warm = 3 * PERIOD
    pair = [
        Step(problem, RIVALS["sgd"], 1e-3, key.seed, key.steps),
        Step(problem, RIVALS[key.optimizer], min(key.rate, 1e-3), key.seed, key.steps),
    ]
    batches = problem.stream(key.seed, warm + PERIOD * rounds)
    for batch in batches[:warm]:
        for step in pair:
            step(batch)
    ratios = []
    for at in range(warm, len(batches), PERIOD):
        seconds = []
        for step in pair:
            start = time.process_time()
            for batch in batches[at : at + PERIOD]:
                step(batch)
            seconds.append(time.process_time() - start)
        ratios.append(seconds[1] / seconds[0])
    return _short(statistics.median(ratios))


class Results:
    """The runs made so far: one file a problem, rewritten whole after each run."""

    kind = "contest"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[Key, Entry] = {}
        for path in sorted(folder.glob("*.json")):
            self._load(path)

    def _load(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text())
            if content["kind"] != self.kind or content["version"] != VERSION:
                raise BadOption(f"{path} is not a file of {self.kind} results of version {VERSION}.")
            for row in content["runs"]:
                entry = self.read(row)
                self.entries[entry.key] = entry
        except (KeyError, TypeError, ValueError) as error:
            raise BadOption(f"{path} is not a file of {self.kind} results: {error!r}.") from error

    def read(self, row: dict[str, Any]) -> Entry:
        """A run, as a file tells it."""
        return Entry(**{**row, "key": Key(**row["key"])})

    def add(self, entry: Entry) -> None:
        """Keep a run, on disk too."""
        before = self.entries.get(entry.key)
        if before is not None and entry.cost is None:  # made again for another measurement
            entry = replace(entry, cost=before.cost)
        self.entries[entry.key] = entry
        runs = [asdict(e) for k, e in sorted(self.entries.items(), key=_order) if k.problem == entry.key.problem]
        lines = ",\n".join(json.dumps(one) for one in runs)
        content = f'{{"kind": "{self.kind}", "version": {VERSION}, "runs": [\n{lines}\n]}}\n'
        write_aside(self.folder / f"{entry.key.problem}.json", content.encode())

    def of(self, problem: str, optimizer: str) -> list[Entry]:
        """The runs of one optimizer on one problem."""
        return [e for k, e in self.entries.items() if (k.problem, k.optimizer) == (problem, optimizer)]


def _order(item: tuple[Key, Entry]) -> tuple[str, str, float, int, int]:
    key = item[0]
    return key.problem, key.optimizer, key.rate, key.seed, key.steps


def best(entries: Sequence[Entry], steps: int, seed: int = 0) -> float | None:
    """The rate whose run ends lowest after `steps`, on one seed."""
    runs = [e for e in entries if e.key.seed == seed and e.key.steps >= steps]
    return min(runs, key=lambda e: e.at(steps)).key.rate if runs else None


def planned(
    results: Results, problems: Sequence[str], optimizers: Sequence[str], seeds: int, share: float
) -> Iterator[Key]:
    """The runs still to make, as far as they are known: a rival's other seeds follow once its best rate is found.

    Args:
        results: runs already made.
        problems: names.
        optimizers: names.
        seeds: how many.
        share: part of each problem's steps to run.
    """
    for name in problems:
        for optimizer in optimizers:
            wanted = lengths(name, optimizer, share)

            def keys(rate: float, seed: int) -> list[Key]:
                return [Key(name, optimizer, rate, seed, steps) for steps in wanted]  # noqa: B023, used at once

            rates = list(RIVALS[optimizer].rates)
            made = [results.entries.get(keys(rate, 0)[0]) for rate in rates]
            while all(made):
                chosen = best([e for e in made if e], length(name, share))
                further = None if chosen is None else _further(rates, chosen, RIVALS[optimizer].rates)
                if further is None:
                    break
                rates.append(further)
                made.append(results.entries.get(keys(further, 0)[0]))
            todo = [key for rate in rates for key in keys(rate, 0)]
            judged = []
            if all(made) and chosen is not None:
                judged = [keys(chosen, seed) for seed in range(seeds)]
                todo += [key for seed in judged[1:] for key in seed]
            yield from (key for key in todo if key not in results.entries)
            yield from (seed[0] for seed in judged if _unaveraged(results.entries.get(seed[0])))


def _unaveraged(entry: Entry | None) -> bool:
    """Whether the run was made before averages were measured."""
    return entry is not None and entry.held_out is not None and entry.averaged is None


def _further(rates: Sequence[float], chosen: float, grid: Sequence[float]) -> float | None:
    """The next rate past an end of the grid that came out best; None where the best one lies inside."""
    if len(grid) < 2:
        return None
    step = grid[-1] / grid[-2]
    for end, factor, beyond in ((max(rates), step, max(grid)), (min(rates), 1 / step, min(grid))):
        passed = sum(rate > beyond if factor > 1 else rate < beyond for rate in rates)
        if chosen == end and passed < BEYOND:
            return float(f"{chosen * factor:.3g}")
    return None
