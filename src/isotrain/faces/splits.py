"""People parted so that nobody is on two sides, and pairs made from a folder that has no list of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isotrain.data.pairs import Pairs
from isotrain.errors import BadData, BadOption


def split_people(names: Iterable[str], shares: Sequence[float], seed: int = 0) -> list[list[str]]:
    """Part people at random, the same way whatever order their names come in; nobody is in two parts.

    Args:
        names: of the people, one for each picture or each once.
        shares: of the people that each part gets, 1 in sum or less: then the others are in no part.
        seed: of the order.

    Raises:
        BadOption: a share is not positive, or they are more than 1 in sum.
        BadData: a part would be empty.

    >>> [len(part) for part in split_people("abcdefghij", (0.7, 0.3))]
    [7, 3]
    """
    if not shares or min(shares) <= 0 or sum(shares) > 1 + 1e-9:
        raise BadOption(f"shares {tuple(shares)}: each is positive, together they are 1 or less.")
    people = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(people))
    edges = [0, *(round(len(people) * share) for share in np.cumsum(shares).tolist())]
    parts = [sorted(people[at] for at in order[a:b]) for a, b in pairwise(edges)]
    if not all(parts):
        raise BadData(f"{len(people)} people are too few to be parted into {', '.join(f'{s:.0%}' for s in shares)}.")
    return parts


def make_pairs(people: Mapping[str, Sequence[Path]], number: int, seed: int = 0, folds: int = 0) -> Pairs:
    """Pairs at random, `number` of one person and as many of two, none twice; with folds, so many in each of them.

    People are drawn alike, whether they have few pictures or many. With folds nobody is in two.

    Args:
        people: pictures of each (`isotrain.data.people.people_pictures`).
        number: of pairs of either kind, in each fold.
        seed: of everything.
        folds: 0 for none, or 2 and more.

    Raises:
        BadOption: an option is outside its range.
        BadData: there are not so many different pairs.

    >>> two = {"Ada": [Path("a1"), Path("a2")], "Ben": [Path("b1"), Path("b2")]}
    >>> make_pairs(two, number=2).same.tolist()
    [True, True, False, False]
    """
    if number < 1 or folds < 0 or folds == 1:
        raise BadOption(f"{number} pairs in {folds} folds: a pair or more, no fold or two and more.")
    groups = split_people(people, [1 / folds] * folds, seed) if folds else [sorted(people)]
    rng = np.random.default_rng(seed)
    pictures: list[Path] = []
    parts: list[NDArray[np.int64]] = []  # [n, 3]: first, second, same
    for group in groups:
        counts = [len(people[name]) for name in group]
        offset = np.array([len(pictures), len(pictures), 0])
        parts += [_same(rng, counts, number) + offset, _different(rng, counts, number) + offset]
        pictures += [path for name in group for path in people[name]]
    rows = np.concatenate(parts)
    used, places = np.unique(rows[:, :2], return_inverse=True)
    first, second = places.reshape(-1, 2).T
    fold = np.repeat(np.arange(len(groups)), 2 * number)
    lines = np.zeros(len(rows), np.int64)
    return Pairs(
        tuple(pictures[at] for at in used), first, second, rows[:, 2].astype(bool), fold, folds, lines, "made pairs"
    )


def _same(rng: np.random.Generator, counts: Sequence[int], number: int) -> NDArray[np.int64]:
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    every, weights = [], []
    for start, count in zip(starts, counts, strict=True):
        if count > 1:
            one, other = np.triu_indices(count, 1)
            every.append(np.stack([one, other], 1) + start)
            weights.append(np.full(len(one), 1 / len(one)))
    available = sum(map(len, every))
    if available < number:
        raise BadData(f"{number} pairs of one person are wanted, {len(counts)} people have {available} between them.")
    chance = np.concatenate(weights)
    chosen = rng.choice(available, number, replace=False, p=chance / chance.sum())
    return np.column_stack([np.concatenate(every)[chosen], np.ones(number, np.int64)])


def _different(rng: np.random.Generator, counts: Sequence[int], number: int) -> NDArray[np.int64]:
    total = sum(counts)
    available = (total**2 - sum(count**2 for count in counts)) // 2
    if available < number:
        raise BadData(f"{number} pairs of two people are wanted, {total} pictures give {available}.")
    owner = np.repeat(np.arange(len(counts)), counts)
    if available < 4 * number:  # few: all are looked at
        one, other = np.triu_indices(total, 1)
        apart = owner[one] != owner[other]
        chosen = rng.choice(available, number, replace=False)
        return np.stack([one[apart][chosen], other[apart][chosen], np.zeros(number, np.int64)], 1)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    size = np.asarray(counts)
    people = np.flatnonzero(size > 0)
    found: dict[tuple[int, int], None] = {}
    while len(found) < number:
        pair = rng.choice(people, 2, replace=False)
        low, high = sorted(int(starts[who] + rng.integers(size[who])) for who in pair)
        found[low, high] = None
    return np.column_stack([np.array(list(found), np.int64), np.zeros(number, np.int64)])
