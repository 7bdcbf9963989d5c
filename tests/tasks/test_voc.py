"""Average precision by VOC's rules, against cases counted by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain.data.samples import Thing
from isotrain.tasks.scores.found import Found, There, nothing
from isotrain.tasks.scores.voc import POINTS, average_precisions, mean_average_precision, precision_recall

A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0), (40.0, 0.0, 50.0, 10.0)
AWAY = (0.0, 40.0, 10.0, 50.0)


def there(*things: Thing) -> There:
    return There(things, (60, 60))


def found(*finds: tuple[tuple[float, ...], float], label: int = 0) -> Found:
    boxes, scores = [f[0] for f in finds], [f[1] for f in finds]
    return Found(torch.tensor(boxes), torch.tensor(scores), torch.full((len(finds),), label))


def both(one: There, finds: Found) -> tuple[float | None, float | None]:
    return average_precisions([one], [finds], 1, points=POINTS)[0], average_precisions([one], [finds], 1)[0]


def test_right_wrong_right() -> None:
    """Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: 6 points see 1, 5 see 2/3."""
    eleven, area = both(there(Thing(0, A), Thing(0, B)), found((A, 0.9), (AWAY, 0.8), (B, 0.7)))
    assert eleven == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_second_find_of_an_object_is_wrong() -> None:
    eleven, area = both(there(Thing(0, A), Thing(0, B)), found((A, 0.9), (A, 0.8), (B, 0.7)))
    assert (eleven, area) == (pytest.approx((6 + 5 * 2 / 3) / 11), pytest.approx(0.5 + 1 / 3))


def test_the_surer_find_takes_the_object_whatever_the_order_given() -> None:
    looser = (0.0, 0.0, 10.0, 7.0)
    curve = precision_recall([there(Thing(0, A))], [found((A, 0.5), (looser, 0.9))], 0)
    assert curve is not None
    assert curve[0].tolist() == [1.0, 0.5]


def test_a_find_belongs_to_the_object_it_overlaps_most_even_if_that_is_taken() -> None:
    """VOC does not look for a second best object (COCO does)."""
    near = (0.0, 0.0, 10.0, 12.0)  # overlaps A with 10/12
    finds = found((A, 0.9), ((0.0, 0.0, 10.0, 10.9), 0.8))  # second: nearer to A (10/10.9) than to `near` (10.9/12)
    curve = precision_recall([there(Thing(0, A), Thing(0, near))], [finds], 0)
    assert curve is not None
    assert curve[1].tolist() == [0.5, 0.5]


def test_crowds_do_not_count() -> None:
    eleven, area = both(there(Thing(0, A, crowd=True), Thing(0, B)), found((A, 0.9), (A, 0.85), (B, 0.8)))
    assert (eleven, area) == (1.0, 1.0)


def test_half_overlap_is_enough_and_less_is_not() -> None:
    half, less = (0.0, 0.0, 10.0, 5.0), (0.0, 0.0, 10.0, 4.99)
    assert both(there(Thing(0, A)), found((half, 1.0))) == (1.0, 1.0)
    assert both(there(Thing(0, A)), found((less, 1.0))) == (0.0, 0.0)


def test_classes_apart_and_absent_ones_left_out_of_the_mean() -> None:
    pictures, finds = [there(Thing(0, A), Thing(1, B))], [found((A, 0.9), (B, 0.8))]
    assert average_precisions(pictures, finds, 3) == [1.0, 0.0, None]
    assert mean_average_precision(pictures, finds, 3) == 0.5
    assert mean_average_precision([there()], [nothing()], 3) is None


def test_finds_of_all_pictures_compete() -> None:
    pictures = [there(Thing(0, A)), there(Thing(0, A))]
    finds = [found((A, 0.5)), found((AWAY, 0.9), (A, 0.1))]
    # By score: wrong, right, right: precision 0, 1/2, 2/3.
    assert average_precisions(pictures, finds, 1) == [pytest.approx(2 / 3)]


def test_nothing_found() -> None:
    assert both(there(Thing(0, A)), nothing()) == (0.0, 0.0)


def test_eleven_points_at_recalls_that_are_tenths() -> None:
    """A recall of 3/10 reaches the point 0.3, whatever rounding says."""
    boxes = [(12.0 * n, 0.0, 12.0 * n + 10, 10.0) for n in range(10)]
    pictures = [There([Thing(0, box) for box in boxes], (20, 200))]
    for hits in range(1, 11):
        finds = [found(*((box, 0.9) for box in boxes[:hits]))]
        assert average_precisions(pictures, finds, 1, points=POINTS) == [pytest.approx((hits + 1) / 11)]


@given(st.lists(st.tuples(st.sampled_from([A, B, C, AWAY]), st.integers(0, 5)), max_size=8))
def test_between_0_and_1_and_falling_when_the_surest_find_is_wrong(finds: list[tuple[tuple[float, ...], int]]) -> None:
    one = there(Thing(0, A), Thing(0, B), Thing(0, C))
    plain = found(*((box, score / 10) for box, score in finds)) if finds else nothing()
    worse = found(*((box, score / 10) for box, score in finds), (AWAY, 0.99))
    for before, after in zip(both(one, plain), both(one, worse), strict=True):
        assert before is not None and after is not None
        assert 0 <= after <= before <= 1
