"""Where the contest stands: every rival at the best of its rates, medians over seeds, beside isotrain."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isotrain.lab.suite.contest import Entry, Results, best, length, lengths
from isotrain.lab.suite.problems import PROBLEMS
from isotrain.lab.suite.rivals import RIVALS

OURS = "isotrain"
STARTED = "isotrain-start"
HELD_OUT = ("held_out", "accuracy", "averaged", "averaged_accuracy")
RIGHT = ("accuracy", "averaged_accuracy")
"""Of these more is better."""


@dataclass(frozen=True)
class Score:
    """One optimizer on one problem.

    Attributes:
        rate: the best of its grid by the training loss at equal steps; 0 for an optimizer without a rate.
        seeds: runs the medians are of.
        loss: training loss at equal steps, median.
        low: least over the seeds.
        high: largest over the seeds.
        timed: training loss at equal seconds, at the best rate for that, median of the seeds it ran on.
        published: training loss at equal seconds at the published rate, one seed.
        held_out: loss held out, median.
        accuracy: share of right answers held out, median.
        averaged: loss held out with `isotrain.Averages`, median.
        averaged_accuracy: share of right answers so.
        worst: the worst seed of each of those four.
        cost: time of a step over SGD's.
        diverged: runs whose loss was not finite or ended above where it began, of `runs` at all rates.
        runs: runs at all rates.
        curve: training loss of the seed-0 run at the best rate, up to equal steps.
    """

    rate: float
    seeds: int
    loss: float | None
    low: float | None
    high: float | None
    timed: float | None
    published: float | None
    held_out: float | None
    accuracy: float | None
    averaged: float | None
    averaged_accuracy: float | None
    worst: dict[str, float]
    cost: float | None
    diverged: int
    runs: int
    curve: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Standing:
    """The whole contest so far.

    Attributes:
        scores: problem -> optimizer -> its score.
        verdict: the findings in words.
        facts: how it was made.
    """

    scores: dict[str, dict[str, Score]]
    verdict: list[str]
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        scores = {p: {o: asdict(s) for o, s in row.items()} for p, row in self.scores.items()}
        titles = {p: PROBLEMS[p].title for p in scores}
        return {"kind": "suite", "titles": titles, "scores": scores, "verdict": self.verdict, "facts": self.facts}

    def save(self, path: str | Path) -> Path:
        """Write the standing as its name says: ``.html``, ``.json``, ``.png`` or ``.md``."""
        from isotrain.lab.report import save

        return save(self, path)


def standing(results: Results, problems: Sequence[str], optimizers: Sequence[str], share: float) -> Standing:
    """Sum up the runs there are."""
    scores: dict[str, dict[str, Score]] = {}
    for name in problems:
        steps = length(name, share)
        ours = [e for e in results.of(name, OURS) if e.key.steps == steps]
        own_cost = next((e.cost for e in ours if e.cost), None)
        row = {}
        for optimizer in optimizers:
            entries = [e for e in results.of(name, optimizer) if e.key.steps in lengths(name, optimizer, share)]
            if entries:
                row[optimizer] = _score(entries, optimizer, steps, own_cost, PROBLEMS[name].scale)
        if row:
            scores[name] = row
    return Standing(scores, verdict(scores), {"share": share})


def _score(entries: list[Entry], optimizer: str, steps: int, own_cost: float | None, scale: float) -> Score:
    shortest, longest = min(e.key.steps for e in entries), max(e.key.steps for e in entries)
    level = [e for e in entries if e.key.steps == shortest]
    long = [e for e in entries if e.key.steps == longest]
    rate = best(level, steps)
    chosen = [e for e in level if e.key.rate == rate]
    cost = next((e.cost for e in entries if e.cost), None)
    equal = min(longest, round(steps * (own_cost or 1.0) / (cost or 1.0)))
    losses = [e.at(steps) * scale for e in chosen]
    timed = [
        statistics.median(e.at(equal) for e in long if e.key.rate == r) * scale for r in {e.key.rate for e in long}
    ]
    default = RIVALS[optimizer].rate or 0.0
    published = [e.at(equal) * scale for e in long if e.key.seed == 0 and e.key.rate == default]
    held = {name: [v for e in chosen if (v := getattr(e, name)) is not None] for name in HELD_OUT}
    for name in ("held_out", "averaged"):
        held[name] = [value * scale for value in held[name]]
    medians = {name: statistics.median(values) if values else None for name, values in held.items()}
    first = next((e for e in chosen if e.key.seed == 0), chosen[0])
    upto = max(1, round(len(first.curve) * steps / first.key.steps))
    return Score(
        rate=rate or 0.0,
        seeds=len(chosen),
        loss=_finite(statistics.median(losses)),
        low=_finite(min(losses)),
        high=_finite(max(losses)),
        timed=_finite(min(timed)),
        published=_finite(published[0]) if published else None,
        **medians,
        worst={name: min(values) if name in RIGHT else max(values) for name, values in held.items() if values},
        cost=cost,
        diverged=sum(e.diverged for e in entries),
        runs=len(entries),
        curve=[value * scale for value in first.curve[:upto]],
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _worth(value: float | None) -> float:
    return math.inf if value is None else value


def verdict(scores: dict[str, dict[str, Score]]) -> list[str]:
    """On how many problems isotrain is at least as good, by each measure."""
    words = _verdict(scores, OURS)
    if not words:
        return ["Nothing to compare yet: isotrain and a rival must have run on the same problem."]
    return words + [f"From isotrain.start. {line}" for line in _verdict(scores, STARTED)]


def _rivals(row: dict[str, Score]) -> dict[str, Score]:
    return {o: s for o, s in row.items() if o not in (OURS, STARTED)}


def _verdict(scores: dict[str, dict[str, Score]], ours: str) -> list[str]:
    both = {p: row for p, row in scores.items() if ours in row and _rivals(row)}
    if not both:
        return []
    words = []
    measures = (
        ("Training loss at equal steps", "loss", "loss"),
        ("Training loss at equal seconds", "loss", "timed"),
        ("Training loss at equal seconds, rivals at their published rates", "loss", "published"),
    )
    for title, own, other in measures:
        won, lost = 0, []
        for problem, row in both.items():
            mine = _worth(getattr(row[ours], own))
            ahead = {o: _worth(getattr(s, other)) for o, s in _rivals(row).items()}
            better = [o for o, value in ahead.items() if value < mine]
            won += not better
            if better:
                lost.append(f"{problem} ({', '.join(sorted(better, key=lambda o: ahead[o])[:3])})")
        beaten = f"; behind on {'; '.join(lost)}" if lost else ""
        words.append(f"{title}: ahead of every rival on {won} of {len(both)} problems{beaten}.")
    words += [
        _held_out(both, ours, "Held-out loss", "held_out"),
        _held_out(both, ours, "Held-out answers (loss where there are none to count)", "accuracy", "held_out"),
        _held_out(both, ours, "Held-out loss, all with averaged weights", "averaged"),
        _held_out(both, ours, "Held-out answers, all with averaged weights", "averaged_accuracy", "averaged"),
    ]
    broken = sum(row[ours].diverged for row in both.values())
    words.append(f"isotrain diverged in {broken} of {sum(row[ours].runs for row in both.values())} runs.")
    return words


def _held_out(both: dict[str, dict[str, Score]], ours: str, title: str, *measures: str) -> str:
    """Where we are at least as good as the best rival's worst seed, by the first of the measures there is."""
    good, lost, compared = 0, [], 0
    for problem, row in both.items():
        name = next((m for m in measures if getattr(row[ours], m) is not None), None)
        if name is None:
            continue
        sign = -1.0 if name in RIGHT else 1.0
        known = {o: sign * v for o, s in _rivals(row).items() if (v := getattr(s, name)) is not None}
        if not known:
            continue
        compared += 1
        best_rival = min(known, key=lambda o: known[o])
        within = sign * getattr(row[ours], name) <= sign * row[best_rival].worst[name]
        good += within
        if not within:
            lost.append(f"{problem} ({best_rival})")
    behind = f"; behind on {'; '.join(lost)}" if lost else ""
    if not compared:
        return f"{title}: not measured yet."
    return f"{title}: within the spread of the best rival, or better, on {good} of {compared} problems{behind}."
