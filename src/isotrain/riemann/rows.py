"""Embeddings: one-hot inputs without a bias. Every shape of block but polar is the same diagonal for them.

A diagonal row is measured only in the looks that touch it, and averaged over those alone: a rare word's metric
must not fade between its appearances.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isotrain.riemann.blocks import Inputs, Seen, Shape, State
from isotrain.riemann.polar import Polar


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


class PolarRows(Polar):
    """An embedding as the linear layer on one-hot inputs that it is: the variance of an input is how often it is met.

    >>> state = {"mean": torch.zeros(1, 2), "spread": torch.tensor([[0.4, 0.1]]), "range": torch.ones(1, 2)}
    >>> state |= {"factor": torch.ones(1, 1), "response": torch.ones(1, 1)}
    >>> shape, v = PolarRows(2), torch.ones(1, 1, 2)
    >>> delta, _ = shape.solve(shape.begin(shape.ready(state, 0.1), v, None), v, None)
    >>> delta.round(decimals=3)  # one over the damped variances
    tensor([[[2., 5.]]])
    """

    name = "polar-rows"

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def moments(self, seen: Seen, biased: bool) -> State:
        """How often every row is met, and squares of the errors."""
        index = seen.inputs.reshape(-1)
        d = seen.errors[0].reshape(len(index), -1)
        met = d.new_zeros(self.rows).index_add_(0, index, torch.ones_like(d[:, 0]))
        count = d.new_full((1,), float(len(index)))
        return {"count": count, "square": met.unsqueeze(0), "factor": d.square().sum(0).unsqueeze(0)}

    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """Frequencies; a row that was met has the range of a one-hot input, 1."""
        spread = raw["square"] / raw["count"].unsqueeze(-1)
        return {
            "mean": torch.zeros_like(spread),
            "spread": spread,
            "range": (spread > 0).to(spread),
            "factor": raw["factor"],
            "response": inputs.response,
            "level": inputs.level,
        }
