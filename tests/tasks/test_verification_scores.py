"""Scores of verification and identification, against scikit-learn and against slow obvious code, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics

from isotrain.errors import BadData
from isotrain.tasks.scores.identification import open_set, rank_k, ranked
from isotrain.tasks.scores.intervals import over_folds, resampled, wilson
from isotrain.tasks.scores.verification import (
    accuracy_at,
    auc,
    auc_interval,
    best_threshold,
    equal_error,
    equal_error_interval,
    roc,
    tar_at_far,
)

seeds = st.integers(0, 10_000)
levels = st.sampled_from([2, 5, 1000])
"""How many different similarities there are: few make ties."""


def some(seed, count=60, levels=1000):
    rng = np.random.default_rng(seed)
    same = rng.permutation(np.arange(count) % 3 == 0)
    similarities = (
        (rng.normal(size=count) + same).round(2) if levels == 1000 else rng.integers(levels, size=count) / levels
    )
    return similarities, same


@given(seed=seeds, levels=levels)
def test_the_curve_and_its_area_are_sklearns(seed, levels):
    similarities, same = some(seed, levels=levels)
    curve = roc(similarities, same)
    far, tar, thresholds = metrics.roc_curve(same, similarities, drop_intermediate=False)
    assert np.allclose(curve.far, far) and np.allclose(curve.tar, tar)
    assert np.array_equal(curve.thresholds[1:], thresholds[1:])
    assert auc(curve) == pytest.approx(metrics.roc_auc_score(same, similarities))
    assert auc_interval(similarities, same).value == pytest.approx(auc(curve))


@given(seed=seeds, levels=levels)
def test_every_point_of_the_curve_is_what_its_threshold_does(seed, levels):
    similarities, same = some(seed, levels=levels)
    for threshold, far, tar in zip(*roc(similarities, same), strict=True):
        assert far == pytest.approx((similarities[~same] >= threshold).mean())
        assert tar == pytest.approx((similarities[same] >= threshold).mean())


@given(seed=seeds, levels=levels, count=st.integers(1, 30))
def test_no_threshold_is_better_than_the_best(seed, levels, count):
    similarities, same = some(seed, count, levels)
    threshold, accuracy = best_threshold(similarities, same)
    assert np.isfinite(threshold)
    assert accuracy == pytest.approx(accuracy_at(similarities, same, threshold))
    tries = np.concatenate([similarities, similarities - 1e-9, similarities + 1e-9, [-9.0, 9.0]])
    assert accuracy == pytest.approx(max(accuracy_at(similarities, same, one) for one in tries))


def test_of_equally_good_thresholds_the_middle_one():
    # Anything from above 0.1 to 0.9 answers all; so does no other.
    assert best_threshold([0.9, 0.1], [True, False]) == (0.5, 1.0)
    # Between neighbouring numbers there is no middle.
    upper = np.nextafter(0.5, 1)
    assert best_threshold([upper, 0.5], [True, False]) == (upper, 1.0)
    assert best_threshold([0.2, 0.4], [True, True]) == (0.2, 1.0)
    assert accuracy_at([0.2, 0.4], [False, False], best_threshold([0.2, 0.4], [False, False])[0]) == 1.0


@given(seed=seeds, levels=levels)
def test_equal_error_lies_on_the_curve_where_both_errors_are_equal(seed, levels):
    curve = roc(*some(seed, levels=levels))
    error = equal_error(curve)
    # The line from (0, 1) to (1, 0) meets the curve once: bisection along the polyline's parameter.
    at = np.arange(len(curve.far), dtype=float)
    low, high = 0.0, at[-1]
    for _ in range(60):
        middle = (low + high) / 2
        far, tar = np.interp(middle, at, curve.far), np.interp(middle, at, curve.tar)
        low, high = (middle, high) if far < 1 - tar else (low, middle)
    assert error == pytest.approx(np.interp(low, at, curve.far), abs=1e-6)


def test_equal_error_of_two_normal_distributions():
    """Unit normals two apart cross at one standard deviation."""
    spread = norm.ppf((np.arange(4000) + 0.5) / 4000)
    similarities = np.concatenate([spread + 2, spread])
    assert equal_error(roc(similarities, np.arange(8000) < 4000)) == pytest.approx(norm.cdf(-1), abs=1e-3)
    assert auc(roc(similarities, np.arange(8000) < 4000)) == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=1e-3)


@given(seed=seeds, levels=levels, far=st.sampled_from([0.5, 0.1, 0.03]))
def test_tar_at_far_is_that_of_the_lowest_threshold_allowed(seed, levels, far):
    similarities, same = some(seed, levels=levels)
    found = tar_at_far(similarities, same, far, times=20)
    best = -1.0
    for threshold in [*similarities, 99.0]:
        if (similarities[~same] >= threshold).mean() <= far:
            best = max(best, (similarities[same] >= threshold).mean())
    assert found.tar.value == pytest.approx(best)
    assert found.far == pytest.approx((similarities[~same] >= found.threshold).mean()) and found.far <= far
    assert found.tar.low <= found.tar.high


def test_too_few_strangers_to_say():
    same = np.arange(20) < 10
    assert tar_at_far(np.arange(20.0), same, 0.09) is None
    assert tar_at_far(np.arange(20.0), same, 0.1) is not None
    # 1,000 negatives allow just one at 1e-3, in spite of rounding.
    similarities, same = np.append(np.linspace(0, 1, 1000), 0.9995), np.arange(1001) == 1000
    assert tar_at_far(similarities, same, 1e-3, times=0).far == pytest.approx(1e-3)
    assert tar_at_far(similarities, same, 1e-3, times=0).tar.value == 1.0


def test_strangers_more_alike_than_anyone():
    found = tar_at_far([0.9] * 10 + [0.5] * 10, np.arange(20) >= 10, 0.1, times=5)
    assert found.tar.value == 0.0 and found.far == 0.0 and found.threshold > 0.9


@pytest.mark.parametrize("score", [roc, auc_interval, equal_error_interval, lambda s, y: tar_at_far(s, y, 0.1)])
@pytest.mark.parametrize("same", [[True, True], [False, False]])
def test_one_kind_of_pairs_cannot_be_scored(score, same):
    with pytest.raises(BadData, match="none of the 2 pairs is of"):
        score([0.1, 0.2], same)


@pytest.mark.parametrize(
    ("similarities", "same", "words"),
    [
        ([], [], "not those of the same pairs"),
        ([0.1], [True, False], "not those of the same pairs"),
        ([0.1, float("nan")], [True, False], "pair 1 is nan"),
        ([float("inf"), 0.2], [True, False], "pair 0 is inf"),
    ],
)
def test_broken_similarities(similarities, same, words):
    with pytest.raises(BadData, match=words):
        best_threshold(similarities, same)


def test_wilson_is_the_root_of_its_equation():
    for hits, total in ((1, 10), (37, 40), (500, 1000)):
        rate = wilson(hits, total)
        for bound in (rate.low, rate.high):
            assert abs(rate.value - bound) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / total), rel=1e-5)
    assert wilson(10, 10).high == 1.0 and wilson(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def test_over_folds_by_hand():
    mean, error = over_folds([0.8, 0.9, 1.0])
    assert mean == pytest.approx(0.9) and error == pytest.approx(0.1 / np.sqrt(3))
    with pytest.raises(ValueError, match="1 fold"):
        over_folds([0.5])


def test_intervals_cover_as_often_as_they_say():
    """Two unit normals one apart, a hundred times: both kinds of interval hold the true area 95 % of the time."""
    truth = norm.cdf(1 / np.sqrt(2))
    rng = np.random.default_rng(3)
    same = np.arange(120) < 60
    held = {"delong": 0, "bootstrap": 0}
    for _ in range(100):
        similarities = rng.normal(size=120) + same
        delong = auc_interval(similarities, same)
        held["delong"] += delong.low <= truth <= delong.high
        boot = resampled(lambda s, y: auc(roc(s, y)), similarities, same, times=60)
        held["bootstrap"] += boot.low <= truth <= boot.high
    assert 88 <= held["delong"] <= 100 and 84 <= held["bootstrap"] <= 100


def gallery_case(seed, levels):
    rng = np.random.default_rng(seed)
    gallery, probe = rng.integers(6, size=15), rng.integers(9, size=40)
    similarities = rng.normal(size=(40, 15)) + (probe[:, None] == gallery)
    return (similarities * levels).round() / levels, probe, gallery


@given(seed=seeds, levels=st.sampled_from([1, 1000]))
def test_ranks_are_those_of_slow_code(seed, levels):
    similarities, probe, gallery = gallery_case(seed, levels)
    found = ranked(similarities, probe, gallery)
    for row, person, rank, best in zip(similarities, probe, found.rank, found.best, strict=True):
        scores = {}
        for similarity, who in zip(row, gallery, strict=True):
            scores[who] = max(scores.get(who, -np.inf), similarity)
        assert best == max(scores.values())
        others = [score for who, score in scores.items() if who != person]
        assert rank == (1 + sum(score >= scores[person] for score in others) if person in scores else 0)
    rates = rank_k(found, (1, 3, 6))
    assert rates[1].value <= rates[3].value <= rates[6].value == 1.0


@given(seed=seeds, levels=st.sampled_from([1, 1000]), far=st.sampled_from([0.1, 0.3, 1.0]))
def test_open_set_is_that_of_slow_code(seed, levels, far):
    similarities, probe, gallery = gallery_case(seed, levels)
    found = ranked(similarities, probe, gallery)
    known = np.isin(probe, gallery)
    result = open_set(found, far)
    if (~known).sum() * far < 1:
        assert result is None
        return
    best = 0.0
    for threshold in [*found.best, found.best.max() + 1]:
        if (found.best[~known] >= threshold).mean() <= far + 1e-12:
            best = max(best, ((found.rank == 1) & (found.best >= threshold))[known].mean())
    assert result.rate.value == pytest.approx(best)
    assert result.far == pytest.approx((found.best[~known] >= result.threshold).mean()) and result.far <= far + 1e-12


def test_nobody_known():
    found = ranked([[0.5]], [1], [2])
    for score in (rank_k, lambda one: open_set(one, 1.0)):
        with pytest.raises(BadData, match="none of the 1 probes"):
            score(found)


def test_broken_galleries():
    with pytest.raises(BadData, match="not of 1 probes and 2 pictures"):
        ranked([[0.5]], [1], [2, 3])
    with pytest.raises(BadData, match="0 pictures"):
        ranked(np.zeros((1, 0)), [1], [])
    with pytest.raises(BadData, match="not finite"):
        ranked([[np.nan]], [1], [2])
