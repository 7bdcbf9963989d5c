"""The contest itself: the missing runs, several at a time, each on one processor core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from isotrain.errors import BadData, BadOption, MissingExtra, UnknownName
from isotrain.lab.suite.contest import Entry, Key, Results, planned, run
from isotrain.lab.suite.problems import PROBLEMS
from isotrain.lab.suite.rivals import RIVALS
from isotrain.lab.suite.standing import Standing, standing
from isotrain.progress import Tick, progress_bar

QUICK = 0.2
"""Share of the steps in the quick form."""
QUICK_RIVALS = ("isotrain", "adam", "momentum", "muon")


def race(
    folder: str | Path = "benchmarks/results",
    problems: Sequence[str] = (),
    optimizers: Sequence[str] = (),
    seeds: int = 3,
    quick: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Standing:
    """Make the runs that are missing in `folder` and sum up all of them. Interrupt it and start it again at will.

    Args:
        folder: where the runs are kept, a file a problem.
        problems: names; all when empty. A problem whose data is absent is left out and named in the verdict.
        optimizers: names; all when empty.
        seeds: runs of each optimizer at the best of its rates. The rates are tried on the first seed.
        quick: one seed, a fifth of the steps, few rivals; kept apart from full runs by their length.
        workers: processes; one for each core when None.
        progress: show a bar when stderr is a terminal.

    Raises:
        UnknownName: no such problem or optimizer.
        BadOption: no seed at all.
        MissingExtra: a rival's package is not installed.
    """
    for kind, asked, known in (("problem", problems, PROBLEMS), ("optimizer", optimizers, RIVALS)):
        for name in asked:
            if name not in known:
                raise UnknownName(kind, name, known)
    if seeds < 1:
        raise BadOption(f"seeds={seeds} are none: give at least 1.")
    share = QUICK if quick else 1.0
    chosen = list(problems or PROBLEMS)
    rivals = list(optimizers or (QUICK_RIVALS if quick else RIVALS))
    absent = _absent(chosen)
    chosen = [name for name in chosen if name not in absent]
    results = Results(Path(folder))
    seeds = 1 if quick else seeds
    total = sum(len(RIVALS[r].rates) + seeds - 1 for r in rivals) * len(chosen)
    missing = len(list(planned(results, chosen, rivals, seeds, share)))

    def begin(pool: ProcessPoolExecutor, key: Key) -> Future[Entry]:
        timed = key.seed == 0 and not any(e.cost for e in results.of(key.problem, key.optimizer))
        return pool.submit(run, key, timed)

    with progress_bar("contest", total, progress) as part:
        part("kept runs")(total - missing)
        make_missing(results, lambda: planned(results, chosen, rivals, seeds, share), begin, workers, part)
    found = standing(results, chosen, rivals, share)
    words = [*found.verdict, *(f"Left out, {name}: {reason}" for name, reason in absent.items())]
    return Standing(found.scores, words, {**found.facts, "seeds": seeds, "folder": place_of(folder)})


def _absent(problems: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in problems:
        try:
            PROBLEMS[name].data()
        except BadData as error:
            found[name] = str(error)
    return found


def make_missing(
    results: Results,
    plan: Callable[[], Iterable[Key]],
    begin: Callable[[ProcessPoolExecutor, Key], Future[Entry]],
    workers: int | None,
    part: Callable[[str], Tick],
) -> None:
    """Make the runs of a plan, which may grow with every run that is done, and keep each as soon as it is.

    Args:
        results: where they are kept.
        plan: the runs still to make, as far as they are known.
        begin: gives a run to the processes.
        workers: processes, each on one core; one for each core when None.
        part: of the progress bar.

    Raises:
        KeyboardInterrupt: it was interrupted; what was done is kept.
        MissingExtra: a rival's package is not installed.
    """
    workers = workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_alone) as pool:
        running: dict[Future[Entry], Key] = {}
        started: set[Key] = set()
        try:
            while True:
                for key in plan():
                    if len(running) >= workers:
                        break
                    if key not in started:
                        started.add(key)
                        running[begin(pool, key)] = key
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    key = running.pop(future)
                    results.add(future.result())
                    part(f"{key.problem}, {key.optimizer}")(1)
        except (KeyboardInterrupt, MissingExtra):
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _alone() -> None:
    torch.set_num_threads(1)


def place_of(folder: str | Path) -> str:
    """A folder as a report names it: reports are passed on, and tell nothing of the machine.

    >>> place_of("runs/memory"), place_of(Path("/somewhere/memory"))
    ('runs/memory', 'memory')
    """
    return Path(folder).name if Path(folder).is_absolute() else str(folder)
