"""Probes: which derivatives of the output weigh the metric.

Each gives cotangents at the model's outputs, scaled so that the outer squares of the per-sample gradients
they send back add up to the metric of the mean loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isotrain.errors import UnknownName
from isotrain.likelihood.base import Evidence, Likelihood
from isotrain.riemann.backmetric import squared_derivatives

Cotangents = dict[int, Tensor]


@dataclass(frozen=True)
class Head:
    """One predictive output of the model in one call: its place among the outputs, and what it means."""

    place: int
    likelihood: Likelihood
    output: Tensor
    evidence: Evidence

    @property
    def scale(self) -> Tensor:
        """Root of each row's share of the mean loss, times the head's factor."""
        return (self.evidence.share * self.likelihood.weight).sqrt()


class Probe(ABC):
    """One way to weigh the metric."""

    name: str
    apart: bool = False
    """Whether what arrives at a unit is squares already (see blocks.Seen)."""
    signed: bool = True
    """Whether the errors are of the natural metric, so that a curvature can be read from them too."""
    within: Callable[[], AbstractContextManager[Any]] | None = None
    """A context that changes how derivatives propagate."""

    @abstractmethod
    def cotangents(self, heads: list[Head], generator: torch.Generator) -> Iterator[Cotangents]:
        """One or several sets of cotangents, all heads in each."""


class OuterProduct(Probe):
    """The true labels: errors of the loss itself ("outer product" metric, empirical Fisher)."""

    name = "outer-product"
    signed = False

    def cotangents(self, heads: list[Head], generator: torch.Generator) -> Iterator[Cotangents]:
        """The residuals of the user's own loss."""
        yield {h.place: h.evidence.residual * h.scale for h in heads}


class MonteCarlo(Probe):
    """Labels drawn from the model's own output, one a row: the natural metric, sampled."""

    name = "monte-carlo"

    def cotangents(self, heads: list[Head], generator: torch.Generator) -> Iterator[Cotangents]:
        """Errors for drawn labels."""
        yield {h.place: h.likelihood.draw(h.output, generator) * h.scale for h in heads}


class Signs(Probe):
    """Random signs through a root of the output's Fisher matrix: the natural metric, sampled with less spread."""

    name = "signs"

    def cotangents(self, heads: list[Head], generator: torch.Generator) -> Iterator[Cotangents]:
        """Roots with random signs."""
        yield {h.place: h.likelihood.signs(h.output, generator) * h.scale for h in heads}


class Exact(Probe):
    """Every class in turn: the natural metric itself, one backward pass a class."""

    name = "exact"

    def cotangents(self, heads: list[Head], generator: torch.Generator) -> Iterator[Cotangents]:
        """The columns of a root of each row's Fisher matrix."""
        for h in heads:
            for column in h.likelihood.every(h.output, generator):
                yield {h.place: column * h.scale}


class Backpropagated(Probe):
    """The output's Fisher diagonal sent back through squared derivatives, layer by layer.

    Source: Ollivier 2015, "Riemannian metrics for neural networks I" (backpropagated metric).
    """

    name = "backpropagated"
    within = staticmethod(squared_derivatives)
    apart = True
    signed = False

    def cotangents(self, heads: list[Head], generator: torch.Generator) -> Iterator[Cotangents]:
        """The diagonal itself: it is propagated as squares."""
        yield {h.place: h.likelihood.squares(h.output) * h.scale.square() for h in heads}


PROBES: dict[str, Probe] = {p.name: p for p in (OuterProduct(), MonteCarlo(), Signs(), Exact(), Backpropagated())}


def probe(name: str) -> Probe:
    """The probe of that name.

    Raises:
        UnknownName: there is none.
    """
    if name not in PROBES:
        raise UnknownName("metric", name, PROBES)
    return PROBES[name]
