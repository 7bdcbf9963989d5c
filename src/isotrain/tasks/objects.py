"""What a system of masks finds in a picture, and what such a system is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.likelihood.base import Likelihood
from isotrain.tasks.base import Batch, Card
from isotrain.tasks.scores.found import Found, found_masks
from isotrain.tasks.windows import Seen


@dataclass(frozen=True)
class Objects:
    """Objects of one picture, the surest first.

    Attributes:
        boxes: [k, 4] in pixels of the picture.
        scores: [k] in [0, 1].
        labels: [k].
        masks: bool [k, H, W].
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor

    def found(self) -> Found:
        """In the form the scores take."""
        return Found(self.boxes, self.scores, self.labels, found_masks(self.masks))


class System(ABC):
    """A way to masks: its net, what the net learns from, and how a picture is looked through with it."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.classes = len(card["classes"])
        self.fill = torch.tensor(card["mean"])

    @abstractmethod
    def net(self) -> nn.Module:
        """A new net."""

    @property
    @abstractmethod
    def heads(self) -> dict[str, Likelihood]:
        """What the net's outputs mean."""

    @abstractmethod
    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Varied at random if there is a generator."""

    @abstractmethod
    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Each head's a mean over the rows that count, added up with the heads' weights."""

    @abstractmethod
    def find(self, net: nn.Module, picture: Tensor) -> Objects:
        """Objects of a picture [C, H, W] in [0, 1]; `net` is in evaluation mode."""

    @abstractmethod
    def proposals(self, net: nn.Module, picture: Tensor) -> Objects:
        """Up to a thousand masks without regard to class."""

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Inputs of the net."""


def mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the values that count; 0 if none does.

    >>> mean_of(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])).item()
    2.0
    """
    return (values * counted).sum() / counted.sum().clamp_min(1)


def smooth_l1(deltas: Tensor, wanted: Tensor) -> Tensor:
    """Of each row, added up over its numbers: [..., 4] to [...].

    >>> smooth_l1(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2)).tolist()
    [1.5]
    """
    return F.smooth_l1_loss(deltas, wanted, reduction="none").sum(-1)
