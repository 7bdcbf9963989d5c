"""One input covariance for all units of a layer, with its bias column, times a factor for the units.

Sources: Martens & Grosse 2015 (K-FAC); the bias column and the covariant damping are what make it exact.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State, is_dust, remembered_range, varied_range
from isotrain.riemann.dense_inverse import covariant_inverse
from isotrain.riemann.diagonal import quotient


class Kronecker(Shape):
    """M = A (x) B with A the second moment of (inputs, 1) over samples and places, B of the errors.

    Args:
        full: B is the whole matrix of the units' errors instead of one number a unit.

    >>> eye = torch.eye(2).unsqueeze(0)
    >>> state = {"mean": torch.zeros(1, 2), "inverse": eye, "factor": torch.full((1, 1), 2.0)}
    >>> Kronecker().solve(state, torch.ones(1, 1, 2), torch.ones(1, 1))
    (tensor([[[0.5000, 0.5000]]]), tensor([[0.5000]]))
    """

    def __init__(self, full: bool = False) -> None:
        self.full = full
        self.name = "kronecker-full" if full else "kronecker"
        self.per_unit = not full
        self.together = full

    def moments(self, seen: Seen, biased: bool) -> State:
        """Plain second moment of the inputs, their sum and count; squares of the errors."""
        x, d = seen.inputs.flatten(1, 2), seen.errors.flatten(1, 2)
        if self.full and seen.apart:
            # Backpropagated squares say nothing of products of two units: their roots are not errors with a sign.
            factor = torch.diag_embed(d.square().sum(1))
        else:
            factor = d.transpose(1, 2) @ d if self.full else d.square().sum(1)
        count = torch.full((x.shape[0],), float(x.shape[1]), dtype=x.dtype, device=x.device)
        return {"count": count, "sum": x.sum(1), "square": x.transpose(1, 2) @ x, "factor": factor}

    def host(self, raw: State, guest_gki: Tensor, inputs: Inputs) -> State:
        """A unit's factor grows by the guest's diagonal in units of the inputs' variance, averaged over inputs."""
        variance = raw["square"].diagonal(dim1=-2, dim2=-1) / raw["count"].unsqueeze(-1)
        extra = quotient(guest_gki, variance.unsqueeze(-2)).mean(-1)
        return {**raw, "factor": raw["factor"] + (torch.diag_embed(extra) if self.full else extra)}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """Covariance around the mean (around zero without a bias)."""
        count = raw["count"].view(-1, 1)
        shift = raw["sum"] / count if biased else torch.zeros_like(raw["sum"])
        covariance = raw["square"] / count.unsqueeze(-1) - shift.unsqueeze(-1) * shift.unsqueeze(-2)
        covariance.diagonal(dim1=-2, dim2=-1).masked_fill_(is_dust(inputs.reach, inputs.size), 0)
        centre = inputs.centre + shift
        return {"mean": centre, "covariance": covariance, "factor": raw["factor"], "range": varied_range(inputs)}

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """Means and covariances combine with the term for the distance of the means."""
        apart = new["mean"] - old["mean"]
        between = share * (1 - share) * apart.unsqueeze(-1) * apart.unsqueeze(-2)
        return {
            "mean": old["mean"] + share * apart,
            "covariance": torch.lerp(old["covariance"], new["covariance"], share) + between,
            "factor": torch.lerp(old["factor"], new["factor"], share),
            "range": torch.maximum(old["range"], new["range"]),
        }

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """As `pool`; damping enters the inverses alone."""
        return new if old is None else {**self.pool(old, new, share, biased), "range": remembered_range(old, new)}

    def ready(self, state: State, damping: float) -> State:
        """Inverses: of the covariance damped by the inputs' ranges, of the units' errors by their diagonal."""
        covariance = state["covariance"] + torch.diag_embed(damping * state["range"])
        state["inverse"] = covariant_inverse(covariance, 0.0, refine=not self.full)
        if self.full:
            state["factor_inverse"] = covariant_inverse(state["factor"], damping)
        return state

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """B^-1 (V - v0 mean') C^-1 for the weights; the bias carries the mean."""
        mean = state["mean"].unsqueeze(-2)
        centred = v_gki if v0_gk is None else torch.addcmul(v_gki, v0_gk.unsqueeze(-1), mean, value=-1)
        delta = self._unscale(state, centred @ state["inverse"])
        if v0_gk is None:
            return delta, None
        return delta, self._unscale(state, v0_gk.unsqueeze(-1)).squeeze(-1) - (delta * mean).sum(-1)

    def _unscale(self, state: Mapping[str, Tensor], rows_gkx: Tensor) -> Tensor:
        if self.full:
            return state["factor_inverse"] @ rows_gkx
        return quotient(rows_gkx, state["factor"].unsqueeze(-1))
