"""Memory, shown: which recurrent nets learn to remember, over how many steps, started how, by which optimizer.

Every problem (data/synthetic/memory.py) is given to every way of learning it: a kind of cell, with chrono
initialisation or without, and an optimizer, at the better of its rates. A length is tried once the shorter ones are
solved. Runs are kept as those of the contest are, and not made twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from isotrain.data.synthetic.memory import PROBLEMS
from isotrain.errors import BadOption, UnknownName
from isotrain.lab.suite.contest import Entry, Key
from isotrain.lab.suite.memory_report import Memories, summed
from isotrain.lab.suite.memory_runs import CLIP, EVERY, HELD_OUT, MemoryEntry, MemoryKey, MemoryResults, Way, run
from isotrain.lab.suite.race import make_missing, place_of
from isotrain.nets.recurrent import CELLS
from isotrain.progress import progress_bar

RATES: dict[str, tuple[float, ...]] = {
    "isotrain": (0.0,), "adam": (1e-3, 3e-3), "sgd": (0.1, 1.0), "adam-falling": (1e-3, 3e-3),
}  # fmt: skip
"""What each optimizer is run at: torch's default for Adam, the customary first try for SGD, and a larger one."""
USUAL = ("isotrain", "adam", "sgd")
"""Those that run where none is named."""
LENGTHS = (24, 48, 100, 200)
HIDDEN = 128
BATCH = 64
STEPS = 3000
QUICK_STEPS, QUICK_LENGTHS = 400, (8, 16)
QUICK_PROBLEMS, QUICK_CELLS, QUICK_OPTIMIZERS = ("adding", "copy"), ("rnn", "gru"), ("isotrain", "adam")
QUICK_HIDDEN = 32


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes:
        problems: their names.
        ways: cells, with and without chrono, by optimizers.
        rates: that each optimizer is run at.
        lengths: in order.
        seeds: runs at the best rate.
        steps: most of each.
        hidden: units of the recurrent layer.
        batch: sequences of a step.
    """

    problems: tuple[str, ...]
    ways: tuple[Way, ...]
    rates: dict[str, tuple[float, ...]]
    lengths: tuple[int, ...]
    seeds: int
    steps: int
    hidden: int
    batch: int

    def key(self, problem: str, way: Way, length: int, rate: float, seed: int) -> MemoryKey:
        """Of one run."""
        return MemoryKey(
            problem, way.optimizer, rate, seed, self.steps, way.cell, way.chrono, length, self.hidden, self.batch
        )

    @property
    def most(self) -> int:
        """Runs there are if every length is solved."""
        each = sum(len(self.rates[way.optimizer]) + self.seeds - 1 for way in self.ways)
        return len(self.problems) * len(self.lengths) * each

    def missing(self, results: MemoryResults) -> Iterator[MemoryKey]:
        """The runs still to make, as far as they are known: other seeds follow the best rate, lengths the shorter."""
        for problem in self.problems:
            for way in self.ways:
                for length in self.lengths:
                    todo = [key for key, entry in self._wanted(results, problem, way, length) if entry is None]
                    yield from todo
                    if todo or not self.found(results, problem, way, length)[0].solved_at:
                        break

    def found(self, results: MemoryResults, problem: str, way: Way, length: int) -> list[MemoryEntry]:
        """The runs there are at the best rate, seed 0 first; empty while a rate is missing."""
        tried = [results.known(self.key(problem, way, length, rate, 0)) for rate in self.rates[way.optimizer]]
        made = [entry for entry in tried if entry is not None]
        if len(made) < len(tried):
            return []
        best = min(made, key=_worth)
        others = [results.known(self.key(problem, way, length, best.key.rate, seed)) for seed in range(1, self.seeds)]
        return [best, *(entry for entry in others if entry is not None)]

    def _wanted(
        self, results: MemoryResults, problem: str, way: Way, length: int
    ) -> list[tuple[MemoryKey, MemoryEntry | None]]:
        keys = [self.key(problem, way, length, rate, 0) for rate in self.rates[way.optimizer]]
        made = self.found(results, problem, way, length)
        if made:
            keys += [self.key(problem, way, length, made[0].key.rate, seed) for seed in range(1, self.seeds)]
        return [(key, results.known(key)) for key in keys]


def _worth(entry: MemoryEntry) -> tuple[float, float]:
    """Less is better: solved sooner, else a lower loss at the end."""
    loss = math.inf if entry.held_out is None or entry.diverged_at is not None else entry.held_out
    return (math.inf if entry.solved_at is None else entry.solved_at, loss)


def remember(
    folder: str | Path = "runs/memory",
    problems: Sequence[str] = (),
    optimizers: Sequence[str] = (),
    cells: Sequence[str] = (),
    lengths: Sequence[int] = (),
    seeds: int = 1,
    steps: int | None = None,
    quick: bool = False,
    hidden: int | None = None,
    batch: int = BATCH,
    workers: int | None = None,
    progress: bool = True,
    chrono: bool | None = None,
) -> Memories:
    """Make the runs that are missing in `folder` and sum up all of them. Interrupt it and start it again at will.

    Args:
        folder: where the runs are kept, a file a problem.
        problems: of copy, adding, xor, brackets; all when empty.
        optimizers: of isotrain, adam, sgd; these when empty; and adam-falling, whose rate falls to zero over the last
            fifth of the steps. At a rate of one's own after an @: `adam@3e-3`.
        cells: of rnn, lstm, gru; all when empty.
        lengths: T; 24, 48, 100 and 200 when empty. A length is tried once the next shorter one is solved.
        seeds: runs of each optimizer at the best of its rates. The rates are tried on the first seed.
        steps: most of each run; 3,000 when None.
        quick: two problems, cells and optimizers, small nets, short lengths, few steps.
        hidden: units of the recurrent layer; 128 when None.
        batch: sequences of a step.
        workers: processes; one for each core when None.
        progress: show a bar when stderr is a terminal.
        chrono: whether the cells with gates begin with chrono initialisation; with and without when None.

    Raises:
        UnknownName: no such problem, optimizer or cell.
        BadOption: a number is outside its range.
    """
    rates = dict(_at_rates(one) for one in optimizers or (QUICK_OPTIMIZERS if quick else USUAL))
    for kind, asked, known in (("problem", problems, PROBLEMS), ("cell", cells, CELLS)):
        for name in asked:
            if name not in known:
                raise UnknownName(kind, name, known)
    hidden = hidden or (QUICK_HIDDEN if quick else HIDDEN)
    steps = steps or (QUICK_STEPS if quick else STEPS)
    if min(seeds, steps, hidden) < 1 or batch < 2:
        raise BadOption(f"seeds={seeds}, steps={steps}, hidden={hidden}: at least 1; batch={batch}: at least 2.")
    chosen = tuple(problems or (QUICK_PROBLEMS if quick else PROBLEMS))
    wanted = tuple(sorted(set(lengths or (QUICK_LENGTHS if quick else LENGTHS))))
    for name in chosen:
        for length in wanted:
            PROBLEMS[name].check(length)
    ways = tuple(
        Way(cell, begun, optimizer)
        for cell in cells or (QUICK_CELLS if quick else ("rnn", "lstm", "gru"))
        for begun in ((False,) if cell == "rnn" else (True, False) if chrono is None else (chrono,))
        for optimizer in rates
    )
    plan = Plan(chosen, ways, rates, wanted, seeds, steps, hidden, batch)
    results = MemoryResults(Path(folder))
    with progress_bar("memory", plan.most, progress) as part:
        make_missing(results, lambda: plan.missing(results), _begin, workers, part)
    facts = {
        "net": f"one layer of {hidden} units, read out by a linear layer",
        "batch": batch,
        "steps": f"{steps} at most",
        "seeds": seeds,
        "checked": f"every {EVERY} steps, on {HELD_OUT} sequences held out",
        "rates": "; ".join(f"{name}: {_told(given)}" for name, given in rates.items()),
        "gradients": f"clipped to a norm of {CLIP:g} for Adam and SGD",
        "folder": place_of(folder),
    }
    rows = {
        name: {way: {t: made for t in wanted if (made := plan.found(results, name, way, t))} for way in ways}
        for name in chosen
    }
    return summed(rows, {name: PROBLEMS[name] for name in chosen}, steps, EVERY, facts)


def _begin(pool: ProcessPoolExecutor, key: Key) -> Future[Entry]:
    return pool.submit(_run, key)


def _run(key: Key) -> Entry:
    assert isinstance(key, MemoryKey)
    return run(key)


def _at_rates(asked: str) -> tuple[str, tuple[float, ...]]:
    """An optimizer, and its rates or the one that was asked for."""
    name, _, given = asked.partition("@")
    if name not in RATES:
        raise UnknownName("optimizer", name, RATES)
    if not given:
        return name, RATES[name]
    try:
        rate = float(given)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf or RATES[name] == (0.0,):
        raise BadOption(f"{asked!r}: a rate is a positive number, as in 'adam@3e-3', and isotrain has none.")
    return name, (rate,)


def _told(rates: Sequence[float]) -> str:
    if len(rates) > 1:
        return "the better of " + " and ".join(f"{rate:g}" for rate in rates)
    return f"{rates[0]:g}" if rates[0] else "none"
