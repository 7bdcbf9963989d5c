"""Say in one language what was said in another: an encoder, attention, a decoder, on pieces of words.

Letters: b sentence, s place in the source, t place in the target, v symbol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from isotrain.data.samples import Dataset, Sample, evenly
from isotrain.data.shelf import Shelf
from isotrain.data.symbols import Pieces
from isotrain.data.text import END, PAD, UNKNOWN
from isotrain.errors import BadData
from isotrain.likelihood.categorical import Categorical
from isotrain.nets.recurrent import CELLS
from isotrain.nets.seq2seq import ATTENTIONS, Translator
from isotrain.nets.writing import Written
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores, Task
from isotrain.tasks.options import Allowed, Choice, Range, settled
from isotrain.tasks.scores.translation import require, translation_scores
from isotrain.tasks.sentences import Search, begun, next_loss, searched

POOL = 50
"""Batches of sentences that are sorted by length together."""
TOGETHER = 64
"""Sentences translated at a time."""
LONGER, MORE = 2.0, 10
"""A translation is at most so many times as long as its source, and so many pieces."""
SHOWN = 3
"""Translations shown while training, and attention maps left at the end."""
OPTIONS: dict[str, Allowed] = {
    "vocabulary": Range(10, 100_000, whole=True),
    "longest": Range(2, 2000, whole=True),
    "cell": Choice(*CELLS),
    "attention": Choice(*ATTENTIONS),
    "embedded": Range(1, 4096, whole=True),
    "hidden": Range(1, 4096, whole=True),
    "dropout": Range(0.0, 0.9),
}


class Pair(NamedTuple):
    """A sentence and its translation as numbers, each with its end."""

    source: Tensor
    target: Tensor
    name: str


class Translate(Task):
    """What a sentence is in another language.

    Card: `source` and `target`, their symbols, and the options of `plan`.
    """

    name = "translate"
    score = "bleu"

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.source, self.target = Pieces(card["source"]["tokenizer"]), Pieces(card["target"]["tokenizer"])

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """The card of parallel sentences.

        Options: `vocabulary`, pieces of each language at most (4,000), `longest` sentence learned from, in pieces
        (100), `cell` ("lstm", "gru", "rnn"), `attention` ("additive", "dot"), `embedded` (192), `hidden` (192, of each
        direction of the encoder; the decoder has twice as many), `dropout` (0.3).

        Raises:
            BadData: there are no sentences, or all are longer than `longest`.
            BadOption: an option is unknown or outside its range.
            MissingExtra: tokenizers or sacrebleu is not there.
        """
        require()
        usual = {
            "vocabulary": 4000, "longest": 100, "cell": "lstm", "attention": "dot", "embedded": 192, "hidden": 192,
            "dropout": 0.3,
        }  # fmt: skip
        card = settled(cls.name, OPTIONS, usual, options)
        if not dataset.train:
            raise BadData(f"{dataset.source or 'the data'}: there are no sentences to learn from.")
        source = Pieces.of([sample.text for sample in dataset.train], card["vocabulary"])
        target = Pieces.of([sample.said[0] for sample in dataset.train], card["vocabulary"])
        return {"classes": [], "source": source.to_card(), "target": target.to_card(), **card}

    def net(self) -> nn.Module:
        """Encoder, attention, decoder."""
        card = self.card
        return Translator(
            len(self.source), len(self.target), card["embedded"], card["hidden"], card["cell"], card["attention"],
            card["dropout"],
        )  # fmt: skip

    @property
    def likelihood(self) -> Likelihoods:
        """Of the next piece, where there is one."""
        return Categorical(-1, ignore_index=PAD)

    def load(self, sample: Sample) -> Pair:
        """The two sentences as numbers, cut off where they are longer than `longest`."""
        longest = self.card["longest"]
        source, target = self.source.encode(sample.text)[:longest], self.target.encode(sample.said[0])[:longest]
        return Pair(torch.tensor([*source, END]), torch.tensor([*target, END]), sample.name)

    def order(self, samples: Sequence[Sample], generator: torch.Generator, size: int) -> list[int]:
        """Sentences of like length together, the batches at random."""
        drawn: list[int] = torch.randperm(len(samples), generator=generator).tolist()
        sizes = [(len(sample.text), len(sample.said[0])) for sample in samples]
        batches: list[list[int]] = []
        for first in range(0, len(drawn), POOL * size):
            pool = sorted(drawn[first : first + POOL * size], key=sizes.__getitem__)
            batches += [pool[place : place + size] for place in range(0, len(pool), size)]
        whole = [batch for batch in batches if len(batch) == size]
        rest = [place for batch in batches if len(batch) < size for place in batch]
        mixed = [whole[place] for place in torch.randperm(len(whole), generator=generator).tolist()]
        return [place for batch in mixed for place in batch] + rest

    def batch(self, loaded: Sequence[Pair], generator: torch.Generator | None) -> Batch:
        """Sources [b,s], targets from the begin mark on [b,t], and what follows each."""
        source_bs = pad_sequence([pair.source for pair in loaded], batch_first=True, padding_value=PAD)
        next_bt = pad_sequence([pair.target for pair in loaded], batch_first=True, padding_value=PAD)
        return Batch((source_bs, begun(next_bt)), {"next": next_bt}, [pair.name for pair in loaded])

    def loss(self, output: Any, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, nats a piece."""
        return next_loss(output, targets["next"])

    def weigh(self, net: nn.Module, shelf: Shelf[Any], size: int) -> float:
        """Nats a piece."""
        return self._nats(net, shelf)

    @torch.no_grad()
    def _nats(self, net: nn.Module, shelf: Shelf[Any]) -> float:
        by_length = sorted(range(len(shelf)), key=lambda place: len(shelf.samples[place].text))
        total, number = 0.0, 0
        for first in range(0, len(by_length), TOGETHER):
            batch = self.batch(shelf.take(by_length[first : first + TOGETHER]), None)
            count = int((batch.targets["next"] != PAD).sum())
            total += float(self.loss(net(*batch.inputs), batch.targets)) * count
            number += count
        return total / max(1, number)

    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        """BLEU and chrF, 0 to 100, with sacrebleu's signatures; nats a piece.

        Raises:
            MissingExtra: sacrebleu is not there.
        """
        given = [best[0].text for best in self.translate(net, [sample.text for sample in shelf.samples], tick=tick)]
        scores = translation_scores(given, [list(sample.said) for sample in shelf.samples])
        return {**scores, "nats per piece": self._nats(net, shelf)}

    @torch.no_grad()
    def translate(
        self, net: nn.Module, sentences: Sequence[str], search: Search | None = None, tick: Tick | None = None
    ) -> list[list[Translation]]:
        """The best translations of each sentence, the likeliest first.

        Args:
            net: in evaluation mode.
            sentences: of the source language.
            search: how; None: five beams.
            tick: called after every few sentences.
        """
        assert isinstance(net, Translator), "the net is this task's"
        search = search or Search()
        rows = [torch.tensor([*self.source.encode(text)[: self.card["longest"]], END]) for text in sentences]
        found: list[list[Translation]] = [[] for _ in rows]
        by_length = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for first in range(0, len(by_length), TOGETHER):
            places = by_length[first : first + TOGETHER]
            source_bs = pad_sequence([rows[place] for place in places], batch_first=True, padding_value=PAD)
            values_bsf, blocked_bs = net.encoder(source_bs)
            # Each by its own length: what a sentence becomes does not hang on those it is translated with.
            longest_b = torch.tensor([round(LONGER * len(rows[place])) + MORE for place in places])
            written = searched(net.decoder, values_bsf, blocked_bs, longest_b, search)
            for place, best in zip(places, written, strict=True):
                found[place] = [self._told(one, len(rows[place])) for one in best]
            if tick is not None:
                tick(len(places))
        return found

    def _told(self, hypothesis: Written, length: int) -> Translation:
        shares = None if hypothesis.attention is None else hypothesis.attention[:, :length]
        return Translation(
            self.target.decode(hypothesis.symbols), hypothesis.score, hypothesis.mean,
            named(self.target, [*hypothesis.symbols, *[END] * hypothesis.ended]), shares,
        )  # fmt: skip

    def shown(self, net: nn.Module, shelf: Shelf[Any]) -> str:
        """Some held-out sentences, and what it makes of them."""
        samples = evenly(shelf.samples, SHOWN)
        given = self.translate(net, [sample.text for sample in samples])
        return "\n".join(f"{sample.text} -> {best[0].text}" for sample, best in zip(samples, given, strict=True))

    def pictures(self, net: nn.Module, shelf: Shelf[Any]) -> dict[str, Image]:
        """Where it looked while it translated some held-out sentences."""
        samples = evenly(shelf.samples, SHOWN)
        given = self.translate(net, [sample.text for sample in samples])
        return {
            f"attention-{number}": self.drawn(sample.text, best[0])
            for number, (sample, best) in enumerate(zip(samples, given, strict=True), 1)
        }

    def drawn(self, sentence: str, translation: Translation) -> Image:
        """Where the net looked while it wrote a translation."""
        from isotrain.tasks.attention_plot import attention_picture

        read = named(self.source, [*self.source.encode(sentence)[: self.card["longest"]], END])
        assert translation.attention is not None
        return attention_picture(read, translation.pieces, translation.attention)

    def example(self) -> tuple[Tensor, ...]:
        """Two sentences and the beginnings of their translations."""
        return torch.full((2, 5), UNKNOWN), torch.full((2, 4), UNKNOWN)


@dataclass(frozen=True)
class Translation:
    """One translation of a sentence.

    Attributes:
        text: in words.
        score: what the search went by: log-probability over a power of the length.
        mean: log-probability of a piece on average, nats.
        pieces: written, the end included if it came.
        attention: [pieces, source pieces and end], shares of one.
    """

    text: str
    score: float
    mean: float
    pieces: list[str]
    attention: Tensor | None


def named(symbols: Pieces, numbers: Sequence[int]) -> list[str]:
    """Pieces as they are shown to a person: "▁" where a word begins."""
    return [symbols.pieces[number] for number in numbers]
