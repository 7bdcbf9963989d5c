"""Independent yes/no answers: logits under binary cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from isotrain.errors import LikelihoodMismatch
from isotrain.likelihood.base import Evidence, Likelihood, counted, random_signs, refuse_sum


def events(output: Tensor, event_dims: int) -> int:
    """How many rows remain when the last `event_dims` dimensions are summed into one row.

    Raises:
        LikelihoodMismatch: no dimension remains.

    >>> events(torch.zeros(8, 3, 4), 1)
    24
    """
    if event_dims >= output.ndim > 0:
        raise LikelihoodMismatch(
            f"event_dims={event_dims} sums every dimension of the model's output {tuple(output.shape)}: "
            "leave at least one to average over."
        )
    return output.shape[: output.ndim - event_dims].numel()


def one_at_a_time(scale: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Split independent elements into cotangents that share no sample: one for each place of a sample."""
    flat = scale.reshape(scale.shape[0], -1)
    for place in range(flat.shape[1]):
        cotangent = torch.zeros_like(flat)
        cotangent[:, place] = flat[:, place]
        yield cotangent.reshape(scale.shape)


SLACK = 0.5
"""How far outside [0, 1] a recovered target may lie before the loss is suspected of being a sum."""


class Bernoulli(Likelihood):
    """A probability for every element of the output, given as a logit.

    Args:
        event_dims: how many last dimensions the loss sums before it averages (0: a mean over all
            elements, as `F.binary_cross_entropy_with_logits` has it; 1 for "summed over pixels").
        masked: the loss is a mean over some of the rows; those whose gradient is exactly zero do not count.
        weight: factor of this head in a loss of several heads.

    >>> Bernoulli().squares(torch.zeros(2))
    tensor([0.2500, 0.2500])
    """

    def __init__(self, event_dims: int = 0, *, masked: bool = False, weight: float = 1.0) -> None:
        self.event_dims = event_dims
        self.masked = masked
        self.weight = weight

    def rows(self, output: Tensor) -> int:
        """Every element, or every event of `event_dims` dimensions."""
        return events(output, self.event_dims)

    def check(self, output: Tensor) -> None:
        """Refuse what is not logits."""
        if output.ndim == 0 or not output.is_floating_point():
            raise LikelihoodMismatch(
                f"likelihood 'bernoulli' needs logits, the model returned shape {tuple(output.shape)} of "
                f"{output.dtype}. If the model returns its loss, let it return the logits."
            )
        self.rows(output)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Zeros and ones."""
        height = torch.rand(output.shape, generator=generator, device=output.device, dtype=output.dtype)
        return (height < output.sigmoid()).to(output.dtype)

    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of every element."""
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """p - y for a drawn answer y."""
        return output.sigmoid() - self.sample(output, generator)

    def signs(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """(p (1-p))^(1/2) with random signs."""
        return self.squares(output).sqrt() * random_signs(output, generator)

    def divergence(self, output: Tensor, moved: Tensor, share: Tensor) -> Tensor:
        """Cross-entropy less entropy of every element."""
        p = output.sigmoid()
        return (share * (self.nll(moved, p) - self.nll(output, p))).sum()

    def every(self, output: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """One cotangent for each place of a sample."""
        return one_at_a_time(self.squares(output).sqrt(), generator)

    def squares(self, output: Tensor) -> Tensor:
        """p (1 - p)."""
        p = output.sigmoid()
        return p * (1 - p)

    def evidence(self, output: Tensor, gradient: Tensor, batch_rows: float) -> Evidence:
        """The gradient is (p - target) / rows; targets outside [0, 1] betray a summed loss."""
        rows = self.rows(output)
        p = output.sigmoid()
        if self.masked:
            share = counted(gradient, self.event_dims)
            residual = gradient * (batch_rows / rows) * (share > 0).sum()
            loss = (share * self.nll(output, (p - residual).clamp(0, 1))).sum()
            return Evidence(residual, share, loss)
        residual = gradient * batch_rows
        target = p - residual
        if batch_rows > 1 and bool(((target < -SLACK) | (target > 1 + SLACK)).any()):
            summed = p - gradient
            if bool(((summed > -SLACK) & (summed < 1 + SLACK)).all()):
                refuse_sum(round(batch_rows))
        loss = self.nll(output, target.clamp(0, 1)).sum() / rows
        return Evidence(residual, output.new_tensor(1.0 / rows), loss)
