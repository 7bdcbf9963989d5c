"""Gauging: from what a look saw of a layer to the raw moments and the settled metric of its block.

Over several processes every block asks twice: for the means that everything is centred on, then for its moments. The
answers to all blocks' questions travel together (ranks.py). Letters: units.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isotrain.errors import NotFinite
from isotrain.riemann.blocks import Inputs, Seen, Shape, State, add, is_dust, joined
from isotrain.riemann.joint import Joint
from isotrain.riemann.observe import Look
from isotrain.riemann.probes import Probe
from isotrain.riemann.ranks import Mean, Most, Question, Sum
from isotrain.riemann.steplength import SAMPLES, Family
from isotrain.riemann.units import Sighting, Units

Errors = list[list[Tensor | None]]
"""For each set of cotangents, the error at each sighting's tap; none where none arrived."""
Found = tuple[State, Inputs, dict[int, Family]]
KEPT = 1 << 26
"""Most numbers of all layers' inputs that are kept while a first answer is awaited; the rest is made twice."""


@dataclass
class Room:
    """For inputs that are kept from one question to the next.

    Over several processes all blocks wait at once; a window of a convolution is many times its picture.
    """

    left: int

    def take(self, inputs: list[Tensor]) -> bool:
        """Whether these may be kept.

        >>> room = Room(10)
        >>> [room.take([torch.zeros(n)]) for n in (6, 6, 4)]
        [True, False, True]
        """
        size = sum(x.numel() for x in inputs)
        if size > self.left:
            return False
        self.left -= size
        return True


def settle(
    seen: Look, errors: Errors, shapes: dict[Units, Shape], probe: Probe, joint: Joint
) -> tuple[dict[Units, State], dict[int, Family]]:
    """The metric of every block from one look of all processes, and the families of the sightings' samples.

    Raises:
        NotFinite: an input or an error is NaN or infinite.
    """
    alone = joint.ranks.alone
    places: dict[Units, list[int]] = {}
    for place, sighting in enumerate(seen.sightings):
        # Over several processes, samples may reach a layer on some of them alone.
        if sighting.units in shapes and (not alone or any(e[place] is not None for e in errors)):
            places.setdefault(sighting.units, []).append(place)
    order = sorted(places, key=lambda u: bool(u.guests))
    room = None if alone else Room(KEPT)
    gauges = [Gauge(units, shapes[units], seen, places[units], errors, probe, joint, room) for units in order]
    guests: dict[Units, State] = {}
    found: dict[Units, State] = {}
    families: dict[int, Family] = {}
    answers = joint.ranks.answers([gauge.question() for gauge in gauges])
    for units, (raw, plain, own) in zip(order, answers, strict=True):
        families |= own
        if not (alone or own):
            continue
        if not bool(torch.isfinite(torch.stack([t.sum().double() for t in raw.values()]).sum())):
            raise NotFinite(
                f"the inputs or errors of layer '{units.name}' are not finite: a NaN or infinity entered the forward "
                "or backward pass there. Nothing was changed."
            )
        guests[units] = raw
        for guest in units.guests:
            if guest in guests:
                raw = shapes[units].host(raw, guests[guest]["mii"].transpose(-1, -2), plain)
        found[units] = shapes[units].settle(raw, plain, units.bias is not None)
    return found, families


@dataclass(frozen=True)
class Gauge:
    """Measures one block.

    Attributes:
        units: the block.
        shape: its shape.
        seen: the look.
        places: which of the look's sightings are of the block.
        errors: of all sightings.
        probe: what the errors are.
        joint: whose samples they are.
        room: for inputs that are kept while all blocks wait; None where one is measured after another.
    """

    units: Units
    shape: Shape
    seen: Look
    places: list[int]
    errors: Errors
    probe: Probe
    joint: Joint
    room: Room | None

    @property
    def kind(self) -> torch.dtype:
        """The type of numbers that the metric is kept in."""
        own = self.units.anchor.dtype
        return own if own.itemsize >= 4 else torch.float32

    @property
    def shifted(self) -> bool:
        """Whether moments are taken around the inputs' mean."""
        return self.shape.centred and self.units.bias is not None and not self.units.one_hot

    @property
    def sightings(self) -> list[Sighting]:
        """The block's."""
        return [self.seen.sightings[p] for p in self.places]

    def question(self) -> Question[Found]:
        """Raw moments, plain statistics of the inputs, and the families of places that an error reached."""
        alone = self.joint.ranks.alone
        made = self.inputs()
        inputs = made if self.room is None or self.room.take(made) else None
        asked = self.means(made)
        del made
        answer = iter((yield asked))
        none = torch.zeros(0, dtype=self.kind, device=self.seen.sightings[self.places[0]].tap.device)
        centre = next(answer) if self.shifted else None
        level = next(answer) if self.shape.responsive else none
        families = {} if alone else _families(self.places, list(answer))
        names, asked = self.moments(self.inputs() if inputs is None else inputs, centre, level)
        del inputs
        answer = iter((yield asked))
        del asked
        if self.units.one_hot:
            plain = Inputs(none, none, none, none, none)
        else:
            variance = next(answer)
            reach = variance if self.units.spatial else next(answer)
            centre = torch.zeros_like(variance) if centre is None else centre
            plain = Inputs(centre, reach, variance + centre.square(), centre[:, :0], centre[:, :0])
        if self.shape.responsive:
            response = next(answer)
            # A unit that answers the same to all samples has no variance, not a rounding's.
            constant = is_dust(response, response + level.square())
            plain = replace(plain, response=response.masked_fill(constant, 0), level=level)
        return dict(zip(names, answer, strict=True)), plain, families

    def inputs(self) -> list[Tensor]:
        """[g,n,s,i] of every sighting; indices [n,s] for one-hot units."""
        found = [s.inputs() for s in self.sightings]
        return found if self.units.one_hot else [x.to(self.kind) for x in found]

    def means(self, inputs: list[Tensor]) -> list[Mean | Sum | Most]:
        """What is asked for first: means of inputs and pre-activations; what tells families of samples apart."""
        asked: list[Mean | Sum | Most] = []
        if self.shifted:
            flat = _flat(inputs)
            asked.append(Mean(flat.mean(1), flat.shape[1]))
        if self.shape.responsive:
            taps = self.taps()
            asked.append(Mean(taps.mean(1), taps.shape[1]))
        ranks = self.joint.ranks
        for x, p in zip(inputs, self.places, strict=True) if not ranks.alone else ():
            n = x.shape[0 if self.units.one_hot else 1]
            regrouped, heard = n % max(1, self.seen.samples), any(e[p] is not None for e in self.errors)
            facts = [n, n * (ranks.rank + 1), bool(regrouped), heard]
            asked.append(Sum(torch.tensor(facts, dtype=torch.float64, device=x.device)))
        return asked

    def moments(
        self, inputs: list[Tensor], centre: Tensor | None, level: Tensor
    ) -> tuple[list[str], list[Mean | Sum | Most]]:
        """What is asked for then, around the means: spreads, ranges and raw sums, with the names of these."""
        asked: list[Mean | Sum | Most] = []
        if not self.units.one_hot:
            flat = _flat(inputs) if len(inputs) > 1 or centre is None else None
            if centre is not None:
                inputs = [x - centre.unsqueeze(1).unsqueeze(1) for x in inputs]
                flat = inputs[0].flatten(1, 2) if flat is None else flat - centre.unsqueeze(1)
            assert flat is not None
            apart = flat.square()
            asked.append(Mean(apart.mean(1), apart.shape[1]))
            if not self.units.spatial:
                asked.append(Most(apart.amax(1)))
        if self.shape.responsive:
            taps = self.taps()
            asked.append(Mean((taps - level.unsqueeze(1)).square_().mean(1), taps.shape[1]))
        raw = self.raw(inputs)
        return list(raw), asked + [Sum(value) for value in raw.values()]

    def taps(self) -> Tensor:
        """[g,n,k] the pre-activations."""
        taps = [s.arrange(s.tap.detach()) if s.values is None else s.values() for s in self.sightings]
        return (taps[0].flatten(1, 2) if len(taps) == 1 else torch.cat([t.flatten(1, 2) for t in taps], 1)).to(
            self.kind
        )

    def raw(self, inputs: list[Tensor]) -> State:
        """Raw moments of this process's samples."""
        raw: State | None = None
        for one in self.errors:
            shown: list[Seen] = []
            for x, place in zip(inputs, self.places, strict=True):
                error, sighting = one[place], self.seen.sightings[place]
                if error is None:
                    if self.joint.ranks.alone:
                        continue
                    error = torch.zeros_like(sighting.tap)
                arranged = sighting.arrange(error).to(self.kind)
                shown.append(Seen(x, arranged.clamp_min(0).sqrt() if self.probe.apart else arranged, self.probe.apart))
            for together in joined(shown):
                n, s = together.errors.shape[1:3]
                placed = replace(together, stretch=self.joint.stretch(n * s))
                moments = self.shape.moments(placed, self.units.bias is not None)
                raw = moments if raw is None else add(raw, moments)
        assert raw is not None
        return raw


def _flat(inputs: list[Tensor]) -> Tensor:
    return inputs[0].flatten(1, 2) if len(inputs) == 1 else torch.cat([x.flatten(1, 2) for x in inputs], 1)


def _families(places: list[int], facts: list[Tensor]) -> dict[int, Family]:
    found: dict[int, Family] = {}
    for place, (n, turned, regrouped, heard) in zip(places, torch.stack(facts).tolist(), strict=True):
        if heard:
            found[place] = (n, turned) if regrouped else SAMPLES
    return found
