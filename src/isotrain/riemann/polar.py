"""The polar shape: the strongest directions of a layer's gradient get one length, in standardised coordinates.

A gradient is mostly a few directions: one large pattern of units answering one large pattern of inputs. A step
along it repeats those and starves the rest. The polar factor of the gradient gives every direction the same
length (Muon's step), but means something only in coordinates that mean something. Here they do: inputs centred
and divided by their own deviation, units by the root mean square of their own errors. And instead of iterating
to the whole polar factor at every step, the RANK strongest directions are followed from look to look, and at a
step they alone are shortened to the length of the others: two thin products. Weak directions are never made
longer: that would amplify rounding, and two ways to write one network would part.

Letters: units.py; r direction.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State, is_dust, remembered_range, varied_range
from isotrain.riemann.diagonal import quotient

RANK = 16
"""Directions that are followed. Matrices of less than twice as many rows or columns are followed whole."""
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
    >>> delta, _ = shape.solve(shape.aim(shape.ready(state, 0.1), {}, v, v0), v, v0)
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

    def aim(self, state: State, old: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> State:
        """Follow the strongest directions, one turn of subspace iteration on from the last look."""
        z_gkj = _standardised(state, v_gki, v0_gk)
        least = min(z_gkj.shape[-2:])
        rank = least if least < 2 * RANK else RANK
        start, turns = (old["basis"], 1) if "basis" in old else (_largest_columns(z_gkj, rank), 3)
        basis_gkr = start
        for _ in range(turns):
            # Made orthogonal on either side: the square of Z would lose half of the digits of its weak directions.
            basis_gkr = torch.linalg.qr(z_gkj @ torch.linalg.qr(z_gkj.mT @ basis_gkr).Q).Q
        basis_gkr = basis_gkr * (z_gkj != 0).any(
            -1, keepdim=True
        )  # a dead unit has no part in a direction, or rounding
        size_gr = (basis_gkr.mT @ z_gkj).square().sum(-1)
        rest = (z_gkj.square().sum((-1, -2)) - size_gr.sum(-1)).clamp_min(0)
        tail = (rest / max(1, least - rank)).sqrt() if rank < least else size_gr.sqrt().mean(-1)
        return {**state, "basis": basis_gkr, "tail": quotient(tail, size_gr.sqrt().mean(-1))}

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The formula above, without forming Z: a scaling of the gradient less a product of rank r + 1."""
        inputs_gi, units_gk, mean_gi = state["inputs"], state["units"], state["mean"]
        left_gkr = state["basis"] * units_gk.unsqueeze(-1)
        rows_gri = left_gkr.mT @ v_gki
        rows0_gr = None if v0_gk is None else (left_gkr.mT @ v0_gk.unsqueeze(-1)).squeeze(-1)
        if rows0_gr is not None:
            rows_gri = torch.addcmul(rows_gri, rows0_gr.unsqueeze(-1), mean_gi.unsqueeze(-2), value=-1)
        rows_gri = rows_gri * inputs_gi.unsqueeze(-2)
        size_gr = rows_gri.square().sum(-1)
        if rows0_gr is not None:
            size_gr = size_gr + rows0_gr.square()
        length_gr = size_gr.sqrt()
        target_gr = (state["tail"] * length_gr.mean(-1)).unsqueeze(-1).expand_as(length_gr)
        cut_gr = (1 - quotient(target_gr, length_gr)).clamp_min(0)
        right_gri = rows_gri * (cut_gr.unsqueeze(-1) * inputs_gi.unsqueeze(-2))
        squares_gi, squares_gk = inputs_gi.square(), units_gk.square()
        delta = (v_gki * squares_gi.unsqueeze(-2)).mul_(squares_gk.unsqueeze(-1))
        if v0_gk is None or rows0_gr is None:
            return torch.baddbmm(delta, left_gkr, right_gri, alpha=-1), None
        delta0 = squares_gk * v0_gk - (left_gkr @ (cut_gr * rows0_gr).unsqueeze(-1)).squeeze(-1)
        left = torch.cat([left_gkr, (squares_gk * v0_gk).unsqueeze(-1)], -1)
        right = torch.cat([right_gri, (squares_gi * mean_gi).unsqueeze(-2)], -2)
        delta = torch.baddbmm(delta, left, right, alpha=-1)
        return delta, delta0 - (delta @ mean_gi.unsqueeze(-1)).squeeze(-1)


def _average(old: State, new: State, share: float, biased: bool) -> State:
    apart = new["mean"] - old["mean"]
    state = {name: torch.lerp(old[name], new[name], share) for name in ("mean", "spread", "factor", "response")}
    state["spread"] = torch.addcmul(state["spread"], apart, apart, value=share * (1 - share) if biased else 0.0)
    return state


def _standardised(state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> Tensor:
    """[g,k,i], with a bias [g,k,i+1]: the gradient in coordinates that do not depend on how the layer was written."""
    units = state["units"].unsqueeze(-1)
    if v0_gk is None:
        return v_gki * state["inputs"].unsqueeze(-2) * units
    centred = torch.addcmul(v_gki, v0_gk.unsqueeze(-1), state["mean"].unsqueeze(-2), value=-1)
    return torch.cat([centred * state["inputs"].unsqueeze(-2), v0_gk.unsqueeze(-1)], -1) * units


def _largest_columns(z_gkj: Tensor, rank: int) -> Tensor:
    """[g,k,r] where the search for directions starts: a draw would not follow the units to new places."""
    largest = z_gkj.square().sum(-2).topk(rank, -1).indices
    return z_gkj.gather(-1, largest.unsqueeze(-2).expand(-1, z_gkj.shape[-2], -1))
