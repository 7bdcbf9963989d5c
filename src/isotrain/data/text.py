"""Text as numbers: the characters of a file, and parallel sentences as words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3
"""The first symbols of a vocabulary of words."""


def characters(text: str) -> tuple[Tensor, str]:
    """The text as indices into its own alphabet, and the alphabet in order.

    >>> characters("abba")
    (tensor([0, 1, 1, 0]), 'ab')
    """
    alphabet = "".join(sorted(set(text)))
    place = {character: number for number, character in enumerate(alphabet)}
    return torch.tensor([place[character] for character in text]), alphabet


def words(sentence: str) -> list[str]:
    """Lower-case words and punctuation marks.

    >>> words("A dog runs.")
    ['a', 'dog', 'runs', '.']
    """
    return re.findall(r"\w+|[^\w\s]", sentence.lower())


def vocabulary(sentences: Iterable[Sequence[str]], most: int, least: int = 1) -> dict[str, int]:
    """The most frequent words, seen `least` times, numbered from 4 on: padding, begin, end and unknown come first.

    >>> vocabulary([["a", "b", "a"]], 5)
    {'a': 4}
    """
    counts = Counter(word for sentence in sentences for word in sentence)
    common = sorted(counts, key=lambda word: (-counts[word], word))[: most - UNKNOWN - 1]
    common = [word for word in common if counts[word] >= least]
    return {word: number for number, word in enumerate(common, UNKNOWN + 1)}


def encoded(sentences: Sequence[Sequence[str]], numbers: dict[str, int], length: int, ends: bool = False) -> Tensor:
    """[sentences, length] word numbers, padded; with `ends`, between a begin and an end.

    >>> encoded([["a"]], {"a": 4}, 4, ends=True)
    tensor([[1, 4, 2, 0]])
    """
    rows = torch.full((len(sentences), length), PAD)
    for row, sentence in zip(rows, sentences, strict=True):
        known = [numbers.get(word, UNKNOWN) for word in sentence]
        known = [BEGIN, *known, END][:length] if ends else known[:length]
        row[: len(known)] = torch.tensor(known)
    return rows
