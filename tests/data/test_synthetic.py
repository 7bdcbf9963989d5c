"""The generated twins: the same from the same seed, and their boxes, masks and words are true."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isotrain.data.outlines import MaskPicture, Polygons, RunLengths
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.synthetic import (
    SHAPES,
    caption_of,
    clutter_dataset,
    clutter_digits,
    scene_dataset,
    scenes,
    shapes_dataset,
    write_coco,
)
from isotrain.data.synthetic.coco import run_lengths
from isotrain.data.synthetic.draws import Part
from isotrain.data.synthetic.shape import coverage
from isotrain.errors import BadData, BadOption

seeds = st.integers(0, 2**31)


def same(a, b):
    assert torch.equal(a.picture, b.picture)
    assert (a.labels, a.name) == (b.labels, b.name)
    assert [(t.label, t.box) for t in a.things] == [(t.label, t.box) for t in b.things]
    for one, other in zip(a.things, b.things, strict=True):
        assert one.mask is other.mask is None or torch.equal(one.mask, other.mask)


def a_few_digits():
    pictures = torch.zeros(3, 8, 8)
    pictures[0, 1:7, 2:6] = 16
    pictures[1, 0:8, 1:7] = 9
    pictures[2, 2:6, 1:8] = 12
    return pictures, torch.tensor([4, 7, 9])


@given(seed=seeds, size=st.integers(32, 100))
def test_masks_are_within_tight_boxes_and_never_overlap(seed, size):
    for sample in scenes(2, seed, size):
        assert sample.picture.shape == (3, size, size) and sample.picture.dtype == torch.uint8
        assert sample.labels == tuple(sorted({thing.label for thing in sample.things}))
        together = torch.zeros(size, size, dtype=torch.long)
        for thing in sample.things:
            assert thing.mask.dtype == torch.bool and thing.mask.shape == (size, size)
            y, x = torch.nonzero(thing.mask, as_tuple=True)
            assert thing.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
            together += thing.mask
        assert together.max() <= 1


@given(seed=seeds)
def test_a_sample_hangs_on_seed_part_and_place_alone(seed):
    pictures, labels = a_few_digits()
    for make in (
        lambda number, part: scenes(number, seed, 40, part),
        lambda number, part: clutter_digits(pictures, labels, number, seed, 40, part=part),
    ):
        few, many, others = make(2, Part.TRAIN), make(4, Part.TRAIN), make(2, Part.TEST)
        for a, b in zip(few, many, strict=False):
            same(a, b)
        assert not torch.equal(many[0].picture, many[1].picture)
        assert not torch.equal(few[0].picture, others[0].picture)


def test_another_seed_gives_other_scenes():
    assert not torch.equal(scenes(1, 1, 40)[0].picture, scenes(1, 2, 40)[0].picture)


def test_datasets_have_their_parts():
    data = scene_dataset(train=3, held_out=2, test=1, seed=4, size=40)
    assert (len(data.train), len(data.held_out), len(data.test)) == (3, 2, 1)
    same(data.train[2], scenes(3, 4, 40)[2])
    names = [sample.name for sample in [*data.train, *data.held_out, *data.test]]
    assert len(set(names)) == 6
    shapes = shapes_dataset(train=12, held_out=6, test=0, size=16, channels=1)
    assert [sample.labels[0] for sample in shapes.train] == [*range(6)] * 2
    assert shapes.train[0].picture.shape == (1, 16, 16)
    same(shapes.train[5], shapes_dataset(train=6, held_out=0, test=0, size=16, channels=1).train[5])


def test_scenes_have_every_class_and_number_of_shapes():
    samples = scenes(150, seed=1, size=48)
    assert {len(sample.things) for sample in samples} == set(range(1, 7))
    counts = torch.bincount(torch.tensor([thing.label for sample in samples for thing in sample.things]))
    assert len(counts) == len(SHAPES) and counts.min() > 0.6 * counts.float().mean()


def test_colour_gives_the_class_not_away():
    means, labels = [], []
    for sample in scenes(200, seed=2, size=48):
        for thing in sample.things:
            means.append(sample.picture[:, thing.mask].float().mean(1))
            labels.append(thing.label)
    half = len(labels) // 2
    colours, known = torch.stack(means), torch.tensor(labels)
    nearest = torch.cdist(colours[half:], colours[:half]).topk(9, largest=False).indices
    guess = known[:half][nearest].mode(1).values
    assert (guess == known[half:]).float().mean() < 0.3  # chance is 1/6


def test_shapes_stand_out_from_what_is_around_them():
    contrasts = []
    for sample in scenes(40, seed=3):
        every = torch.stack([thing.mask for thing in sample.things]).any(0)
        for thing in sample.things:
            inside = sample.picture[:, thing.mask].float().mean(1)
            contrasts.append(float((inside - sample.picture[:, ~every].float().mean(1)).norm()) / 255)
    assert np.quantile(contrasts, 0.05) > 0.2


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", np.pi),
        ("square", 1.7**2),
        ("triangle", 3 * np.sqrt(3) / 4 * 1.2**2),
        ("ring", np.pi * (1 - 0.54**2)),
        ("cross", 2 * 2 * 0.6 - 0.6**2),
        ("star", 5 * 1.12 * 0.45 * np.sin(np.pi / 5)),
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_shapes_have_their_area(shape, area, angle):
    cover = coverage(shape, 30, angle, 50.3, 49.6, 100, 100)
    assert cover.sum() == pytest.approx(area * 900, rel=0.01)


def test_a_caption_says_what_is_there():
    for sample in scenes(60, seed=6, size=64):
        words = caption_of(sample)
        assert caption_of(sample) == words
        for label, name in enumerate(SHAPES):
            said = len(re.findall(rf"\b{name}\b", words))
            assert said == sum(thing.label == label for thing in sample.things), words
    assert caption_of(Sample(torch.zeros(3, 9, 9, dtype=torch.uint8))) == "an empty picture"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((2, 10), (30, 12), "a small red circle to the left of a small blue star"),
        ((30, 12), (2, 10), "a small blue star to the left of a small red circle"),
        ((2, 2), (4, 30), "a small red circle above a small blue star"),
        ((4, 30), (2, 2), "a small blue star above a small red circle"),
        ((2, 30), (4, 2), "a small red circle below a small blue star"),
    ],
)
def test_a_caption_says_where(first, second, words):
    picture = torch.full((3, 40, 40), 255, dtype=torch.uint8)
    things = []
    for label, (x, y), colour in ((0, first, (200, 30, 30)), (3, second, (40, 70, 210))):
        mask = torch.zeros(40, 40, dtype=torch.bool)
        mask[y : y + 5, x : x + 5] = True
        picture[:, mask] = torch.tensor(colour, dtype=torch.uint8)[:, None]
        things.append(Thing(label, (x, y, x + 5, y + 5), mask))
    assert caption_of(Sample(picture, things=tuple(things))) == words


@given(seed=seeds, size=st.integers(24, 96))
def test_the_digit_is_whole_and_in_its_box(seed, size):
    pictures, labels = a_few_digits()
    for sample in clutter_digits(pictures, labels, 3, seed, size):
        (thing,) = sample.things
        assert sample.labels == (thing.label,) and thing.label in labels.tolist()
        left, top, right, bottom = (int(edge) for edge in thing.box)
        assert 0 <= left < right <= size and 0 <= top < bottom <= size
        assert bottom - top >= 0.25 * size - 3
        # These digits are filled rectangles: all of the box is ink.
        assert (sample.picture[0, top:bottom, left:right] > 25).all()


def test_clutter_is_all_about():
    samples = clutter_dataset(30, 2, 2, seed=1).train
    outside = []
    for sample in samples:
        left, top, right, bottom = (int(edge) for edge in sample.things[0].box)
        picture = sample.picture[0].float().clone()
        picture[top:bottom, left:right] = 0
        outside.append(float((picture > 80).float().mean()))
    assert np.mean(outside) > 0.08


def test_bright_levels_do_not_matter():
    pictures, labels = a_few_digits()
    for other in (pictures / 16, (pictures * 15).to(torch.uint8), pictures.numpy()):
        same(clutter_digits(pictures, labels, 1, 0)[0], clutter_digits(other, labels, 1, 0)[0])


def test_faults_are_named():
    pictures, labels = a_few_digits()
    with pytest.raises(BadOption, match="-1"):
        scenes(1, seed=-1)
    with pytest.raises(BadOption, match="size 5"):
        scenes(1, size=5)
    with pytest.raises(BadOption):
        shapes_dataset(size=4)
    with pytest.raises(BadOption, match="scales"):
        clutter_digits(pictures, labels, 1, scales=(0.9, 0.2))
    with pytest.raises(BadData, match=r"\(3, 64\)"):
        clutter_digits(pictures.flatten(1), labels, 1)
    with pytest.raises(BadData, match="empty"):
        clutter_digits(torch.zeros(2, 8, 8), labels[:2], 1)
    with pytest.raises(BadData, match="a file"):
        caption_of(Sample(Path("a.png")))


@given(seed=seeds, height=st.integers(1, 9), width=st.integers(1, 9))
def test_run_lengths_say_the_mask(seed, height, width):
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    runs = run_lengths(mask)
    values = np.repeat(np.arange(len(runs.counts)) % 2, runs.counts)
    assert np.array_equal(values.reshape(runs.size, order="F"), mask.numpy())
    assert all(run > 0 for run in runs.counts[1:])


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and numpy 2
def test_a_coco_folder_is_read_by_pycocotools(tmp_path, capsys):
    from pycocotools.coco import COCO

    data = scene_dataset(train=3, held_out=2, test=0, seed=1, size=48)
    written = write_coco(data, tmp_path)
    assert [path.name for path in written] == ["instances_train.json", "instances_val.json"]
    coco = COCO(str(written[0]))
    capsys.readouterr()
    for number, sample in enumerate(data.train, 1):
        info = coco.loadImgs(number)[0]
        with Image.open(tmp_path / "train" / info["file_name"]) as image:
            assert np.array_equal(np.asarray(image), sample.picture.permute(1, 2, 0).numpy())
        notes = coco.loadAnns(coco.getAnnIds(imgIds=number))
        assert len(notes) == len(sample.things)
        for note, thing in zip(notes, sample.things, strict=True):
            assert coco.loadCats(note["category_id"])[0]["name"] == SHAPES[thing.label]
            assert np.array_equal(coco.annToMask(note).astype(bool), thing.mask.numpy())
            assert note["area"] == int(thing.mask.sum())
            left, top, width, height = note["bbox"]
            assert (left, top, left + width, top + height) == thing.box


def test_files_and_other_outlines_are_written_too(tmp_path):
    source = tmp_path / "photo.JPG"
    Image.new("RGB", (8, 6), (1, 2, 3)).save(source, "jpeg")
    mask_file = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 5], [5, 7]], np.uint8)).save(mask_file)
    things = (
        Thing(0, (0, 0, 4, 3), Polygons(((0.0, 0.0, 4.0, 0.0, 4.0, 3.0),))),
        Thing(0, (0, 0, 2, 2), MaskPicture(mask_file, 5), crowd=True),
        Thing(0, (0, 0, 2, 2), RunLengths((1, 3), (2, 2))),
        Thing(0, (0, 0, 2, 2)),
    )
    (written,) = write_coco(Dataset(("a",), [Sample(source, things=things)]), tmp_path / "out")
    notes = json.loads(written.read_text())
    assert notes["images"] == [{"id": 1, "file_name": "000001.jpg", "height": 6, "width": 8}]
    assert (tmp_path / "out/train/000001.jpg").read_bytes() == source.read_bytes()
    polygon, crowd, runs, box = notes["annotations"]
    assert polygon["segmentation"] == [[0.0, 0.0, 4.0, 0.0, 4.0, 3.0]] and polygon["area"] == 6
    assert crowd["iscrowd"] == 1 and crowd["segmentation"] == {"counts": [1, 2, 1], "size": [2, 2]}
    assert runs["area"] == 3 and "segmentation" not in box and box["area"] == 4


@pytest.mark.slow
def test_a_hundred_scenes_a_second():
    start = time.process_time()
    scenes(100, seed=0)
    assert time.process_time() - start < 1.5
