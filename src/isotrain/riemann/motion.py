"""One step, block by block: propose, measure along the proposal, then move. Nothing changes before the last.

Letters: units.py. v is the (averaged) gradient, w = M^-1 v the direction, v'w the dual norm of a unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.errors import NotFinite, NotObserved
from isotrain.riemann import steplength
from isotrain.riemann.average import EAGER_STEPS, share_of_new
from isotrain.riemann.blocks import Shape, State
from isotrain.riemann.gradients import averaged, require_finite_gradient
from isotrain.riemann.measure import Fresh, move
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.shards import local_rows
from isotrain.riemann.stacks import Block, Stacks
from isotrain.riemann.units import Units

Progress = dict[str, Any]
Sampled = tuple[steplength.Family, Tensor]
START: Progress = {
    "step": 0,
    "looks": 0,
    "curvature": 0.0,
    "loss": 0.0,
    "first_loss": 0.0,
    "trust": 1.0,
    "pace": (1.0, 0.0, 0.0),
}
"""Progress before the first step."""
LASTING = ("reach", "curvature", "usual", "basis", "heard")
"""What a new look does not replace."""


@dataclass(eq=False)
class Motion:
    """What a step is about to do to one block.

    Attributes:
        group: the parameter group the block belongs to.
        units: the block.
        shape: its shape.
        state: its metric after this step, with the trust "reach" [g,k] where units have one.
        delta: [g,k,i] direction of the weights.
        delta0: [g,k] direction of the biases.
        dual: v'w of each unit [g,k], or of each group [g] where units are not apart.
        momentum: what to keep of the averaged gradient.
        paced: whether the step is to be judged by the next gradient.
        scale: what the direction and its dual norm are multiplied by, so that blocks are in balance.
        norm: the whole dual norm, a number on the host.
    """

    group: dict[str, Any]
    units: Units
    shape: Shape
    state: State
    delta: Tensor
    delta0: Tensor | None
    dual: Tensor
    momentum: State = field(default_factory=dict)
    paced: bool = False
    scale: float = 1.0
    norm: float = 0.0

    def balance(self, own: float, looks: int) -> None:
        """Let the block's own curvature along its own direction, `own`, set the scale: each is a Newton step alone."""
        dual = float(self.dual.sum())
        before = float(self.state["curvature"]) if "curvature" in self.state else 0.0
        now = steplength.smooth(before, own / dual if dual > 0 else 0.0, looks if before else 0)
        if now > 0:
            self.state = {**self.state, "curvature": torch.tensor(now, dtype=torch.float64)}
            self.scale = 1 / now

    def calm(self, dual: float) -> float:
        """Shorten a block whose dual norm leaps: its curvature was not measured along such a direction.

        Clipping by a norm, but by one that does not depend on coordinates. Gives the dual norm that is left.
        """
        if not dual > 0:
            return dual
        usual = float(self.state["usual"]) if "usual" in self.state else dual
        most = steplength.LEAP * usual
        held = min(dual, most)
        self.state = {**self.state, "usual": torch.tensor(0.9 * usual + 0.1 * held, dtype=torch.float64)}
        if not held < dual:
            return dual
        share = math.sqrt(most / dual)
        self.scale *= share
        return dual * share

    def hold(self, length: float) -> None:
        """Shorten a block of which the unit in the middle would move too far in a step of that length."""
        if self.shape.typical and "reach" in self.state and self.norm > 0:
            allowed = float(self.state["reach"]) / math.sqrt(self.norm * self.scale)
            self.scale *= min(1.0, allowed / length)

    @property
    def natural(self) -> bool:
        """Whether the natural length applies."""
        return bool(self.group["natural"])


@dataclass(frozen=True, eq=False)
class Ready:
    """A block whose metric and averaged gradient are up to date: what a direction is made of.

    Attributes:
        group: the parameter group the block belongs to.
        units: the block.
        block: its metric and gradient.
        momentum: what to keep of the averaged gradient.
        paced: whether its steps are judged by the gradient that follows.
        gain: this minibatch's gradient along the last displacement, how much further it would fall; None for none.
    """

    group: dict[str, Any]
    units: Units
    block: Block
    momentum: State
    paced: bool
    gain: Tensor | None


def ready(
    group: dict[str, Any],
    units: Units,
    shape: Shape,
    old: State,
    fresh: State | None,
    lead: Mapping[str, Any],
    gradient: Callable[[nn.Parameter], Tensor],
    paced: bool,
) -> Ready:
    """The metric of one block, which `fresh` (this batch's) has joined, and the gradient it is to turn.

    Args:
        group: the parameter group the block belongs to.
        units: the block.
        shape: its shape.
        old: its state after the last step.
        fresh: its metric in this batch, when this step takes a look.
        lead: progress of the whole run.
        gradient: reads a parameter's gradient.
        paced: whether its steps are judged by the gradient that follows.

    Raises:
        NotObserved: the block has never been measured.
    """
    measured = "spread" in old or "covariance" in old
    state = old
    if fresh is not None:
        share = share_of_new(lead["looks"], group["decay"])
        state = shape.merge(old if measured else None, fresh, share, units.bias is not None, group["damping"])
        state = shape.ready(state, group["damping"])
        state |= {name: old[name] for name in LASTING if name in old}
    elif not measured:
        raise NotObserved(
            f"layer '{units.name}' has a gradient for the first time between two looks: it was not part of "
            "the function when the metric was measured. Nothing was changed, the next step takes a look; to "
            "avoid this error set refresh=1, or let every layer take part from the start."
        )
    v, v0 = units.weights(gradient), units.biases(gradient)
    gain = _along(v, v0, old) if paced and int(old.get("moved_at", -1)) == lead["step"] else None
    kept: State = {}
    if group["momentum"]:
        kept = averaged(old, v, v0, group["momentum"])
        v, v0 = kept["v"], kept.get("v0")
    if "basis" not in state:
        state = shape.begin(state, v, v0)
    elif fresh is not None:
        state = shape.renew(state, v, v0)
    return Ready(group, units, Block(shape, state, v, v0), kept, paced, gain)


def _along(v: Tensor, v0: Tensor | None, old: State) -> Tensor:
    """The gradient along the last displacement, downhill positive."""
    gain = torch.dot(v.reshape(-1), old["last"].reshape(-1))
    if v0 is not None and "last0" in old:
        gain = gain + torch.dot(v0.reshape(-1), old["last0"].reshape(-1))
    return gain * float(old["moved"])


def gained(blocks: list[Ready]) -> float:
    """How much further the loss would fall along the whole of the last step."""
    known = [b.gain for b in blocks if b.gain is not None]
    return float(sum(torch.stack(known).tolist())) if known else 0.0


def propose(blocks: list[Ready], stacks: Stacks) -> list[Motion]:
    """The direction of every block under its metric."""
    motions = []
    for one, found in zip(blocks, stacks.direct([b.block for b in blocks]), strict=True):
        state = {**one.block.state, **found.kept}
        natural = one.group["natural"] and "curvature" in state
        motions.append(
            Motion(
                one.group, one.units, one.block.shape, state, found.delta, found.delta0, found.dual, one.momentum,
                one.paced, scale=1 / float(state["curvature"]) if natural else 1.0,
            )
        )  # fmt: skip
    return motions


def measure_along(motions: list[Motion], fresh: Fresh, lead: Mapping[str, Any], ranks: Ranks) -> Progress:
    """Loss and curvature after this look; brings the blocks into balance, and measures each unit's reach."""
    progress = {"looks": lead["looks"] + 1, "loss": fresh.loss}
    if not lead["looks"]:
        progress["first_loss"] = progress["loss"]
    else:
        kept = 0.9 ** (1 if lead["step"] <= EAGER_STEPS else lead["refresh"])
        progress["loss"] = kept * lead["loss"] + (1 - kept) * progress["loss"]
    natural = {m.units: m for m in motions if m.natural}
    if not natural:
        return progress
    direction = {units: (m.delta, m.delta0) for units, m in natural.items()}
    along: dict[Units, list[list[Sampled]]] = {}
    moved: dict[Units, list[steplength.Moved]] = {}
    for place, glance in enumerate(fresh.glances):
        for units, family, entries in move(glance, direction):
            moved.setdefault(units, []).append(entries[0])
            sums = along.setdefault(units, [[] for _ in range(place * len(entries))])
            sums += [] if len(sums) > place * len(entries) else [[] for _ in entries]
            for one, entry in zip(sums[place * len(entries) :], entries, strict=True):
                one.append(steplength.per_sample(entry, glance.samples, family))
    turns = len(fresh.glances)
    sets = [[one for one in along.get(units, []) if one] for units in natural]
    totals = iter(_totals([one for own in sets for one in own], ranks))
    for m, own in zip(natural.values(), sets, strict=True):
        m.balance(sum(next(totals) for _ in own) / turns, lead["looks"])
    reaching = [m for units, m in natural.items() if m.shape.unit < math.inf and units in moved]
    reaches = [
        steplength.reach(moved[m.units], m.dual, m.shape, m.state.get("reach"), m.scale) for m in reaching
    ]  # fmt: skip
    for m, reach in zip(reaching, ranks.answers(reaches), strict=True):
        m.state = {**m.state, "reach": reach.double().cpu() if m.shape.typical else reach}
    whole = [
        [(family, t * natural[u].scale) for u, own in along.items() if place < len(own) for family, t in own[place]]
        for place in range(max((len(own) for own in along.values()), default=0))
    ]
    curvature = sum(_totals([one for one in whole if one], ranks)) / turns
    dual = sum(float(m.dual.sum()) * m.scale for m in natural.values())
    if dual > 0:
        progress["curvature"] = steplength.smooth(lead["curvature"], curvature / dual, lead["looks"])
    return progress


def _totals(sets: list[list[Sampled]], ranks: Ranks) -> list[float]:
    """The quadratic form of each set, over the samples of all processes."""
    return [float(steplength.quadratic(one)) for one in ranks.sums([steplength.squares(one) for one in sets])]


def require_finite(motions: list[Motion], names: Mapping[nn.Parameter, str]) -> float:
    """The dual norm of the whole natural step, after `calm` has tempered every block.

    Raises:
        NotFinite: a gradient or a direction is NaN or infinite.
    """
    if not motions:
        return 0.0
    for m, dual in zip(motions, torch.stack([m.dual.sum() for m in motions]).tolist(), strict=True):
        m.norm = dual
    sums = [m.norm * m.scale for m in motions]
    total = sum(sums)
    if total - total != 0:
        for m in motions:
            if bool(torch.isfinite(m.dual).all()):
                continue
            for p in m.units.parameters:
                require_finite_gradient(p, names)
            raise NotFinite(
                f"the step of layer '{m.units.name}' is not finite though its gradient is: its metric overflowed. "
                "Nothing was changed; use float32 or float64 parameters, or damping > 0."
            )
    return float(sum(m.calm(one) for one, m in zip(sums, motions, strict=True) if m.natural))


def shift(motions: list[Motion], length: float) -> None:
    """Move the parameters by `length` (natural groups) or their own rate."""
    bounded = [m for m in motions if m.natural and m.shape.unit < math.inf and not m.shape.typical]
    bounds = [steplength.bound(length, m.dual * m.scale, m.state["reach"], m.shape) for m in bounded]
    least = torch.stack([bound.amin() for bound in bounds]).tolist() if bounds else []
    held = {m: b for m, b, low in zip(bounded, bounds, least, strict=True) if low != length}
    for m in motions:
        rate = float(m.group["lr"])
        alpha = rate * length * m.scale if m.natural else rate
        delta, delta0 = m.delta, m.delta0
        if m in held:
            # Some unit is held back: fold its share into the direction, one more pass over the weights.
            share = held[m] / length
            delta = delta * share.unsqueeze(-1)
            delta0 = None if delta0 is None else delta0 * share
        shrink = 1 - rate * m.group["weight_decay"]
        for part, piece in zip(m.units.parts, _pieces(m.units, delta), strict=True):
            _move(part.parameter, part.rows, part.place(piece, part.slice(part.parameter)), shrink, alpha)
        if m.units.bias is not None and delta0 is not None:
            _move(m.units.bias.parameter, m.units.bias.rows, delta0.reshape(-1), shrink, alpha)


def _move(parameter: nn.Parameter, rows: tuple[int, int] | None, delta: Tensor, shrink: float, alpha: float) -> None:
    """Move some rows of a parameter, or those of them that this process holds."""
    target, here = local_rows(parameter, rows)
    if shrink != 1:
        target.mul_(shrink)
    target.sub_(delta[here].view(target.shape), alpha=alpha)


def keep(motions: list[Motion], state: MutableMapping[Any, Any], length: float, step: int) -> None:
    """Keep the new state of every block, and where it went in the step that ends as number `step`."""
    for m in motions:
        kept = state[m.units.anchor]
        news = {**m.state, **m.momentum}
        if m.paced:
            news["last"] = _alone(m.delta)
            if m.delta0 is not None:
                news["last0"] = _alone(m.delta0)
            news["moved"] = torch.tensor(length * m.scale * float(m.group["lr"]), dtype=torch.float64)
            news["moved_at"] = torch.tensor(step)
        for name, value in news.items():
            kept[m.units.key + name] = value


def _alone(value: Tensor) -> Tensor:
    """The tensor, not as a part of a larger one."""
    return value if value._base is None else value.clone(memory_format=torch.contiguous_format)


def _pieces(units: Units, delta: Tensor) -> list[Tensor]:
    if len(units.parts) <= 1:
        return [delta][: len(units.parts)]
    return list(delta.split([part.width for part in units.parts], -1))
