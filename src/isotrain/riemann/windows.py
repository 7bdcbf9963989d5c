"""Windows of pictures: neighbouring pixels tell nearly the same, so polar blocks of convolutions decorrelate them.

A convolution's weights are few beside the places they are used at, so the whole covariance of its windows costs
little: one product of matrices a step, one factorisation a look. The direction depends on the gradient through the
inverse covariance alone, so any factor of it gives the same step. Letters: units.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, State
from isotrain.riemann.diagonal import quotient
from isotrain.riemann.polar import Polar

WIDEST = 1024
"""Most inputs of a window that is decorrelated: the covariance of wider ones would outgrow their weights."""
ROWS = 4096
"""Most windows of a look that the covariance is taken from, evenly spaced."""


class Windows(Polar):
    """Polar in coordinates in which a window's inputs are uncorrelated too: Z = (G - G_0 mu') A L'^-1, a row a unit.

    A are the damped inverse deviations and L L' the inputs' correlations, shrunk to the unit matrix as damping has it.

    Sources: Martens and Grosse 2015, Grosse and Martens 2016 (the covariance of patches); the rest is polar.py.

    >>> state = {"mean": torch.zeros(1, 2), "spread": torch.ones(1, 2), "range": torch.zeros(1, 2)}
    >>> state |= {"factor": torch.ones(1, 1), "response": torch.ones(1, 1)}
    >>> state["windows"] = torch.tensor([[[1.0, 0.5], [0.5, 1.0]]])
    >>> shape, v = Windows(), torch.tensor([[[1.5, 0.0]]])
    >>> delta, _ = shape.solve(shape.begin(shape.ready(state, 0.0), v, None), v, None)
    >>> delta.round(decimals=3)  # v times the inverse of the covariance
    tensor([[[ 2., -1.]]])
    """

    name = "polar-windows"
    stacked = (*Polar.stacked, "white")

    def moments(self, seen: Seen, biased: bool) -> State:
        """Also the products of the inputs, of some windows."""
        x = seen.inputs.flatten(1, 2)
        first, rows = (0, x.shape[1]) if seen.stretch is None else seen.stretch
        every = math.ceil(rows / ROWS)
        some = x[:, -first % every :: every]
        return {**super().moments(seen, biased), "products": some.mT @ some * (rows / math.ceil(rows / every))}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """Also the covariance, around zero without a bias."""
        state = super().settle(raw, inputs, biased)
        shift = state["mean"] - inputs.centre
        products = raw["products"] / raw["count"].unsqueeze(-1).unsqueeze(-1)
        return {**state, "windows": products - _outer(shift)}

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """As the other moments."""
        return {**super().pool(old, new, share, biased), "windows": _average(old, new, share, biased)}

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """As the other moments."""
        state = super().merge(old, new, share, biased, damping)
        return state if old is None else {**state, "windows": _average(old, new, share, biased)}

    def ready(self, state: State, damping: float) -> State:
        """Also the inverse of a factor of the correlations."""
        state = super().ready(state, damping)
        covariance = state["windows"]
        variance = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0)
        # As large as in the damped metric, where an input has its variance less damping in common with others.
        size = quotient(state["spread"].sqrt() * state["inputs"], variance.sqrt())
        correlation = covariance * _outer(size)
        rounding = 8 * covariance.shape[-1] * torch.finfo(covariance.dtype).eps
        correlation = correlation.mul_(1 - rounding)
        correlation.diagonal(dim1=-2, dim2=-1).fill_(1)
        factor = torch.linalg.cholesky(correlation.nan_to_num(0.0, 0.0, 0.0))
        ones = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        state["white"] = torch.linalg.solve_triangular(factor, ones.expand_as(factor), upper=False)
        return state

    def coordinates(self, state: Mapping[str, Tensor], m_gki: Tensor, out: Tensor | None = None) -> Tensor:
        """Decorrelated too."""
        return super().coordinates(state, m_gki, out) @ state["white"].mT

    def back(self, state: Mapping[str, Tensor], z_gki: Tensor) -> Tensor:
        """[g,k,i] standardised weights as weights."""
        return (z_gki @ state["white"]).mul_(state["inputs"].unsqueeze(-2))


def _outer(x_gi: Tensor) -> Tensor:
    return x_gi.unsqueeze(-1) * x_gi.unsqueeze(-2)


def _average(old: State, new: State, share: float, biased: bool) -> Tensor:
    mean = torch.lerp(old["windows"], new["windows"], share)
    return mean + share * (1 - share) * _outer(new["mean"] - old["mean"]) if biased else mean
