"""The diagonal of the metric: one number a weight and one a bias."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State, gradients, is_dust, power, unlit, varied_range


def second_moments(seen: Seen, mixed: bool) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Sums over samples of g0^2 [g,k], g0 g_i (if `mixed`) and g_i^2 [g,k,i], and the errors' power [g,k].

    g are the per-sample gradients. One place a sample: two products of matrices. Several: the gradient of
    each sample is formed.
    """
    if seen.apart:
        seen = seen.split()
    x, d = seen.inputs, seen.errors
    total = power(d)
    if d.shape[2] == 1:
        x_gni, q_gkn = x.squeeze(2), d.squeeze(2).square().transpose(1, 2)
        return q_gkn.sum(2), q_gkn @ x_gni if mixed else None, q_gkn @ x_gni.square(), total
    m00 = mii = torch.zeros((), dtype=d.dtype, device=d.device)
    m0i = torch.zeros_like(m00) if mixed else None
    for g_gnki, g0_gnk in gradients(seen):
        m00 = m00 + g0_gnk.square().sum(1)
        if m0i is not None:
            m0i = m0i + (g0_gnk.unsqueeze(-1) * g_gnki).sum(1)
        mii = mii + g_gnki.square_().sum(1)
    return m00, m0i, mii, total


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, 0 where the denominator is 0.

    >>> quotient(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    return torch.where(denominator > 0, numerator / denominator, 0)


def average_spreads(old: Tensor, new: Tensor, share: float, varied_gi: Tensor, between: Tensor | float) -> Tensor:
    """Moving average of spreads over the looks in which each input varied.

    A spread is infinite where the input never told the unit anything, so that its step is 0.

    >>> one, inf = torch.ones(1, 1, 3), torch.inf
    >>> varied = torch.tensor([[True, True, False]])
    >>> average_spreads(torch.tensor([[[inf, 1.0, 1.0]]]), 2 * one, 0.5, varied, 0.0)
    tensor([[[2.0000, 1.5000, 1.0000]]])
    """
    pace = torch.where(varied_gi, share, 0.0).to(new.dtype).unsqueeze(-2)
    seen = torch.lerp(torch.where(old == torch.inf, new, old), new, pace) + between
    return seen.masked_fill_(seen == 0, torch.inf)


def damped(spread_gki: Tensor, scale_gk: Tensor, range_gi: Tensor, damping: float) -> Tensor:
    """Spread plus damping times the unit's weight times the input's range; 0 where there is nothing.

    >>> damped(torch.zeros(1, 1, 2), torch.ones(1, 1), torch.tensor([[2.0, 0.0]]), 0.5)
    tensor([[[1., 0.]]])
    """
    return torch.addcmul(spread_gki, scale_gk.unsqueeze(-1), damping * range_gi.unsqueeze(-2))


class Diagonal(Shape):
    """delta_ki = G_ki / M_ii, delta_k0 = G_k0 / M_00.

    Keeps every rescaling of a weight, no shift: here to be compared with.

    >>> state = {"m00": torch.ones(1, 1), "spread": torch.full((1, 1, 2), 2.0)}
    >>> Diagonal().solve(state, torch.ones(1, 1, 2), torch.ones(1, 1))
    (tensor([[[0.5000, 0.5000]]]), tensor([[1.]]))
    """

    name = "diagonal"
    centred = False

    def moments(self, seen: Seen, biased: bool) -> State:
        """M00 and Mii around zero."""
        m00, _, mii, total = second_moments(seen, mixed=False)
        return {"m00": m00, "mii": mii, "power": total}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """An input that tells a unit nothing gets no spread."""
        spread = raw["mii"].masked_fill(unlit(raw["mii"], raw["power"], inputs), 0)
        m00 = torch.where(is_dust(raw["m00"], raw["power"]), 0, raw["m00"])
        return {"m00": m00, "spread": spread, "power": raw["power"], "range": varied_range(inputs)}

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """Entrywise."""
        state = {name: torch.lerp(old[name], new[name], share) for name in ("m00", "spread", "power")}
        return {**state, "range": torch.maximum(old["range"], new["range"])}

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """Entrywise, damped by the average power."""
        past = new if old is None else old
        state = {name: torch.lerp(past[name], new[name], share) for name in ("m00", "power")}
        fresh = damped(new["spread"], state["power"], new["range"], damping)
        before = torch.full_like(fresh, torch.inf) if old is None else old["spread"]
        return {**state, "spread": average_spreads(before, fresh, share, new["range"] > 0, 0.0)}

    def solve(
        self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Quotients; 0 where nothing was ever seen."""
        return v_gki / state["spread"], None if v0_gk is None else quotient(v0_gk, state["m00"])
