"""What translations and captions have in common: sentences that a decoder learns word by word, and searches for.

Letters: b sentence, s place looked at, t place written, v symbol.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from isotrain.data.text import BEGIN, END, PAD, UNKNOWN
from isotrain.errors import BadOption
from isotrain.nets.seq2seq import Decoder, Memory
from isotrain.nets.writing import PENALTY, Step, Written, beam


@dataclass(frozen=True)
class Search:
    """How translations and captions are looked for.

    Attributes:
        beams: hypotheses followed at a time; 1: always the likeliest symbol.
        penalty: exponent of the length a score is divided by: 0 favours short ones.
        n_best: how many are given.

    Raises:
        BadOption: fewer than one beam, more given than followed, or a penalty that is no number from 0 to 10.
    """

    beams: int = 5
    penalty: float = 1.0
    n_best: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.beams <= 1000:
            raise BadOption(f"--beam {self.beams} should be 1 to 1,000.")
        if not 1 <= self.n_best <= self.beams:
            raise BadOption(f"--n-best {self.n_best} should be 1 to the number of beams, {self.beams}.")
        if not 0 <= self.penalty <= PENALTY:
            raise BadOption(f"--length-penalty {self.penalty} should be 0 to {PENALTY}.")


def begun(next_bt: Tensor) -> Tensor:
    """What is known when the next symbol is to be told: a begin mark, then all but the last.

    >>> import torch
    >>> begun(torch.tensor([[7, 8, 2]]))
    tensor([[1, 7, 8]])
    """
    known_bt = next_bt.roll(1, 1)
    known_bt[:, 0] = BEGIN
    return known_bt


def next_loss(logits_btv: Tensor, next_bt: Tensor) -> Tensor:
    """Cross-entropy of the next symbols, padding left out: nats a symbol."""
    return F.cross_entropy(logits_btv.flatten(0, 1), next_bt.flatten(), ignore_index=PAD)


def searched(
    decoder: Decoder, values_bsf: Tensor, blocked_bs: Tensor, longest: int | Tensor, search: Search
) -> list[list[Written]]:
    """What a decoder writes of what it sees, by beam search: for each row the best, the likeliest first."""
    memory, state_bkh = decoder.begin(values_bsf, blocked_bs)
    return beam(
        stepping(decoder), (*memory, state_bkh), BEGIN, END, longest, search.beams, search.penalty, search.n_best,
        never=(PAD, BEGIN, UNKNOWN),
    )  # fmt: skip


def stepping(decoder: Decoder) -> Step:
    """A decoder, a symbol at a time: its state is its memory and its own state."""

    def step(symbols_b: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        memory = Memory(*state[:3])
        logits_btv, state_bkh, share_bts = decoder(symbols_b.unsqueeze(1), memory, state[3])
        return logits_btv[:, 0], (*memory, state_bkh), share_bts[:, 0]

    return step
