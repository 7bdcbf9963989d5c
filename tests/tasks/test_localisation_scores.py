"""Localisation's scores on cases made by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from isotrain.tasks.scores.localisation import (
    average_precision,
    average_precisions,
    correctly_localised,
    mean_of_known,
    per_class,
    pointing_precisions,
    points_hit,
    tolerance,
)


def test_average_precision_by_hand():
    # Ranked: right, wrong, right, wrong, right: precisions 1, 2/3, 3/5 at recalls 1/3, 2/3, 1.
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    right = torch.tensor([True, False, True, False, True])
    assert average_precision(scores, right) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    # Levels 0 to 0.3 reach 1, 0.4 to 0.6 reach 2/3, 0.7 to 1 reach 3/5.
    assert average_precision(scores, right, eleven=True) == pytest.approx((4 + 3 * 2 / 3 + 4 * 3 / 5) / 11)


def test_a_later_higher_precision_counts_for_lower_recalls():
    scores = torch.tensor([0.9, 0.8, 0.7])
    right = torch.tensor([False, True, True])
    assert average_precision(scores, right) == pytest.approx(2 / 3)
    assert average_precision(scores, right, eleven=True) == pytest.approx(2 / 3)


def test_recall_levels_are_not_missed_by_rounding():
    # Three of ten right first: 0.3 is reached, though 3/10 and 3*0.1 differ in floating point.
    scores = torch.arange(20, 0, -1).float()
    right = torch.tensor([True] * 3 + [False] * 10 + [True] * 7)
    level = 0.5  # 10 right of the last of 20
    assert average_precision(scores, right, eleven=True) == pytest.approx((4 * 1 + 7 * level) / 11)


def test_equal_scores_are_one_step():
    right = torch.tensor([True, False])
    same = torch.tensor([0.5, 0.5])
    assert average_precision(same, right) == average_precision(same, right.flip(0)) == 0.5


def test_a_class_never_there_has_no_precision():
    assert average_precision(torch.rand(3), torch.zeros(3, dtype=torch.bool)) is None
    assert average_precisions(torch.rand(3, 2), torch.tensor([[True, False]] * 3)) == [1.0, None]
    assert mean_of_known([None, None]) is None


@given(seed=st.integers(0, 10_000), count=st.integers(2, 30))
def test_the_area_is_never_below_the_raw_curve(seed, count):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 8, (count,), generator=generator).float()
    right = torch.rand(count, generator=generator) < 0.4
    right[0] = True
    raw = average_precision_score(right.numpy(), scores.numpy())
    ours = average_precision(scores, right)
    assert raw - 1e-9 <= ours <= 1 + 1e-9


def test_a_point_is_in_a_box_up_to_its_excluded_edge():
    box = torch.tensor([[2.0, 2.0, 6.0, 4.0]])
    points = torch.tensor([[2.0, 2.0], [6.0, 3.0], [5.9, 3.9], [7.0, 3.0], [1.0, 1.0]])
    assert points_hit(points, [box] * 5).tolist() == [True, False, True, False, False]
    assert points_hit(points, [box] * 5, 1.5).tolist() == [True, True, True, True, True]
    assert points_hit(points[:1], [torch.zeros(0, 4)]).tolist() == [False]


def test_any_of_several_boxes_will_do():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 9.0, 9.0]])
    assert points_hit(torch.tensor([[6.0, 6.0]]), [boxes]).tolist() == [True]
    assert correctly_localised(torch.tensor([[5.0, 5.0, 9.0, 8.0]]), [boxes]).tolist() == [True]
    assert correctly_localised(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), [boxes]).tolist() == [False]
    assert correctly_localised(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), [torch.zeros(0, 4)]).tolist() == [False]


def test_the_papers_tolerance_scales():
    assert tolerance(500, 333) == 18.0
    assert tolerance(50, 33) == pytest.approx(1.8)


def test_a_point_that_misses_costs_precision_and_recall():
    # Class 0 is in both pictures; the surer one's point misses: precision 1/2 at recall 1/2.
    scores = torch.tensor([[0.9, 0.1], [0.6, 0.2]])
    found = pointing_precisions(scores, torch.tensor([False, True]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert found == [pytest.approx(0.25), None]


def test_shares_of_each_class():
    assert per_class(torch.tensor([True, False, True]), torch.tensor([0, 0, 2]), 3) == [0.5, None, 1.0]
