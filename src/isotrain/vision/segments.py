"""Regions of even colour: the graph-based segmentation of Felzenszwalb and Huttenlocher, exactly, without a compiler.

Pixels are nodes, neighbours are joined by edges as heavy as their colours differ. From the lightest edge on, two
components become one unless the edge is heavier than what is inside either of them, plus `scale` over its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ROUNDS = 5
"""Rounds of joining all at once that can be; then each has little to join, and one edge after the other is quicker."""
LEAST = 2000
"""Edges to look at one after the other between two clearings."""


@dataclass(frozen=True)
class Edges:
    """Neighbouring pixels (8 neighbours), from the least different to the most.

    Attributes:
        height: of the picture.
        width: of the picture.
        ends: two pixels of each edge, [2, E], numbered row by row.
        weights: distance of their colours, [E], ascending; equal ones in an order that is the same each time.
    """

    height: int
    width: int
    ends: Ints
    weights: Floats


def edges_of(image_hwc: Floats, sigma: float = 0.8) -> Edges:
    """The edges of a picture [H, W, C] that is first smoothed by a Gaussian of spread `sigma` pixels."""
    smooth = smoothed(image_hwc, sigma)
    height, width = smooth.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    ends, weights = [], []
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, height - down), slice(max(0, -across), width - max(0, across)))
        there = (slice(down, height), slice(max(0, across), width + min(0, across)))
        ends.append(np.stack([number[here].ravel(), number[there].ravel()]))
        weights.append(np.sqrt(np.square(smooth[here] - smooth[there]).sum(-1)).ravel())
    joined = np.concatenate(weights)
    # Equal weights in random order: in an even area taken row by row, each edge would wait for the one before it.
    shuffled = np.random.default_rng(0).permutation(len(joined))
    order = shuffled[np.argsort(joined[shuffled], kind="stable")]
    return Edges(height, width, np.concatenate(ends, 1)[:, order], joined[order])


def segments(edges: Edges, scale: float = 100.0, smallest: int = 20) -> Ints:
    """Segments of a picture.

    Args:
        edges: of the picture.
        scale: the greater, the larger the segments; in units of the picture's colours times pixels.
        smallest: pixels of a segment; smaller ones are joined to the neighbour they differ from least.

    Returns:
        [H, W], numbered from 0 without gaps, in the order in which they are first met row by row.

    Source: Felzenszwalb and Huttenlocher 2004, "Efficient Graph-Based Image Segmentation", algorithm 1. There one edge
    is looked at after the other; here, for some rounds, all at once that are the lightest left at both of their
    components, which gives the same: no edge that comes before touches the two.

    >>> halves = np.repeat(np.array([[0, 0, 0, 9, 9, 9]], np.float32), 4, 0)[..., None]
    >>> segments(edges_of(halves, sigma=0), scale=1.0, smallest=1)[0].tolist()
    [0, 0, 0, 1, 1, 1]
    """
    component = np.arange(edges.height * edges.width)
    size = np.ones(len(component), np.int64)
    limit = np.full(len(component), scale, np.float64)  # heaviest edge inside + scale / size
    (a, b), weights = edges.ends, edges.weights
    for _ in range(ROUNDS):
        places = np.arange(len(weights))
        lightest = np.full((2, len(component)), len(weights))
        lightest[0, a[::-1]] = places[::-1]  # of several values for one place the last is kept
        lightest[1, b[::-1]] = places[::-1]
        lightest = lightest.min(0)
        # Its edges left all exceed its limit: it stays as it is.
        closed = limit < np.append(weights, np.inf)[lightest]
        both = (lightest[a] == places) & (lightest[b] == places)
        left = ~both & ~closed[a] & ~closed[b]
        join = np.flatnonzero(both & ~closed[a] & ~closed[b])
        i, j = a[join], b[join]
        size[i] += size[j]
        limit[i] = weights[join] + scale / size[i]
        renamed = np.arange(len(component))
        renamed[j] = i
        component = renamed[component]
        a, b, weights = renamed[a[left]], renamed[b[left]], weights[left]
        left = a != b
        a, b, weights = a[left], b[left], weights[left]
    component = _one_by_one(component, a, b, weights, size, limit, scale)
    return _numbered(_without_small(edges, component, smallest)).reshape(edges.height, edges.width)


def smoothed(image_hwc: Floats, sigma: float) -> Floats:
    """Gaussian smoothing of [H, W, C] by a spread of `sigma` pixels, edges repeated; 0 leaves it."""
    if sigma <= 0:
        return image_hwc
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma)).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (0, 1):
        length = image_hwc.shape[axis]
        margin = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(image_hwc, margin, mode="edge")
        total = np.zeros_like(image_hwc)
        for at, weight in enumerate(kernel):
            total += weight * (padded[at : at + length] if axis == 0 else padded[:, at : at + length])
        image_hwc = total
    return image_hwc


def _one_by_one(
    component: Ints, a: Ints, b: Ints, weights: Floats, size: Ints, limit: NDArray[np.float64], scale: float
) -> Ints:
    """The components, [H * W], after the edges left are looked at in turn."""
    names, component = np.unique(component, return_inverse=True)
    short = np.zeros(len(size), np.int64)
    short[names] = np.arange(len(names))
    a, b = short[a], short[b]
    parent, sizes, limits = list(range(len(names))), size[names].tolist(), limit[names].tolist()
    while len(weights):
        # Before every block of edges, those are left out that cannot join anything any more.
        roots = _roots(parent)
        closed = np.array(limits)[roots] < weights[0]
        left = np.flatnonzero((roots[a] != roots[b]) & ~closed[a] & ~closed[b])
        a, b, weights = roots[a[left]], roots[b[left]], weights[left]
        block = max(LEAST, len(weights) // 4)
        for i, j, weight in zip(a[:block].tolist(), b[:block].tolist(), weights[:block].tolist(), strict=True):
            while parent[i] != i:
                parent[i] = i = parent[parent[i]]
            while parent[j] != j:
                parent[j] = j = parent[parent[j]]
            if i != j and weight <= limits[i] and weight <= limits[j]:
                _join(parent, sizes, i, j)
                limits[parent[i]] = weight + scale / sizes[parent[i]]
        a, b, weights = a[block:], b[block:], weights[block:]
    return _roots(parent)[component]


def _without_small(edges: Edges, component: Ints, smallest: int) -> Ints:
    """The components, [H * W], after those under `smallest` pixels are joined to others, lightest edges first."""
    names, component = np.unique(component, return_inverse=True)
    size = np.bincount(component)
    a, b = component[edges.ends[0]], component[edges.ends[1]]
    kept = np.flatnonzero((a != b) & ((size[a] < smallest) | (size[b] < smallest)))
    a, b = a[kept], b[kept]
    first = _first_of_pairs(a, b)
    parent, sizes = list(range(len(names))), size.tolist()
    for i, j in zip(a[first].tolist(), b[first].tolist(), strict=True):
        i, j = _root(parent, i), _root(parent, j)
        if i != j and (sizes[i] < smallest or sizes[j] < smallest):
            _join(parent, sizes, i, j)
    return _roots(parent)[component]


def _first_of_pairs(a: Ints, b: Ints) -> Ints:
    """Places of the first edge between each two components, ascending: if it does not join them, no other does."""
    pairs = np.minimum(a, b) * (int(max(a.max(), b.max())) + 1 if len(a) else 1) + np.maximum(a, b)
    return np.sort(np.unique(pairs, return_index=True)[1])


def _roots(parent: list[int]) -> Ints:
    roots = np.array(parent)
    while not np.array_equal(roots[roots], roots):
        roots = roots[roots]
    return roots


def _join(parent: list[int], sizes: list[int], i: int, j: int) -> None:
    """Two roots become one, the larger."""
    i, j = (i, j) if sizes[i] >= sizes[j] else (j, i)
    parent[j] = i
    sizes[i] += sizes[j]


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _numbered(roots: Ints) -> Ints:
    _, first, places = np.unique(roots, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[places.reshape(-1)]
