"""The lecture's experiment on scikit-learn's digits: one network written down six ways, five trainers.

The settings are {tanh, sigmoid, 1.7159 tanh(2x/3)} x {pictures as they are, black and white exchanged}. They
start as exactly the same function (`changes` rewrites the weights) and see the same minibatches. A rival runs
at the rate of a small grid that serves it best on the first setting; isotrain has no rate to choose.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isotrain.data.digits import digits
from isotrain.data.sources import batched
from isotrain.lab.audit import gap_between, reading
from isotrain.lab.changes import Changed, apply
from isotrain.lab.compare import score
from isotrain.lab.problem import Batch, cross_entropy
from isotrain.lab.runs import Run, train
from isotrain.progress import progress_bar
from isotrain.train.optimizers import OPTIMIZERS, Trainer


@dataclass(frozen=True)
class Setting:
    """One way to write the network down, and the changes that lead to it from the first."""

    activation: str
    inverted: bool
    change: str | None


SETTINGS: dict[str, Setting] = {
    "tanh": Setting("tanh", False, None),
    "tanh, inverted": Setting("tanh", True, "input-inversion"),
    "sigmoid": Setting("sigmoid", False, "sigmoid"),
    "sigmoid, inverted": Setting("sigmoid", True, "sigmoid+input-inversion"),
    "1.7159 tanh": Setting("1.7159 tanh(2x/3)", False, "scaled-tanh"),
    "1.7159 tanh, inverted": Setting("1.7159 tanh(2x/3)", True, "scaled-tanh+input-inversion"),
}

# Rates a factor three apart, from the customary one to well above: the best on the first setting lies inside.
GRID: dict[str, tuple[float, ...]] = {
    "sgd": (0.1, 0.3, 1.0, 3.0),
    "rmsprop": (1e-3, 3e-3, 1e-2, 3e-2),
    "adam": (1e-3, 3e-3, 1e-2, 3e-2),
    "muon": (0.02, 0.06, 0.2, 0.6),
}
OURS = "riemannian"


@dataclass(frozen=True)
class Demo:
    """What the experiment found.

    Attributes:
        curves: trainer -> setting -> minibatch loss at every step.
        finals: trainer -> setting -> loss over all training pictures at the end (None: diverged).
        gaps: trainer -> largest difference of any curve from that of the first setting.
        accuracies: trainer -> setting -> share of the held-out pictures recognised.
        rates: trainer -> where its rate comes from.
        verdict: the findings in words.
        facts: what was trained, on what, how long.
        picture: one of the digits, white on black, rows of pixels.
    """

    curves: dict[str, dict[str, list[float]]]
    finals: dict[str, dict[str, float | None]]
    gaps: dict[str, float]
    accuracies: dict[str, dict[str, float | None]]
    rates: dict[str, str]
    verdict: list[str]
    facts: dict[str, Any]
    picture: list[list[float]]

    def spread(self, trainer: str) -> float | None:
        """Largest final loss less the smallest; None when a run diverged."""
        found = [f for f in self.finals[trainer].values() if f is not None]
        return max(found) - min(found) if len(found) == len(self.finals[trainer]) else None

    def reading(self, trainer: str) -> str:
        """The word for a trainer's largest gap: "same", "close", "differs" or "diverged"."""
        if not math.isfinite(self.gaps[trainer]):
            return "diverged"
        return reading(self.gaps[trainer], next(iter(self.curves[trainer].values()))[0], self.facts["dtype"])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "kind": "demo",
            "verdict": self.verdict,
            "facts": self.facts,
            "settings": {n: {"activation": s.activation, "inverted": s.inverted} for n, s in SETTINGS.items()},
            "finals": self.finals,
            "spreads": {t: self.spread(t) for t in self.finals},
            "gaps": {t: g if math.isfinite(g) else None for t, g in self.gaps.items()},
            "readings": {t: self.reading(t) for t in self.finals},
            "accuracies": self.accuracies,
            "rates": self.rates,
            "notes": {t: self._note(t) for t in self.finals},
            "curves": {
                t: {s: [v if math.isfinite(v) else None for v in curve] for s, curve in row.items()}
                for t, row in self.curves.items()
            },
            "picture": self.picture,
        }

    def save(self, path: str | Path) -> Path:
        """Write the result as its name says: ``.html``, ``.json`` or ``.png``."""
        from isotrain.lab.report import save

        return save(self, path)

    def _note(self, trainer: str) -> str:
        if self.reading(trainer) == "same":
            return f"six curves on one another: largest gap {self.gaps[trainer]:.0e}"
        spread = self.spread(trainer)
        if spread is None:
            return "some settings diverge"
        low = min(f for f in self.finals[trainer].values() if f is not None)
        return f"ends between {low:.2g} and {low + spread:.2g}"


def network(seed: int) -> nn.Module:
    """64-64-32-10 with tanh, as torch initialises it."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()


def demo(steps: int = 300, batch: int = 100, seed: int = 0, progress: bool = True) -> Demo:
    """Run the experiment: about 40 runs of `steps` steps, in float64, on one thread."""
    start = time.perf_counter()
    (x, y), (held_x, held_y) = digits(seed)
    once = [(a.double(), b) for a, b in batched((x, y), batch, seed)]
    stream = [once[i % len(once)] for i in range(steps)]
    base = network(seed)
    versions = {
        name: apply(s.change, base, x[:16].double(), seed) if s.change else None for name, s in SETTINGS.items()
    }
    runs: dict[str, dict[str, Run]] = {}
    finals: dict[str, dict[str, float | None]] = {}
    accuracies: dict[str, dict[str, float | None]] = {}
    rates: dict[str, str] = {}
    total = steps * (sum(len(g) for g in GRID.values()) + (len(SETTINGS) - 1) * len(GRID) + len(SETTINGS))

    def end(version: Changed | None, trainer: Trainer, tick: Any) -> tuple[Run, float | None, float | None]:
        model = copy.deepcopy(version.model if version else base)
        encode = version.encode if version else None
        run = train(model, cross_entropy, trainer, stream, encode=encode, seed=seed, tick=tick)
        if run.diverged_at is not None:
            return run, None, None
        see = encode or (lambda v: v)
        seen: list[Batch] = [(see(x.double()), y)]
        return (
            run,
            score(model, cross_entropy, seen)[0],
            score(model, cross_entropy, [(see(held_x.double()), held_y)])[1],
        )

    with one_thread(), progress_bar("demo", total, progress) as part:
        for name in (*GRID, OURS):
            tried = (
                [replace(OPTIMIZERS[name], rate=rate) for rate in GRID[name]] if name in GRID else [OPTIMIZERS[name]]
            )
            first = {t: end(None, t, part(t.label)) for t in tried}
            best = min(tried, key=lambda t: math.inf if first[t][1] is None else float(first[t][1] or 0.0))
            label = best.label if name in GRID else "isotrain"
            rates[label] = _rate_words(best, {t: first[t][1] for t in tried})
            results = {
                setting: end(version, best, part(f"{label}, {setting}")) if version else first[best]
                for setting, version in versions.items()
            }
            runs[label] = {s: r[0] for s, r in results.items()}
            finals[label] = {s: r[1] for s, r in results.items()}
            accuracies[label] = {s: r[2] for s, r in results.items()}
    curves = {t: {s: run.losses for s, run in row.items()} for t, row in runs.items()}
    gaps = {t: max(gap_between(row["tanh"], curve) for curve in row.values()) for t, row in curves.items()}
    facts = {
        "data": f"scikit-learn's digits, {len(x)} pictures, {len(held_x)} held out",
        "network": "64-64-32-10",
        "steps": steps,
        "batch": batch,
        "dtype": "float64",
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }
    picture = x[int((y == 3).nonzero()[0])].view(8, 8).tolist()
    found = Demo(curves, finals, gaps, accuracies, rates, [], facts, picture)
    return replace(found, verdict=_verdict(found))


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread: matrices this small are slower on several, and the order of additions stays fixed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rate_words(best: Trainer, ends: dict[Trainer, float | None]) -> str:
    if best.rate is None:
        return "no rate: its step length is found from the curvature along the step"
    tried = ", ".join(f"{t.rate:g} → {'diverged' if e is None else f'{e:.2g}'}" for t, e in ends.items())
    return f"rate {best.rate:g}, the best of (rate → final loss on the first setting): {tried}"


def _verdict(found: Demo) -> list[str]:
    steady = [t for t in found.finals if found.reading(t) == "same"]
    moved = [t for t in found.finals if t not in steady]
    sentences = []
    if steady:
        gap = max(found.gaps[t] for t in steady)
        sentences.append(
            f"{' and '.join(steady)}: six curves, one line. The largest gap between them in "
            f"{found.facts['steps']} steps is {gap:.0e}."
        )
    if moved:
        sentences.append(f"{_listed(moved)}: six different trainings of one and the same function.")
    for trainer in moved:
        known = {s: f for s, f in found.finals[trainer].items() if f is not None}
        failed = [s for s in found.finals[trainer] if s not in known]
        if failed:
            sentences.append(f"{trainer} diverges with {_listed(failed)}.")
        else:
            best, worst = min(known, key=lambda s: known[s]), max(known, key=lambda s: known[s])
            sentences.append(f"{trainer} ends at {known[best]:.2g} with {best}, at {known[worst]:.2g} with {worst}.")
    return sentences


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
