"""Measuring: from the calls of a step to the metric of every block, and to the curvature along a direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from isotrain.errors import DegenerateMetric, LikelihoodMismatch, NotFinite, NotObserved, UnsupportedOperation
from isotrain.likelihood.base import Likelihood
from isotrain.riemann.blocks import Inputs, Seen, Shape, State, add, joined
from isotrain.riemann.observe import Look, hidden_by_checkpoint, look
from isotrain.riemann.probes import Cotangents, Head, Probe, Signs
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.record import Call
from isotrain.riemann.steplength import Moved
from isotrain.riemann.units import Sighting, Units

Likelihoods = Likelihood | Sequence[Likelihood | None] | Mapping[str, Likelihood | None]
Direction = dict[Units, tuple[Tensor, Tensor | None]]


@dataclass
class Glance:
    """One call's sightings with the errors (one set for each cotangent) that belong to the natural metric."""

    samples: int
    sightings: list[Sighting]
    errors: list[list[Tensor | None]]
    call: Call
    heads: list[Head]


@dataclass
class Fresh:
    """What a refresh found: the metric of this batch, what is needed to measure a direction, and the loss."""

    states: dict[Units, State]
    glances: list[Glance]
    loss: float
    samples: int
    blind: set[Units] = field(default_factory=set)


def heads_of(call: Call, outputs: list[Tensor], likelihoods: Likelihoods, scale: float, sign: float) -> list[Head]:
    """Which outputs are predictive, with what the gradient there says.

    `scale` is the factor the loss carried (gradient scaler; 1/calls when gradients are accumulated), `sign`
    -1 when the objective is maximised.

    Raises:
        LikelihoodMismatch: outputs and likelihoods do not fit each other.
        WrongReduction: the loss was summed.
        NotFinite: the gradient at an output is NaN or infinite.
    """
    chosen: dict[int, Likelihood | None] = {}
    if isinstance(likelihoods, Likelihood):
        if len(call.gradients) > 1:
            named = ", ".join(call.labels[p] for p in sorted(call.gradients))
            raise LikelihoodMismatch(
                f"the loss reaches {len(call.gradients)} outputs of the model ({named}) and there is one likelihood. "
                "Give one for each: likelihood={'name': ...} for a dict of outputs, likelihood=[..., None] for a "
                "tuple; None for an output that the others are computed from."
            )
        chosen = dict.fromkeys(call.gradients, likelihoods)
    elif isinstance(likelihoods, Mapping):
        for name, likelihood in likelihoods.items():
            if name not in call.labels:
                raise LikelihoodMismatch(
                    f"likelihood for output {name!r}, the model returned {', '.join(call.labels) or 'no tensor'}."
                )
            chosen[call.labels.index(name)] = likelihood
    else:
        if len(likelihoods) != len(call.labels):
            raise LikelihoodMismatch(
                f"{len(likelihoods)} likelihoods for {len(call.labels)} outputs of the model: give one for each, "
                "None where the output is not predicted."
            )
        chosen = dict(enumerate(likelihoods))
    predicted = [outputs[p] for p, one in chosen.items() if one is not None and p in call.gradients]
    missed = [
        call.labels[p]
        for p in call.gradients
        if p not in chosen or (chosen[p] is None and not _feeds(outputs[p], predicted))
    ]
    if missed:
        raise LikelihoodMismatch(
            f"the loss reaches output {', '.join(missed)}, which has no likelihood: give it one, or None if the "
            "loss reaches it only through the predictions that are computed from it."
        )
    heads = []
    for place, likelihood in chosen.items():
        if likelihood is None or place not in call.gradients:
            continue
        output = call.outputs[place].float() if call.outputs[place].dtype.itemsize < 4 else call.outputs[place]
        likelihood.check(output)
        gradient = call.gradients[place].to(output.dtype) * (sign / (scale * likelihood.weight))
        if not bool(torch.isfinite(gradient).all()):
            raise NotFinite(
                f"the gradient of the loss at output {call.labels[place]} of the model is not finite "
                f"({int((~torch.isfinite(gradient)).sum())} of {gradient.numel()} entries): the loss is NaN or "
                "infinite. Nothing was changed; look at the batch, or lower what makes the loss overflow."
            )
        batch_rows = likelihood.rows(output) * call.samples / max(1, output.shape[0])
        evidence = likelihood.evidence(output, gradient, batch_rows)
        now = outputs[place].detach().to(output.dtype)
        heads.append(Head(place, likelihood, now, evidence))
    return heads


def _feeds(output: Tensor, predicted: list[Tensor]) -> bool:
    """Whether predictions are computed from an output, which then receives a gradient without being predicted."""
    reached = [p for p in predicted if p.requires_grad]
    if not reached or not output.requires_grad:
        return False
    ones = [torch.ones_like(p) for p in reached]
    (found,) = torch.autograd.grad(reached, output, ones, retain_graph=True, allow_unused=True)
    return found is not None


def refresh(
    model: nn.Module,
    calls: list[Call],
    layers: dict[nn.Module, list[Units]],
    shapes: dict[Units, Shape],
    probe: Probe,
    likelihoods: Likelihoods,
    generators: Callable[[int, torch.device], torch.Generator],
    natural: bool,
    ranks: Ranks,
    scale: float = 1.0,
    sign: float = 1.0,
) -> Fresh:
    """Look at every call, and measure the metric of this batch.

    `shapes` gives the shape of every block. `generators` gives a random stream for the
    place of a call. `natural`: a curvature will be asked for.

    Raises:
        NotFinite: an error, an input or the loss is NaN or infinite.
    """
    fresh = Fresh({}, [], 0.0, 0)
    weight = sum(call.samples for call in calls)
    for turn, call in enumerate(calls):
        generator = generators(turn, call.outputs[0].device)
        with look(model, call, layers, probe.within) as seen:
            heads = ranks.together(partial(heads_of, call, seen.outputs, likelihoods, scale / len(calls), sign))
            errors = _errors(seen, probe.cotangents(heads, generator), keep=natural and probe.within is None)
            curved = errors if probe.signed else []
            if natural and not probe.signed and probe.within is None:
                curved = _errors(seen, Signs().cotangents(heads, generator), keep=False)
            settled = settle(seen, errors, shapes, probe, ranks)
            glance = Glance(seen.samples, seen.sightings, curved, call, heads)
        if natural and not curved:
            with look(model, call, layers) as again:
                curved = _errors(again, Signs().cotangents(heads, generator), keep=False)
                glance = Glance(again.samples, again.sightings, curved, call, heads)
        fresh.glances.append(glance)
        fresh.blind |= seen.blind
        fresh.samples += glance.samples
        share = call.samples / max(1, weight)
        fresh.loss += share * sum(float(h.evidence.loss) * h.likelihood.weight for h in heads)
        for units, state in settled.items():
            if units in fresh.states:
                state = shapes[units].pool(fresh.states[units], state, 1 / (turn + 1), units.bias is not None)
            fresh.states[units] = state
    return fresh


def stream(key: tuple[int, ...], turn: int, device: torch.device) -> torch.Generator:
    """The random stream of one call in one step: it hangs on nothing but `key`, so a resumed run draws the same."""
    return torch.Generator(device).manual_seed(hash((*key, turn)) & 0x7FFFFFFFFFFF)


def require_measured(fresh: Fresh, moving: list[Units], first: bool) -> None:
    """Refuse a look that did not see what is about to move.

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
    for units in moving:
        if units not in fresh.states and units in fresh.blind:
            raise UnsupportedOperation(hidden_by_checkpoint(f" ('{units.name}')"))
        if units not in fresh.states:
            raise NotObserved(
                f"layer '{units.name}' has a gradient but was not seen in the model's forward: its weights are used "
                "by a function (F.linear(x, layer.weight)) instead of by calling the layer, or the model was called "
                f"through one of its parts. Call the layer and the model themselves, or pass plain=['{units.name}']."
            )


def _errors(seen: Look, cotangents: Iterator[Cotangents], keep: bool) -> list[list[Tensor | None]]:
    sets = list(cotangents)
    return [seen.errors(c, last=place == len(sets) - 1 and not keep) for place, c in enumerate(sets)]


def settle(
    seen: Look,
    errors: list[list[Tensor | None]],
    shapes: dict[Units, Shape],
    probe: Probe,
    ranks: Ranks,
) -> dict[Units, State]:
    """The metric of every block from one look."""
    places: dict[Units, list[int]] = {}
    for place, sighting in enumerate(seen.sightings):
        if sighting.units in shapes and any(e[place] is not None for e in errors):
            places.setdefault(sighting.units, []).append(place)
    _require_same(list(shapes), places, ranks)
    guests: dict[Units, State] = {}
    found: dict[Units, State] = {}
    for units in sorted(places, key=lambda u: bool(u.guests)):
        shape = shapes[units]
        kind = _kind(units)
        inputs = [seen.sightings[p].inputs() for p in places[units]]
        if units.one_hot:
            plain = Inputs(*(torch.zeros(0, dtype=kind, device=x.device) for x in inputs[:1] * 5))
        else:
            inputs = [x.to(kind) for x in inputs]
            inputs, plain = centred(inputs, units, shape.centred and units.bias is not None, ranks)
        if shape.responsive:
            response, level = responses([seen.sightings[p] for p in places[units]], kind, ranks)
            plain = replace(plain, response=response, level=level)
        raw: State | None = None
        for one in errors:
            shown: list[Seen] = []
            for x, place in zip(inputs, places[units], strict=True):
                error = one[place]
                if error is None:
                    continue
                arranged = seen.sightings[place].arrange(error).to(kind)
                shown.append(Seen(x, arranged.clamp_min(0).sqrt() if probe.apart else arranged, probe.apart))
            for together in joined(shown):
                moments = shape.moments(together, units.bias is not None)
                raw = moments if raw is None else add(raw, moments)
        assert raw is not None
        raw = {name: ranks.average(t) for name, t in raw.items()}
        if not bool(torch.isfinite(torch.stack([t.sum().double() for t in raw.values()]).sum())):
            raise NotFinite(
                f"the inputs or errors of layer '{units.name}' are not finite: a NaN or infinity entered the forward "
                "or backward pass there. Nothing was changed."
            )
        guests[units] = raw
        for guest in units.guests:
            if guest in guests:
                raw = shape.host(raw, guests[guest]["mii"].transpose(-1, -2), plain)
        found[units] = shape.settle(raw, plain, units.bias is not None)
    return found


def _require_same(every: list[Units], places: Mapping[Units, list[int]], ranks: Ranks) -> None:
    """Every process sees the same layers, or none measures."""
    if ranks.group is None:
        return
    agreed = ranks.same(torch.tensor([units in places for units in every]))
    if not bool(agreed.all()):
        name = every[int(agreed.long().argmin())].name
        raise NotObserved(
            f"layer '{name}' took part in this batch on some processes and not on others, which cannot measure it "
            f"together. Let every process use the same layers, or pass plain=['{name}']."
        )


def _kind(units: Units) -> torch.dtype:
    kind = units.anchor.dtype
    return kind if kind.itemsize >= 4 else torch.float32


def centred(inputs: list[Tensor], units: Units, shifted: bool, ranks: Ranks) -> tuple[list[Tensor], Inputs]:
    """A layer's inputs [g,n,s,i] around their mean (if `shifted`) over its sightings, with plain statistics."""
    flat = inputs[0].flatten(1, 2) if len(inputs) == 1 else torch.cat([x.flatten(1, 2) for x in inputs], 1)
    centre = ranks.average(flat.mean(1)) if shifted else torch.zeros_like(flat[:, 0])
    if shifted:
        inputs = [x - centre.unsqueeze(1).unsqueeze(1) for x in inputs]
        flat = inputs[0].flatten(1, 2) if len(inputs) == 1 else flat - centre.unsqueeze(1)
    apart = flat.square()
    variance = ranks.average(apart.mean(1))
    reach = variance if units.spatial else ranks.largest(apart.amax(1))
    return inputs, Inputs(centre, reach, variance + centre.square(), centre[:, :0], centre[:, :0])


def responses(sightings: list[Sighting], kind: torch.dtype, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """[g,k] variance and mean of the units' pre-activations."""
    taps = [s.arrange(s.tap.detach()) if s.values is None else s.values() for s in sightings]
    flat = torch.cat([tap.flatten(1, 2) for tap in taps], 1).to(kind)
    level = ranks.average(flat.mean(1))
    return ranks.average((flat - level.unsqueeze(1)).square_().mean(1)), level


def move(glance: Glance, direction: Direction) -> Iterator[tuple[Units, list[Moved]]]:
    """How every sighting's pre-activations change along a direction, a list of one entry for each set of errors."""
    for place, sighting in enumerate(glance.sightings):
        if sighting.units not in direction or all(e[place] is None for e in glance.errors):
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
        yield sighting.units, moved
