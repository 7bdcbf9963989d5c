"""Masks from outlines, pixel for pixel as pycocotools draws them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from isotrain.data.outlines import MaskPicture, Polygons, RunLengths, bounds, box_of, decode, encode_rle, rle
from isotrain.data.outlines import run_lengths as runs_of
from isotrain.errors import BadData

# pycocotools decodes with an older call of NumPy's.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def by_coco(rings, height, width):
    return torch.from_numpy(coco.decode(coco.merge(coco.frPyObjects([list(r) for r in rings], height, width)))).bool()


numbers = st.one_of(
    st.floats(-20, 60, allow_nan=False).map(lambda value: round(value, 2)), st.integers(-5, 45).map(float)
)
rings = st.lists(st.lists(numbers, min_size=6, max_size=14).map(lambda v: v[: len(v) // 2 * 2]), min_size=1, max_size=3)


@given(rings=rings, height=st.integers(1, 40), width=st.integers(1, 40))
def test_polygons_are_filled_as_coco_fills_them(rings, height, width):
    mask = decode(Polygons(tuple(map(tuple, rings))), height, width)
    assert mask.dtype is torch.bool and mask.shape == (height, width)
    assert torch.equal(mask, by_coco(rings, height, width))


def test_many_random_polygons():
    draw = np.random.default_rng(0)
    for _ in range(300):
        height, width = draw.integers(1, 90, 2).tolist()
        ring = np.round(draw.uniform(-10, 100, 2 * draw.integers(3, 30)), 2)
        if draw.random() < 0.3:
            ring = np.round(ring)
        assert torch.equal(decode(Polygons((tuple(ring),)), height, width), by_coco([ring.tolist()], height, width))


masks = st.integers(0, 2**32 - 1).map(
    lambda seed: torch.from_numpy(
        np.random.default_rng(seed).random(np.random.default_rng(seed).integers(1, 60, 2)) < (seed % 11) / 10
    )
)


@given(mask=masks)
def test_run_lengths_go_round_and_equal_cocos(mask):
    height, width = mask.shape
    theirs = coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    ours = encode_rle(mask)
    assert ours == {"size": [height, width], "counts": theirs["counts"].decode()}
    assert torch.equal(decode(rle(ours["counts"], ours["size"]), height, width), mask)
    assert torch.equal(decode(runs_of(mask), height, width), mask)
    assert bounds(runs_of(mask)) == box_of(mask)


@pytest.mark.parametrize(
    ("counts", "size", "said"),
    [
        ("", (2, 2), "cover 0 pixels"),
        ("12", (2, 2), "cover 3"),
        ("é1", (1, 1), "not a compressed"),
        ("12Q", (2, 2), "cut"),
    ],
)
def test_broken_run_lengths(counts, size, said):
    with pytest.raises(BadData, match=said):
        rle(counts, size)


def test_mask_pictures(tmp_path):
    values = np.zeros((4, 6), dtype=np.uint8)
    values[1:3, 2:5], values[0, 0] = 1, 2
    picture = Image.fromarray(values, mode=None)
    palette = picture.convert("P")
    palette.putdata(values.flatten().tolist())
    palette.save(tmp_path / "objects.png")
    mask = decode(MaskPicture(tmp_path / "objects.png", 1), 4, 6)
    assert mask.sum() == 6 and box_of(mask) == (2.0, 1.0, 5.0, 3.0)
    assert decode(MaskPicture(tmp_path / "objects.png"), 4, 6).sum() == 7
    with pytest.raises(BadData, match=r"objects\.png is 4 x 6, its picture 6 x 4"):
        decode(MaskPicture(tmp_path / "objects.png", 1), 6, 4)
    with pytest.raises(BadData, match=r"gone\.png"):
        decode(MaskPicture(tmp_path / "gone.png"), 6, 4)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(BadData, match="2 x 2"):
        decode(RunLengths((1, 2, 1), (2, 2)), 2, 3)
    with pytest.raises(BadData, match="3 x 2"):
        decode(torch.ones(3, 2), 2, 3)
    assert box_of(torch.zeros(2, 2, dtype=torch.bool)) is None
    assert bounds(Polygons(((1, 2, 5, 2, 5, 8), (0, 3, 1, 3, 1, 4)))) == (0.0, 2.0, 5.0, 8.0)


@pytest.mark.data
def test_every_mask_of_coco_mini(data_dir):
    content = json.loads((data_dir / "coco_mini" / "annotations" / "instances_val2017.json").read_text())
    sizes = {picture["id"]: (picture["height"], picture["width"]) for picture in content["images"]}
    for annotation in content["annotations"][:400] + [a for a in content["annotations"] if a["iscrowd"]]:
        height, width = sizes[annotation["image_id"]]
        drawn = annotation["segmentation"]
        if isinstance(drawn, dict):
            theirs = torch.from_numpy(coco.decode(coco.frPyObjects(drawn, height, width))).bool()
            assert torch.equal(decode(rle(drawn["counts"], drawn["size"]), height, width), theirs)
        else:
            ours = decode(Polygons(tuple(map(tuple, drawn))), height, width)
            assert torch.equal(ours, by_coco(drawn, height, width))
