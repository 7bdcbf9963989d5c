"""What a task is: a net, its loss and its scores, all made from a card that fits into a JSON file.

A task knows nothing of optimizers: any one trains it (`isotrain.train.loop`). Batches are drawn from a generator that
hangs on the seed and the step alone, so that a run that is taken up again goes on exactly where it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from torch import Tensor, nn

from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.likelihood.base import Likelihood
from isotrain.progress import Tick

Card = dict[str, Any]
"""All that makes a task again: classes, channels, sizes, the choice of net. Plain JSON."""
Scores = dict[str, Any]
"""Name of a score -> its value, plain JSON. Numbers between 0 and 1 unless the name says otherwise."""
Likelihoods = Likelihood | Mapping[str, Likelihood] | Sequence[Likelihood | None]
"""What the outputs mean: the one there is; by their names; or by their places, None for one that is no prediction."""
Carried = dict[str, Tensor]
"""What a net keeps in mind from one step to the next: saved with a checkpoint."""


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        inputs: arguments of the net, tensors whose first dimension is the samples.
        targets: by name, what the loss compares with.
        names: of the samples, for messages.
    """

    inputs: tuple[Tensor, ...]
    targets: dict[str, Tensor]
    names: list[str] = field(default_factory=list)


class Task(ABC):
    """One kind of question that a net learns to answer."""

    name: ClassVar[str]
    """As on the command line."""
    score: ClassVar[str]
    """Which of `evaluate`'s scores the task is judged by, the higher the better."""
    open_set: ClassVar[bool] = False
    """Whether it is judged on classes that it has not learned from."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.classes: list[str] = list(card["classes"])

    @classmethod
    @abstractmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """The card for a dataset: what is not in `options` follows from the data.

        Raises:
            BadData: the dataset cannot be learned from (one class, no boxes, ...).
            BadOption: an option is not known or outside its range.
        """

    @abstractmethod
    def net(self) -> nn.Module:
        """A new net, its weights drawn from torch's generator. It takes pictures in [0, 1] and scales them itself."""

    def begin(self, net: nn.Module) -> None:  # noqa: B027 - most nets begin as they are drawn
        """Load what the card names to begin from (pretrained weights): once, before the first step of a run."""

    @property
    @abstractmethod
    def likelihood(self) -> Likelihoods:
        """What the net's outputs mean."""

    @abstractmethod
    def load(self, sample: Sample) -> Any:
        """Read a sample, as far as it is the same each time: what a shelf keeps (tensors, small).

        Raises:
            BadData: it cannot be read; the message names the file.
        """

    def order(self, samples: Sequence[Sample], generator: torch.Generator, size: int) -> list[int]:
        """In which order an epoch goes through the training samples, batches of `size` one after another: at random."""
        drawn: list[int] = torch.randperm(len(samples), generator=generator).tolist()
        return drawn

    @abstractmethod
    def batch(self, loaded: Sequence[Any], generator: torch.Generator | None) -> Batch:
        """Loaded samples as a batch, varied at random (mirrored, shifted, ...) if there is a generator."""

    def onward(self, batch: Batch, carried: Carried) -> tuple[Tensor, ...]:
        """The net's arguments for a batch: with what it kept in mind of the step before, where a task does."""
        return batch.inputs

    def carry(self, batch: Batch, output: Any) -> Carried:
        """What is kept in mind for the next step; here nothing."""
        return {}

    @abstractmethod
    def loss(self, output: Any, targets: Mapping[str, Tensor]) -> Tensor:
        """Mean over the rows of each head, added up with the weights of the heads' likelihoods."""

    @abstractmethod
    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        """The field's standard scores on samples; `net` is in evaluation mode. `tick(n)` after every n samples."""

    def exported(self, net: nn.Module) -> nn.Module:
        """What is exported of a net: here the net itself."""
        return net

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Inputs of the net of the shape it expects, to export it with."""

    def settle(self, net: nn.Module, shelf: Shelf[Any]) -> None:  # noqa: B027 - most nets are ready as they are
        """What is left to do to the weights that are kept, from training samples: once, at the end of a run."""

    def weigh(self, net: nn.Module, shelf: Shelf[Any], size: int) -> float:
        """What the kept weights are chosen by, the lower the better: here the mean loss, in batches of `size`."""
        total = 0.0
        for start in range(0, len(shelf), size):
            places = range(start, min(start + size, len(shelf)))
            batch = self.batch(shelf.take(places), None)
            total += float(self.loss(net(*batch.inputs), batch.targets)) * len(places)
        return total / max(1, len(shelf))

    def shown(self, net: nn.Module, shelf: Shelf[Any]) -> str:
        """A look at what the net does by now, in words, for who watches a training: here none.

        Args:
            net: in evaluation mode.
            shelf: of samples that are held out.
        """
        return ""

    def pictures(self, net: nn.Module, shelf: Shelf[Any]) -> dict[str, Image]:
        """Pictures that a run leaves beside its curve, by name: here none; `shelf` as in `shown`."""
        return {}
