"""Numbers with Gaussian errors: outputs under mean squared error."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from isotrain.errors import BadOption, LikelihoodMismatch
from isotrain.likelihood.base import Evidence, Likelihood, random_signs
from isotrain.likelihood.bernoulli import events, one_at_a_time


class Gaussian(Likelihood):
    """A mean for every element of the output; minus log-probability (output - target)^2 / (2 variance).

    Args:
        variance: 1/2 makes that the squared error itself, the loss of `F.mse_loss`; 1 is for half of it.
        event_dims: how many last dimensions the loss sums before it averages (0: a mean over all elements).
        weight: factor of this head in a loss of several heads.

    >>> Gaussian().squares(torch.zeros(2))
    tensor([2., 2.])
    """

    def __init__(self, variance: float = 0.5, event_dims: int = 0, *, weight: float = 1.0) -> None:
        if not variance > 0:
            raise BadOption(f"variance={variance!r} must be positive.")
        self.variance = variance
        self.event_dims = event_dims
        self.weight = weight

    def rows(self, output: Tensor) -> int:
        """Every element, or every event of `event_dims` dimensions."""
        return events(output, self.event_dims)

    def check(self, output: Tensor) -> None:
        """Refuse what is not real numbers with something to average over."""
        if output.ndim == 0 or not output.is_floating_point():
            raise LikelihoodMismatch(
                f"likelihood 'gaussian' needs predicted numbers, the model returned shape {tuple(output.shape)} "
                f"of {output.dtype}. If the model returns its loss, let it return the prediction."
            )
        self.rows(output)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """The mean plus noise."""
        noise = torch.randn(output.shape, generator=generator, device=output.device, dtype=output.dtype)
        return output + noise * math.sqrt(self.variance)

    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error over twice the variance, up to a constant."""
        return (output - target).square() / (2 * self.variance)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """(output - drawn target) / variance."""
        return (output - self.sample(output, generator)) / self.variance

    def signs(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """variance^(-1/2) with random signs."""
        return random_signs(output, generator) / math.sqrt(self.variance)

    def divergence(self, output: Tensor, moved: Tensor, share: Tensor) -> Tensor:
        """Squared distance over twice the variance."""
        return (share * self.nll(moved, output)).sum()

    def every(self, output: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """One cotangent for each place of a sample."""
        return one_at_a_time(self.squares(output).sqrt(), generator)

    def squares(self, output: Tensor) -> Tensor:
        """1 / variance."""
        return torch.full_like(output, 1 / self.variance)

    def evidence(self, output: Tensor, gradient: Tensor, batch_rows: float) -> Evidence:
        """The gradient is (output - target) / (variance * rows)."""
        rows = self.rows(output)
        residual = gradient * batch_rows
        loss = residual.square().sum() * (self.variance / 2) / rows
        return Evidence(residual, output.new_tensor(1.0 / rows), loss)
