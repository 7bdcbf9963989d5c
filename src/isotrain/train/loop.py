"""Training a task: one visible loop that can be killed at any moment and taken up again, bit for bit.

Everything random in a step hangs on the seed and the number of the step (batches.py), so that nothing of it has to be
saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from isotrain.data.samples import Dataset, evenly
from isotrain.data.shelf import Shelf
from isotrain.errors import BadCheckpoint, BadData, NotFinite
from isotrain.progress import progress_bar
from isotrain.riemann.iterates import SHARES, Averages, Best
from isotrain.tasks.base import Batch, Carried, Scores, Task
from isotrain.train.batches import NET, Batches, key_of
from isotrain.train.distributed import ALONE, Team
from isotrain.train.live import Live
from isotrain.train.norms import NORMED, counted_on, norms_of, recount
from isotrain.train.optimizers import Steps, chosen
from isotrain.train.recipes import Plan
from isotrain.train.rundir import CURVE, SCORES, SHOWN, RunFolder
from isotrain.train.stopping import stopping

CHECKS = (3, 20)
"""How often the averages are scored in a run, at least and at most."""
SPENT = 0.04
"""Share of the samples' way through the net, there and back, that scoring the averages may take on top."""
SAVED_EVERY = 60.0
"""Seconds between two checkpoints, and two looks at what the net says."""
BAR = 1000
"""Parts of the progress bar: of the steps or of the minutes allowed, whichever will be over first."""


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        scores: of the kept weights on the held-out samples (and on the test samples, under "test").
        curve: rows (step, epoch, seconds, loss, held-out score or None).
        kept: which weights were kept; None if nothing was held out (then the average of the last quarter).
        steps: made in all.
        seconds: trained in all, resumed parts added up.
        notes: what a user should know: stopped early, resumed, nothing held out.
    """

    scores: Scores
    curve: list[tuple[int, float, float, float, float | None]] = field(default_factory=list)
    kept: Best | None = None
    steps: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, without the curve."""
        kept = None if self.kept is None else self.kept._asdict()
        return {"scores": self.scores, "kept": kept, "steps": self.steps, "seconds": self.seconds, "notes": self.notes}


class Training:
    """One run of a task on a dataset.

    Args:
        task: what is learned.
        dataset: to learn from.
        folder: where the run is kept.
        plan: for how long and by what.
        resume: go on from the folder's checkpoint.
        team: the processes that train together.

    Raises:
        BadData: there is nothing to train on.
        BadCheckpoint: there is nothing to go on from, or it is another run's.
    """

    def __init__(
        self, task: Task, dataset: Dataset, folder: RunFolder, plan: Plan, resume: bool = False, team: Team = ALONE
    ) -> None:
        if not dataset.train:
            raise BadData(f"{dataset.source or 'the dataset'} has no samples to train on.")
        self.task, self.folder, self.plan, self.team = task, team.folder(folder), plan, team
        size = min(plan.batch, len(dataset.train))
        self.batches = Batches(task, Shelf(dataset.train, task.load), size, plan.seed)
        self.steps = max(1, round(plan.epochs * self.batches.epoch))
        self.judges = Shelf(evenly(dataset.held_out, plan.judges), task.load)
        self.dataset = dataset
        self.done, self.seconds = 0, 0.0
        self.watch: Callable[[Training], None] | None = None  # called after each step (tensorboard.py)
        self.carried: Carried = {}
        self.shown: list[str] = []
        self.curve: list[tuple[int, float, float, float, float | None]] = []
        self.notes: list[str] = []
        torch.manual_seed(plan.seed)
        self.net = task.net()
        self.optimizer: Steps = chosen(plan.optimizer)(self.net, task.likelihood, plan.seed)
        self.averages = Averages(self.net)
        if resume:
            self._resume()
        else:
            task.begin(self.net)
        self.forward = team.prepare(self.net, size)

    def run(self, progress: bool = False) -> Outcome:
        """Train until the plan is done, keep the best weights, score them.

        Raises:
            BadData: a sample cannot be read, or gives a loss that is not finite.
            BadOption: the folder cannot be written.
            KeyboardInterrupt: asked to stop; the step was finished and a checkpoint saved.
        """
        checks = self._checks()
        limit = math.inf if self.plan.minutes is None else 60 * self.plan.minutes
        live = Live(self.folder.path, self.done, self.team.lead)
        with progress_bar(self.task.name, BAR, progress) as part, live, stopping() as stop:
            tick, shown = part(""), 0
            began = saved = time.monotonic() - self.seconds
            self.net.train()
            for batch in self.batches.ahead(self.done, self.steps):
                loss = self._step(batch)
                self.done += 1
                self.seconds = time.monotonic() - began
                score = None
                if self.done in checks and len(self.judges):
                    score = min(self.check().values())
                self.curve.append((self.done, self.done / self.batches.epoch, self.seconds, loss, score))
                live.point(self.curve[-1])
                if self.watch is not None:
                    self.watch(self)
                if self.team.lead and (self.done in checks or time.monotonic() - saved > SAVED_EVERY):
                    part.say(self._show())
                    self.save()
                    saved = time.monotonic()
                stopped, late = self.team.agreed(stop.asked, self.seconds > limit)
                if stopped:
                    self.save()
                    raise KeyboardInterrupt(f"stopped at step {self.done}; go on with --resume.")
                reached = round(BAR * min(1, max(self.done / self.steps, self.seconds / limit)))
                tick(reached - shown)
                shown = reached
                if self.done % 20 == 0 or score is not None:
                    part(f"epoch {self.done / self.batches.epoch:.1f}  loss {loss:.4g}{_said(self.averages.best)}")
                if late and self.done < self.steps:
                    self.notes.append(
                        f"stopped after {self.plan.minutes:g} min, at epoch {self.done / self.batches.epoch:.1f} "
                        f"of {self.plan.epochs:g}"
                    )
                    self.save()  # the scores may take a while
                    break
        return self._finish(progress)

    def _checks(self) -> set[int]:
        """After which steps the averages are scored: as often as is cheap beside the training itself."""
        counted = len(counted_on(self.batches)) if norms_of(self.net) else 0
        cost = (1 + len(SHARES)) * (len(self.judges) + counted)
        # A step takes a sample there and, for twice as much, back.
        worth = 3 * SPENT * self.steps * self.batches.size / max(1, cost)
        number = min(max(round(worth), CHECKS[0]), CHECKS[1])
        return {max(1, round(self.steps * (turn + 1) / number)) for turn in range(number)}

    def _step(self, batch: Batch) -> float:
        torch.manual_seed(key_of(self.plan.seed, NET, self.done))
        output = self.forward(*self.task.onward(batch, self.carried))
        loss = self.task.loss(output, batch.targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise BadData(self._blame(batch, f"the loss is {value}"))
        self.optimizer.zero_grad()
        loss.backward()
        try:
            self.optimizer.step()
        except NotFinite as error:
            raise BadData(self._blame(batch, str(error))) from error
        if self.plan.decay:
            with torch.no_grad():
                torch._foreach_mul_([p for p in self.net.parameters() if p.requires_grad], 1 - self.plan.decay)
        self.averages.update()
        self.carried = self.task.carry(batch, output)
        return value

    @torch.no_grad()
    def _blame(self, batch: Batch, what: str) -> str:
        """Which samples of a batch make the loss, each on its own, something that is not finite."""
        for norm in self.net.modules():
            if isinstance(norm, NORMED):
                norm.reset_running_stats()  # the batch has gone through them
        self.net.eval()
        guilty = []
        for place, name in zip(self.batches.places(self.done), batch.names, strict=False):
            one = self.task.batch(self.batches.shelf.take([place]), None)
            if not math.isfinite(float(self.task.loss(self.net(*one.inputs), one.targets))):
                guilty.append(name)
        blamed = f"sample {', '.join(guilty[:5])}" if guilty else f"no sample alone; the batch is {batch.names[:8]}"
        return f"step {self.done + 1}: {what}; it comes from {blamed}. Look at it with `isotrain data check`."

    @torch.no_grad()
    def _show(self) -> str:
        """What the net says by now, also written into the run folder, after what it said before."""
        self.net.eval()
        words = self.task.shown(self.net, self.judges if len(self.judges) else self.batches.shelf)
        self.net.train()
        if words:
            words = f"Step {self.done}, epoch {self.done / self.batches.epoch:.1f}:\n{words}\n"
            self.shown.append(words)
            self.folder.write(SHOWN, "\n".join(self.shown))
        return words

    def check(self) -> dict[float, float]:
        """Score every average, and the present weights, on the held-out samples that judge."""
        shares = iter(self.averages.shares)

        def score(net: nn.Module) -> float:
            if next(shares):  # an average: what the norms counted belongs to other weights
                recount(net, self.batches)
            return self.task.weigh(net, self.judges, self.batches.size)

        found = self.averages.check(lambda net: self.team.told(partial(score, net)))
        self.net.train()
        return found

    def _finish(self, progress: bool) -> Outcome:
        """Put the best weights into the net, write and score them."""
        kept = None
        if len(self.judges):
            if not self.curve or self.curve[-1][-1] is None:
                self.check()  # stopped between two of them
                if self.team.lead:
                    self._show()
            kept = self.averages.settle()
        if not self.team.lead:
            return Outcome({}, self.curve, kept, self.done, self.seconds, self.notes)
        if kept is None:
            if self.averages.taken:
                self.averages.load(0.25)
                recount(self.net, self.batches)
            self.notes.append("nothing was held out: the average over the last quarter of the run was kept")
        self.net.eval()
        self.task.settle(self.net, self.batches.shelf)
        self.folder.write_weights(self.net)
        scores: Scores = {}
        parts = {"held-out": self.dataset.held_out, "test": self.dataset.test}
        total = sum(map(len, parts.values()))
        with progress_bar("scores", max(1, total), progress) as part, torch.no_grad():
            for name, samples in parts.items():
                if samples:
                    scores[name] = self.task.evaluate(self.net, Shelf(samples, self.task.load), part(name))
        outcome = Outcome(scores, self.curve, kept, self.done, self.seconds, self.notes)
        self.folder.write_json(SCORES, outcome.to_dict())
        self._write_curve()
        return outcome

    def save(self) -> None:
        """Write a checkpoint, and the curve so far."""
        self.folder.write_checkpoint(
            {
                "run": self._mark(), "net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                "averages": self.averages.state_dict(), "carried": self.carried, "shown": self.shown, "done": self.done,
                "seconds": self.seconds, "curve": self.curve,
            }
        )  # fmt: skip
        self._write_curve()

    def _write_curve(self) -> None:
        rows = [",".join("" if v is None else f"{v:.9g}" for v in row) for row in self.curve]
        self.folder.write(CURVE, "\n".join(["step,epoch,seconds,loss,held_out", *rows]) + "\n")

    def _mark(self) -> dict[str, Any]:
        """What must be the same for a run to go on: all but how long it is to last."""
        plan = {name: v for name, v in asdict(self.plan).items() if name not in ("epochs", "minutes")}
        sizes = [len(self.dataset.train), len(self.dataset.held_out)]
        return {"task": self.task.name, "card": self.task.card, "plan": plan, "samples": sizes}

    def _resume(self) -> None:
        saved = self.folder.read_checkpoint()
        mark = self._mark()
        odd = [name for name in mark if saved.get("run", {}).get(name) != mark[name]]
        if odd:
            raise BadCheckpoint(
                f"{self.folder.path} cannot go on: its checkpoint has another {' and '.join(odd)} "
                f"({saved.get('run', {}).get(odd[0])}) than asked for now ({mark[odd[0]]}). Give the options it was "
                "begun with, or another --out."
            )
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.averages.load_state_dict(saved["averages"])
        self.carried, self.shown = saved.get("carried", {}), list(saved.get("shown", []))
        self.done, self.seconds = saved["done"], saved["seconds"]
        self.curve = list(saved["curve"])
        self.notes.append(f"resumed at step {self.done}")


def fit(
    task: Task,
    dataset: Dataset,
    folder: RunFolder,
    plan: Plan,
    *,
    resume: bool = False,
    progress: bool = False,
    team: Team = ALONE,
    watch: Callable[[Training], None] | None = None,
) -> Outcome:
    """Train a task and leave the run in a folder: its card at the beginning, its weights and scores at the end.

    Of several processes, process 0 does so, and its outcome has the scores.

    Raises:
        BadData: there is nothing to train on, a sample cannot be read or gives a loss that is not finite.
        BadCheckpoint: `resume`, and there is no checkpoint, or it is another run's.
        BadOption: the folder cannot be written.
    """
    with team.watched():
        training = Training(task, dataset, folder, plan, resume, team)
        training.watch = watch
        sizes = {name: len(getattr(dataset, name)) for name in ("train", "held_out", "test")}
        about = {"source": dataset.source, "format": dataset.format, "samples": sizes}
        training.folder.write_card(task, asdict(plan), about)
        return training.run(progress)


def _said(best: Best | None) -> str:
    return "" if best is None else f"  best {best.score:.4g}"
