"""Deltas lead back to the box they were made from, boxes stay in the picture, a letterbox can be undone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from isotrain.vision.boxes import DELTA_WEIGHTS, Letterbox, clean, decode, encode


def some_boxes(seed, number=20, side=200.0):
    draw = torch.Generator().manual_seed(seed)
    corner = side * torch.rand(number, 2, generator=draw, dtype=torch.float64)
    return torch.cat([corner, corner + 0.5 + side * torch.rand(number, 2, generator=draw, dtype=torch.float64)], 1)


seeds = st.integers(0, 2**31)


@given(seed=seeds, weights=st.tuples(*[st.floats(0.1, 20)] * 4))
def test_decode_inverts_encode(seed, weights):
    boxes, regions = some_boxes(seed), some_boxes(seed + 1)
    # Within the bound on growth.
    regions = torch.cat([regions[:, :2], regions[:, :2] + 4 + (regions[:, 2:] - regions[:, :2])], 1)
    assert torch.allclose(decode(encode(boxes, regions, weights), regions, weights), boxes, atol=1e-6)


@given(seed=seeds)
def test_deltas_are_torchvisions(seed):
    boxes, regions = some_boxes(seed).float(), some_boxes(seed + 1).float()
    coder = BoxCoder(DELTA_WEIGHTS)
    assert torch.allclose(encode(boxes, regions), coder.encode([boxes], [regions])[0], atol=1e-4)
    deltas = torch.randn(20, 4, generator=torch.Generator().manual_seed(seed)) * 3
    assert torch.allclose(decode(deltas, regions), coder.decode(deltas, [regions])[:, 0], rtol=1e-4, atol=1e-3)


def test_deltas_of_every_class_at_once():
    regions, deltas = some_boxes(3, 5), torch.randn(5, 7, 4, dtype=torch.float64)
    decoded = decode(deltas, regions[:, None])
    assert decoded.shape == (5, 7, 4)
    assert torch.allclose(decoded[:, 4], decode(deltas[:, 4], regions))


def test_growth_is_bounded():
    grown = decode(torch.tensor([[0.0, 0, 1e6, 1e6]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert torch.allclose(grown[0, 2:] - grown[0, :2], torch.tensor([1000.0, 1000.0]), rtol=1e-4)


@given(seed=seeds, height=st.integers(1, 150), width=st.integers(1, 150))
def test_clean_boxes_lie_inside_and_are_not_small(seed, height, width):
    boxes = some_boxes(seed) - 60
    kept, places = clean(boxes, height, width, smallest=1)
    assert (kept >= 0).all() and (kept[:, 2] <= width).all() and (kept[:, 3] <= height).all()
    assert (kept[:, 2:] - kept[:, :2] >= 1).all()
    clipped = boxes.clone()
    clipped[:, 0::2] = clipped[:, 0::2].clamp(0, width)
    clipped[:, 1::2] = clipped[:, 1::2].clamp(0, height)
    assert torch.equal(clipped[places], kept)
    assert len(places) == int(((clipped[:, 2:] - clipped[:, :2]) >= 1).all(1).sum())


sides = st.integers(1, 700)


@given(height=sides, width=sides, to_height=sides, to_width=sides, seed=seeds)
def test_a_letterbox_can_be_undone_and_holds_the_picture(height, width, to_height, to_width, seed):
    fit = Letterbox(height, width, to_height, to_width)
    whole = torch.tensor([0.0, 0, width, height], dtype=torch.float64)
    inside = fit.to(whole)
    assert (inside >= 0).all() and inside[2] <= to_width and inside[3] <= to_height
    boxes = some_boxes(seed)
    assert torch.allclose(fit.back(fit.to(boxes)), boxes, atol=1e-6)


def test_a_letterboxed_picture_lies_where_its_box_says():
    fit = Letterbox(height=30, width=60, to_height=64, to_width=32)
    framed = fit.picture(torch.ones(3, 30, 60), fill=-1.0)
    left, top, right, bottom = (int(edge) for edge in fit.to(torch.tensor([0.0, 0, 60, 30])).tolist())
    assert framed.shape == (3, 64, 32)
    assert torch.allclose(framed[:, top:bottom, left:right], torch.tensor(1.0))
    assert int((framed > 0).sum()) == 3 * (bottom - top) * (right - left)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), DELTA_WEIGHTS])
def test_no_delta_leaves_the_region(weights):
    regions = some_boxes(4)
    assert torch.allclose(decode(torch.zeros(20, 4, dtype=torch.float64), regions, weights), regions)
