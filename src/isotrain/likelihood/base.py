"""What every likelihood can do.

Shapes: an output is any tensor; a *row* is what the loss averages over (a sample, a token, a pixel).
A *cotangent* has the output's shape and is d(-log p(label))/d(output) of each row, not divided by
the number of rows; the metric divides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from isotrain.errors import UnsupportedOperation, WrongReduction


@dataclass(frozen=True)
class Evidence:
    """What the gradient of the user's own loss, at the model's output, says about the batch.

    Attributes:
        residual: the output's shape; d(-log p(true label))/d(output) of each row, whatever factor the
            loss carried (a gradient scaler, gradient accumulation).
        share: broadcasts to the output; each row's weight in the loss, summing to one over the rows
            (0 for an ignored row).
        loss: mean loss of a row, recovered from the gradient; a scalar.
    """

    residual: Tensor
    share: Tensor
    loss: Tensor


class Likelihood(ABC):
    """A loss that can also sample. Subclass it with `sample` and `nll` for a predictive distribution of your own.

    The other methods follow from those two; a subclass that knows closed forms overrides them.

    >>> class Poisson(Likelihood):
    ...     def sample(self, output, generator):
    ...         return torch.poisson(output.exp(), generator=generator)
    ...
    ...     def nll(self, output, target):
    ...         return output.exp() - target * output + torch.lgamma(target + 1)
    >>> Poisson().rows(torch.zeros(4, 3))
    12
    """

    weight: float = 1.0
    """This head's factor in the loss, when several heads are added."""

    @abstractmethod
    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a label for every row from the model's own output."""

    @abstractmethod
    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        """Minus log-probability of the labels, one number a row (any shape), with its constants."""

    def rows(self, output: Tensor) -> int:
        """How many rows the loss averages over."""
        return output.numel()

    def check(self, output: Tensor) -> None:  # noqa: B027 - a likelihood without conditions has nothing to check
        """Raise LikelihoodMismatch when the output cannot be what this likelihood describes."""

    def evidence(self, output: Tensor, gradient: Tensor, batch_rows: float) -> Evidence:
        """Read the errors from the gradient of the user's loss at the output.

        `output` and `gradient` may be a share of a batch whose loss averages over `batch_rows` rows. Here
        the loss cannot be recovered in general: its expectation under the model itself stands for it.
        """
        rows = self.rows(output)
        entropy = self.nll(output, self.sample(output, torch.Generator(output.device).manual_seed(0)))
        return Evidence(gradient * batch_rows, output.new_tensor(1.0 / rows), entropy.sum() / rows)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Cotangent for labels drawn from the model's own output."""
        leaf = output.detach().requires_grad_()
        with torch.enable_grad():
            total = self.nll(leaf, self.sample(leaf.detach(), generator)).sum()
            return torch.autograd.grad(total, leaf)[0]

    def signs(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Cotangent drawn with random signs through a root of the output's Fisher matrix.

        The same mean square as `draw` with less spread. Where no root is known: `draw` itself.
        """
        return self.draw(output, generator)

    def divergence(self, output: Tensor, moved: Tensor, share: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the distribution of `output` to that of `moved`, a mean weighted by `share`.

        Here from one label drawn for every row: x - 1 - log x of the ratio of its probabilities has that mean and is
        never negative.
        """
        labels = self.sample(output, torch.Generator(output.device).manual_seed(0))
        apart = self.nll(moved, labels) - self.nll(output, labels)
        return (torch.exp(-apart) - 1 + apart).sum() / self.rows(output)

    def every(self, output: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Cotangents whose squares add up to the exact Fisher matrix of each row."""
        raise UnsupportedOperation(
            f"likelihood {type(self).__name__} has no exact Fisher matrix: override `every`, "
            "or use metric='monte-carlo'."
        )

    def squares(self, output: Tensor) -> Tensor:
        """Diagonal of each row's Fisher matrix, the output's shape."""
        raise UnsupportedOperation(
            f"likelihood {type(self).__name__} has no Fisher diagonal: override `squares`, or use metric='monte-carlo'."
        )


def counted(gradient: Tensor, event_dims: int) -> Tensor:
    """Each row's share of a mean over the rows whose gradient is not exactly zero; broadcasts to the gradient.

    >>> counted(torch.tensor([[0.5, 0.0], [0.0, 0.0], [1.0, 1.0]]), 1).flatten()
    tensor([0.5000, 0.0000, 0.5000])
    """
    live = gradient != 0
    for dim in range(1, event_dims + 1):
        live = live.any(-dim, keepdim=True)
    share = live.to(gradient.dtype)
    return share / share.sum().clamp_min(1)


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """+1 or -1 with even odds, in the shape and type of `like`."""
    bits = torch.randint(0, 2, like.shape, generator=generator, device=like.device)
    return bits.to(like.dtype).mul_(2).sub_(1)


def refuse_sum(rows: int) -> None:
    """Raise the error for a loss that was summed where a mean over the rows is declared."""
    raise WrongReduction(
        f"the loss was summed over its {rows} rows, isotrain expects their mean: the step would be "
        f"{rows} times too long. Use reduction='mean' (divide the loss by {rows})."
    )
