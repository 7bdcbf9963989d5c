"""Agglomerative clustering that keeps constraints: some stay together, some are never brought together.

Letters: n things, g groups of them. Average linkage with pairs that must not meet at minus infinity is reducible (a
merger is nowhere more similar than the nearer of its halves), so that the nearest neighbour of a group only has to be
looked for anew when that neighbour was merged.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Link = Literal["average", "complete"]
LINKS: tuple[Link, ...] = ("average", "complete")


def linked(
    similarities_nn: NDArray[np.float32],
    apart_nn: NDArray[np.bool_],
    together_n: NDArray[np.int64],
    threshold: float,
    link: Link = "average",
) -> NDArray[np.int64]:
    """Merge the two most similar groups again and again, while they are at least `threshold` alike.

    Two groups are as alike as their pairs are on average, or as their least similar pair. Equally similar ones are
    taken in the order of their numbers.

    Args:
        similarities_nn: symmetric, [n, n].
        apart_nn: symmetric, which must not be in one group; none of them may be together from the start, [n, n].
        together_n: group each begins in, [n].
        threshold: least similarity of a merger.
        link: "average" or "complete".

    Returns:
        The group of each, [n], numbered from 0 in the order of their first members.

    >>> alike = np.array([[1.0, 0.9, 0.8], [0.9, 1.0, 0.1], [0.8, 0.1, 1.0]], np.float32)
    >>> linked(alike, np.zeros((3, 3), bool), np.arange(3), 0.5).tolist()
    [0, 0, 1]
    """
    _, first, group_n, count = np.unique(together_n, return_index=True, return_inverse=True, return_counts=True)
    g, size = len(first), count.astype(np.float32)
    if g < 2:
        return numbered(group_n)
    join = np.add if link == "average" else np.minimum
    total_gg, apart_gg = similarities_nn[np.ix_(first, first)], apart_nn[np.ix_(first, first)]
    several = [(group, np.flatnonzero(group_n == group)) for group in np.flatnonzero(count > 1)]
    if several:
        total_gn, apart_gn = similarities_nn[first], apart_nn[first]
        for group, members in several:
            total_gn[group], apart_gn[group] = join.reduce(similarities_nn[members]), apart_nn[members].any(0)
        total_gg, apart_gg = total_gn[:, first], apart_gn[:, first]
        for group, members in several:
            total_gg[:, group] = join.reduce(total_gn[:, members], axis=1)
            apart_gg[:, group] = apart_gn[:, members].any(1)
    np.fill_diagonal(apart_gg, True)  # with itself
    gone = np.zeros(g, bool)

    def row(a: int | slice) -> NDArray[np.float32]:
        pairs = np.multiply.outer(size[a], size) if link == "average" else np.float32(1)
        return np.where(apart_gg[a] | gone, np.float32(-np.inf), total_gg[a] / pairs)

    alike_gg = row(slice(None))
    nearest, best = alike_gg.argmax(1), alike_gg.max(1)
    into = np.arange(g)
    while best[a := int(best.argmax())] >= threshold:
        a, b = sorted((a, int(nearest[a])))
        into[into == b] = a
        total_gg[a] = join(total_gg[a], total_gg[b])
        total_gg[:, a] = total_gg[a]
        size[a] += size[b]
        apart_gg[a] |= apart_gg[b]
        apart_gg[:, a] = apart_gg[a]
        gone[b] = True
        alike_gg[a] = row(a)
        alike_gg[:, a] = alike_gg[a]
        alike_gg[b] = alike_gg[:, b] = -np.inf
        best[b] = -np.inf
        stale = np.flatnonzero((nearest == a) | (nearest == b) | (np.arange(g) == a))
        nearest[stale] = alike_gg[stale].argmax(1)
        best[stale] = alike_gg[stale, nearest[stale]]
    return numbered(into[group_n])


def numbered(group_n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups numbered from 0 in the order of their first members.

    >>> numbered(np.array([7, 2, 7, 0])).tolist()
    [0, 1, 0, 2]
    """
    _, first, place = np.unique(group_n, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[place]
