"""Trainers side by side on one problem: loss by step and by second, final scores, memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isotrain.errors import BadOption
from isotrain.lab.problem import Batch, Loss, device_of, lay_out, problem
from isotrain.lab.runs import train
from isotrain.progress import progress_bar
from isotrain.train.optimizers import Steps, Trainer, all_chosen


@dataclass(frozen=True)
class Row:
    """One trainer's run and where it ended.

    Attributes:
        losses: minibatch loss before each step.
        seconds: end of each step since the start.
        train_loss: of the trained model over the minibatches it saw, in evaluation mode; None when it
            diverged.
        held_out_loss: the same over data it did not see, if some was given.
        accuracy: share of the held-out labels it finds; None without classes.
        state_bytes: what the optimizer remembers.
        diverged_at: the step whose loss was not finite, or None.
    """

    losses: list[float]
    seconds: list[float]
    train_loss: float | None
    held_out_loss: float | None
    accuracy: float | None
    state_bytes: int
    diverged_at: int | None


@dataclass(frozen=True)
class Comparison:
    """Trainers side by side.

    Attributes:
        rows: optimizer -> its run.
        verdict: the findings in words.
        facts: what was trained, on what, how long.
    """

    rows: dict[str, Row]
    verdict: str
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        rows = {name: asdict(row) for name, row in self.rows.items()}
        for row in rows.values():
            row["losses"] = [v if math.isfinite(v) else None for v in row["losses"]]
        return {"kind": "compare", "verdict": self.verdict, "facts": self.facts, "rows": rows}

    def save(self, path: str | Path) -> Path:
        """Write the comparison as its name says: ``.html``, ``.json`` or ``.png``."""
        from isotrain.lab.report import save

        return save(self, path)


def compare(
    build: Callable[..., Any] | nn.Module,
    batches: Iterable[Any],
    optimizers: Sequence[str | Trainer | Callable[[nn.Module], Steps]] = ("sgd", "adam", "riemannian"),
    steps: int | None = None,
    epochs: float | None = None,
    held_out: Iterable[Any] | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> Comparison:
    """Train the same model from the same start on the same minibatches with several optimizers.

    Args:
        build: makes the model; see `isotrain.lab.problem` for the forms it may take.
        batches: pairs ``(x, y)``; gone round again as often as needed.
        optimizers: names (``"adam"``, ``"adam@3e-3"``) or functions of the model.
        steps: how many steps each run takes; 200 when neither steps nor epochs is given.
        epochs: instead of steps, how often to go through `batches` (which then must have a length).
        held_out: pairs ``(x, y)`` for the final scores.
        seed: of the model and the runs.
        dtype: arithmetic of all runs; None keeps the model's own.
        progress: show a bar when stderr is a terminal.

    Returns:
        A row for each optimizer, and a verdict.

    Raises:
        BadOption: steps and epochs together, or not positive.

    >>> data = [(torch.rand(8, 4), torch.randint(0, 2, (8,)))]
    >>> compare(lambda: nn.Linear(4, 2), data, ["sgd"], steps=3, progress=False).rows["sgd 0.1"].state_bytes
    0
    """
    steps = _steps(batches, steps, epochs)
    trainers = all_chosen(optimizers)
    task = problem(build, batches, steps, seed, dtype)
    seen = list({id(batch[0]): batch for batch in task.stream}.values())
    unseen = _once(held_out, device_of(task.model), dtype) if held_out is not None else None
    rows: dict[str, Row] = {}
    with progress_bar("compare", steps * len(trainers), progress) as part:
        for trainer in trainers:
            model = copy.deepcopy(task.model)
            tick = part(trainer.label)
            run = train(model, task.loss, trainer, task.stream, likelihood=task.likelihood, seed=seed, tick=tick)
            alive = run.diverged_at is None
            train_loss = score(model, task.loss, seen)[0] if alive else None
            held_out_loss, accuracy = score(model, task.loss, unseen) if alive and unseen else (None, None)
            rows[trainer.label] = Row(
                run.losses, run.seconds, train_loss, held_out_loss, accuracy, run.state_bytes, run.diverged_at
            )
    facts = {
        "model": type(task.model).__name__,
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "parameter_bytes": sum(p.numel() * p.element_size() for p in task.model.parameters()),
        "batch": len(task.example),
        "steps": steps,
        "seed": seed,
        "dtype": str(next(task.model.parameters()).dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "rates": {t.label: t.source for t in trainers},
    }
    return Comparison(rows, _verdict(rows), facts)


def _steps(batches: Any, steps: int | None, epochs: float | None) -> int:
    if steps is not None and epochs is not None:
        raise BadOption("steps and epochs are two ways to say how long: give one of them.")
    if epochs is not None:
        if not hasattr(batches, "__len__"):
            raise BadOption("epochs needs batches of a known length; give steps instead.")
        steps = round(epochs * len(batches))
    steps = 200 if steps is None else steps
    if steps < 1:
        raise BadOption(f"{'steps' if epochs is None else 'epochs'} must be positive, {steps} steps are none.")
    return steps


def _once(batches: Iterable[Any], device: torch.device, dtype: torch.dtype | None) -> list[Batch]:
    listed = list(batches)
    return lay_out(listed, len(listed) or 1, device, dtype)


def score(model: nn.Module, loss: Loss, batches: list[Batch]) -> tuple[float, float | None]:
    """Mean loss over all samples in evaluation mode, and the share of labels found when they are classes."""
    model.eval()
    total = samples = 0.0
    right = labels = 0
    with torch.no_grad():
        for x, y in batches:
            output = model(x)
            total += float(loss(output, y)) * len(x)
            samples += len(x)
            if not y.is_floating_point() and isinstance(output, torch.Tensor) and output.dim() == y.dim() + 1:
                classes = -1 if output.shape[:-1] == y.shape else 1
                right += int((output.argmax(classes) == y).sum())
                labels += y.numel()
    model.train()
    return total / samples, right / labels if labels else None


def _verdict(rows: dict[str, Row]) -> str:
    alive = {name: row for name, row in rows.items() if row.train_loss is not None}
    dead = [name for name in rows if name not in alive]
    sentences = []
    if alive:
        best = min(alive, key=lambda name: alive[name].train_loss or 0.0)
        sentences.append(f"Lowest train loss: {best} ({alive[best].train_loss:.3g}).")
        known = {name: row.held_out_loss for name, row in alive.items() if row.held_out_loss is not None}
        if known:
            best = min(known, key=lambda name: known[name])
            share = "" if alive[best].accuracy is None else f", {100 * (alive[best].accuracy or 0):.1f} % right"
            sentences.append(f"Lowest held-out loss: {best} ({known[best]:.3g}{share}).")
        quick = min(alive, key=lambda name: alive[name].seconds[-1])
        sentences.append(f"Shortest: {quick} ({alive[quick].seconds[-1]:.1f} s).")
    if dead:
        sentences.append(f"Diverged: {', '.join(dead)}.")
    return " ".join(sentences)
