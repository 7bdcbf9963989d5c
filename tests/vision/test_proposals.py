"""Proposals: inside the picture, the same each time, and on the objects."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from isotrain.data.synthetic import scenes
from isotrain.errors import BadData, UnknownName
from isotrain.vision.colours import SPACES, hsv, lab, rgi
from isotrain.vision.proposals import NEAR, Regions, _boxes_around, _grouped, proposals


def recall(samples, most, **options):
    found = []
    for sample in samples:
        boxes = torch.tensor([thing.box for thing in sample.things])
        found.append(box_iou(boxes, proposals(sample.picture, most=most, **options)).max(1).values >= 0.5)
    return float(torch.cat(found).float().mean())


def test_proposals_find_the_shapes_of_scenes():
    assert recall(scenes(6, seed=11, size=96), most=1000) >= 0.95


@pytest.mark.slow
def test_proposals_find_the_shapes_of_many_scenes():
    samples = scenes(100, seed=12)
    assert recall(samples, most=1000) >= 0.97
    assert recall(samples, most=100) >= 0.85


@pytest.mark.slow
def test_quality_finds_no_fewer():
    samples = scenes(10, seed=12)
    assert recall(samples, most=1000, search="quality") >= 0.97


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    channels=st.sampled_from([1, 3]),
    most=st.integers(1, 300),
)
def test_proposals_lie_inside_any_picture(seed, height, width, channels, most):
    draw = torch.Generator().manual_seed(seed)
    blocks = torch.randint(256, (channels, 4, 4), generator=draw).float()
    picture = torch.nn.functional.interpolate(blocks[None], (height, width))[0].to(torch.uint8)
    found = proposals(picture, most=most, smallest=1)
    assert found.dtype == torch.float32 and 1 <= len(found) <= most
    assert (found >= 0).all() and (found[:, 2] <= width).all() and (found[:, 3] <= height).all()
    assert (found[:, 2:] > found[:, :2]).all()
    overlap = box_iou(found, found).fill_diagonal_(0)
    assert overlap.max() <= NEAR + 1e-6


def test_the_same_each_time_and_another_order_with_another_seed():
    picture = scenes(1, seed=5, size=64)[0].picture
    first, again, other = (proposals(picture, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first[:50], other[:50])


def test_a_large_picture_is_reduced_and_its_boxes_are_not():
    picture = torch.zeros(3, 600, 900, dtype=torch.uint8)
    picture[0, 120:420, 300:600] = 255
    found = proposals(picture, most=50)
    assert box_iou(torch.tensor([[300.0, 120, 600, 420]]), found).max() > 0.95


def test_an_even_picture_has_one_box():
    assert proposals(torch.full((3, 20, 30), 7, dtype=torch.uint8)).tolist() == [[0, 0, 30, 20]]


def test_faults_are_named():
    with pytest.raises(UnknownName, match="fast"):
        proposals(torch.zeros(3, 8, 8, dtype=torch.uint8), search="fats")
    with pytest.raises(BadData, match="float32"):
        proposals(torch.zeros(3, 8, 8))
    with pytest.raises(BadData):
        proposals(torch.zeros(3, 0, 8, dtype=torch.uint8))


def regions_of(cut):
    cut = np.array(cut)
    pixels = np.zeros((cut.size, 1), np.int64)
    return Regions.of(cut, pixels, np.zeros((cut.size, 8), np.int64) + np.arange(8) * 10, 1)


def test_regions_touch_their_neighbours_and_have_their_boxes():
    regions = regions_of([[0, 0, 1], [2, 2, 1], [2, 2, 1]])
    assert regions.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert regions.boxes.tolist() == [[0, 0, 2, 1], [2, 0, 3, 3], [0, 1, 2, 3]]
    assert np.allclose(regions.size, [2 / 9, 3 / 9, 4 / 9])
    assert np.allclose(regions.looks[:, :25].sum(1), 1)


@given(seed=st.integers(0, 2**31), number=st.integers(1, 9))
def test_boxes_around_are_tight(seed, number):
    rng = np.random.default_rng(seed)
    cut = rng.integers(number, size=(7, 5))
    cut = np.unique(cut, return_inverse=True)[1].reshape(7, 5)
    for region, box in enumerate(_boxes_around(cut, int(cut.max()) + 1).tolist()):
        y, x = np.nonzero(cut == region)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_the_small_are_joined_first_where_size_is_all():
    # 0 and 1 are the smallest pair; with 2 they make the whole.
    regions = regions_of([[0, 1, 2, 2, 2, 2]])
    assert _grouped(regions, "s")[3:].tolist() == [[0, 0, 2, 1], [0, 0, 6, 1]]


def test_what_fills_a_box_together_is_joined_first_where_fill_is_all():
    # The box around 1 and 2 is all theirs; the one around 0 and 1 holds much of others.
    regions = regions_of([[0, 2, 2], [0, 2, 2], [0, 1, 1]])
    joined = _grouped(regions, "f")
    assert joined[3].tolist() == [1, 0, 3, 3]
    assert joined[4].tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize("space", SPACES)
def test_colour_spaces_stay_in_range(space):
    rgb = np.random.default_rng(0).integers(256, size=(9, 9, 3)).astype(np.float32)
    rgb[0, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]]
    seen = SPACES[space](rgb)
    assert seen.dtype == np.float32 and np.isfinite(seen).all()
    assert seen.min() >= -1 and seen.max() <= 256


def test_known_colours():
    red = np.array([[[255, 0, 0]]], np.float32)
    assert np.allclose(hsv(red), [[[0, 255, 255]]])
    # CIE: sRGB red is L* 53.2, a* 80.1, b* 67.2.
    assert np.allclose(lab(red), [[[53.24 * 2.55, 80.09 + 128, 67.20 + 128]]], atol=0.3)
    shadow = np.array([[[200, 100, 60], [100, 50, 30]]], np.float32)
    assert np.allclose(rgi(shadow)[0, 0, :2], rgi(shadow)[0, 1, :2], atol=1e-4)
    assert np.allclose(hsv(shadow)[0, 0, :2], hsv(shadow)[0, 1, :2], atol=1e-4)


@pytest.mark.data
def test_proposals_find_objects_of_photos(data_dir):
    from PIL import Image

    notes = json.loads((data_dir / "coco_mini/annotations/instances_val2017.json").read_text())
    found = []
    for image in notes["images"][:2]:
        boxes = [note["bbox"] for note in notes["annotations"] if note["image_id"] == image["id"]]
        large = [(x, y, x + w, y + h) for x, y, w, h in boxes if w * h > 48 * 48]
        with Image.open(data_dir / "coco_mini/val2017" / image["file_name"]) as photo:
            picture = torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)
        if large:
            found.append(box_iou(torch.tensor(large), proposals(picture, most=1000)).max(1).values >= 0.5)
    assert torch.cat(found).float().mean() >= 0.8
