"""A trial: the step is taken on the look's samples first, to see how far the outputs really move.

The length comes from a quadratic model of one linearised step. Layers that move together may do more than that,
most of all in the first steps of a deep net: where the true divergence exceeds the predicted one, the step is
shortened until it does not. Everything compared is a scalar of the function, the same in all coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from isotrain.riemann.measure import Fresh
from isotrain.riemann.motion import Motion, Progress, shift
from isotrain.riemann.observe import look
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.steplength import natural_length

SURPRISE = 4.0
"""How many times the predicted divergence the true one may be: the prediction is sampled."""
LEAST = 0.25
"""Below this share of the length the prediction no longer shrinks."""
TRIALS = 6
"""How often a step is shortened before the shortest is taken."""
RECOVERY = 2.0
"""By what the trust in the prediction may grow from look to look."""


def shared_length(
    model: nn.Module,
    motions: list[Motion],
    fresh: Fresh | None,
    lead: Mapping[str, Any],
    progress: Progress,
    dual: float,
    ranks: Ranks,
) -> float:
    """The length of the natural step; at a look it is tried first, and the trust in it joins `progress`."""
    now = {**lead, **progress}
    natural = [m for m in motions if m.natural]
    most = min((m.shape.divergence for m in natural), default=0.0)
    loss, pace = min(now["loss"], now["first_loss"]), now["pace"][0]
    length = natural_length(now["curvature"], dual, loss, most, pace)
    for m in natural if length > 0 else ():
        m.hold(length)
    if fresh is not None and length > 0:
        predicted = length**2 * now["curvature"] * dual / 2
        progress["trust"] = trusted(model, motions, fresh, length, predicted, lead["trust"], ranks)
    return length * float(progress.get("trust", lead["trust"]))


def trusted(
    model: nn.Module, motions: list[Motion], fresh: Fresh, length: float, predicted: float, before: float, ranks: Ranks
) -> float:
    """Share of `length` that moves the outputs no further than predicted, times SURPRISE; `before` is the last one.

    Args:
        model: the user's own module.
        motions: the step proposed.
        fresh: the look.
        length: the step's length.
        predicted: divergence of the step at that length.
        before: share at the last look.
        ranks: processes that agree.
    """
    natural = [m for m in motions if m.natural]
    share = min(1.0, before * RECOVERY)
    if not natural or not predicted > 0 or not length > 0:
        return share
    kept = {p: p.detach().clone() for m in natural for p in m.units.parameters}
    unmoved = _outputs(model, fresh)
    for _ in range(TRIALS):
        shift(natural, share * length)
        try:
            true = _divergence(model, fresh, unmoved, ranks)
        finally:
            for p, value in kept.items():
                p.copy_(value)
        # A step that was shortened a lot is small by any measure: its divergence is noise beside the prediction.
        most = SURPRISE * predicted * max(share, LEAST) ** 2
        if true <= most:
            break
        share *= max(0.1, min(0.7, (most / true) ** 0.5)) if true < float("inf") else 0.1
    return share


def _outputs(model: nn.Module, fresh: Fresh) -> list[dict[int, Tensor]]:
    """What the look's samples give now, for each call by the places of its heads; of all processes' samples.

    By the layers' own kernels, as after the step: what is drawn at random (a dropout's mask) is then the same in both.
    The look itself may have drawn it in another order.
    """
    found = []
    for glance in fresh.glances:
        with look(model, glance.call, {}) as seen:
            own = {head.place: seen.outputs[head.place].detach().to(head.output.dtype) for head in glance.heads}
            found.append(glance.joint.whole(own))
    return found


def _divergence(model: nn.Module, fresh: Fresh, unmoved: list[dict[int, Tensor]], ranks: Ranks) -> float:
    total = 0.0
    weight = sum(sum(glance.joint.samples) for glance in fresh.glances)
    for glance, before, after in zip(fresh.glances, unmoved, _outputs(model, fresh), strict=True):
        for head in glance.heads:
            apart = float(head.likelihood.divergence(before[head.place], after[head.place], head.evidence.share))
            share = sum(glance.joint.samples) / weight
            total += (apart if glance.joint.fits else ranks.mean(apart)) * head.likelihood.weight * share
    return total if total == total else float("inf")
