"""Run in a process of its own: train the tiny task in a folder, and be killed, or asked to stop, at a step."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import tiny_task as tiny
import torch

from isotrain.train.loop import Training
from isotrain.train.recipes import Plan
from isotrain.train.rundir import RunFolder


def main(folder: Path, optimizer: str, resume: bool, kill_at: int, by: signal.Signals) -> None:
    torch.set_num_threads(1)  # two would wait for each other longer than they work
    task = tiny.Bright({"classes": ["left", "right"]})
    training = Training(task, tiny.bright(), RunFolder(folder), Plan(epochs=12, batch=8, optimizer=optimizer), resume)
    after = training._step

    def step(batch: object) -> float:
        if training.done == kill_at:
            os.kill(os.getpid(), by)
        return after(batch)

    training._step = step  # type: ignore[method-assign,assignment]
    training.run()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are deaf to it
    main(
        Path(sys.argv[1]),
        sys.argv[2],
        sys.argv[3] == "resume",
        int(sys.argv[4]),
        signal.Signals[(*sys.argv, "SIGKILL")[5]],
    )
