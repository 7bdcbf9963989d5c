"""The diagonal of the metric: one number a weight and one a bias."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State, gradients, is_dust, power, unlit


def second_moments(seen: Seen) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums over samples of g0^2 [g,k], g0 g_i and g_i^2 [g,k,i] of the per-sample gradients, and the errors' power.

    One place a sample: two products of matrices. Several: the gradient of each sample is formed.
    """
    if seen.apart:
        seen = seen.split()
    x, d = seen.inputs, seen.errors
    total = power(d)
    if d.shape[2] == 1:
        x_gni, q_gnk = x.squeeze(2), d.squeeze(2).square()
        return (
            q_gnk.sum(1),
            q_gnk.transpose(1, 2) @ x_gni,
            q_gnk.transpose(1, 2) @ x_gni.square(),
            total,
        )
    m00 = m0i = mii = torch.zeros((), dtype=d.dtype, device=d.device)
    for g_gnki, g0_gnk in gradients(seen):
        m00 = m00 + g0_gnk.square().sum(1)
        m0i = m0i + torch.einsum("gnk,gnki->gki", g0_gnk, g_gnki)
        mii = mii + g_gnki.square().sum(1)
    return m00, m0i, mii, total


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, 0 where the denominator is 0.

    >>> quotient(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    return torch.where(denominator > 0, numerator / denominator, 0)


def average_spreads(old: Tensor, new: Tensor, share: float, between: Tensor | float = 0.0) -> Tensor:
    """Moving average of spreads, infinite where an input was never seen to vary (so that its step is 0).

    >>> average_spreads(torch.tensor([torch.inf, torch.inf]), torch.tensor([2.0, torch.inf]), 0.5)
    tensor([1., inf])
    """
    seen = torch.lerp(old.nan_to_num(torch.nan, 0.0), new.nan_to_num(torch.nan, 0.0), share) + between
    return seen.masked_fill_(seen == 0, torch.inf)


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
        m00, _, mii, total = second_moments(seen)
        return {"m00": m00, "mii": mii, "power": total}

    def settle(self, raw: State, inputs: Inputs, biased: bool, damping: float) -> State:
        """Damping: relative to the power of the errors times the reach of the inputs, and of the bias (1)."""
        spread = raw["mii"] + damping * raw["power"].unsqueeze(-1) * inputs.reach.unsqueeze(-2)
        m00 = torch.where(is_dust(raw["m00"], raw["power"]), 0, raw["m00"] + damping * raw["power"])
        return {"m00": m00, "spread": spread.masked_fill_(unlit(spread, raw["power"], inputs), torch.inf)}

    def merge(self, old: State, new: State, share: float, biased: bool) -> State:
        """Entrywise."""
        return {
            "m00": torch.lerp(old["m00"], new["m00"], share),
            "spread": average_spreads(old["spread"], new["spread"], share),
        }

    def solve(
        self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Quotients; 0 where nothing was ever seen."""
        return v_gki / state["spread"], None if v0_gk is None else quotient(v0_gk, state["m00"])
