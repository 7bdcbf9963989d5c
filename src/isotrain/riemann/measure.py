"""Measuring: from the calls of a step to the metric of every block, and to the curvature along a direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.errors import DegenerateMetric, NotObserved, UnsupportedOperation
from isotrain.riemann.blocks import Shape, State
from isotrain.riemann.gauge import settle
from isotrain.riemann.heads import Likelihoods, heads_of
from isotrain.riemann.joint import Joint
from isotrain.riemann.observe import Look, hidden_by_checkpoint, look
from isotrain.riemann.probes import Cotangents, Head, Probe, Signs
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.record import Call
from isotrain.riemann.steplength import Family, Moved
from isotrain.riemann.units import Sighting, Units

Group = dict[str, Any]
Direction = dict[Units, tuple[Tensor, Tensor | None]]


@dataclass
class Glance:
    """One call's sightings with the errors (one set for each cotangent) that belong to the natural metric.

    `families`, of several processes, are those of the sightings' samples (steplength.py), none for one that no error
    reached. `heads` are of all processes' samples.
    """

    samples: int
    sightings: list[Sighting]
    errors: list[list[Tensor | None]]
    call: Call
    heads: list[Head]
    joint: Joint
    families: dict[int, Family]


@dataclass
class Fresh:
    """What a refresh found: the metric of this batch, what is needed to measure a direction, and the loss.

    No state is there of blocks that were `blind` or `silent` (observe.Look).
    """

    states: dict[Units, State]
    glances: list[Glance]
    loss: float
    samples: int
    blind: set[Units] = field(default_factory=set)
    silent: set[Units] = field(default_factory=set)


def refresh(
    model: nn.Module,
    calls: list[Call],
    layers: dict[nn.Module, list[Units]],
    shapes: dict[Units, Shape],
    probe: Probe,
    likelihoods: Likelihoods,
    generators: Callable[[tuple[int, int], torch.device], torch.Generator],
    natural: bool,
    ranks: Ranks,
    scale: float = 1.0,
    sign: float = 1.0,
) -> Fresh:
    """Look at every call, and measure the metric of this batch.

    `shapes` gives the shape of every block. `generators` gives a random stream for the
    process and the place of a call. `natural`: a curvature will be asked for.

    Raises:
        NotFinite: an error, an input or the loss is NaN or infinite.
    """
    fresh = Fresh({}, [], 0.0, 0)
    each = scale / len(calls)
    for turn, call in enumerate(calls):
        with look(model, call, layers, probe.within) as seen:
            own = ranks.together(partial(heads_of, call, seen.outputs, likelihoods, each, sign))
            joint = Joint.of(call, seen, list(shapes), ranks)
            heads = joint.heads(own, call, each, sign)
            generator = generators((joint.stream, turn), call.outputs[0].device)
            sent = [joint.own(c, probe.apart) for c in probe.cotangents(heads, generator)]
            errors = _errors(seen, sent, keep=natural and probe.within is None)
            curved = errors if probe.signed else []
            if natural and not probe.signed and probe.within is None:
                sent = [joint.own(c, False) for c in Signs().cotangents(heads, generator)]
                curved = _errors(seen, sent, keep=False)
            settled, families = settle(seen, errors, shapes, probe, joint)
            glance = Glance(seen.samples, seen.sightings, curved, call, heads, joint, families)
        if natural and not curved:
            with look(model, call, layers) as again:
                sent = [joint.own(c, False) for c in Signs().cotangents(heads, generator)]
                curved = _errors(again, sent, keep=False)
                glance = Glance(again.samples, again.sightings, curved, call, heads, joint, families)
        fresh.glances.append(glance)
        fresh.blind |= seen.blind
        fresh.silent |= seen.silent
        fresh.samples += sum(joint.counts)
        for units, state in settled.items():
            if units in fresh.states:
                state = shapes[units].pool(fresh.states[units], state, 1 / (turn + 1), units.bias is not None)
            fresh.states[units] = state
    weight = sum(sum(glance.joint.samples) for glance in fresh.glances)
    for glance in fresh.glances:
        share = sum(glance.joint.samples) / max(1, weight)
        fresh.loss += share * sum(float(h.evidence.loss) * h.likelihood.weight for h in glance.heads)
    return fresh


def stream(key: tuple[int, ...], more: tuple[int, ...], device: torch.device) -> torch.Generator:
    """The random stream of one call in one step: it hangs on nothing but its key, so a resumed run draws the same."""
    return torch.Generator(device).manual_seed(hash((*key, *more)) & 0x7FFFFFFFFFFF)


def measured(
    moving: list[tuple[Group, Units]], fresh: Fresh, state: Mapping[Any, Any], first: bool
) -> list[tuple[Group, Units]]:
    """The blocks that may move after a look; refuses a look that did not see what is about to.

    What was called on no samples keeps the metric it has in `state`; without one it waits: it has no gradient either.

    Raises:
        DegenerateMetric: the first batch holds a single sample.
        NotObserved: a layer has a gradient but was not called as a module.
        UnsupportedOperation: a layer is hidden inside a reentrant checkpoint.
    """
    if first and fresh.samples < 2:
        raise DegenerateMetric(
            "the first batch holds 1 sample, which has no spread to measure a metric from: "
            "use at least 2 samples in the first step."
        )
    for _, units in moving:
        if units not in fresh.states and units in fresh.blind:
            raise UnsupportedOperation(hidden_by_checkpoint(f" ('{units.name}')"))
        if units not in fresh.states and units not in fresh.silent:
            raise NotObserved(
                f"layer '{units.name}' has a gradient but was not seen in the model's forward: its weights are used "
                "by a function (F.linear(x, layer.weight)) instead of by calling the layer, or the model was called "
                f"through one of its parts. Call the layer and the model themselves, or pass plain=['{units.name}']."
            )
    return [(group, units) for group, units in moving if units in fresh.states or state.get(units.anchor)]


def _errors(seen: Look, sets: list[Cotangents], keep: bool) -> list[list[Tensor | None]]:
    return [seen.errors(c, last=place == len(sets) - 1 and not keep) for place, c in enumerate(sets)]


def move(glance: Glance, direction: Direction) -> Iterator[tuple[Units, Family | None, list[Moved]]]:
    """How every sighting's pre-activations change along a direction, a list of one entry for each set of errors.

    With the family of its samples over several processes.
    """
    alone = glance.joint.ranks.alone
    for place, sighting in enumerate(glance.sightings):
        heard = any(e[place] is not None for e in glance.errors) if alone else place in glance.families
        if sighting.units not in direction or not heard:
            continue
        delta, delta0 = direction[sighting.units]
        if sighting.respond is not None:
            change = sighting.respond(delta, delta0)
        else:
            x = sighting.inputs()
            if sighting.units.one_hot:
                change = torch.nn.functional.embedding(x, delta[0].T).unsqueeze(0)
            else:
                change = x.to(delta).flatten(1, 2) @ delta.transpose(1, 2)
                change = change.unflatten(1, x.shape[1:3])
            if delta0 is not None:
                change = change + delta0.unsqueeze(1).unsqueeze(1)
        tap = sighting.arrange(sighting.tap.detach()) if sighting.values is None else sighting.values()
        values = tap.to(delta)
        moved = []
        for one in glance.errors:
            error = one[place]
            arranged = torch.zeros_like(change) if error is None else sighting.arrange(error).to(delta)
            moved.append(Moved(change, values, arranged))
        yield sighting.units, glance.families.get(place), moved
