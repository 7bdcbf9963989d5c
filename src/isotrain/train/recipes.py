"""How long each task is trained by default; nothing else has to be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from isotrain.errors import BadOption, UnknownName
from isotrain.seeds import checked_seed


@dataclass(frozen=True)
class Plan:
    """A training run, apart from its task and its data.

    Attributes:
        epochs: how often to go through the samples.
        batch: samples in a step.
        optimizer: a name of `isotrain.train.optimizers`, with a rate of your own after an @ for those that need one.
        seed: draws the net, the batches and what is varied in them.
        minutes: stop after this time, however many epochs are left; None for no limit.
        judges: how many of the held-out samples choose the weights that are kept, at most.
        decay: share of every weight and bias that is taken away at a step, whatever the optimizer.
    """

    epochs: float = 30.0
    batch: int = 64
    optimizer: str = "riemannian"
    seed: int = 0
    minutes: float | None = None
    judges: int = 1000
    decay: float = 0.0

    def __post_init__(self) -> None:
        for name, value, least in (("epochs", self.epochs, 0), ("minutes", self.minutes, 0)):
            if value is not None and not least < value < float("inf"):
                raise BadOption(f"{name}={value} must be above {least}.")
        if not 0 <= self.decay < 1:
            raise BadOption(f"decay={self.decay} must be 0 or more, below 1.")
        for name, whole, least in (("batch", self.batch, 1), ("judges", self.judges, 1)):
            if whole < least:
                raise BadOption(f"{name}={whole} must be at least {least}.")
        checked_seed(self.seed)


RECIPES: dict[str, Plan] = {
    "classify": Plan(epochs=30, batch=64),
    "localise": Plan(epochs=30, batch=32),
    "detect": Plan(epochs=30, batch=8),
    "masks": Plan(epochs=30, batch=16),
    "finder": Plan(epochs=30, batch=32),
    "landmarks": Plan(epochs=100, batch=32),
    "faces": Plan(epochs=60, batch=64),
    # The same for every text: recurrent weights otherwise grow for as long as a run lasts (docs/research.md).
    "characters": Plan(epochs=20, batch=32, decay=1e-3),
    "translate": Plan(epochs=12, batch=64),
    "caption": Plan(epochs=30, batch=32),
}


def recipe(task: str) -> Plan:
    """The plan of a task.

    Raises:
        UnknownName: no such task.

    >>> recipe("classify").optimizer
    'riemannian'
    """
    if task not in RECIPES:
        raise UnknownName("task", task, RECIPES)
    return RECIPES[task]
