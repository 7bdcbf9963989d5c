"""Embeddings: one-hot inputs without a bias, for which every shape of block is the same diagonal.

A row is measured only in the looks that touch it, and averaged over those alone: a rare word's metric
must not fade between its appearances.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State


class Rows(Shape):
    """delta_vd = G_vd / M_vd. Inputs are indices [n,s]; matrices are [1,k,i] with i the rows.

    A row not seen in any look takes the average of the seen ones.

    >>> state = {"spread": torch.tensor([[[2.0, 0.0]]]), "turns": torch.tensor([1.0, 0.0])}
    >>> Rows(2).solve(state, torch.ones(1, 1, 2), None)
    (tensor([[[0.5000, 0.5000]]]), None)
    """

    name = "rows"

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def moments(self, seen: Seen, biased: bool) -> State:
        """Sum over samples of the squared gradient of every row; a row met twice in a sample adds up first."""
        index_ns, d = seen.inputs, seen.errors[0]
        n, s = index_ns.shape
        flat = d.reshape(n * s, -1)
        row = index_ns.reshape(-1)
        if not seen.apart:
            sample = torch.arange(n, device=row.device).repeat_interleave(s)
            pairs, place = (sample * self.rows + row).unique(return_inverse=True)
            flat = flat.new_zeros(len(pairs), flat.shape[1]).index_add_(0, place, flat)
            row = pairs % self.rows
        total = flat.new_zeros(self.rows, flat.shape[1]).index_add_(0, row, flat.square())
        met = flat.new_zeros(self.rows).index_fill_(0, row, 1.0)
        return {"mii": total.T.unsqueeze(0), "met": met}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """The rows met."""
        return {"spread": raw["mii"], "turns": (raw["met"] > 0).to(raw["met"])}

    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """Two parts of one look."""
        return {
            "spread": torch.lerp(old["spread"], new["spread"], share),
            "turns": torch.maximum(old["turns"], new["turns"]),
        }

    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """Rows move only when met: a running mean at first, then by `share`. Damping is relative to the average row."""
        average = new["spread"].sum(-1, keepdim=True) / new["turns"].sum().clamp_min(1)
        fresh = torch.where(new["turns"] > 0, new["spread"] + damping * average, 0)
        if old is None:
            return {"spread": fresh, "turns": new["turns"]}
        turns = old["turns"] + new["turns"]
        pace = torch.where(new["turns"] > 0, (1 / turns.clamp_min(1)).clamp_min(share), 0)
        return {"spread": old["spread"] + pace * (fresh - old["spread"]), "turns": turns}

    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Quotients, 0 where no row has any weight."""
        met = state["turns"] > 0
        average = state["spread"].sum(-1, keepdim=True) / met.sum().clamp_min(1)
        spread = torch.where(met, state["spread"], average)
        return torch.where(spread > 0, v_gki / spread, 0), None
