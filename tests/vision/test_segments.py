"""The quick segmentation against the paper's algorithm, edge by edge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrain.vision.segments import edges_of, segments, smoothed


def edge_by_edge(edges, scale, smallest):
    parent = list(range(edges.height * edges.width))
    size, limit = [1] * len(parent), [scale] * len(parent)

    def root(node):
        while parent[node] != node:
            node = parent[node]
        return node

    triples = list(zip(*edges.ends.tolist(), edges.weights.tolist(), strict=True))
    for small_only in (False, True):
        for i, j, weight in triples:
            i, j = root(i), root(j)
            joins = min(size[i], size[j]) < smallest if small_only else weight <= min(limit[i], limit[j])
            if i != j and joins:
                parent[j] = i
                size[i] += size[j]
                limit[i] = weight + scale / size[i]
    return np.array([root(node) for node in range(len(parent))]).reshape(edges.height, edges.width)


def same_partition(a, b):
    pairs = len(np.unique(a.ravel() * (b.max() + 1) + b.ravel()))
    return pairs == len(np.unique(a)) == len(np.unique(b))


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    levels=st.sampled_from([2, 5, 256]),
    scale=st.sampled_from([1.0, 30.0, 300.0]),
    smallest=st.sampled_from([1, 4, 20]),
)
def test_segments_are_the_papers(seed, height, width, levels, scale, smallest):
    # Few levels make many equal weights.
    rng = np.random.default_rng(seed)
    image = (rng.integers(levels, size=(height, width, 3)) * (255 / levels)).astype(np.float32)
    edges = edges_of(image, sigma=float(rng.choice([0.0, 0.8])))
    assert same_partition(segments(edges, scale, smallest), edge_by_edge(edges, scale, smallest))


@pytest.mark.parametrize("scale", [20.0, 150.0])
def test_segments_of_a_larger_picture_are_the_papers(scale):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:90, :120].astype(np.float32)
    image = np.stack([x + y, 90 + 60 * np.sin(x / 9), 120 + 0 * x], -1) + rng.normal(0, 6, (90, 120, 3))
    image[20:60, 30:70] += 60
    edges = edges_of(image.astype(np.float32))
    found = segments(edges, scale, 20)
    assert found.max() > 1
    assert same_partition(found, edge_by_edge(edges, scale, 20))


def test_numbers_have_no_gaps_and_none_is_small():
    image = np.random.default_rng(2).integers(256, size=(40, 50, 3)).astype(np.float32)
    found = segments(edges_of(image), scale=50, smallest=25)
    counts = np.bincount(found.ravel())
    assert counts.min() >= 25 and counts.sum() == 2000
    assert found[0, 0] == 0
    _, first = np.unique(found, return_index=True)
    assert (np.diff(first) > 0).all()


def test_every_edge_is_there_once():
    edges = edges_of(np.zeros((3, 4, 1), np.float32))
    assert edges.ends.shape == (2, 3 * 3 + 2 * 4 + 2 * 2 * 3)
    pairs = {tuple(sorted(pair)) for pair in edges.ends.T.tolist()}
    assert len(pairs) == edges.ends.shape[1]
    for a, b in pairs:
        assert max(abs(a // 4 - b // 4), abs(a % 4 - b % 4)) == 1


def test_smoothing_keeps_an_even_picture_and_the_mean():
    even = np.full((9, 7, 2), 3.0, np.float32)
    assert np.allclose(smoothed(even, 0.8), even, atol=1e-5)
    point = np.zeros((15, 15, 1), np.float32)
    point[7, 7] = 1
    spread = smoothed(point, 0.8)[..., 0]
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert spread[7, 7] == spread.max() and np.allclose(spread, spread.T)
    rows = np.arange(15) - 7
    assert (spread.sum(1) * rows**2).sum() == pytest.approx(0.64, rel=0.05)
