"""Run by test_distributed.py in each of several processes: train a tiny task in a folder, and be killed if so asked."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import tiny_task as tiny
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.errors import IsotrainError
from isotrain.likelihood import Categorical
from isotrain.train.distributed import joined
from isotrain.train.loop import Training, fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import RunFolder


class Bright(tiny.Bright):
    """In float64, and with labels that do not count, more of them on one share of the batch than on another."""

    def net(self) -> nn.Module:
        return super().net().double()

    @property
    def likelihood(self) -> Categorical:
        return Categorical(ignore_index=-1)

    def batch(self, loaded: Any, generator: torch.Generator | None) -> Any:
        found = super().batch(loaded, generator)
        labels = found.targets["labels"].clone()
        if generator is not None:
            labels[1:3] = -1
        return type(found)((found.inputs[0].double(),), {"labels": labels}, found.names)

    def loss(self, output: Any, targets: Any) -> Tensor:
        return F.cross_entropy(output, targets["labels"], ignore_index=-1)


def main(folder: Path, optimizer: str, resume: bool, kill_at: int, end: float) -> None:
    torch.set_num_threads(1)
    team = joined()
    plan = Plan(epochs=end, batch=8, optimizer=optimizer)
    task, run = Bright({"classes": ["left", "right"]}), RunFolder(folder)
    after = Training._step

    def step(self: Training, batch: Any) -> float:
        if self.done == kill_at and team.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if not resume and self.done == 33:
            self.save()
        return after(self, batch)

    Training._step = step  # type: ignore[method-assign]
    found: list[Training] = []
    begun = Training.__init__

    def begin(self: Training, *args: Any) -> None:
        begun(self, *args)
        found.append(self)

    Training.__init__ = begin  # type: ignore[method-assign]
    try:
        fit(task, tiny.bright(), run, plan, resume=resume, team=team)
    except IsotrainError as error:
        print(f"isotrain: {error}", flush=True)
        sys.exit(2)
    (training,) = found
    keep = {"averages": training.averages.state_dict()["averages"], "losses": [row[3] for row in training.curve]}
    torch.save(keep, folder / f"kept{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume", int(sys.argv[4]), float(sys.argv[5]))
