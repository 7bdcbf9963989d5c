"""Does a trainer depend on how the network was written down?

The model is rewritten in other variables (`changes`), so that every version is the same function at the
start; each version is trained on the same minibatches in the same order. A trainer that does not feel the
change gives the same loss curve. The *gap* is the largest difference between the two curves, over all steps,
in units of the loss.

Before anything is compared, one run is repeated: if the repetition differs, a comparison would measure
chance, and the audit refuses.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isotrain.errors import BadOption, CannotRewrite, NotDeterministic
from isotrain.lab.changes import CHANGES, Changed, apply, known
from isotrain.lab.problem import Problem, problem
from isotrain.lab.runs import Run, train
from isotrain.progress import progress_bar
from isotrain.train.optimizers import Steps, Trainer, all_chosen

ORIGINAL = "original"

# Of the first loss. Two float64 runs of the same trajectory stay well under the first figure after hundreds
# of steps, two float32 runs under the second (docs/audit.md); a hundredth of the first loss can be seen on a
# plot.
SAME = {torch.float64: 1e-6, torch.float32: 1e-3}
CLOSE = 1e-2
REPEATED_STEPS = 25


@dataclass(frozen=True)
class Report:
    """What an audit found.

    Attributes:
        gaps: optimizer -> change -> largest difference of the two loss curves (inf: only one of them
            diverged).
        curves: optimizer -> "original" or change -> loss at every step.
        verdict: the findings in words.
        refused: change -> why this model cannot be rewritten so.
        claims: optimizer -> the changes it claims not to feel.
        details: change -> what was done to the model.
        facts: what was trained, on what, how long.
    """

    gaps: dict[str, dict[str, float]]
    curves: dict[str, dict[str, list[float]]]
    verdict: str
    refused: dict[str, str] = field(default_factory=dict)
    claims: dict[str, frozenset[str]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def reading(self, optimizer: str, change: str) -> str:
        """The word for one gap: same, close, differs or diverged."""
        curve = self.curves[optimizer][change]
        if not math.isfinite(self.gaps[optimizer][change]) or not math.isfinite(curve[-1]):
            return "diverged"
        return reading(self.gaps[optimizer][change], self.curves[optimizer][ORIGINAL][0], self.facts["dtype"])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it (a gap that is infinite becomes None)."""
        return {
            "kind": "audit",
            "verdict": self.verdict,
            "facts": self.facts,
            "gaps": {o: {c: _finite(g) for c, g in row.items()} for o, row in self.gaps.items()},
            "readings": {o: {c: self.reading(o, c) for c in row} for o, row in self.gaps.items()},
            "claims": {o: sorted(c) for o, c in self.claims.items()},
            "details": self.details,
            "refused": self.refused,
            "curves": {
                o: {c: [_finite(v) for v in curve] for c, curve in row.items()} for o, row in self.curves.items()
            },
        }

    def save(self, path: str | Path) -> Path:
        """Write the report as its name says: ``.html``, ``.json`` or ``.png``."""
        from isotrain.lab.report import save

        return save(self, path)


def audit(
    build: Callable[..., Any] | nn.Module,
    batches: Iterable[Any],
    optimizers: Sequence[str | Trainer | Callable[[nn.Module], Steps]] = ("sgd", "adam", "riemannian"),
    changes: str | Sequence[str] = "all",
    steps: int = 200,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float64,
    progress: bool = True,
) -> Report:
    """Measure how much training depends on arbitrary choices of coordinates.

    Args:
        build: makes the model; see `isotrain.lab.problem` for the forms it may take.
        batches: pairs ``(x, y)``; gone round again if there are fewer than `steps`.
        optimizers: names (``"adam"``, ``"adam@3e-3"``) or functions of the model.
        changes: ``"all"`` that the model can absorb, or names (``"sigmoid+input-inversion"`` is one after the
            other).
        steps: how many steps each run takes.
        seed: of the model, the runs and the changes.
        dtype: arithmetic of all runs; None keeps the model's own. In float64, rounding is too small to be
            mistaken for a dependence.
        progress: show a bar when stderr is a terminal.

    Returns:
        The curves, the gaps between them, and a verdict.

    Raises:
        NotDeterministic: a run, repeated, gives another curve.
        CannotRewrite: a change that was asked for by name does not fit the model, or none fits.
        BadOption: no steps, or no changes.

    >>> data = [(torch.eye(4), torch.tensor([0, 1, 0, 1]))]
    >>> report = audit(lambda: nn.Linear(4, 2), data, ["sgd"], ["input-scale"], steps=20, progress=False)
    >>> report.reading("sgd 0.1", "input-scale")
    'differs'
    """
    if steps < 1:
        raise BadOption(f"steps={steps} must be at least 1.")
    trainers = all_chosen(optimizers)
    wanted = list(CHANGES) if changes == "all" else [changes] if isinstance(changes, str) else list(changes)
    if not wanted:
        raise BadOption("changes is empty: name at least one, or 'all'.")
    for name in wanted:
        known(name)
    task = problem(build, batches, steps, seed, dtype)
    changed, refused = _rewritten(task, wanted, seed, strict=changes != "all")
    repeat = min(steps, REPEATED_STEPS)
    total = repeat + steps * len(trainers) * (1 + len(changed))
    runs: dict[str, dict[str, Run]] = {}
    with progress_bar("audit", total, progress) as part:
        for at, trainer in enumerate(trainers):
            row = runs.setdefault(trainer.label, {})
            row[ORIGINAL] = _run(task, None, trainer, seed, part(f"{trainer.label}, original"))
            if at == 0:
                again = _run(task, None, trainer, seed, part(f"{trainer.label}, repeated"), repeat)
                _refuse_chance(trainer, row[ORIGINAL], again, task)
            for name, version in changed.items():
                row[name] = _run(task, version, trainer, seed, part(f"{trainer.label}, {name}"))
    return _report(task, runs, changed, refused, steps, seed)


def _rewritten(task: Problem, wanted: list[str], seed: int, strict: bool) -> tuple[dict[str, Changed], dict[str, str]]:
    changed: dict[str, Changed] = {}
    refused: dict[str, str] = {}
    for name in wanted:
        try:
            changed[name] = apply(name, task.model, task.example, seed)
        except CannotRewrite as error:
            if strict:
                raise
            refused[name] = str(error).removeprefix(f"{name}: ")
    if not changed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise CannotRewrite(f"this model absorbs none of the changes. {reasons}")
    return changed, refused


def _run(
    task: Problem,
    version: Changed | None,
    trainer: Trainer,
    seed: int,
    tick: Callable[[int], None],
    steps: int | None = None,
) -> Run:
    return train(
        copy.deepcopy(version.model if version else task.model),
        task.loss,
        trainer,
        task.stream[:steps],
        likelihood=task.likelihood,
        encode=version.encode if version else None,
        seed=seed,
        tick=tick,
    )


def _refuse_chance(trainer: Trainer, first: Run, again: Run, task: Problem) -> None:
    gap = gap_between(first.losses[: len(again.losses)], again.losses)
    dtype = next(task.model.parameters()).dtype
    if gap > SAME.get(dtype, SAME[torch.float32]) * max(abs(first.losses[0]), 1e-12):
        raise NotDeterministic(
            f"the same run of {trainer.label}, repeated, differs by {gap:.2g} within {len(again.losses)} "
            "steps: an audit "
            "would measure chance. Likely causes: random numbers drawn outside torch's own generator "
            "(numpy, random, a "
            "generator kept by the model), a counter or cache kept between calls, or CUDA kernels that "
            "are not "
            "deterministic (torch.use_deterministic_algorithms(True))."
        )


def gap_between(one: Sequence[float], other: Sequence[float]) -> float:
    """Largest difference of two curves; inf when one diverges and the other does not (or elsewhere).

    >>> gap_between([2.0, 1.0], [2.0, 1.5])
    0.5
    >>> gap_between([2.0, 1.0], [2.0, float("nan")])
    inf
    """
    ends_one, ends_other = len(one), len(other)
    if ends_one != ends_other or math.isfinite(one[-1]) != math.isfinite(other[-1]):
        return math.inf
    return max(
        (abs(a - b) for a, b in zip(one, other, strict=True) if math.isfinite(a) and math.isfinite(b)),
        default=0.0,
    )


def reading(gap: float, first_loss: float, dtype: str) -> str:
    """The word for a gap: the same but for rounding, close (a hundredth of the first loss), or not.

    >>> reading(1e-9, 2.3, "float64"), reading(5e-3, 2.3, "float64"), reading(0.4, 2.3, "float64")
    ('same', 'close', 'differs')
    """
    same = SAME.get(getattr(torch, dtype), SAME[torch.float32])
    size = max(abs(first_loss), 1e-12)
    return "same" if gap <= same * size else "close" if gap <= CLOSE * size else "differs"


def _report(
    task: Problem,
    runs: dict[str, dict[str, Run]],
    changed: dict[str, Changed],
    refused: dict[str, str],
    steps: int,
    seed: int,
) -> Report:
    curves = {o: {c: run.losses for c, run in row.items()} for o, row in runs.items()}
    gaps = {o: {c: gap_between(row[ORIGINAL], row[c]) for c in changed} for o, row in curves.items()}
    parameters = sum(p.numel() for p in task.model.parameters())
    facts = {
        "model": type(task.model).__name__,
        "parameters": parameters,
        "likelihood": task.likelihood if isinstance(task.likelihood, str) else type(task.likelihood).__name__,
        "batch": len(task.example),
        "steps": steps,
        "seed": seed,
        "dtype": str(next(task.model.parameters()).dtype).removeprefix("torch."),
    }
    report = Report(
        gaps,
        curves,
        "",
        refused,
        {o: row[ORIGINAL].claims for o, row in runs.items()},
        {name: version.details for name, version in changed.items()},
        facts,
    )
    return Report(**{**vars(report), "verdict": verdict(report)})


def verdict(report: Report) -> str:
    """The findings in words, the steadiest trainer first."""
    sentences = []
    for optimizer in sorted(report.gaps, key=lambda o: max(report.gaps[o].values())):
        words = {c: report.reading(optimizer, c) for c in report.gaps[optimizer]}
        felt = [c for c, word in words.items() if word != "same"]
        worst = max(report.gaps[optimizer].values())
        if not felt:
            sentences.append(f"{optimizer}: the same curve under all {len(words)} changes (largest gap {worst:.1e}).")
        else:
            size = f"largest gap {worst:.2g}" if math.isfinite(worst) else "one version diverges, the other does not"
            sentences.append(
                f"{optimizer}: another curve under {len(felt)} of {len(words)} changes ({', '.join(felt)}; {size})."
            )
        broken = [c for c in felt if set(c.split("+")) <= report.claims.get(optimizer, frozenset())]
        if broken:
            sentences.append(f"{optimizer} claims not to feel {', '.join(broken)}, and does: please report it.")
    return " ".join(sentences)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
