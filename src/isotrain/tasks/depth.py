"""What each residual block of a trained net is worth: dropped, repeated, exchanged with the next, or many dropped.

A residual layer is a step of an iteration: it moves the representation a little, so that a trained net bears the loss
of a step, or a step taken twice. A plain net, where every layer makes a representation of its own, bears neither.

Sources: Veit et al. 2016, "Residual networks behave like ensembles of relatively shallow networks", section 4; Greff et
al. 2017, "Highway and residual networks learn unrolled iterative estimation".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isotrain.data.shelf import Shelf
from isotrain.errors import BadData
from isotrain.nets.resnet import ResNet
from isotrain.progress import Tick
from isotrain.tasks.base import Task

CHUNK = 128
"""Pictures looked at together."""
PASSES = 2
"""How often a report goes through its samples: what to multiply their number by for a progress bar."""


@dataclass(frozen=True)
class BlockWorth:
    """What one block is worth; scores are accuracies of the whole net.

    Attributes:
        block: its number in a path, from 0.
        stage: its stage, from 0.
        reshapes: whether it changes the shape; its shortcut then stays when it is dropped.
        movement: norm of its branch over the norm of its shortcut, mean over the samples.
        dropped: score without it.
        repeated: score with it twice in a row; None where the shape does not allow it.
        swapped: score with it and the next exchanged; None where the shape does not allow it.
    """

    block: int
    stage: int
    reshapes: bool
    movement: float
    dropped: float
    repeated: float | None
    swapped: float | None


@dataclass(frozen=True)
class DepthReport:
    """Worth of every block of a net, and scores of shallower nets.

    Attributes:
        net: its name.
        samples: how many were scored.
        score: accuracy of the whole net.
        blocks: one entry a block.
        order: blocks in the order in which they are dropped, the cheapest first.
        depths: score with so many blocks kept, from 1 to all, dropped in that order.
    """

    net: str
    samples: int
    score: float
    blocks: list[BlockWorth]
    order: list[int]
    depths: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {**asdict(self), "depths": {str(depth): score for depth, score in self.depths.items()}}

    def plot(self, path: Path) -> None:
        """Write a picture (.png or .svg): cost of each change, movement of each block, score against depth."""
        from isotrain.tasks.depth_plot import plot

        plot(self, path)


def depth_report(task: Task, net: ResNet, shelf: Shelf[Any], tick: Tick | None = None) -> DepthReport:
    """Score a trained net with each block dropped, repeated or exchanged with the next, and with ever fewer blocks.

    Args:
        task: whose batches have the net's input first and a class for each as target "labels".
        net: in evaluation mode; it is left as it was.
        shelf: samples to score on, which should not be those it was trained on.
        tick: called after every n samples, `PASSES` times for each sample.

    Raises:
        BadData: there are no samples, or one cannot be read.
    """
    if not len(shelf):
        raise BadData("there are no pictures to measure the depth on.")
    blocks, stages = net.blocks, [number for number, stage in enumerate(net.stages) for _ in stage]
    total = len(blocks)
    whole = tuple(range(total))
    steady = [block.downsample is None for block in blocks]
    dropped = {place: (*whole[:place], *whole[place + 1 :]) for place in whole}
    repeated = {place: (*whole[: place + 1], *whole[place:]) for place in whole if steady[place]}
    swapped = {
        place: (*whole[:place], place + 1, place, *whole[place + 2 :])
        for place in whole[:-1]
        if steady[place] and steady[place + 1] and stages[place] == stages[place + 1]
    }
    paths = [whole, *dropped.values(), *repeated.values(), *swapped.values()]
    movement = torch.zeros(total, dtype=torch.float64)

    def watch(place: int, x: Tensor) -> None:
        branch, shortcut = blocks[place].branch(x).flatten(1), blocks[place].shortcut(x).flatten(1)
        tiny = torch.finfo(shortcut.dtype).tiny
        movement[place] += float((branch.norm(dim=1) / shortcut.norm(dim=1).clamp_min(tiny)).double().sum())

    scores = _scores(task, net, shelf, paths, tick, watch)
    # Of equal worth the later goes first: it was made from more.
    order = sorted(whole, key=lambda place: (-scores[dropped[place]], -place))
    kept = {depth: tuple(sorted(order[total - depth :])) for depth in range(1, total + 1)}
    depths = _scores(task, net, shelf, list(kept.values()), tick)
    worths = [
        BlockWorth(
            place,
            stages[place],
            not steady[place],
            float(movement[place]) / len(shelf),
            scores[dropped[place]],
            scores[repeated[place]] if place in repeated else None,
            scores[swapped[place]] if place in swapped else None,
        )
        for place in whole
    ]
    return DepthReport(
        net.name, len(shelf), scores[whole], worths, order, {depth: depths[path] for depth, path in kept.items()}
    )


@torch.no_grad()
def _scores(
    task: Task,
    net: ResNet,
    shelf: Shelf[Any],
    paths: Sequence[tuple[int, ...]],
    tick: Tick | None,
    watch: Callable[[int, Tensor], None] | None = None,
) -> dict[tuple[int, ...], float]:
    """Accuracy along each path. What paths have in common with the whole net at their beginnings is run once."""
    total = len(net.blocks)
    starting: list[list[tuple[int, ...]]] = [[] for _ in range(total + 1)]
    for path in dict.fromkeys(paths):
        starting[_common(path)].append(path)
    right = dict.fromkeys(paths, 0)
    device = next(net.parameters()).device
    for inputs, labels in _batches(task, shelf, device):
        x = net.stem(inputs)
        for place in range(total + 1):
            for path in starting[place]:
                scores = net.head(net.through(x, path[place:], after=path[:place]))
                right[path] += int((scores.argmax(1) == labels).sum())
            if place < total:
                if watch is not None:
                    watch(place, x)
                x = net.blocks[place](x)
        if tick is not None:
            tick(len(labels))
    return {path: count / len(shelf) for path, count in right.items()}


def _batches(task: Task, shelf: Shelf[Any], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(shelf), CHUNK):
        batch = task.batch(shelf.take(range(start, min(start + CHUNK, len(shelf)))), None)
        yield batch.inputs[0].to(device), batch.targets["labels"].to(device)


def _common(path: tuple[int, ...]) -> int:
    """How many blocks at the beginning of a path are those of the whole net.

    >>> _common((0, 1, 3))
    2
    """
    return next((place for place, block in enumerate(path) if place != block), len(path))
