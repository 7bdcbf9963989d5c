"""The whole block of the metric for every unit: invariant to any affine map of a unit's inputs, dear in memory."""

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
from isotrain.riemann.dense_inverse import covariant_inverse
from isotrain.riemann.diagonal import quotient


class Unitwise(Shape):
    """delta_k = (M^(k))^-1 G_k with the (1+i) x (1+i) block of every unit; i^2 numbers a unit.

    Source: Ollivier 2015, "Riemannian metrics for neural networks I".

    >>> state = {"m00": torch.ones(1, 1), "mean": torch.zeros(1, 1, 1), "inverse": torch.full((1, 1, 1, 1), 0.5)}
    >>> Unitwise().solve(state, torch.tensor([[[4.0]]]), torch.tensor([[1.0]]))
    (tensor([[[2.]]]), tensor([[1.]]))
    """

    name = "unitwise"

    def moments(self, seen: Seen, biased: bool) -> State:
        """M00, M0i and Mij around the centre."""
        if seen.apart:
            seen = seen.split()
        m00 = m0i = mij = torch.zeros((), dtype=seen.errors.dtype, device=seen.errors.device)
        if seen.errors.shape[2] == 1:
            x_gni, q_gnk = seen.inputs.squeeze(2), seen.errors.squeeze(2).square()
            m00, m0i = q_gnk.sum(1), q_gnk.transpose(1, 2) @ x_gni
            weighted_gkin = x_gni.transpose(1, 2).unsqueeze(1) * q_gnk.transpose(1, 2).unsqueeze(2)
            mij = weighted_gkin @ x_gni.unsqueeze(1)
        else:
            for g_gnki, g0_gnk in gradients(seen):
                m00 = m00 + g0_gnk.square().sum(1)
                m0i = m0i + (g0_gnk.unsqueeze(-1) * g_gnki).sum(1)
                mij = mij + torch.einsum("gnki,gnkj->gkij", g_gnki, g_gnki)
        return {"m00": m00, "m0i": m0i, "mij": mij, "power": power(seen.errors)}

    def host(self, raw: State, guest_gki: Tensor, inputs: Inputs) -> State:
        """On the diagonal of every unit's block."""
        return {**raw, "mij": raw["mij"] + torch.diag_embed(guest_gki)}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """Covariance of each unit's per-sample gradient given its bias's."""
        m00 = torch.where(is_dust(raw["m00"], raw["power"]), 0, raw["m00"])
        shift = quotient(raw["m0i"], m00.unsqueeze(-1)) if biased else torch.zeros_like(raw["m0i"])
        spread = raw["mij"] - raw["m0i"].unsqueeze(-1) * shift.unsqueeze(-2)
        variance = spread.diagonal(dim1=-2, dim2=-1)
        variance.masked_fill_(unlit(variance, raw["power"], inputs), 0)
        mean = inputs.centre.unsqueeze(-2) + shift
        return {
            "m00": m00, "power": raw["power"], "mean": mean, "spread": spread, "range": varied_range(inputs),
            "size": raw["mij"].diagonal(dim1=-2, dim2=-1).clone(),
        }  # fmt: skip

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """As the quasi-diagonal one, with whole matrices."""
        a, b = (1 - share) * old["m00"], share * new["m00"]
        m00 = a + b
        part = torch.where(m00 > 0, b / m00, share).unsqueeze(-1)
        apart = new["mean"] - old["mean"]
        mean = torch.where(part < 1, torch.addcmul(old["mean"], part, apart), new["mean"])
        spread = torch.lerp(old["spread"], new["spread"], share)
        if biased:
            spread += (a.unsqueeze(-1) * part).unsqueeze(-1) * apart.unsqueeze(-1) * apart.unsqueeze(-2)
        power = torch.lerp(old["power"], new["power"], share)
        kept = torch.maximum(old["range"], new["range"])
        size = torch.lerp(old["size"], new["size"], share)
        return {"m00": m00, "power": power, "mean": mean, "spread": spread, "range": kept, "size": size}

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """As `pool`, but damped on the diagonal; the diagonal of an input that did not vary does not fade."""
        state = new if old is None else self.pool(old, new, share, biased)
        kept = remembered_range(old, new)
        floor = damping * state["power"].unsqueeze(-1) * kept.unsqueeze(-2)
        spread = state["spread"].clone()
        diagonal = spread.diagonal(dim1=-2, dim2=-1)
        if old is None:
            diagonal.add_(floor)
        else:
            still = old["spread"].diagonal(dim1=-2, dim2=-1) * (new["range"] <= 0).unsqueeze(-2)
            diagonal.add_(share * (floor * (new["range"] > 0).unsqueeze(-2) + still))
            diagonal.copy_(torch.maximum(diagonal, floor))
        return {**state, "spread": spread, "range": kept}

    def ready(self, state: State, damping: float) -> State:
        """The inverse of every unit's block (damping is in the spread already).

        A unit that few samples excite has a singular block; what was subtracted says how much of it is rounding.
        """
        state["inverse"] = covariant_inverse(state["spread"], 0.0, state["size"])
        return state

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A solve for every unit; the bias carries the mean."""
        if v0_gk is None:
            return (state["inverse"] @ v_gki.unsqueeze(-1)).squeeze(-1), None
        centred = v_gki - v0_gk.unsqueeze(-1) * state["mean"]
        delta = (state["inverse"] @ centred.unsqueeze(-1)).squeeze(-1)
        return delta, quotient(v0_gk, state["m00"]) - (delta * state["mean"]).sum(-1)
