"""The polar shape: the strongest directions of a layer's gradient get one length, in standardised coordinates.

A gradient is mostly a few directions: one large pattern of units answering one large pattern of inputs. A step
along it repeats those and starves the rest. The polar factor of the gradient gives every direction the same
length (Muon's step), but means something only in coordinates that mean something. Here they do: inputs centred
and divided by their own deviation, units by the root mean square of their own errors. And instead of iterating
to the whole polar factor at every step, the RANK strongest directions are followed from step to step, and they
alone are shortened to the length of the others: three thin products. Weak directions are never made
longer: that would amplify rounding, and two ways to write one network would part.

Letters: units.py; r direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State, is_dust, remembered_range, varied_range
from isotrain.riemann.diagonal import quotient

RANK = 16
"""Directions that are followed. Matrices of less than twice as many rows or columns are followed whole."""
NEGLIGIBLE = 1e-3
"""Directions this much shorter than the longest are not followed."""
COMMON = 0.1
"""Share of the layer's mean in a unit's squared error (in units of its response): a floor for units that rarely err."""


class Polar(Shape):
    """Z - U (1 - D) U'Z mapped back: Z is the standardised gradient, U its strongest directions, D their shortening.

    With mu and s_i the mean and deviation of input i, and e_k the root mean square of unit k's errors:
    Z_ki = (G_ki - mu_i G_0k) / (s_i e_k), Z_k0 = G_0k / e_k. Keeps any affine recoding of each input and of each unit.

    Sources: Jordan et al. 2024 (Muon), Ahn et al. 2025 (Dion: low rank); the coordinates are what make it exact.

    >>> shape, ones = Polar(), torch.ones(1, 2)
    >>> state = {"mean": 0 * ones, "spread": ones, "range": 0 * ones, "factor": ones, "response": ones}
    >>> v, v0 = torch.tensor([[[4.0, 0.0], [0.0, 2.0]]]), torch.zeros(1, 2)
    >>> delta, _ = shape.solve(shape.aim(shape.ready(state, 0.1), v, v0), v, v0)
    >>> delta.round(decimals=3)  # the mean of 4 and 2 is the longest a direction may be
    tensor([[[3., 0.],
             [0., 2.]]])
    """

    name = "polar"
    per_unit = False
    responsive = True
    divergence = 0.0025

    def moments(self, seen: Seen, biased: bool) -> State:
        """Count, sum and square of the inputs; squares of the errors."""
        x, d = seen.inputs.flatten(1, 2), seen.errors.flatten(1, 2)
        count = torch.full((x.shape[0],), float(x.shape[1]), dtype=x.dtype, device=x.device)
        return {"count": count, "sum": x.sum(1), "square": x.square().sum(1), "factor": d.square().sum(1)}

    def host(self, raw: State, guest_gki: Tensor, inputs: Inputs) -> State:
        """A unit's factor grows by the guest's diagonal in units of the inputs' variance, averaged over inputs."""
        variance = raw["square"] / raw["count"].unsqueeze(-1)
        return {**raw, "factor": raw["factor"] + quotient(guest_gki, variance.unsqueeze(-2)).mean(-1)}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """Variances around the mean (around zero without a bias)."""
        count = raw["count"].unsqueeze(-1)
        shift = raw["sum"] / count if biased else torch.zeros_like(raw["sum"])
        spread = (raw["square"] / count - shift.square()).clamp_min(0)
        return {
            "mean": inputs.centre + shift,
            "spread": spread.masked_fill(is_dust(inputs.reach, inputs.size), 0),
            "range": varied_range(inputs),
            "factor": raw["factor"],
            "response": inputs.response,
            "level": inputs.level,
        }

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """Means and variances combine with the term for the distance of the means."""
        state = _average(old, new, share, biased)
        apart = new["level"] - old["level"]
        response = torch.addcmul(state["response"], apart, apart, value=share * (1 - share))
        level = torch.lerp(old["level"], new["level"], share)
        return {**state, "response": response, "level": level, "range": torch.maximum(old["range"], new["range"])}

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """As `pool`, but a response is its variance within a look; damping enters the scales alone."""
        state = {**new} if old is None else {**_average(old, new, share, biased), "range": remembered_range(old, new)}
        state.pop("level", None)
        return state

    def ready(self, state: State, damping: float) -> State:
        """Inverse deviations: of the inputs, damped by their ranges, and of the units' errors."""
        variance = state["spread"] + damping * state["range"]
        state["inputs"] = torch.where(variance > 0, variance, torch.inf).rsqrt()
        common = (state["factor"] * state["response"]).mean(-1, keepdim=True)
        square = torch.lerp(state["factor"], quotient(common.expand_as(state["factor"]), state["response"]), COMMON)
        state["units"] = torch.where(square > 0, square, torch.inf).rsqrt()
        return state

    def aim(self, state: State, v_gki: Tensor, v0_gk: Tensor | None) -> State:
        """Follow the strongest directions by half a subspace iteration, and find how much each is too long."""
        inputs_gi, units_gk1, mean_gi = state["inputs"].unsqueeze(-2), state["units"].unsqueeze(-1), state["mean"]
        centred = v_gki
        if v0_gk is not None:
            centred = torch.addcmul(v_gki, v0_gk.unsqueeze(-1), mean_gi.unsqueeze(-2), value=-1)
        scaled = Scaled(centred, v0_gk, inputs_gi, units_gk1)
        basis_gkr = state["basis"] if "basis" in state else scaled.start()
        rows_grj = scaled.rows(basis_gkr)
        turn_grr, scale_gr = _principal(rows_grj @ rows_grj.mT)
        along_grj, basis_gkr = scale_gr.unsqueeze(-1) * (turn_grr.mT @ rows_grj), basis_gkr @ turn_grr
        left_gkr = scaled.columns(along_grj)
        turn_grr, scale_gr = _principal(left_gkr.mT @ left_gkr)
        along_grj, left_gkr, basis_gkr = turn_grr.mT @ along_grj, left_gkr @ turn_grr, basis_gkr @ turn_grr
        length_gr = left_gkr.square().sum(-2).sqrt()
        step = (centred * inputs_gi.square()).mul_(units_gk1.square())
        total_g = torch.linalg.vecdot(centred.flatten(1), step.flatten(1))
        if v0_gk is not None:
            total_g = total_g + (state["units"] * v0_gk).square().sum(-1)
        rest_g = (total_g - length_gr.square().sum(-1)).clamp_min(0)
        others = scaled.least - length_gr.shape[-1]
        usual_g = (rest_g / others).sqrt() if others else length_gr.mean(-1)
        cut_gr = (1 - quotient(usual_g.unsqueeze(-1).expand_as(length_gr), length_gr)).clamp_min(0)
        found_gr = scale_gr.unsqueeze(-2)
        basis_gkr = torch.where(found_gr > 0, left_gkr * found_gr, basis_gkr)
        return {
            **state,
            "basis": basis_gkr,
            "_step": step,
            "_cut": left_gkr * units_gk1 * cut_gr.unsqueeze(-2),
            "_along": along_grj,
            "_dual": total_g - (cut_gr * length_gr.square()).sum(-1),
        }

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The scaled gradient less what is too long of its strongest directions."""
        width = v_gki.shape[-1]
        along_gri = state["_along"][..., :width] * state["inputs"].unsqueeze(-2)
        delta = torch.baddbmm(state["_step"], state["_cut"], along_gri, alpha=-1)
        if v0_gk is None:
            return delta, None
        delta0 = state["units"].square() * v0_gk - (state["_cut"] @ state["_along"][..., width:]).squeeze(-1)
        return delta, delta0 - (delta @ state["mean"].unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class Scaled:
    """The standardised gradient Z [g,k,j] of a layer, not formed: j is the inputs and, with a bias, one more."""

    centred_gki: Tensor
    bias_gk: Tensor | None
    inputs_g1i: Tensor
    units_gk1: Tensor

    @property
    def least(self) -> int:
        """Most directions Z can have."""
        k, i = self.centred_gki.shape[-2:]
        return min(k, i + (self.bias_gk is not None))

    def rows(self, basis_gkr: Tensor) -> Tensor:
        """[g,r,j] the basis applied to Z from the left."""
        left = (basis_gkr * self.units_gk1).mT
        rows = (left @ self.centred_gki) * self.inputs_g1i
        return rows if self.bias_gk is None else torch.cat([rows, left @ self.bias_gk.unsqueeze(-1)], -1)

    def columns(self, along_grj: Tensor) -> Tensor:
        """[g,k,r] Z applied to directions of the inputs."""
        width = self.centred_gki.shape[-1]
        columns = self.centred_gki @ (along_grj[..., :width] * self.inputs_g1i).mT
        if self.bias_gk is not None:
            columns = columns + self.bias_gk.unsqueeze(-1) * along_grj[..., width:].mT
        return columns * self.units_gk1

    def start(self) -> Tensor:
        """[g,k,r] where the search begins: the largest columns, since a draw would not follow the units elsewhere."""
        rank = self.least if self.least < 2 * RANK else RANK
        z = self.centred_gki * self.inputs_g1i * self.units_gk1
        if self.bias_gk is not None:
            z = torch.cat([z, (self.bias_gk.unsqueeze(-1) * self.units_gk1)], -1)
        largest = z.square().sum(-2).topk(rank, -1).indices
        basis = torch.linalg.qr(
            z.nan_to_num(0.0, 0.0, 0.0).gather(-1, largest.unsqueeze(-2).expand(-1, z.shape[-2], -1))
        ).Q
        alive = (z != 0).any(-1, keepdim=True)
        return torch.where(alive, basis, 0)  # a dead unit has no part in a direction, not even by rounding


def _principal(gram_grr: Tensor) -> tuple[Tensor, Tensor]:
    """[g,r,r] the turn to the principal axes, and [g,r] one over the lengths along them; 0 for the negligible.

    Done with the small matrix of products: that loses half of the digits, so directions a thousandth as long as the
    longest are let go. They would not be shortened anyway.
    """
    # A gradient that is not finite is refused by its dual norm, with a word about the parameter: not here.
    square_gr, turn_grr = torch.linalg.eigh(gram_grr.double().nan_to_num(0.0, 0.0, 0.0))
    negligible = square_gr <= square_gr[..., -1:] * NEGLIGIBLE**2
    return turn_grr.to(gram_grr), torch.where(negligible, torch.inf, square_gr).rsqrt().to(gram_grr)


def _average(old: State, new: State, share: float, biased: bool) -> State:
    apart = new["mean"] - old["mean"]
    state = {name: torch.lerp(old[name], new[name], share) for name in ("mean", "spread", "factor", "response")}
    state["spread"] = torch.addcmul(state["spread"], apart, apart, value=share * (1 - share) if biased else 0.0)
    return state
