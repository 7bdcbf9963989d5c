"""Write on as a text does: recurrent layers that read it character by character, or byte by byte.

The text is read in as many rows as a batch has, each from a place of its own; what a row has read is kept in mind from
one step to the next, so that nothing is forgotten where a stretch ends. Letters: b row, t time, k h state, v symbol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.letters import Letters
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.data.textfiles import SHORTEST
from isotrain.errors import BadData
from isotrain.likelihood.categorical import Categorical
from isotrain.nets.recurrent import CELLS, CharacterNet
from isotrain.nets.writing import sample as sampled
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Carried, Likelihoods, Scores, Task
from isotrain.tasks.options import Allowed, Choice, Range, settled

IGNORED = -100
"""Label of a place beyond the end of a text."""
ROWS = 16
"""Rows that a text is read in when it is scored, at most."""
SHOWN = 160
"""Symbols written to show what a net has learned."""
READ = 140
"""Symbols read for the picture of what units do."""
OPTIONS: dict[str, Allowed] = {
    "bytes": Choice(False, True),
    "length": Range(SHORTEST, 4096, whole=True),
    "cell": Choice(*CELLS),
    "embedded": Range(1, 4096, whole=True),
    "hidden": Range(1, 8192, whole=True),
    "layers": Range(1, 8, whole=True),
    "dropout": Range(0.0, 0.9),
}


class Stretch(NamedTuple):
    """A stretch of the text as numbers.

    Attributes:
        symbols: [t + 1], the last of which is the next stretch's first.
        offset: of the first in the whole text.
        name: of its sample.
    """

    symbols: Tensor
    offset: int
    name: str


class Characters(Task):
    """Which character (or byte) follows.

    Card: `symbols`, and the options of `plan`.
    """

    name = "characters"
    score = "bits per symbol"

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.symbols = Letters(card["symbols"]["alphabet"], card["symbols"]["bytes"])

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """The card of a text.

        Options: `bytes` (false), `length` of a stretch (64), `cell` ("lstm", "gru", "rnn"), `embedded` (64), `hidden`
        (256), `layers` (1), `dropout` (0.1; between layers and before the last).

        Raises:
            BadData: the text has one symbol alone.
            BadOption: an option is unknown or outside its range.
        """
        usual = {
            "bytes": False, "length": 64, "cell": "lstm", "embedded": 64, "hidden": 256,
            "layers": 1, "dropout": 0.1,
        }  # fmt: skip
        card = settled(cls.name, OPTIONS, usual, options)
        every = [s.text for part in (dataset.train, dataset.held_out, dataset.test) for s in part]
        letters = Letters.of("".join(sorted(set().union(*every))), bytes_=card["bytes"])
        if len(letters) < 2:
            raise BadData(
                f"{dataset.source} has one symbol alone, {every[0][:1]!r}: there is nothing to learn from it."
            )
        return {"classes": [], "symbols": letters.to_card(), **card}

    def net(self) -> nn.Module:
        """Embedding, recurrent layers, logits."""
        card = self.card
        return CharacterNet(
            len(self.symbols), card["cell"], card["embedded"], card["hidden"], card["layers"], card["dropout"],
            float(card["length"]),
        )  # fmt: skip

    @property
    def likelihood(self) -> Likelihoods:
        """Of the logits; the state is no prediction."""
        return [Categorical(-1, ignore_index=IGNORED), None]

    def load(self, sample: Sample) -> Stretch:
        """The stretch as numbers."""
        return Stretch(torch.tensor(self.symbols.stretch(sample.text)), int(sample.name), sample.name)

    def order(self, samples: Sequence[Sample], generator: torch.Generator, size: int) -> list[int]:
        """Every row of the batches reads on from batch to batch; where the rows begin is drawn."""
        first = int(torch.randint(len(samples), (), generator=generator))
        return [(place + first) % len(samples) for place in rows_of(len(samples), size)]

    def batch(self, loaded: Sequence[Stretch], generator: torch.Generator | None) -> Batch:
        """Symbols [b,t], and what follows each."""
        longest = max(len(stretch.symbols) for stretch in loaded) - 1
        symbols_bt = torch.zeros(len(loaded), longest, dtype=torch.long)
        next_bt = torch.full((len(loaded), longest), IGNORED)
        for row, stretch in enumerate(loaded):
            length = len(stretch.symbols) - 1
            symbols_bt[row, :length] = stretch.symbols[:-1]
            next_bt[row, :length] = stretch.symbols[1:]
        offset_b = torch.tensor([stretch.offset for stretch in loaded])
        return Batch((symbols_bt,), {"next": next_bt, "offset": offset_b}, [stretch.name for stretch in loaded])

    def onward(self, batch: Batch, carried: Carried) -> tuple[Tensor, ...]:
        """With the state that each row's text was left with, nothing read where it was not read up to here."""
        (symbols_bt,) = batch.inputs
        if not carried:
            return (symbols_bt, self._nothing(len(symbols_bt)))
        same = batch.targets["offset"].unsqueeze(1) == carried["due"].unsqueeze(0)
        state_bkh = carried["state"][same.int().argmax(1)] * same.any(1)[:, None, None]
        return (symbols_bt, state_bkh)

    def carry(self, batch: Batch, output: Any) -> Carried:
        """The states, and with which offset each row would go on."""
        length_b = (batch.targets["next"] != IGNORED).sum(1)
        return {"state": output[1].detach(), "due": batch.targets["offset"] + length_b}

    def _nothing(self, rows: int) -> Tensor:
        return torch.zeros(rows, self.card["layers"] * (2 if self.card["cell"] == "lstm" else 1), self.card["hidden"])

    def loss(self, output: Any, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, nats a symbol."""
        return F.cross_entropy(output[0].flatten(0, 1), targets["next"].flatten(), ignore_index=IGNORED)

    def weigh(self, net: nn.Module, shelf: Shelf[Any], size: int) -> float:
        """Nats a symbol, the text read on as far as the stretches follow one another."""
        return float(self.evaluate(net, shelf)["nats per symbol"])

    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        """Bits and nats a symbol (byte, in bytes), and how often the likeliest is right.

        The text is read once from beginning to end, in at most 16 rows that each begin with nothing read.
        """
        size = max(1, min(ROWS, len(shelf) // 4))
        order = rows_of(len(shelf), size)
        carried: Carried = {}
        nats, right, number = 0.0, 0, 0
        for first in range(0, len(order), size):
            batch = self.batch(shelf.take(order[first : first + size]), None)
            output = net(*self.onward(batch, carried))
            carried = self.carry(batch, output)
            target_bt = batch.targets["next"]
            count = int((target_bt != IGNORED).sum())
            nats += float(self.loss(output, batch.targets)) * count
            right += int((output[0].argmax(-1) == target_bt).sum())
            number += count
            if tick is not None:
                tick(len(target_bt))
        mean = nats / max(1, number)
        return {
            "bits per symbol": mean / float(torch.tensor(2.0).log()), "nats per symbol": mean,
            "accuracy": right / max(1, number),
        }  # fmt: skip

    def write(
        self,
        net: nn.Module,
        prompt: str,
        generator: torch.Generator,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> Iterator[str]:
        """What follows a prompt, a piece at a time, without end; memory does not grow.

        Args:
            net: in evaluation mode.
            prompt: read first, one symbol at least.
            generator: of the draws.
            temperature: below 1 likelier, above 1 bolder; 0: always the likeliest.
            top_k: draw among so many of the likeliest; None: among all.

        Raises:
            BadOption: the prompt is empty or has a symbol that the text had not; the temperature is below 0, or
                `top_k` below 1.
        """
        numbers_t = torch.tensor(self.symbols.encode(prompt))
        state_bkh = self._nothing(1)
        with torch.no_grad():
            for part_t in numbers_t[:-1].split(self.card["length"]) if len(numbers_t) > 1 else ():
                _, state_bkh = net(part_t.unsqueeze(0), state_bkh)

        def step(symbols_b: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...], None]:
            logits_btv, state_bkh = net(symbols_b.unsqueeze(1), state[0])
            return logits_btv[:, 0], (state_bkh,), None

        decoder = self.symbols.decoder()
        for number_b in sampled(step, (state_bkh,), numbers_t[-1:], generator, temperature, top_k):
            yield decoder.feed(number_b.tolist())

    def shown(self, net: nn.Module, shelf: Shelf[Any]) -> str:
        """What it makes of the beginning of the held-out text."""
        prompt = shelf.samples[0].text[:20]
        if self.card["bytes"]:
            prompt = prompt.encode("latin-1").decode("utf-8", "ignore")
        pieces = self.write(net, prompt or " ", torch.Generator().manual_seed(0), 0.8)
        return prompt + "".join(piece for piece, _ in zip(pieces, range(SHOWN), strict=False))

    def pictures(self, net: nn.Module, shelf: Shelf[Any]) -> dict[str, Image]:
        """What its units and gates do while it reads the beginning of the held-out text."""
        from isotrain.tasks.gates_plot import gates_picture

        assert isinstance(net, CharacterNet), "the net is this task's"
        text = shelf.samples[0].text + "".join(sample.text[1:] for sample in shelf.samples[1:3])
        return {"gates": gates_picture(net, self.symbols, text[:READ])}

    def example(self) -> tuple[Tensor, ...]:
        """Two rows of four symbols, nothing read before."""
        return torch.zeros(2, 4, dtype=torch.long), self._nothing(2)


def rows_of(number: int, size: int) -> list[int]:
    """An order of stretches in which row r of every batch goes on where row r of the one before stopped.

    What does not fill the rows comes last, as the last row's.

    >>> rows_of(7, 2)
    [0, 3, 1, 4, 2, 5, 6]
    """
    size = min(size, number)
    steps = number // size
    return [row * steps + step for step in range(steps) for row in range(size)] + list(range(size * steps, number))
