"""Problems that ask at the end for what was shown long before: copy, adding, distant XOR, nested brackets.

Each has a length T, and endless sequences: a batch is drawn from its seed and its step, there are no passes over data.
The answers are asked for at the last places, which alone count; a guess without memory has the loss `baseline`.

Letters: b sequence, t time, f feature, a place that is asked for, d bracket left open.

Source: Hochreiter and Schmidhuber 1997, section 5.4 (adding); Arjovsky et al. 2016, arXiv:1511.06464, section 4.1
(copy).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from isotrain.data.synthetic.draws import Part
from isotrain.errors import BadData, BadOption

RECALLED = 10
"""Symbols that the copy problem shows and asks for."""
ALPHABET = 8
"""Symbols it draws them from; after them come the blank and the mark that asks."""
KINDS = 3
"""Kinds of brackets; an opening one k is input k, its closing one KINDS + k, the question 2 KINDS."""
OPEN = 4
"""Brackets that are left open, and asked for at the end."""
BLOCK = 4
"""Symbols of two pairs of brackets that close again."""

Draw = Callable[[np.random.Generator, int, int], tuple[Tensor, Tensor]]
"""Of a generator, a number of sequences and a length: inputs and targets."""


class Score(NamedTuple):
    """How well sequences are answered.

    Attributes:
        loss: mean over the places asked for: cross-entropy in nats, or the squared error.
        right: share of the sequences of which every answer is right; without classes, within `NEAR` of the target.
    """

    loss: float
    right: float


NEAR = 0.1
"""An answer that is a number is right this near to it."""


@dataclass(frozen=True)
class MemoryProblem:
    """One problem; its length is chosen when sequences are drawn.

    Attributes:
        name: short, as tables call it.
        title: what it is, in a line.
        inputs: features at a time, f.
        outputs: numbers, or logits, of an answer.
        answers: how many places, the last ones, are asked for and count.
        likelihood: "categorical" or "gaussian".
        baseline: loss of the best guess that remembers nothing.
        goal: when it counts as solved, in words.
        draw: makes sequences.
        stream: number of its random stream; no two problems share one.
        multiple: the length is a multiple of this.
    """

    name: str
    title: str
    inputs: int
    outputs: int
    answers: int
    likelihood: str
    baseline: float
    goal: str
    draw: Draw
    stream: int
    multiple: int = 1

    def batch(self, size: int, length: int, seed: int, step: int, part: Part = Part.TRAIN) -> tuple[Tensor, Tensor]:
        """Sequences [b,t,f] and what is asked for [b,a], the same for the same numbers.

        Args:
            size: sequences, b.
            length: T: of copy the blanks between, of brackets the symbols between that close again, of the others all.
            seed: of everything; 0 or more.
            step: which batch; 0 or more.
            part: sequences of different parts are drawn apart.

        Raises:
            BadOption: a number is outside its range.

        >>> x, y = PROBLEMS["copy"].batch(2, length=50, seed=0, step=0)
        >>> list(x.shape), list(y.shape)
        ([2, 70, 10], [2, 10])
        >>> bool((x[:, :10].argmax(-1) == y).all())
        True
        """
        self.check(length)
        if size < 1 or seed < 0 or step < 0:
            raise BadOption(f"{size} sequences of seed {seed}, step {step}: at least one, from 0 on.")
        return self.draw(np.random.default_rng((self.stream, seed, int(part), step)), size, length)

    def check(self, length: int) -> None:
        """Refuse a length that the problem does not have.

        Raises:
            BadOption: too short, or no multiple.
        """
        if length < 8 or length % self.multiple:
            words = f" and a multiple of {self.multiple}" if self.multiple > 1 else ""
            raise BadOption(f"{self.name} of length {length}: a length is 8 or more{words}.")

    def loss(self, output_bao: Tensor, target_ba: Tensor) -> Tensor:
        """Mean over sequences and the places asked for.

        Args:
            output_bao: logits, or one number each, [b,a,o].
            target_ba: classes, or numbers.

        Raises:
            BadData: there are more or fewer outputs than answers.

        >>> round(float(PROBLEMS["xor"].loss(torch.zeros(3, 1, 2), torch.ones(3, 1, dtype=torch.long))), 4)
        0.6931
        """
        if output_bao.shape != (*target_ba.shape, self.outputs):
            asked = (*target_ba.shape, self.outputs)
            raise BadData(f"{self.name} asks for outputs of shape {asked}, the net gave {tuple(output_bao.shape)}.")
        if self.likelihood == "gaussian":
            return F.mse_loss(output_bao.squeeze(-1), target_ba)
        return F.cross_entropy(output_bao.flatten(0, 1), target_ba.flatten())

    def score(self, output_bao: Tensor, target_ba: Tensor) -> Score:
        """Loss, and share of the sequences answered without a fault.

        >>> PROBLEMS["adding"].score(torch.tensor([[[0.95]], [[1.5]]]), torch.ones(2, 1)).right
        0.5
        """
        if self.likelihood == "gaussian":
            right_ba = (output_bao.squeeze(-1) - target_ba).abs() < NEAR
        else:
            right_ba = output_bao.argmax(-1) == target_ba
        return Score(float(self.loss(output_bao, target_ba)), float(right_ba.all(1).float().mean()))

    def solved(self, score: Score) -> bool:
        """Whether a score on sequences never trained on reaches the goal.

        >>> PROBLEMS["adding"].solved(Score(0.009, 0.0)), PROBLEMS["copy"].solved(Score(0.01, 0.98))
        (True, False)
        """
        return score.loss < SMALL if self.likelihood == "gaussian" else score.right >= SURE


SMALL = 0.01
"""Squared error below which adding counts as solved."""
SURE = 0.99
"""Share of sequences without a fault from which on the others do."""


def _copy(rng: np.random.Generator, b: int, length: int) -> tuple[Tensor, Tensor]:
    blank, mark = ALPHABET, ALPHABET + 1
    symbols_bt = np.full((b, length + 2 * RECALLED), blank)
    shown_ba = symbols_bt[:, :RECALLED] = rng.integers(ALPHABET, size=(b, RECALLED))
    symbols_bt[:, RECALLED + length - 1] = mark
    return _one_hot(symbols_bt, ALPHABET + 2), torch.from_numpy(shown_ba)


def _adding(rng: np.random.Generator, b: int, length: int) -> tuple[Tensor, Tensor]:
    number_bt = rng.random((b, length), dtype=np.float32)
    place_b2 = np.stack([rng.integers(length // 2, size=b), rng.integers(length // 2, length, size=b)], 1)
    sum_b1 = np.take_along_axis(number_bt, place_b2, 1).sum(1, keepdims=True)
    return _marked(number_bt, place_b2), torch.from_numpy(sum_b1)


def _xor(rng: np.random.Generator, b: int, length: int) -> tuple[Tensor, Tensor]:
    bit_bt = rng.integers(2, size=(b, length))
    end = length // 4
    place_b2 = np.stack([rng.integers(end, size=b), rng.integers(length - end, length, size=b)], 1)
    odd_b1 = np.take_along_axis(bit_bt, place_b2, 1).sum(1, keepdims=True) % 2
    return _marked((2 * bit_bt - 1).astype(np.float32), place_b2), torch.from_numpy(odd_b1)


def _brackets(rng: np.random.Generator, b: int, length: int) -> tuple[Tensor, Tensor]:
    """Blocks a b B A or a A b B that close again, and among those of the first half OPEN brackets that stay open."""
    blocks = length // BLOCK
    a, c = rng.integers(KINDS, size=(2, b, blocks))
    apart = np.stack([a, a + KINDS, c, c + KINDS], -1)
    nested = np.stack([a, c, c + KINDS, a + KINDS], -1)
    closed_bt = np.where(rng.random((b, blocks, 1)) < 0.5, apart, nested).reshape(b, length)
    open_bd = rng.integers(KINDS, size=(b, OPEN))
    # Each stands before a block of the first half; a stable sort puts them among the others.
    before_bd = BLOCK * np.sort(rng.integers(blocks // 2 + 1, size=(b, OPEN)), 1)
    key_bt = np.concatenate([before_bd, np.broadcast_to(np.arange(length), (b, length))], 1)
    order_bt = np.argsort(key_bt, 1, kind="stable")
    read_bt = np.take_along_axis(np.concatenate([open_bd, closed_bt], 1), order_bt, 1)
    symbols_bt = np.concatenate([read_bt, np.full((b, OPEN), 2 * KINDS)], 1)
    return _one_hot(symbols_bt, 2 * KINDS + 1), torch.from_numpy(open_bd[:, ::-1].copy())


def _one_hot(symbols_bt: np.ndarray, size: int) -> Tensor:
    return F.one_hot(torch.from_numpy(symbols_bt), size).float()


def _marked(value_bt: np.ndarray, place_b2: np.ndarray) -> Tensor:
    """Values and, beside them, a mark at two places: [b,t,2]."""
    mark_bt = np.zeros_like(value_bt)
    np.put_along_axis(mark_bt, place_b2, 1, 1)
    return torch.from_numpy(np.stack([value_bt, mark_bt], -1))


_FAULTLESS = f"at least {SURE:.0%} of 256 sequences held out are answered without a single fault"

PROBLEMS: dict[str, MemoryProblem] = {
    p.name: p
    for p in (
        MemoryProblem(
            "copy",
            f"{RECALLED} symbols of {ALPHABET}, T blanks, then the same {RECALLED} symbols are asked for",
            ALPHABET + 2,
            ALPHABET,
            RECALLED,
            "categorical",
            math.log(ALPHABET),
            _FAULTLESS,
            _copy,
            101,
        ),
        MemoryProblem(
            "adding",
            "T numbers of [0, 1], one in either half is marked; their sum is asked for",
            2,
            1,
            1,
            "gaussian",
            1 / 6,
            f"the mean squared error on 256 sequences held out is below {SMALL:g}",
            _adding,
            102,
        ),
        MemoryProblem(
            "xor",
            "T bits, one in the first and one in the last quarter is marked; whether they differ is asked for",
            2,
            2,
            1,
            "categorical",
            math.log(2),
            _FAULTLESS,
            _xor,
            103,
        ),
        MemoryProblem(
            "brackets",
            f"T brackets that close again and {OPEN} that stay open for T/2 and more; what closes those is asked for",
            2 * KINDS + 1,
            KINDS,
            OPEN,
            "categorical",
            math.log(KINDS),
            _FAULTLESS,
            _brackets,
            104,
            multiple=BLOCK,
        ),
    )
}
"""The problems by name."""
