"""Thresholds do on the pairs what they say, probabilities are those of the two distributions, JSON keeps all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from isotrain.errors import BadCheckpoint, BadData, BadOption
from isotrain.faces.calibration import Calibration, calibrate


def normals(seed=0, number=4000, apart=2.0):
    rng = np.random.default_rng(seed)
    same = np.arange(2 * number) < number
    return rng.normal(size=2 * number) * 0.1 + 0.1 * apart * same, same


@given(seed=st.integers(0, 1000), number=st.integers(20, 2000))
def test_each_level_keeps_to_its_share(seed, number):
    similarities, same = normals(seed, number)
    found = calibrate(similarities, same)
    assert ((similarities >= found.threshold) == same).mean() == pytest.approx(found.accuracy)
    assert set(found.levels) == {far for far in (1e-1, 1e-2, 1e-3) if number * far >= 1}
    for far, level in found.levels.items():
        assert (similarities[~same] >= level.threshold).mean() == pytest.approx(level.far) and level.far <= far
        assert (similarities[same] >= level.threshold).mean() == pytest.approx(level.tar)


def test_two_normals_have_a_logistic_ratio():
    """The logarithm of the ratio of N(0.2, 0.1) and N(0, 0.1) is 20 s - 2, so that half way the probability is 1/2."""
    found = calibrate(*normals())
    assert found.slope == pytest.approx(20, rel=0.06) and found.intercept == pytest.approx(-2, abs=0.15)
    assert found.probability([0.1])[0] == pytest.approx(0.5, abs=0.02)
    assert found.accuracy == pytest.approx(norm.cdf(1), abs=0.01)
    # One pair in eleven: the odds are a tenth.
    odds = found.probability([0.15]) / (1 - found.probability([0.15]))
    rarer = found.probability([0.15], prior=1 / 11)
    assert rarer / (1 - rarer) == pytest.approx(odds / 10)


def test_the_share_of_either_kind_does_not_move_the_map():
    similarities, same = normals()
    fewer = same | (np.arange(len(same)) % 8 == 0)
    assert calibrate(similarities[fewer], same[fewer]).intercept == pytest.approx(
        calibrate(similarities, same).intercept, abs=0.3
    )


def test_pairs_that_are_told_apart_without_a_fault():
    found = calibrate([0.9, 0.8, 0.2, 0.1], [True, True, False, False])
    assert np.isfinite(found.slope) and found.accuracy == 1.0 and 0.2 < found.threshold < 0.8
    assert found.levels == {}
    chances = found.probability([-1e9, 0.1, 0.9, 1e9])
    assert chances[1] < 0.5 < chances[2] and chances[0] == pytest.approx(0) and chances[3] == pytest.approx(1)


def test_a_level_that_was_not_to_be_told():
    found = calibrate(*normals(number=150))
    assert found.at(1e-2).far <= 1e-2
    with pytest.raises(BadData, match=r"at most 0.001 of strangers: calibrated on 150 .* for 0.1, 0.01. About 10,000"):
        found.at(1e-3)


def test_it_comes_back_from_json():
    found = calibrate(*normals(number=200))
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    for broken in ({}, {**found.to_dict(), "levels": [{}]}, {**found.to_dict(), "slope": None}):
        with pytest.raises(BadCheckpoint, match="not whole"):
            Calibration.from_dict(broken)


@pytest.mark.parametrize(
    ("similarities", "same", "words"),
    [
        ([0.5, 0.5], [True, False], "all 2 similarities are 0.5"),
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], "no more alike"),
        ([0.1, 0.2], [True, True], "none of the 2 pairs is of two people"),
    ],
)
def test_pairs_that_teach_nothing(similarities, same, words):
    with pytest.raises(BadData, match=words):
        calibrate(similarities, same)


def test_options_outside_their_range():
    with pytest.raises(BadOption, match="prior is 1"):
        calibrate(*normals(number=50)).probability([0.0], prior=1)
    with pytest.raises(BadOption, match="shares of strangers"):
        calibrate(*normals(number=50), fars=(0.0,))
