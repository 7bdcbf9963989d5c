"""The diagonal of the metric: one number a weight and one a bias."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import (
    Inputs,
    Seen,
    Shape,
    State,
    gradients,
    is_dust,
    power,
    remembered_range,
    unlit,
    varied_range,
)


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


def average_weights(old: Tensor | None, new: State, share: float) -> Tensor:
    """[g,k] moving average of M00; minus the average power of the errors where the function ignores the bias.

    A unit's weight is what its damping is relative to, and a bias that moves has the same: one number serves both.

    >>> new = {"m00": torch.tensor([[2.0, 0.0]]), "power": torch.tensor([[3.0, 4.0]])}
    >>> average_weights(torch.tensor([[4.0, -8.0]]), new, 0.5)
    tensor([[ 3., -6.]])
    """
    m00, power = new["m00"], new["power"]
    if old is not None:
        m00 = torch.lerp(old.clamp_min(0), m00, share)
        power = torch.lerp(torch.where(old < 0, -old, power), power, share)
    return torch.where(m00 > 0, m00, -power)


def average_spreads(
    old: Tensor | None,
    new: Tensor,
    share: float,
    scale_gk: Tensor,
    ranges: tuple[Tensor, Tensor],
    damping: float,
    between: Tensor | None = None,
) -> Tensor:
    """Moving average of damped spreads, over the looks in which each input varied (`new` is overwritten).

    Damping adds to `new`, and keeps the average above, damping * scale_k * range_i. A spread is infinite where
    the input never told the unit anything, so that its step is 0.

    Args:
        old: [g,k,i] the average so far, None at the first look.
        new: [g,k,i] spreads of this look.
        share: what the new look counts.
        scale_gk: weight of each unit now.
        ranges: [g,i] of this look (0: the input did not vary) and remembered.
        damping: relative damping.
        between: [g,k,i] spread between the means of old and new.

    >>> inf, new, one = torch.inf, torch.full((1, 1, 3), 2.0), torch.ones(1, 1)
    >>> ranges = torch.tensor([[1.0, 1.0, 0.0]]), torch.ones(1, 3)
    >>> average_spreads(torch.tensor([[[inf, 1.0, 1.0]]]), new, 0.5, one, ranges, 0.0)
    tensor([[[1.0000, 1.5000, 1.0000]]])
    """
    varied, kept = ranges
    floor = scale_gk.unsqueeze(-1) * (damping * kept).unsqueeze(-2) if damping else None
    fresh = new if floor is None else new.add_(floor)
    if old is not None:
        pace = torch.where(varied > 0, share, 0.0).to(new.dtype).unsqueeze(-2)
        fresh = torch.where(old == torch.inf, 0, old).lerp_(fresh, pace)
        if between is not None:
            fresh.add_(between)
        if floor is not None:
            torch.maximum(fresh, floor, out=fresh)
    if floor is None:
        return torch.where(fresh == 0, torch.inf, fresh)
    for dead in ((kept == 0).unsqueeze(-2), (scale_gk == 0).unsqueeze(-1)):
        if bool(dead.any()):
            fresh.add_(torch.zeros_like(dead, dtype=fresh.dtype).masked_fill_(dead, torch.inf))
    return fresh


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
        """An input that tells a unit nothing gets no spread; a bias whose errors cancel is ignored."""
        spread = torch.where(unlit(raw["mii"], raw["power"], inputs), 0, raw["mii"])
        m00 = torch.where(is_dust(raw["m00"], raw["power"]), 0, raw["m00"]) if biased else torch.zeros_like(raw["m00"])
        return {"m00": m00, "spread": spread, "power": raw["power"], "range": varied_range(inputs)}

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """Entrywise."""
        state = {name: torch.lerp(old[name], new[name], share) for name in ("m00", "spread", "power")}
        return {**state, "range": torch.maximum(old["range"], new["range"])}

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """Entrywise, damped by the average weight."""
        weight = average_weights(None if old is None else old["m00"], new, share)
        kept = remembered_range(old, new)
        before = None if old is None else old["spread"]
        spread = average_spreads(before, new["spread"], share, weight.abs(), (new["range"], kept), damping)
        return {"m00": weight, "spread": spread, "range": kept}

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Quotients; 0 where nothing was ever seen."""
        return v_gki / state["spread"], None if v0_gk is None else quotient(v0_gk, state["m00"])
