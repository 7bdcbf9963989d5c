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
from functools import partial

import torch
from torch import Tensor

from isotrain.riemann.blocks import DUST, Direction, Inputs, Seen, Shape, State, is_dust, remembered_range, varied_range
from isotrain.riemann.diagonal import quotient

RANK = 32
"""Most directions that are followed: all of a matrix that has no more, half of one that has up to twice as many."""
SMALL = 256
"""Of a matrix larger than this both ways, half as many: its steps are to stay cheap beside its passes."""
NEGLIGIBLE = 1e-3
"""Directions this much shorter than the longest are not followed."""
LOUD = 4.0
"""How many times its usual length a column of U'Z may have: one longer is of an input that looks have hardly seen."""
FADING = 0.003
"""By how much an input that was loud may count as narrower again each step: a rare sample comes once an epoch."""
COMMON = 0.1
"""Share of the layer's mean in a unit's squared error (in units of its response): a floor for units that rarely err."""


class Polar(Shape):
    """Z - U (1 - D) U'Z mapped back: Z is the standardised gradient, U its strongest directions, D their shortening.

    With mu and s_i the mean and deviation of input i, and e_k the root mean square of unit k's errors:
    Z_ki = (G_ki - mu_i G_0k) / (s_i e_k), Z_k0 = G_0k / e_k. Keeps any affine recoding of each input and of each unit.

    Where hardly anything reads a layer yet (before a last layer of small weights, in an encoder), it has hardly any
    curvature, and so a Newton step that may saturate its units for the rest of the run: the one in the middle moves by
    no more than `unit` times its own spread.

    Sources: Jordan et al. 2024 (Muon), Ahn et al. 2025 (Dion: low rank); the coordinates are what make it exact.

    >>> shape, ones = Polar(), torch.ones(1, 2)
    >>> state = {"mean": 0 * ones, "spread": ones, "range": 0 * ones, "factor": ones, "response": ones}
    >>> v, v0 = torch.tensor([[[4.0, 0.0], [0.0, 2.0]]]), torch.zeros(1, 2)
    >>> delta, _ = shape.solve(shape.begin(shape.ready(state, 0.1), v, v0), v, v0)
    >>> delta.round(decimals=3)  # the mean of 4 and 2 is the longest a direction may be
    tensor([[[3., 0.],
             [0., 2.]]])
    """

    name = "polar"
    per_unit = False
    unit = 2.0
    typical = True
    responsive = True
    divergence = 0.0025
    stacked: tuple[str, ...] = ("inputs", "units", "mean", "varied", "basis", "heard")

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
        # An input that varies little within its range has a short column by right, and counts as little.
        varied_gi = (state["spread"].sqrt() * state["inputs"]).sqrt()
        state["varied"] = varied_gi.sum(-1, keepdim=True).clamp_min(torch.finfo(varied_gi.dtype).tiny)
        common = (state["factor"] * state["response"]).mean(-1, keepdim=True)
        square = torch.lerp(state["factor"], quotient(common.expand_as(state["factor"]), state["response"]), COMMON)
        state["units"] = torch.where(square > 0, square, torch.inf).rsqrt()
        return state

    def begin(self, state: State, v_gki: Tensor, v0_gk: Tensor | None) -> State:
        """Add what is followed from step to step."""
        heard = torch.full_like(state["inputs"], torch.inf)
        return {**state, "basis": self.start(state, v_gki, v0_gk), "heard": heard}

    def renew(self, state: State, v_gki: Tensor, v0_gk: Tensor | None) -> State:
        """Start anew where fewer directions are followed than there is room for.

        The gradient then had no more, or a unit was dead, or nothing read the layer yet.
        """
        basis_gkr = state["basis"]
        least = basis_gkr.shape[-1] - 0.5  # of directions of length 1
        lost_g = basis_gkr.square().sum((-2, -1)) < least
        if not bool(lost_g.any()):
            return state
        return {**state, "basis": torch.where(lost_g.view(-1, 1, 1), self.start(state, v_gki, v0_gk), basis_gkr)}

    def start(self, state: State, v_gki: Tensor, v0_gk: Tensor | None) -> Tensor:
        """[g,k,r] where the search starts: all units, or the span of the largest columns.

        Those follow the inputs elsewhere, as a draw would not. Nor would columns of inputs that a subclass has mixed,
        unless all are taken: so each is standardised for itself. Directions that columns hold by rounding alone are 0,
        and sought again at the next look.
        """
        k, columns = v_gki.shape[1], v_gki.shape[2] + (v0_gk is not None)
        followed = rank(k, columns)
        centred_gki = centred_gradient(state, v_gki, v0_gk)
        standardised = self.coordinates if followed == columns else partial(Polar.coordinates, self)
        z = standardised(state, centred_gki)
        z = (z if v0_gk is None else torch.cat([z, v0_gk.unsqueeze(-1)], -1)) * state["units"].unsqueeze(-1)
        # A dead unit has no part in a direction, not even by rounding.
        alive_gk = (z != 0).any(-1)
        if followed == k:
            return torch.diag_embed(alive_gk.to(z))
        largest = z.square().sum(-2).topk(followed, -1).indices
        taken = z.nan_to_num(0.0, 0.0, 0.0).gather(-1, largest.unsqueeze(-2).expand(-1, k, -1))
        _, scale_g1r, turn_grr = _principal(taken.mT @ taken)
        return torch.where(alive_gk.unsqueeze(-1), taken @ (turn_grr * scale_g1r), 0)

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The scaled gradient less what is too long of its strongest directions."""
        found = self.direct(state, v_gki, v0_gk)
        return found.delta, found.delta0

    def direct(
        self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None, others: Tensor | int | None = None
    ) -> Direction:
        """Follow the strongest directions by half a subspace iteration, and shorten what is too long of them.

        Z is (e_k Y_ki, e_k G_k0), with Y standardised in its inputs alone. It is never written out: the bias is kept
        apart, so that rows stay aligned, and units are scaled where matrices are thin.
        """
        units_gk1, basis_gkr = state["units"].unsqueeze(-1), state["basis"]
        turn_grk = (basis_gkr * units_gk1).mT
        rows_gri, rows_gr1 = turn_grk @ v_gki, _column(turn_grk, v0_gk)
        if rows_gr1 is not None:
            row_gr = rows_gr1.squeeze(-1)
            rows_gri = centred_gradient(state, rows_gri, row_gr)
            square_gr = (rows_gri * state["inputs"].unsqueeze(-2)).square().sum(-1)
            rows_gri = rows_gri.masked_fill(only_bias(state, square_gr, row_gr).unsqueeze(-1), 0)
        state = self.heard(state, rows_gri)
        rows_gri = self.coordinates(state, rows_gri)
        _, scale_g1r, first_grr = _principal(_grams(rows_gri, rows_gr1))
        turn_grr = (first_grr * scale_g1r).mT
        # In place: a large tensor that is made anew costs more than what is done to it.
        y_gki = centred_gradient(state, v_gki, v0_gk)
        y_gki = self.coordinates(state, y_gki, None if y_gki is v_gki else y_gki)
        along_gri, along_gr1 = turn_grr @ rows_gri, None if rows_gr1 is None else turn_grr @ rows_gr1
        left_gkr = y_gki @ along_gri.mT
        total_gk, scale_gk1 = torch.linalg.vector_norm(y_gki, dim=-1).square(), units_gk1.square()
        if v0_gk is not None and along_gr1 is not None:
            dust_gk = only_bias(state, total_gk, v0_gk)
            total_gk, dust_gk1 = total_gk.masked_fill(dust_gk, 0), dust_gk.unsqueeze(-1)
            left_gkr, scale_gk1 = left_gkr.masked_fill(dust_gk1, 0), scale_gk1.masked_fill(dust_gk1, 0)
            left_gkr.baddbmm_(v0_gk.unsqueeze(-1), along_gr1.mT)
            total_gk = total_gk + v0_gk.square()
        left_gkr = left_gkr * units_gk1
        total_g = (total_gk * state["units"].square()).sum(-1)
        square_gr, scale_g1r, turn_grr = _principal(left_gkr.mT @ left_gkr)
        left_gkr = left_gkr @ turn_grr
        length_gr = square_gr.sqrt()
        if others is None:
            others = min(v_gki.shape[1], v_gki.shape[2] + (v0_gk is not None)) - length_gr.shape[-1]
        if isinstance(others, int) and not others:
            usual_g = length_gr.mean(-1)
        else:
            usual_g = ((total_g - square_gr.sum(-1)).clamp_min(0) / others).sqrt()
            # A gradient of few samples may have no others: what is left then is rounding.
            usual_g = torch.maximum(usual_g, NEGLIGIBLE * length_gr.amax(-1))
        cut_gr = (1 - quotient(usual_g.unsqueeze(-1).expand_as(length_gr), length_gr)).clamp_min(0)
        less_gkr = (left_gkr * cut_gr.unsqueeze(-2) * units_gk1) @ turn_grr.mT
        delta = self.back(state, y_gki.mul_(scale_gk1).baddbmm_(less_gkr, along_gri, alpha=-1))
        delta0 = None
        if v0_gk is not None and along_gr1 is not None:
            own = v0_gk * state["units"].square() - (less_gkr @ along_gr1).squeeze(-1)
            delta0 = own - (delta @ state["mean"].unsqueeze(-1)).squeeze(-1)
        # What is negligible now may not be so later.
        turned_gkr = basis_gkr @ (first_grr @ turn_grr)
        basis_gkr = torch.where(scale_g1r > 0, left_gkr * scale_g1r, turned_gkr)
        dual_g = total_g - (cut_gr * square_gr).sum(-1)
        return Direction(delta, delta0, dual_g, {"basis": basis_gkr, "heard": state["heard"]})

    def heard(self, state: Mapping[str, Tensor], rows_gri: Tensor) -> State:
        """The metric without what gradients refute: an input whose column is LOUD is that much wider than looks know.

        Looks see a share of some batches. An input that was silent there and lights up in a minibatch would have a
        long weight for a small range, and send its sample anywhere. So "heard" [g,i], what its inverse deviation may
        be at most, is remembered, and forgotten slowly. `rows` are the gradient's, turned to U.
        """
        faded_gi = state["heard"] * (1 + FADING)
        inputs_gi = torch.minimum(state["inputs"], faded_gi)
        length_gi = rows_gri.square().sum(-2).sqrt() * inputs_gi
        held_gi = length_gi
        for _ in range(2):  # the second time without what the loud ones themselves add to the usual length
            most_g1 = LOUD * (held_gi.sqrt().sum(-1, keepdim=True) / state["varied"]).square()
            held_gi = torch.minimum(length_gi, most_g1)
        loud_gi = length_gi > held_gi
        inputs_gi = torch.where(loud_gi, held_gi / length_gi, 1) * inputs_gi
        return {**state, "inputs": inputs_gi, "heard": torch.where(loud_gi, inputs_gi, faded_gi)}

    def coordinates(self, state: Mapping[str, Tensor], m_gki: Tensor, out: Tensor | None = None) -> Tensor:
        """[g,k,i] what multiplies centred inputs as what multiplies standardised ones; in `out` if given."""
        return torch.mul(m_gki, state["inputs"].unsqueeze(-2), out=out)

    def back(self, state: Mapping[str, Tensor], z_gki: Tensor) -> Tensor:
        """[g,k,i] standardised weights as weights; may write on them."""
        return z_gki.mul_(state["inputs"].unsqueeze(-2))


def rank(k: int, j: int) -> int:
    """How many directions of a matrix are followed.

    >>> [rank(k, 1000) for k in (10, 32, 40, 100, 512)]
    [10, 32, 20, 32, 16]
    """
    least = min(k, j)
    if least <= RANK:
        return least
    return min(RANK, least // 2) if least <= SMALL else RANK // 2


def centred_gradient(state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> Tensor:
    """[g,k,i] the gradient of weights on inputs without their mean."""
    if v0_gk is None:
        return v_gki
    return torch.addcmul(v_gki, v0_gk.unsqueeze(-1), state["mean"].unsqueeze(-2), value=-1)


def only_bias(state: Mapping[str, Tensor], square_gk: Tensor, v0_gk: Tensor) -> Tensor:
    """[g,k] where the gradient of weights, centred, standardised and squared, is rounding of what was taken from it.

    Errors that are the same for all samples leave no more of it: a last layer of zeros, and a batch of one class.
    """
    wide_g1 = (1 + (state["mean"] * state["inputs"]).square()).sum(-1, keepdim=True)
    return square_gk <= v0_gk.square() * wide_g1 * (DUST * torch.finfo(square_gk.dtype).eps) ** 2


def _column(turn_grk: Tensor, v0_gk: Tensor | None) -> Tensor | None:
    return None if v0_gk is None else turn_grk @ v0_gk.unsqueeze(-1)


def _grams(rows_gri: Tensor, rows_gr1: Tensor | None) -> Tensor:
    gram_grr = rows_gri @ rows_gri.mT
    return gram_grr if rows_gr1 is None else gram_grr + rows_gr1 * rows_gr1.mT


def _principal(gram_grr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared lengths [g,r] along the principal axes, one over the lengths [g,1,r], and the turn [g,r,r] to the axes.

    Done with the small matrix of products: that loses half of the digits, so directions a thousandth as long as the
    longest are let go, with 0 for both. They would not be shortened anyway.
    """
    try:
        square_gr, turn_grr = torch.linalg.eigh(gram_grr.double())
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        # A gradient that is not finite is refused by its dual norm, with a word about the parameter: not here.
        square_gr, turn_grr = torch.full_like(gram_grr[..., 0], torch.nan), torch.full_like(gram_grr, torch.nan)
    square_gr = square_gr.masked_fill(square_gr <= square_gr[..., -1:] * NEGLIGIBLE**2, 0)
    scale_gr = torch.where(square_gr > 0, square_gr.rsqrt(), 0)
    return square_gr.to(gram_grr), scale_gr.to(gram_grr).unsqueeze(-2), turn_grr.to(gram_grr)


def _average(old: State, new: State, share: float, biased: bool) -> State:
    apart = new["mean"] - old["mean"]
    state = {name: torch.lerp(old[name], new[name], share) for name in ("mean", "spread", "factor", "response")}
    state["spread"] = torch.addcmul(state["spread"], apart, apart, value=share * (1 - share) if biased else 0.0)
    return state
