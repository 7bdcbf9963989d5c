"""Blocks: the shape of the metric kept for the units of a layer, and how a step is solved from it.

Letters: g group, n sample, s place, i input, k unit (units.py). A metric is a weighted second moment of
each unit's incoming inputs and bias; a block keeps part of it, centred: weighted mean and weighted spread,
never the cancelling difference of raw moments, so that float32 survives inputs offset by 1000 standard deviations.

A look is measured in three steps: `moments` are raw sums around a fixed centre, which add up over sightings
and cotangents; `settle` turns the sum into the block's centred state; `merge` averages it into the state of
earlier looks and damps it. Damping adds a share of each input's own range times the unit's average weight M00:
relative to nothing but itself, so it follows every rescaling and shift of an input or a unit. An input's range
is remembered, since one look may show a pixel at a hundredth of its brightness. An input that did not vary in a
look learns nothing there and forgets nothing: a pixel lit once a day keeps its metric.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]

DUST = 64
"""A spread below this many roundings of what it was computed from is none: see `is_dust`."""


def is_dust(small: Tensor, whole: Tensor) -> Tensor:
    """Whether a sum of squares is only the rounding of values whose squares sum to `whole`.

    The rule for constant inputs, dead units and biases the function ignores. It compares like with
    like (both carry the same units), so no change of coordinates moves it, short of rounding.

    >>> is_dust(torch.tensor([0.0, 1e-16, 1.0]), torch.tensor([1.0, 1.0, 1.0]))
    tensor([ True,  True, False])
    """
    return (small <= whole * (DUST * torch.finfo(small.dtype).eps) ** 2) | (small < least_square(small.dtype))


def least_square(kind: torch.dtype) -> float:
    """Squares below this are at the end of the type's range, where quotients overflow: they count as none."""
    return torch.finfo(kind).tiny / torch.finfo(kind).eps


def unlit(spread_gki: Tensor, power_gk: Tensor, inputs: Inputs) -> Tensor:
    """[g,k,i]: whether an input tells a unit nothing, so that its weight must stay.

    Either the input is constant, or it only ever varied where the unit had no error to speak of: a share of
    the unit's power below DUST roundings. Measured against the input's own reach, so that both questions
    have the same answer in all coordinates (against its size, an inverted rare pixel would be answered
    differently).
    """
    kind = spread_gki.dtype
    constant = is_dust(inputs.reach, inputs.size)
    least = (DUST * torch.finfo(kind).eps * inputs.reach).masked_fill(constant, torch.finfo(kind).max)
    return spread_gki <= power_gk.unsqueeze(-1) * least.unsqueeze(-2) + least_square(kind)


@dataclass(frozen=True)
class Seen:
    """One call of a layer as numbers.

    Attributes:
        inputs: [g,n,s,i] around `centre`; indices [n,s] for one-hot units.
        errors: [g,n,s,k], cotangents whose outer squares sum to the metric.
        apart: places are samples of their own (the backpropagated metric has no signs to sum).
        stretch: where its n s rows begin among those of all processes, and how many these are; None for one process.
    """

    inputs: Tensor
    errors: Tensor
    apart: bool = False
    stretch: tuple[int, int] | None = None

    def split(self) -> Seen:
        """Every place as a sample."""
        flat = [t.flatten(1, 2).unsqueeze(2) for t in (self.inputs, self.errors)]
        return Seen(flat[0], flat[1])


def joined(calls: list[Seen]) -> list[Seen]:
    """Calls of one layer on the same number of samples as one call: each is one more place of the samples.

    So a sample's gradient is the sum over all uses of the layer, and a cell in a loop is measured like a fused layer.

    >>> one = Seen(torch.zeros(1, 5, 2, 3), torch.zeros(1, 5, 2, 4))
    >>> [s.inputs.shape[2] for s in joined([one, one])]
    [4]
    """
    if len(calls) == 1:
        return calls
    families: dict[int, list[Seen]] = {}
    for seen in calls:
        families.setdefault(seen.errors.shape[1], []).append(seen)
    return [
        Seen(torch.cat([s.inputs for s in f], -1 if f[0].inputs.ndim == 2 else 2),
             torch.cat([s.errors for s in f], 2), f[0].apart)
        for f in families.values()
    ]  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """Plain statistics of a layer's inputs in one look.

    Attributes:
        centre: [g,i], their mean; zeros for units without a bias, which cannot compensate a shift.
        reach: [g,i], what damping is relative to: the largest squared deviation from the centre, or
            their variance for windows of pictures.
        size: [g,i], mean square before centring: what rounding is relative to.
        response: [g,k], variance of the units' pre-activations; empty where the shape is not `responsive`.
        level: [g,k], their mean; empty likewise.
    """

    centre: Tensor
    reach: Tensor
    size: Tensor
    response: Tensor
    level: Tensor


def varied_range(inputs: Inputs) -> Tensor:
    """[g,i] the reach of each input, 0 where it is constant but for rounding."""
    return inputs.reach.masked_fill(is_dust(inputs.reach, inputs.size), 0)


RANGE_MEMORY = 0.99
"""What an input's range keeps from look to look unless it is exceeded."""


def remembered_range(old: State | None, new: State) -> Tensor:
    """[g,i] the range of each input over the looks so far."""
    return new["range"] if old is None else torch.maximum(RANGE_MEMORY * old["range"], new["range"])


@dataclass(frozen=True)
class Direction:
    """Where a block goes.

    Attributes:
        delta: [g,k,i] direction of the weights.
        delta0: [g,k] direction of the biases.
        dual: v'w: of each unit [g,k], or of each group [g] where units are not apart.
        kept: what the block's state keeps of this step.
    """

    delta: Tensor
    delta0: Tensor | None
    dual: Tensor
    kept: State


class Shape(ABC):
    """One kind of block. Stateless: states are dictionaries of tensors, kept by the optimizer."""

    name: str
    centred: bool = True
    """Whether moments are taken around the inputs' centre."""
    per_unit: bool = True
    """Whether the dual norm of a gradient is a sum of non-negative terms, one a unit."""
    unit: float = 0.1
    """How far a step may move a unit's pre-activation, in root mean square, as a fraction of its spread."""
    together: bool = False
    """Whether units are held back together: a step that shortened one of them alone might lead uphill."""
    typical: bool = False
    """Whether the layer is held back as one, by the unit in the middle; the outermost may go further."""
    divergence: float = 0.01
    """How far a step may move the outputs, as a share of the loss (see steplength)."""
    responsive: bool = False
    """Whether it needs the variance of the units' responses."""
    stacked: tuple[str, ...] = ()
    """Names in the state that `direct` reads, where blocks padded with zeros may share a batch: see stacks.py."""

    @abstractmethod
    def moments(self, seen: Seen, biased: bool) -> State:
        """Raw sums around the centre. They add up."""

    @abstractmethod
    def settle(self, raw: State, inputs: Inputs, biased: bool) -> State:
        """The state one look gives, undamped, with the inputs' "range" [g,i] and, without a bias, "power" [g,k]."""

    @abstractmethod
    def pool(self, old: State, new: State, share: float, biased: bool) -> State:
        """Two parts of one look: `share` of the new, the rest of the old, exactly as if raw moments were averaged."""

    @abstractmethod
    def merge(self, old: State | None, new: State, share: float, biased: bool, damping: float) -> State:
        """Moving average of damped looks; the first is taken whole."""

    def ready(self, state: State, damping: float) -> State:
        """Add what solving needs and averaging does not (inverses)."""
        return state

    def begin(self, state: State, v_gki: Tensor, v0_gk: Tensor | None) -> State:
        """Add what is followed from step to step, before the first of them."""
        return state

    def renew(self, state: State, v_gki: Tensor, v0_gk: Tensor | None) -> State:
        """Mend what is followed, at a look."""
        return state

    def host(self, raw: State, guest_gki: Tensor, inputs: Inputs) -> State:
        """Add the diagonal that another layer gives to the same weights (an embedding tied to the output)."""
        return {**raw, "mii": raw["mii"] + guest_gki}

    @abstractmethod
    def solve(self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Steepest direction under the block: weights [g,k,i] and biases [g,k]."""

    def direct(
        self, state: Mapping[str, Tensor], v_gki: Tensor, v0_gk: Tensor | None, others: Tensor | int | None = None
    ) -> Direction:
        """`solve`, with the direction's dual norm and what is to be kept of the work.

        `others` is how many directions of each group are not followed, where padding hides it (stacks.py).
        """
        delta, delta0 = self.solve(state, v_gki, v0_gk)
        dual = torch.einsum("gki,gki->gk", v_gki, delta)
        return Direction(delta, delta0, dual if v0_gk is None or delta0 is None else dual + v0_gk * delta0, {})


def add(left: State, right: State) -> State:
    """Entrywise sum.

    >>> add({"a": torch.ones(1)}, {"a": torch.ones(1)})
    {'a': tensor([2.])}
    """
    return {name: left[name] + right[name] for name in left}


def power(errors_gnsk: Tensor) -> Tensor:
    """[g,k] sum of squared errors over samples and places."""
    return errors_gnsk.square().sum((1, 2))


def gradients(seen: Seen, most: int = 1 << 24) -> list[tuple[Tensor, Tensor]]:
    """Per-sample gradients summed over places, in chunks of samples: weights [g,n,k,i], biases [g,n,k]."""
    d, x = seen.errors, seen.inputs
    per_sample = max(1, d.shape[0] * d.shape[-1] * max(1, x.shape[-1]))
    chunk = max(1, most // per_sample)
    pairs = zip(d.split(chunk, 1), x.split(chunk, 1), strict=True)
    return [(dc.transpose(-1, -2) @ xc, dc.sum(2)) for dc, xc in pairs]
