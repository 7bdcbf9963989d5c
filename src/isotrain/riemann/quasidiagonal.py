"""The quasi-diagonal metric: the diagonal, and every weight's tie to its unit's bias.

Two numbers a weight, the memory of Adam. Source: Ollivier 2015, "Riemannian metrics for neural networks I".
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State, is_dust, remembered_range, unlit, varied_range
from isotrain.riemann.diagonal import Diagonal, average_spreads, average_weights, quotient, second_moments


class QuasiDiagonal(Shape):
    """The diagonal metric after each input is centred at the unit's own weighted mean.

    With mu_i = M_0i / M_00 and D_i = M_ii - M_00 mu_i^2:
    delta_i = (G_i - mu_i G_0) / D_i and delta_0 = G_0 / M_00 - sum_i mu_i delta_i.
    Keeps any affine recoding of each incoming activity and of the unit itself. Units without a bias
    have no shift to keep: they get the diagonal.

    >>> state = {"m00": torch.ones(1, 1), "mean": torch.ones(1, 1, 1), "spread": torch.ones(1, 1, 1)}
    >>> QuasiDiagonal().solve(state, torch.tensor([[[3.0]]]), torch.tensor([[1.0]]))
    (tensor([[[2.]]]), tensor([[-1.]]))
    """

    name = "quasi-diagonal"

    def moments(self, seen: Seen, biased: bool) -> State:
        """M00, M0i and Mii around the centre, and the power of the errors."""
        if not biased:
            return Diagonal().moments(seen, biased)
        m00, m0i, mii, total = second_moments(seen, mixed=True)
        assert m0i is not None
        return {"m00": m00, "m0i": m0i, "mii": mii, "power": total}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """A bias whose errors cancel is ignored; an input that tells a unit nothing gets no spread."""
        if not biased:
            return Diagonal().settle(raw, inputs, biased)
        m00 = torch.where(is_dust(raw["m00"], raw["power"]), 0, raw["m00"])
        shift = raw["m0i"] * quotient(torch.ones_like(m00), m00).unsqueeze(-1)
        spread = torch.addcmul(raw["mii"], raw["m0i"], shift, value=-1)
        spread = torch.where(unlit(spread, raw["power"], inputs), 0, spread)
        mean = shift.add_(inputs.centre.unsqueeze(-2))
        return {"m00": m00, "power": raw["power"], "mean": mean, "spread": spread, "range": varied_range(inputs)}

    def _means(self, old: State, new: State, share: float) -> tuple[Tensor, Tensor, Tensor]:
        """Averages of M00 and of the weighted means, and the spread between the means."""
        a, b = (1 - share) * old["m00"].clamp_min(0), share * new["m00"]
        m00 = a + b
        part = torch.where(m00 > 0, b / m00, share).unsqueeze(-1)
        apart = new["mean"] - old["mean"]
        mean = torch.addcmul(old["mean"], part, apart)
        return m00, mean, apart.square_().mul_(a.unsqueeze(-1) * part)

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """Weighted means and spreads combine with the term for the distance of the means."""
        if not biased:
            return Diagonal().pool(old, new, share, biased)
        m00, mean, between = self._means(old, new, share)
        spread = torch.lerp(old["spread"], new["spread"], share) + between
        power, kept = torch.lerp(old["power"], new["power"], share), torch.maximum(old["range"], new["range"])
        return {"m00": m00, "power": power, "mean": mean, "spread": spread, "range": kept}

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """As `pool`, but damped, and an input is averaged over the looks in which it varied."""
        if not biased:
            return Diagonal().merge(old, new, share, biased, damping)
        kept = remembered_range(old, new)
        _, mean, between = (None, new["mean"], None) if old is None else self._means(old, new, share)
        before, past = (None, None) if old is None else (old["spread"], old["m00"])
        weight = average_weights(past, new, share)
        spread = average_spreads(before, new["spread"], share, weight.abs(), (new["range"], kept), damping, between)
        return {"m00": weight, "mean": mean, "spread": spread, "range": kept}

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The two formulas above; 0 where nothing was ever seen."""
        if v0_gk is None:
            return Diagonal().solve(state, v_gki, None)
        delta = torch.addcmul(v_gki, state["mean"], v0_gk.unsqueeze(-1), value=-1)
        delta = delta.div_(state["spread"])
        delta0 = quotient(v0_gk, state["m00"]) - torch.einsum("gki,gki->gk", state["mean"], delta)
        return delta, delta0


class Gains(QuasiDiagonal):
    """A norm's gains and shifts beside polar blocks: single weights have no directions.

    A unit that is silent in the looks and lights up in a minibatch has a gradient that its metric knows nothing of, and
    would be sent anywhere (a detector's loss went from .6 to 70 by such steps): in a step it may move by its own spread
    at most, and one that was silent in all looks waits for the next.
    """

    name = "gains"
    unit = 1.0
