"""How far to go: a length from the true curvature along the step, made of scalars of the function alone.

With v the gradient, w the direction, F the Fisher matrix of the model's output: rho = w'Fw / (v'w) is how
many times the plain step w overshoots the minimum of the quadratic model. The length is a fraction of the
Newton length 1/rho, no longer than what changes the output distribution by a fraction of the current loss.
Shapes may also bound how far a unit's activity moves, as a fraction of its own spread. Letters: units.py.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isotrain.riemann.blocks import Shape
from isotrain.riemann.ranks import Mean, Question

Family = Hashable
"""Which samples a number for each of them is about."""
SAMPLES = "samples"
"""The family of the batch's own samples."""
NEWTON = 0.3
"""Fraction of the Newton length."""
LEAP = 4.0
"""How many times its usual dual norm (a squared length) a block may have."""
MEMORY = 0.9
"""What the curvature keeps at a refresh."""


@dataclass(frozen=True)
class Moved:
    """How one layer's pre-activations answer to the proposed direction, from one call.

    Attributes:
        change: [g,n,s,k] change of pre-activations for a whole step along the direction.
        values: [g,n,s,k] the pre-activations themselves.
        errors: [g,n,s,k] sampled errors there.
    """

    change: Tensor
    values: Tensor
    errors: Tensor


def per_sample(moved: Moved, samples: int, family: Family | None = None) -> tuple[Family, Tensor]:
    """Error times change, summed over units and places: one number a sample, or more where samples were regrouped.

    With its family; over several processes, whose shares may be of any length, that is given.
    """
    per_n = torch.einsum("gnsk,gnsk->n", moved.change, moved.errors)
    if len(per_n) % samples == 0 if family is None else family == SAMPLES:
        per_n = per_n.view(samples, -1).sum(1)
    return len(per_n) if family is None else family, per_n


def squares(per_n: Sequence[tuple[Family, Tensor]]) -> Tensor:
    """[f] of each family of samples: the sum over them of (the sum over layers, units and places)^2. They add up.

    Layers are added sample by sample. Where samples were regrouped by the model (regions of pictures), layers of
    equal length form a family.
    """
    families: dict[Family, Tensor] = {}
    for family, one in per_n:
        families[family] = families[family] + one if family in families else one
    return torch.stack([family.square().sum() for family in families.values()])


def quadratic(squares_f: Tensor) -> Tensor:
    """w'Fw: the families' roots add up, an upper bound, which is exact for one family.

    >>> one = torch.ones(2)
    >>> round(float(quadratic(squares([(SAMPLES, one), (SAMPLES, one)]))), 4)
    8.0
    """
    return squares_f.sqrt().sum().square()


def reach(
    moved: list[Moved], dual_gk: Tensor, shape: Shape, old: Tensor | None, scale: float = 1.0
) -> Question[Tensor]:
    """[g,k]: how far each unit may go, in units of the root of its dual norm v_k'w_k, for the direction times `scale`.

    Where the unit in the middle speaks for the layer: one number, infinite where that unit has no spread.

    The ratio of the two norms changes slowly, so it is measured at a refresh and used until the next. A unit
    that had no gradient then cannot be measured: it keeps its `old` reach, or waits for the next refresh. A
    unit without any spread (weights that start at zero) has no scale of its own and is not bounded.
    """
    change = torch.cat([m.change.flatten(1, 2) for m in moved], 1)
    values = torch.cat([m.values.flatten(1, 2) for m in moved], 1)
    rows = values.shape[1]
    (mean,) = yield [Mean(values.mean(1), rows)]
    spread = (values - mean.unsqueeze(1)).square_().mean(1)  # many times faster than Tensor.var here
    spread, square, rms = yield [
        Mean(spread, rows), Mean(values.square().mean(1), rows), Mean(change.square().mean(1), rows),
    ]  # fmt: skip
    flat = spread <= square * (64 * torch.finfo(values.dtype).eps) ** 2
    dual = dual_gk if shape.per_unit else dual_gk.sum().expand_as(spread)
    bound = shape.unit * (spread * dual.clamp_min(0) / (scale * rms)).sqrt()
    bound = torch.where(flat, torch.inf, bound)
    measured = rms > 0
    if shape.typical:
        return torch.where(rms > 0, bound, torch.inf).median()
    if not shape.per_unit:
        # The layer moves as one: a unit that the direction leaves alone (a dead one) holds nobody back.
        bound, measured = torch.where(measured, bound, torch.inf), torch.ones_like(measured)
    return torch.where(measured & (dual > 0), bound, torch.zeros_like(bound) if old is None else old)


def bound(length: float, dual_gk: Tensor, reach_gk: Tensor, shape: Shape) -> Tensor:
    """[g,k]: the length of each unit's step, shortened where its activity would move too far."""
    dual = dual_gk if shape.per_unit else dual_gk.sum().expand_as(reach_gk)
    allowed = reach_gk / dual.clamp_min(0).sqrt().clamp_min(torch.finfo(dual.dtype).tiny)
    lengths = allowed.clamp_max(length)
    return lengths.amin().expand_as(lengths) if shape.together else lengths


def smooth(old: float, new: float, looks: int) -> float:
    """Moving average of a positive number; the first is taken whole.

    Plain, not in the logarithm: late in a training the curvature sits in few samples, and most looks miss them.
    """
    if looks == 0 or not old > 0 or not new > 0:
        return new if new > 0 else old
    share = max(1.0 / (looks + 1), 1 - MEMORY)
    return (1 - share) * old + share * new


def natural_length(curvature: float, dual: float, loss: float, divergence: float, pace: float = 1.0) -> float:
    """The length of the step, given rho, v'w, the loss, the divergence allowed as a share of it, and the pace.

    The pace multiplies the divergence allowed, so the length goes with its root, up to a whole Newton step.

    A loss that is not positive (the logarithm of a density) sets no scale for a divergence: the fraction of
    the Newton length alone holds then.

    >>> natural_length(2.0, 0.0, 1.0, 0.01)
    0.0
    >>> round(natural_length(2.0, 1.0, 1.0, 0.01), 6), natural_length(2.0, 1e-9, 1.0, 0.01)
    (0.1, 0.15)
    >>> natural_length(2.0, 1.0, -1.0, 0.01), natural_length(2.0, 1.0, -1.0, 0.01, 16.0)
    (0.15, 0.5)
    """
    if not curvature > 0 or not dual > 0:
        return 0.0
    newton = min(1.0, NEWTON * math.sqrt(pace)) / curvature
    if not loss > 0:
        return newton
    return min(newton, math.sqrt(2 * divergence * pace * loss / (curvature * dual)))
