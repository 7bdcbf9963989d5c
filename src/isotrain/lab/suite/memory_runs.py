"""The runs of the memory suite: one problem, length, cell, start, optimizer, rate and seed each, kept as data.

A run ends when its problem is solved on sequences held out, when its steps are used up, or when its loss is not finite.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from isotrain.data.synthetic.draws import Part
from isotrain.data.synthetic.memory import PROBLEMS, MemoryProblem, Score
from isotrain.errors import NotFinite
from isotrain.lab.suite.contest import Entry, Key, Results
from isotrain.likelihood import Categorical
from isotrain.nets.recurrent import Recurrent
from isotrain.riemann.optimizer import Riemannian

CLIP = 1.0
"""Largest norm of a gradient, for SGD and Adam: customary with recurrent nets. isotrain has its own bounds."""
EVERY = 50
"""Steps between two checks on the sequences held out."""
HELD_OUT = 256
FALLING = {"adam-falling"}
"""Optimizers whose rate falls to zero over the last fifth of the run: a longer run is another one."""
FALL = 0.2


class Way(NamedTuple):
    """A cell, whether its gates begin with memories of all lengths, and who trains it."""

    cell: str
    chrono: bool
    optimizer: str


@dataclass(frozen=True)
class MemoryKey(Key):
    """What tells one run from another; `steps` is how many it may make."""

    cell: str
    chrono: bool
    length: int
    hidden: int
    batch: int

    @property
    def way(self) -> Way:
        """The line of a figure it belongs to."""
        return Way(self.cell, self.chrono, self.optimizer)


@dataclass(frozen=True)
class MemoryEntry(Entry):
    """One run: `curve` holds the mean training loss before each check, `held_out` and `accuracy` the last check's.

    Attributes:
        checks: loss held out, every EVERY steps.
        solved_at: the step whose check reached the goal; None where none did.
        seconds: processor time of all steps, without the checks.
    """

    checks: list[float] = field(default_factory=list)
    solved_at: int | None = None
    seconds: float = 0.0


class MemoryResults(Results):
    """The runs made so far."""

    kind = "memory"

    def read(self, row: dict[str, Any]) -> MemoryEntry:
        """A run, as a file tells it."""
        return MemoryEntry(**{**row, "key": MemoryKey(**row["key"])})

    def known(self, key: MemoryKey) -> MemoryEntry | None:
        """What that run comes to: made as it is, or solved in fewer steps, or part of a longer one."""
        for entry in self.of(key.problem, key.optimizer):
            if key.optimizer in FALLING and entry.key.steps != key.steps:
                continue
            if isinstance(entry, MemoryEntry) and replace(entry.key, steps=key.steps) == key:
                solved = entry.solved_at
                if solved is not None and solved <= key.steps:
                    return entry
                if entry.key.steps >= key.steps:
                    whole = max(1, len(entry.checks))
                    part = min(whole, key.steps // EVERY)
                    cut = {"checks": entry.checks[:part], "curve": entry.curve[:part], "solved_at": None}
                    return replace(entry, key=key, seconds=entry.seconds * part / whole, **cut)  # type: ignore[arg-type]
        return None


class Asked(nn.Module):
    """A recurrent layer that reads all of a sequence, and a linear one that answers at its last places.

    >>> list(Asked(PROBLEMS["copy"], "gru", 4, time_scale=50.0)(torch.zeros(2, 70, 10)).shape)
    [2, 10, 8]
    """

    def __init__(self, problem: MemoryProblem, cell: str, hidden: int, time_scale: float | None) -> None:
        super().__init__()
        self.recurrent = Recurrent(cell, problem.inputs, hidden, time_scale=time_scale)
        self.head = nn.Linear(hidden, problem.outputs)
        self.answers = problem.answers

    def forward(self, x_btf: Tensor) -> Tensor:
        """[b,t,f] to [b,a,o]."""
        output_bth, _ = self.recurrent(x_btf)
        answers: Tensor = self.head(output_bth[:, -self.answers :])
        return answers


def _trainer(key: MemoryKey, problem: MemoryProblem, net: nn.Module) -> torch.optim.Optimizer:
    if key.optimizer == "isotrain":
        likelihood = "gaussian" if problem.likelihood == "gaussian" else Categorical(dim=-1)
        return Riemannian(net, likelihood=likelihood, seed=key.seed)
    kind: Any = {"adam": torch.optim.Adam, "adam-falling": torch.optim.Adam, "sgd": torch.optim.SGD}[key.optimizer]
    trainer: torch.optim.Optimizer = kind(net.parameters(), lr=key.rate)
    return trainer


def _falling(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """One, and over the last fifth of the steps from 1 to 0 (Hu et al. 2024, arXiv:2404.06395, without a warm-up)."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (steps - step) / (FALL * steps)))


def run(key: MemoryKey) -> MemoryEntry:
    """Make one run: until it is solved, is out of steps, or its loss is not finite."""
    problem = PROBLEMS[key.problem]
    torch.manual_seed(key.seed)
    net = Asked(problem, key.cell, key.hidden, float(key.length) if key.chrono else None)
    optimizer = _trainer(key, problem, net)
    falling = _falling(optimizer, key.steps) if key.optimizer in FALLING else None
    held_x, held_y = problem.batch(HELD_OUT, key.length, 0, 0, Part.HELD_OUT)
    curve: list[float] = []
    checks: list[float] = []
    score = Score(math.inf, 0.0)
    seconds, began, total, solved, diverged = 0.0, time.process_time(), 0.0, None, None
    for step in range(key.steps):
        x, y = problem.batch(key.batch, key.length, key.seed, step)
        loss = _step(net, optimizer, problem.loss(net(x), y), clip=key.optimizer != "isotrain")
        total += loss
        if not math.isfinite(loss):
            diverged = step
            break
        if falling is not None:
            falling.step()
        if (step + 1) % EVERY and step + 1 < key.steps:
            continue
        seconds += time.process_time() - began
        with torch.no_grad():
            score = problem.score(net(held_x), held_y)
        curve.append(_short(total / (step % EVERY + 1)))
        checks.append(_short(score.loss))
        if problem.solved(score):
            solved = step + 1
            break
        total, began = 0.0, time.process_time()
    finite = score.loss if math.isfinite(score.loss) else None
    return MemoryEntry(
        key, curve, finite, score.right, None, diverged, checks=checks, solved_at=solved, seconds=round(seconds, 2)
    )


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: bool) -> float:
    """One step; gives the loss before it, or none that is finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        return value
    optimizer.zero_grad()
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    try:
        optimizer.step()
    except NotFinite:  # ours refuses gradients that are not finite
        return math.nan
    return value


def _short(value: float) -> float:
    return float(f"{value:.5g}")
