"""B-cubed against slow code, and at its two ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrain.errors import BadData
from isotrain.tasks.scores.clusters import b_cubed


@given(seed=st.integers(0, 10_000), number=st.integers(1, 60))
def test_it_is_that_of_slow_code(seed, number):
    rng = np.random.default_rng(seed)
    cluster, person = rng.integers(-1, 5, number), rng.integers(4, size=number)
    precision, recall = [], []
    for i in range(number):
        inside = [j for j in range(number) if j == i or (cluster[j] == cluster[i] >= 0)]
        own = [j for j in range(number) if person[j] == person[i]]
        both = len(set(inside) & set(own))
        precision.append(both / len(inside))
        recall.append(both / len(own))
    found = b_cubed(cluster, person)
    assert found.precision == pytest.approx(np.mean(precision)) and found.recall == pytest.approx(np.mean(recall))


def test_the_two_ends():
    people = np.repeat(["a", "b"], 5)
    assert b_cubed(np.repeat([3, 1], 5), people) == (1.0, 1.0, 1.0)
    assert b_cubed([-1] * 10, people)[:2] == (1.0, pytest.approx(0.2))
    assert b_cubed([0] * 10, people)[:2] == (0.5, 1.0)


@pytest.mark.parametrize(("cluster", "person"), [([], []), ([0], ["a", "b"])])
def test_what_does_not_fit(cluster, person):
    with pytest.raises(BadData, match="not those of the same things"):
        b_cubed(cluster, person)
