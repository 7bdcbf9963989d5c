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
from isotrain.riemann.measure import Fresh, move
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.stacks import Block, Stacks
from isotrain.riemann.units import Units

Progress = dict[str, Any]


@dataclass(eq=False)
class Motion:
    """What a step is about to do to one block.

    Attributes:
        group: the parameter group the block belongs to.
        units: the block.
        shape: its shape.
        state: its metric after this step, with the trust "reach" [g,k] under a natural length.
        delta: [g,k,i] direction of the weights.
        delta0: [g,k] direction of the biases.
        dual: v'w of each unit [g,k], or of each group [g] where units are not apart.
        momentum: what to keep of the averaged gradient.
        scale: what the direction and its dual norm are multiplied by, so that blocks are in balance.
        total: the whole block's v'w, before that.
    """

    group: dict[str, Any]
    units: Units
    shape: Shape
    state: State
    delta: Tensor
    delta0: Tensor | None
    dual: Tensor
    momentum: State = field(default_factory=dict)
    scale: float = 1.0
    total: float = 0.0

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

    @property
    def natural(self) -> bool:
        """Whether the natural length applies."""
        return bool(self.group["natural"])


@dataclass(frozen=True, eq=False)
class Ready:
    """A block whose metric and averaged gradient are up to date: what a direction is made of."""

    group: dict[str, Any]
    units: Units
    block: Block
    momentum: State


def ready(
    group: dict[str, Any], units: Units, shape: Shape, old: State, fresh: State | None, looks: int, factor: float
) -> Ready:
    """The metric of one block, which `fresh` (this batch's) has joined, and the gradient it is to turn.

    Raises:
        NotObserved: the block has never been measured.
    """
    measured = "spread" in old or "covariance" in old
    state = old
    if fresh is not None:
        share = share_of_new(looks, group["decay"])
        state = shape.merge(old if measured else None, fresh, share, units.bias is not None, group["damping"])
        state = shape.ready(state, group["damping"])
        state |= {name: old[name] for name in ("reach", "least", "curvature", "usual", "basis") if name in old}
    elif not measured:
        raise NotObserved(
            f"layer '{units.name}' has a gradient for the first time between two looks: it was not part of "
            "the function when the metric was measured. Nothing was changed, the next step takes a look; to "
            "avoid this error set refresh=1, or let every layer take part from the start."
        )
    v, v0 = units.weights(gradient_times(factor)), units.biases(gradient_times(factor))
    kept: State = {}
    if group["momentum"]:
        kept = averaged(old, v, v0, group["momentum"])
        v, v0 = kept["v"], kept.get("v0")
    if "basis" not in state:
        state = shape.begin(state, v, v0)
    return Ready(group, units, Block(shape, state, v, v0), kept)


def propose(blocks: list[Ready], stacks: Stacks) -> list[Motion]:
    """The direction of every block under its metric."""
    motions = []
    for one, found in zip(blocks, stacks.direct([b.block for b in blocks]), strict=True):
        state = {**one.block.state, **found.kept}
        scale = 1 / float(state["curvature"]) if one.group["natural"] and "curvature" in state else 1.0
        motions.append(
            Motion(
                one.group, one.units, one.block.shape, state, found.delta, found.delta0, found.dual, one.momentum, scale
            )
        )
    return motions


def gradient_times(factor: float) -> Callable[[nn.Parameter], Tensor]:
    """Reads a parameter's gradient, in float32 at least, times a factor; zeros where there is none."""

    def read(p: nn.Parameter) -> Tensor:
        if p.grad is None:
            return torch.zeros_like(p)
        grad = p.grad if p.grad.dtype.itemsize >= 4 else p.grad.float()
        return grad if factor == 1 else grad * factor

    return read


def averaged(old: State, v: Tensor, v0: Tensor | None, keep: float) -> State:
    """Moving average of the gradient, in which the first steps count as much as their number: "v", "v0", "turns_v"."""
    turns = old["turns_v"] + 1 if "turns_v" in old else torch.ones((), dtype=torch.float64)
    share = (1 - keep) / (1 - keep ** float(turns))
    kept = {"turns_v": turns, "v": torch.lerp(old["v"], v, share) if "v" in old else v.clone()}
    if v0 is not None:
        kept["v0"] = torch.lerp(old["v0"], v0, share) if "v0" in old else v0.clone()
    return kept


def measure_along(motions: list[Motion], fresh: Fresh, lead: Mapping[str, Any], ranks: Ranks) -> Progress:
    """Loss and curvature after this look; writes each block's trust reach into its proposed state."""
    progress = {"looks": lead["looks"] + 1, "loss": ranks.mean(fresh.loss)}
    if not lead["looks"]:
        progress["first_loss"] = progress["loss"]
    else:
        kept = 0.9 ** (1 if lead["step"] <= EAGER_STEPS else lead["refresh"])
        progress["loss"] = kept * lead["loss"] + (1 - kept) * progress["loss"]
    natural = {m.units: m for m in motions if m.natural}
    if not natural:
        return progress
    direction = {units: (m.delta, m.delta0) for units, m in natural.items()}
    along: dict[Units, list[list[Tensor]]] = {}
    moved: dict[Units, list[steplength.Moved]] = {}
    for place, glance in enumerate(fresh.glances):
        for units, entries in move(glance, direction):
            moved.setdefault(units, []).append(entries[0])
            sums = along.setdefault(units, [[] for _ in range(place * len(entries))])
            sums += [] if len(sums) > place * len(entries) else [[] for _ in entries]
            for one, entry in zip(sums[place * len(entries) :], entries, strict=True):
                one.append(steplength.per_sample(entry, glance.samples))
    turns = len(fresh.glances)
    for units, m in natural.items():
        sets = along.get(units, [])
        own = ranks.mean(sum(float(steplength.quadratic(one)) for one in sets if one) / turns)
        m.balance(own, lead["looks"])
        if units in moved:
            reach = steplength.reach(moved[units], m.dual, m.shape.per_unit, m.state.get("reach"), m.scale)
            m.state = {**m.state, "reach": (reach := ranks.smallest(reach)), "least": reach.amin()}
    curvature = 0.0
    for place in range(max((len(sets) for sets in along.values()), default=0)):
        one = [t * natural[u].scale for u, sets in along.items() if place < len(sets) for t in sets[place]]
        curvature += float(steplength.quadratic(one)) if one else 0.0
    curvature = ranks.mean(curvature / turns)
    dual = sum(float(m.dual.sum()) * m.scale for m in natural.values())
    if dual > 0:
        progress["curvature"] = steplength.smooth(lead["curvature"], curvature / dual, lead["looks"])
    return progress


def require_finite(motions: list[Motion], names: Mapping[nn.Parameter, str]) -> float:
    """The dual norm of the whole natural step, after `calm` has tempered every block.

    Raises:
        NotFinite: a gradient or a direction is NaN or infinite.
    """
    if not motions:
        return 0.0
    for m, total in zip(motions, torch.stack([m.dual.sum() for m in motions]).tolist(), strict=True):
        m.total = total
    sums = [m.total * m.scale for m in motions]
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


def require_finite_gradient(p: nn.Parameter, names: Mapping[nn.Parameter, str]) -> None:
    """Raise NotFinite when the gradient has a NaN or an infinity."""
    if p.grad is None or bool(torch.isfinite(p.grad).all()):
        return
    raise NotFinite(
        f"the gradient of '{names[p]}' is not finite "
        f"({int((~torch.isfinite(p.grad)).sum())} of {p.grad.numel()} entries): the loss is NaN or "
        "infinite, or overflowed. Nothing was changed; look at the batch that caused it."
    )


def shift(motions: list[Motion], length: float) -> None:
    """Move the parameters by `length` (natural groups) or their own rate."""
    held = _held_back([m for m in motions if m.natural], length)
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
            target = part.slice(part.parameter)
            if shrink != 1:
                target.mul_(shrink)
            target.sub_(part.place(piece, target), alpha=alpha)
        if m.units.bias is not None and delta0 is not None:
            flat = m.units.bias.slice(m.units.bias.parameter)
            if shrink != 1:
                flat.mul_(shrink)
            flat.sub_(delta0.reshape(-1), alpha=alpha)


def _held_back(natural: list[Motion], length: float) -> dict[Motion, Tensor]:
    """[g,k] the length of every unit of the blocks in which some unit must stop before `length`."""
    whole = [m for m in natural if not m.shape.per_unit]
    least = torch.stack([m.state["least"] for m in whole]).tolist() if whole else []
    free = {m for m, low in zip(whole, least, strict=True) if low >= length * math.sqrt(max(m.total * m.scale, 0.0))}
    found = {m: steplength.bound(length, m.dual * m.scale, m.state["reach"], m.shape) for m in natural if m not in free}
    lowest = torch.stack([lengths.amin() for lengths in found.values()]).tolist() if found else []
    return {m: lengths for (m, lengths), low in zip(found.items(), lowest, strict=True) if low != length}


def keep(motions: list[Motion], state: MutableMapping[Any, Any]) -> None:
    """Keep the new state of every block."""
    for m in motions:
        kept = state[m.units.anchor]
        for name, value in {**m.state, **m.momentum}.items():
            kept[m.units.key + name] = value


def _pieces(units: Units, delta: Tensor) -> list[Tensor]:
    if len(units.parts) <= 1:
        return [delta][: len(units.parts)]
    return list(delta.split([part.width for part in units.parts], -1))
