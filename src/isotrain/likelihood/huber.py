"""Numbers with errors that are Gaussian when small and exponential when large: outputs under smooth L1."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from isotrain.errors import BadOption
from isotrain.likelihood.base import Evidence, Likelihood, counted, random_signs
from isotrain.likelihood.bernoulli import events, one_at_a_time

NODES = 32
"""Errors, at even steps of probability, that a divergence is averaged over."""


class Huber(Likelihood):
    """A centre for every element of the output; minus log-probability the smooth L1 distance, plus a constant.

    The distance is r^2 / (2 beta) up to |r| = beta and |r| - beta / 2 beyond, as `F.smooth_l1_loss` has it.

    Args:
        beta: where the square ends, in units of the output.
        event_dims: how many last dimensions the loss sums before it averages (1: the four numbers of a box).
        masked: the loss is a mean over some of the rows; those whose gradient is exactly zero do not count (the boxes
            of regions that show no object).
        weight: factor of this head in a loss of several heads.

    Raises:
        BadOption: beta is not positive.

    Source: Huber 1964, "Robust estimation of a location parameter" (the least favourable density); Girshick 2015,
    "Fast R-CNN", equation 3 (smooth L1).

    >>> round(float(Huber().squares(torch.zeros(1))), 4)  # the probability of an error below beta
    0.5852
    """

    def __init__(self, beta: float = 1.0, event_dims: int = 0, *, masked: bool = False, weight: float = 1.0) -> None:
        if not beta > 0:
            raise BadOption(f"beta={beta!r} must be positive.")
        self.beta = beta
        self.event_dims = event_dims
        self.masked = masked
        self.weight = weight
        self._middle = math.sqrt(2 * math.pi * beta) * math.erf(math.sqrt(beta / 2))
        self._tails = 2 * math.exp(-beta / 2)

    def rows(self, output: Tensor) -> int:
        """Every element, or every event of `event_dims` dimensions."""
        return events(output, self.event_dims)

    def check(self, output: Tensor) -> None:
        """Refuse what has nothing to average over."""
        self.rows(output)

    def _errors(self, height: Tensor) -> Tensor:
        """Errors below which a share `height` in (0, 1) of all errors lies."""
        whole = self._middle + self._tails
        off = (height - 0.5) * whole  # mass between 0 and the error, signed
        inside = 2 * off / self._middle * math.erf(math.sqrt(self.beta / 2))
        near = torch.erfinv(inside.clamp(-1 + 1e-7, 1 - 1e-7)) * math.sqrt(2 * self.beta)
        beyond = (whole / 2 - off.abs()).clamp_min(torch.finfo(height.dtype).tiny)
        far = (self.beta / 2 - beyond.log()) * off.sign()
        return torch.where(off.abs() <= self._middle / 2, near.clamp(-self.beta, self.beta), far)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """The centre plus an error."""
        height = torch.rand(output.shape, generator=generator, device=output.device, dtype=output.dtype)
        return output + self._errors(height)

    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        """Smooth L1 distance plus the logarithm of the density's integral."""
        apart = F.smooth_l1_loss(output, target, reduction="none", beta=self.beta)
        return apart + math.log(self._middle + self._tails)

    def signs(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Root of the Fisher information with random signs."""
        return self.squares(output).sqrt() * random_signs(output, generator)

    def divergence(self, output: Tensor, moved: Tensor, share: Tensor) -> Tensor:
        """Mean, over NODES errors at even steps of probability, of how much longer the moved distance is."""
        apart = moved - output
        heights = (torch.arange(NODES, dtype=torch.float64, device=output.device) + 0.5) / NODES
        total = torch.zeros_like(output)
        zero = torch.zeros_like(output)
        for error in self._errors(heights).tolist():
            total += F.smooth_l1_loss(apart, zero + error, reduction="none", beta=self.beta)
            total -= F.smooth_l1_loss(zero, zero + error, reduction="none", beta=self.beta)
        return (share * total).sum() / NODES

    def every(self, output: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """One cotangent for each place of a sample."""
        return one_at_a_time(self.squares(output).sqrt(), generator)

    def squares(self, output: Tensor) -> Tensor:
        """Mean square of the distance's derivative: the probability of an error below beta, over beta."""
        return torch.full_like(output, self._middle / (self._middle + self._tails) / self.beta)

    def evidence(self, output: Tensor, gradient: Tensor, batch_rows: float) -> Evidence:
        """The gradient is the distance's derivative over the rows that count.

        An error beyond beta cannot be read from it: the loss is then counted as if it were beta. As with a Gaussian the
        loss is the distance alone, without the density's constant: it goes to zero as the targets are met.
        """
        rows = self.rows(output)
        share = counted(gradient, self.event_dims) if self.masked else output.new_tensor(1.0 / rows)
        fraction = float((share > 0).sum()) / rows if self.masked else 1.0
        residual = gradient * (batch_rows * fraction)
        return Evidence(residual, share, (share * residual.square()).sum() * (self.beta / 2))
