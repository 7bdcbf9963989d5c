"""The parts cover all landmarks, a mirror is undone by a mirror, errors are measured in eyes."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain.errors import BadData
from isotrain.vision.landmarks import (
    LINES,
    MIRRORED,
    PARTS,
    box_around,
    checked,
    eye_centres,
    interocular,
    mean_error,
    mirrored,
)


def a_face(seed=0):
    return 100 * torch.rand(68, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_landmark_belongs_to_one_part():
    assert sorted(place for part in PARTS.values() for place in part) == list(range(68))


def test_a_mirror_exchanges_the_sides_and_keeps_the_middle():
    assert [MIRRORED[MIRRORED[place]] for place in range(68)] == list(range(68))
    swap = {"left": "right", "right": "left"}
    for name, part in PARTS.items():
        first, _, rest = name.partition(" ")
        other = PARTS[f"{swap[first]} {rest}" if first in swap else name]
        assert {MIRRORED[place] for place in part} == set(other)
    middle = [place for place in range(68) if MIRRORED[place] == place]
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_lines_mirror_into_lines():
    edges = {frozenset(pair) for line in LINES for pair in itertools.pairwise(line)}
    assert {frozenset(MIRRORED[end] for end in edge) for edge in edges} == edges


@given(seed=st.integers(0, 1000), width=st.floats(0, 500))
def test_the_mirror_of_a_mirror_and_the_eyes_in_it(seed, width):
    points = a_face(seed)
    assert torch.allclose(mirrored(mirrored(points, width), width), points)
    eyes, other = eye_centres(points), eye_centres(mirrored(points, width))
    assert torch.allclose(other[0, 0], width - eyes[1, 0]) and torch.allclose(other[0, 1], eyes[1, 1])
    assert torch.allclose(interocular(mirrored(points, width)), interocular(points))


@given(scale=st.floats(0.1, 10))
def test_the_error_does_not_depend_on_the_pictures_size(scale):
    points, truth = torch.stack([a_face(1), a_face(2)]), torch.stack([a_face(3), a_face(4)])
    assert mean_error(points, truth).shape == (2,)
    assert torch.allclose(mean_error(scale * points, scale * truth), mean_error(points, truth))


def test_a_box_holds_its_points():
    points = torch.stack([a_face(1), a_face(2)])
    box = box_around(points)
    assert torch.allclose(box, torch.cat([points.amin(1), points.amax(1)], 1))


@pytest.mark.parametrize(
    "points, says",
    [
        (torch.zeros(5, 2), r"\[5, 2\]"),
        (torch.zeros(68, 2, dtype=torch.int64), "int64"),
        (torch.full((68, 2), torch.nan), "136"),
    ],
)
def test_what_is_no_landmarks_is_refused(points, says):
    with pytest.raises(BadData, match=says):
        checked(points)
