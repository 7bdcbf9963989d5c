"""Dice's coefficient on masks small enough to count by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain.tasks.scores.dice import dice


def mask(*pixels: int) -> torch.Tensor:
    found = torch.zeros(8, dtype=torch.bool)
    found[list(pixels)] = True
    return found


def test_pooled_counts_pixels_and_the_mean_counts_pictures() -> None:
    scores = dice([(mask(0, 1, 2, 3), mask(0, 1, 2, 3)), (mask(0), mask(1))])
    assert scores["dice"] == 2 * 4 / 10
    assert scores["dice_picture"] == 0.5


def test_an_empty_picture_is_all_right_or_all_wrong() -> None:
    assert dice([(mask(), mask())]) == {"dice": 1.0, "dice_picture": 1.0, "dice_object": 1.0}
    right = dice([(mask(0, 1), mask(0, 1)), (mask(), mask())])
    wrong = dice([(mask(0, 1), mask(0, 1)), (mask(5), mask())])
    assert right["dice_picture"] == 1.0 and wrong["dice_picture"] == 0.5
    assert wrong["dice"] == 4 / 5 and wrong["dice_object"] == 1.0


def test_a_missed_object_counts_nothing() -> None:
    assert dice([(mask(), mask(1, 2))]) == {"dice": 0.0, "dice_picture": 0.0, "dice_object": 0.0}


def test_masks_of_two_sizes_are_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="true one"):
        dice([(mask(), torch.zeros(4, dtype=torch.bool))])


@given(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_it_does_not_matter_which_is_the_true_one(a: set[int], b: set[int]) -> None:
    one, other = dice([(mask(*a), mask(*b))]), dice([(mask(*b), mask(*a))])
    assert one["dice"] == other["dice"] and 0 <= one["dice"] <= 1
    assert (one["dice"] == 1) == (a == b)
