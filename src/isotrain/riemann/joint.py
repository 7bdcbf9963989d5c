"""The samples of one call on all processes as one batch, read and drawn from as a single process would.

A metric is drawn at the model's outputs. Those are small beside what is measured from them, so they are gathered, and
every process draws for the samples of all, from the same stream, and sends back what belongs to its own. A likelihood
sees no difference to one process: labels that are ignored, samples of other weight, another number of processes.

Where outputs do not fit together (other lengths), or are too large to be gathered, each process draws for its own
samples, and all count the same: the same metric on average, not the same draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from isotrain.errors import NotObserved
from isotrain.riemann.heads import reading
from isotrain.riemann.observe import Look
from isotrain.riemann.probes import Cotangents, Head
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.record import Call
from isotrain.riemann.units import Units

LARGEST = 1 << 26
"""Numbers in the outputs of all processes' samples, up to which they are gathered."""
DIMS = 8
"""Most dimensions of an output."""


@dataclass(frozen=True)
class Joint:
    """One call's samples among those of all processes.

    Attributes:
        ranks: the processes.
        samples: of the whole batches, by process.
        counts: samples that the look ran on, by process.
        rows: rows of every output in the look, by process.
        fits: whether the outputs are gathered.
    """

    ranks: Ranks
    samples: list[int]
    counts: list[int]
    rows: list[list[int]]
    fits: bool

    @staticmethod
    def of(call: Call, seen: Look, every: Sequence[Units], ranks: Ranks) -> Joint:
        """Agree on who has which samples, and that all ran the same layers.

        Raises:
            NotObserved: a layer took part on some processes and not on others, or more often.
        """
        if ranks.alone:
            return Joint(ranks, [call.samples], [seen.samples], [[len(o) if o.ndim else 1 for o in seen.outputs]], True)
        shapes: list[int] = []
        for place, output in enumerate(call.outputs):
            sizes = list(output.shape)[:DIMS]
            shapes += [int(place in call.gradients), output.ndim, *sizes, *[0] * (DIMS - len(sizes))]
        uses = [sum(s.units is units for s in seen.sightings) for units in every]
        found = ranks.lists([call.samples, seen.samples, *uses, *shapes])
        for place, units in enumerate(every):
            if len({one[2 + place] for one in found}) > 1:
                raise NotObserved(
                    f"layer '{units.name}' took part in this batch on some processes and not on others, or not as "
                    "often, and they cannot measure it together. Let every process use the same layers, or pass "
                    f"plain=['{units.name}']."
                )
        cut = [one[2 + len(every) :] for one in found]
        outputs = [[one[at : at + DIMS + 2] for at in range(0, len(one), DIMS + 2)] for one in cut]
        rows = [[shape[2] if shape[1] else 1 for shape in one] for one in outputs]
        alike = {tuple((reached, dims, *sizes[1:]) for reached, dims, *sizes in one) for one in outputs}
        whole = all(shape[1] for one in outputs for shape in one)
        numbers = sum(output.numel() for output in call.outputs) * len(found)
        fits = len(alike) == 1 and whole and numbers <= LARGEST
        return Joint(ranks, [one[0] for one in found], [one[1] for one in found], rows, fits)

    @property
    def stream(self) -> int:
        """Which of the streams of a step is drawn from: the same on all processes, where they draw for all samples."""
        return 0 if self.fits else self.ranks.rank

    def heads(self, heads: list[Head], call: Call, scale: float, sign: float) -> list[Head]:
        """The heads of all samples, from this process's own."""
        if self.ranks.alone:
            return heads
        if not self.fits:
            losses = self.ranks.sums([h.evidence.loss.double() for h in heads])
            return [
                replace(h, evidence=replace(h.evidence, loss=loss / self.ranks.world))
                for h, loss in zip(heads, losses, strict=True)
            ]
        pieces: list[Tensor] = []
        places: list[int] = []
        for h in heads:
            output, gradient = reading(call, h.place, h.likelihood, scale, sign)
            # The mean over all samples, as processes that average their gradients have it.
            pieces += [output, gradient * (call.samples / sum(self.samples)), h.output]
            places += [h.place] * 3
        whole = self.ranks.rows(pieces, [[rows[p] for p in places] for rows in self.rows])
        joined = []
        for turn, h in enumerate(heads):
            output, gradient, now = whole[3 * turn : 3 * turn + 3]
            batch_rows = h.likelihood.rows(output) * sum(self.samples) / max(1, len(output))
            joined.append(replace(h, output=now, evidence=h.likelihood.evidence(output, gradient, batch_rows)))
        return joined

    def own(self, cotangents: Cotangents, squares: bool) -> Cotangents:
        """What belongs to this process's samples; `squares`: they are squares of cotangents."""
        if self.ranks.alone:
            return cotangents
        if not self.fits:
            factor = 1 / self.ranks.world if squares else self.ranks.world**-0.5
            return {place: c * factor for place, c in cotangents.items()}
        rank = self.ranks.rank
        found = {}
        for place, c in cotangents.items():
            first = sum(rows[place] for rows in self.rows[:rank])
            found[place] = c[first : first + self.rows[rank][place]]
        return found

    def whole(self, outputs: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Outputs of the look's samples, by place, of all processes."""
        if self.ranks.alone or not self.fits:
            return dict(outputs)
        found = self.ranks.rows(list(outputs.values()), [[rows[p] for p in outputs] for rows in self.rows])
        return dict(zip(outputs, found, strict=True))

    def stretch(self, rows: int) -> tuple[int, int] | None:
        """Where `rows` of this process, some for each of its samples, begin among all, and how many those are."""
        if self.ranks.alone:
            return None
        rank = self.ranks.rank
        each, odd = divmod(rows, max(1, self.counts[rank]))
        if odd:  # samples were regrouped
            return rank * rows, self.ranks.world * rows
        return each * sum(self.counts[:rank]), each * sum(self.counts)
