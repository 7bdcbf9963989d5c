"""The same pictures in every format are the same data set; and what is not data is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import small_sets as sets
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_sets import write

from isotrain.data.idx import MNIST_FILES
from isotrain.data.opened import hold_out, open_dataset
from isotrain.data.outlines import decode
from isotrain.data.pictures import read_picture
from isotrain.data.readers.textfiles import read_json, read_yaml
from isotrain.data.samples import Sample
from isotrain.errors import BadData, BadOption

BOXED = [name for name in sets.ALL if name != "folders"]
MASKED = ["coco", "voc", "yolo polygons", "masks"]


@pytest.mark.parametrize("name", sets.ALL)
@pytest.mark.parametrize("need", ["labels", "boxes", "masks"])
def test_every_format_is_the_same_data_set(tmp_path, name, need):
    root = tmp_path / "data"
    sets.ALL[name](root)
    if (need == "boxes" and name not in BOXED) or (need == "masks" and name not in MASKED):
        with pytest.raises(BadData, match=f"data .*has .*{need} to learn from. Formats with {need}"):
            open_dataset(str(root), need)
        return
    dataset = open_dataset(str(root), need)
    assert dataset.classes == ("cat", "dog") and dataset.source == str(root) and dataset.format
    assert [len(part) for part in (dataset.train, dataset.held_out, dataset.test)] == [2, 2, 0]
    by_stem = {sample.picture.stem: sample for sample in dataset.train + dataset.held_out}
    assert {sample.picture.stem for sample in dataset.train} == {"cat0", "dog0"}
    assert len({sample.name for sample in by_stem.values()}) == 4
    for number, stem in enumerate(sets.NAMES):
        sample = by_stem[stem]
        assert np.array_equal(read_picture(sample.picture).permute(1, 2, 0), sets.pixels(number))
        if need == "labels":
            assert sample.labels == (sets.LABELS[number],)
            continue
        (thing,) = sample.things
        assert thing.label == sets.LABELS[number] and not thing.crowd
        assert thing.box == pytest.approx(sets.BOX, abs=1e-3) and thing.where
        if need == "masks":
            mask = decode(thing.mask, sets.HEIGHT, sets.WIDTH)
            assert mask.sum() == 900 and mask[10:40, 20:50].all()


@pytest.mark.parametrize("name", ["folders", "csv", "coco", "yolo", "voc"])
def test_without_a_split_a_share_is_held_out(tmp_path, name):
    sets.ALL[name](tmp_path)
    if name == "folders":
        for label in ("cat", "dog"):
            for split in ("train", "val"):
                shutil.copytree(tmp_path / split / label, tmp_path / label, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "train"), shutil.rmtree(tmp_path / "val")
    elif name == "csv":
        table = (tmp_path / "labels.csv").read_text()
        write(tmp_path / "labels.csv", table.replace("val", "train"))
    elif name == "coco":
        content = sets.coco_content("train")
        for key in ("images", "annotations"):
            content[key] += sets.coco_content("val")[key]
        shutil.rmtree(tmp_path / "annotations")
        write(tmp_path / "_annotations.coco.json", json.dumps(content))
    elif name == "yolo":
        write(tmp_path / "data.yaml", "train: ['images/train', images/val]\nnames: [cat, dog]\nnc: 2\n")
    else:
        shutil.rmtree(tmp_path / "VOC2007" / "ImageSets")
    dataset = open_dataset(str(tmp_path), "labels", held_out=0.5)
    assert Counter(s.labels for s in dataset.held_out) == Counter(s.labels for s in dataset.train) == {(0,): 1, (1,): 1}
    assert dataset == open_dataset(str(tmp_path), "labels", held_out=0.5)
    assert len(open_dataset(str(tmp_path), "labels", held_out=0).train) == 4


def test_crowds(tmp_path):
    sets.coco(tmp_path / "coco")
    path = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    runs = [10, 5, sets.HEIGHT * sets.WIDTH - 15]
    content["annotations"][0].update(iscrowd=1, segmentation={"counts": runs, "size": [60, 80]}, bbox=[0, 10, 1, 5])
    path.write_text(json.dumps(content))
    dataset = open_dataset(str(tmp_path / "coco"), "masks")
    (thing,) = dataset.train[0].things
    assert thing.crowd and decode(thing.mask, 60, 80).sum() == 5 and thing.box == (0, 10, 1, 15)
    assert open_dataset(str(path), "labels").train[0].labels == ()  # a crowd does not label its picture
    sets.voc(tmp_path / "voc")
    write(tmp_path / "voc" / "VOC2007" / "Annotations" / "cat0.xml", sets.voc_xml("cat0", "cat", difficult=1))
    assert open_dataset(str(tmp_path / "voc"), "boxes").train[0].things[0].crowd


def test_lists_of_labels_and_groups(tmp_path):
    for number, stem in enumerate(sets.NAMES):
        sets.save(tmp_path / f"{stem}.png", number)
    write(tmp_path / "train.csv", "image,labels,group\ncat0.png,a;b,1\ncat1.png,b,1\ndog0.png,a,2\n")
    write(tmp_path / "test.csv", "image,labels,group\ndog1.png,a|b,3\n")
    dataset = open_dataset(str(tmp_path), "labels")
    assert [sample.labels for sample in dataset.test] == [(0, 1)]
    assert {sample.group for sample in dataset.train}.isdisjoint({sample.group for sample in dataset.held_out})
    write(tmp_path / "test.csv", "")
    (tmp_path / "test.csv").unlink(), (tmp_path / "train.csv").unlink()
    rows = [{"file_name": "cat0.png", "label": 10}, {"file_name": "cat1.png", "label": [2, 10]}]
    write(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    dataset = open_dataset(str(tmp_path), "labels", held_out=0)
    assert dataset.classes == ("2", "10") and [sample.labels for sample in dataset.train] == [(1,), (0, 1)]


def test_groups_and_objects_of_mask_folders(tmp_path):
    for number in range(4):
        folder = tmp_path / f"patient{number % 2}"
        sets.save(folder / f"{number}.png", number)
        mask = np.zeros((60, 80), dtype=np.uint8)
        if number:
            mask[10:20, 5:10], mask[30:40, 20:50] = 1, 2
            mask[50:, 50:] = 255  # do not care
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
    dataset = open_dataset(str(tmp_path), "masks", held_out=0.5)
    assert dataset.classes == ("object",)
    assert {s.group for s in dataset.train} != {s.group for s in dataset.held_out} and len(dataset.train) == 2
    by_name = {sample.name: sample for sample in dataset.train + dataset.held_out}
    assert by_name["patient0/0.png"].things == ()
    first, second = by_name["patient1/1.png"].things
    assert (first.box, second.box) == ((5, 10, 10, 20), (20, 30, 50, 40))
    assert decode(second.mask, 60, 80).sum() == 300


def test_parallel_folders_of_masks(tmp_path):
    for number in range(2):
        sets.save(tmp_path / "images" / f"{number}.jpg", number)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.eye(60, 80, dtype=np.uint8) * 255).save(tmp_path / "masks" / f"{number}.png")
    dataset = open_dataset(str(tmp_path), "masks", held_out=0)
    assert dataset.classes == ("object",) and dataset.train[0].things[0].box == (0, 0, 60, 60)


def test_idx_and_cifar(tmp_path):
    for (pictures, labels), count in zip(MNIST_FILES.values(), (6, 2), strict=True):
        pixels = np.full((count, 5, 4), 9, dtype=np.uint8)
        head = np.array([0x0803, count, 5, 4], dtype=">i4").tobytes()
        (tmp_path / pictures).write_bytes(head + pixels.tobytes())
        head = np.array([0x0801, count], dtype=">i4").tobytes()
        (tmp_path / labels).write_bytes(head + bytes(number % 2 + 1 for number in range(count)))
    dataset = open_dataset(str(tmp_path), "labels", held_out=0.34)
    assert [len(part) for part in (dataset.train, dataset.held_out, dataset.test)] == [4, 2, 2]
    assert dataset.classes == ("1", "2") and {sample.labels for sample in dataset.train} == {(0,), (1,)}
    assert dataset.train[0].picture.shape == (1, 5, 4) and dataset.train[0].picture.max() == 9
    (tmp_path / MNIST_FILES["train"][1]).unlink()
    with pytest.raises(BadData, match="train-labels-idx1-ubyte"):
        open_dataset(str(tmp_path), "labels")
    cifar = tmp_path / "cifar"
    cifar.mkdir()
    records = np.arange(3 * 3073).reshape(3, 3073).astype(np.uint8)
    records[:, 0] = (3, 4, 3)
    (cifar / "data_batch_1.bin").write_bytes(records.tobytes())
    (cifar / "test_batch.bin").write_bytes(records[:1].tobytes())
    dataset = open_dataset(str(cifar), "labels", held_out=0)
    assert len(dataset.classes) == 10 and [s.labels for s in dataset.train] == [(3,), (4,), (3,)]
    assert dataset.train[1].picture.flatten().tolist() == records[1, 1:].tolist() and len(dataset.test) == 1


# --- holding out ------------------------------------------------------------------------------------------------


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    groups=st.integers(0, 8),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 9),
)
def test_laws_of_holding_out(labels, groups, share, seed):
    picture = torch.zeros(1, 1, 1, dtype=torch.uint8)
    samples = [
        Sample(picture, (label,), name=str(n), group=str(n % groups) if groups else "")
        for n, label in enumerate(labels)
    ]
    kept, held = hold_out(samples, share, seed)
    assert sorted(int(s.name) for s in kept + held) == list(range(len(labels)))
    assert [int(s.name) for s in held] == sorted(int(s.name) for s in held)
    if groups:
        assert {s.group for s in kept}.isdisjoint(s.group for s in held)
    else:
        assert {s.labels for s in kept} == {s.labels for s in samples}
        for label, count in Counter(labels).items():
            assert abs(sum(s.labels == (label,) for s in held) - share * count) <= 5
    assert [s.name for s in hold_out(samples, share, seed)[1]] == [s.name for s in held]


def test_at_most_5000_are_held_out_and_another_seed_draws_others():
    picture = torch.zeros(1, 1, 1, dtype=torch.uint8)
    samples = [Sample(picture, (n % 10,), name=str(n)) for n in range(60000)]
    one, other = (hold_out(samples, 0.1, seed)[1] for seed in (0, 1))
    assert len(one) == 5000 and set(Counter(s.labels for s in one).values()) == {500}
    assert {s.name for s in one} != {s.name for s in other}


# --- the files of the formats -----------------------------------------------------------------------------------


def test_yaml(tmp_path):
    write(
        tmp_path / "data.yaml",
        "# comment\n---\npath: ../sets # where\ntrain:\n  - a\n  - 'b # c'\nval: [\n  'x, y',\n  z]\nnc: 2\n"
        'names: {0: "a b", 1: c}\ndownload: |\n  import os\n  : [\nhome:\n  url: https://a.b/c\n  version: 3\nlast:\n',
    )
    assert read_yaml(tmp_path / "data.yaml") == {
        "path": "../sets",
        "train": ["a", "b # c"],
        "val": ["x, y", "z"],
        "nc": 2,
        "names": {"0": "a b", "1": "c"},
        "download": None,
        "home": {"url": "https://a.b/c", "version": 3},
        "last": None,
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: &x 2\n", 2),
        ("a: 1\n  b: 2\n", 2),
        ("a:\n    b: 2\n  c: 3\n", 3),
        ("names: [a,\n b\n", 1),
        ("a: !!python/object 1", 1),
        ("what is this\n", 1),
        ("a:\n\tb: 1\n", 2),
        ("a: [[1, 2], 3]\n", 1),
        ("- a\n- b\n", 1),
        ("a: b: c\n", 1),
    ],
)
def test_yaml_beyond_what_is_read_is_refused(tmp_path, text, line):
    write(tmp_path / "data.yaml", text)
    with pytest.raises(BadData, match=rf"data\.yaml:{line}: "):
        read_yaml(tmp_path / "data.yaml")


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(content=st.dictionaries(st.text(max_size=4), st.lists(json_values) | json_values), indent=st.none() | st.just(2))
def test_json_is_read_as_by_the_standard_library(tmp_path_factory, content, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content, indent=indent))
    read = read_json(path)
    assert read.content == content
    for key, lines in read.lines.items():
        assert len(lines) == len(content[key]) and lines == sorted(lines)


def test_lines_of_json(tmp_path):
    write(tmp_path / "a.json", '{"b": 1,\n "a": [\n {"x":\n 1},\n 2, 3,\n\n 4]}')
    assert read_json(tmp_path / "a.json").lines == {"a": [3, 5, 5, 7]}
    for text, line in (("[1]", 1), ('{"a": [1,\n2\n3]}', 3), ('{"a": [1', 1), ("", 1), ('{"a":\n}', 2)):
        write(tmp_path / "a.json", text)
        with pytest.raises(BadData, match=rf"a\.json:{line}: no valid JSON"):
            read_json(tmp_path / "a.json")


# --- bad input --------------------------------------------------------------------------------------------------


def test_what_is_no_data_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)

    def said(source, need="labels"):
        with pytest.raises(BadData) as caught:
            open_dataset(str(source), need)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "nowhere does not exist" in said("nowhere")
    assert "holds none of the known formats: it has no files" in said(tmp_path)
    write(tmp_path / "a.doc", "")
    assert "1 .doc. Known: COCO json" in said(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"")
    assert "unpack it first" in said(tmp_path)
    assert "it is a .doc file" in said(tmp_path / "a.doc")
    sets.save(tmp_path / "flat" / "a.png", 0)
    assert "1 pictures and nothing that says what they show" in said(tmp_path / "flat")
    write(tmp_path / "b.csv", "a.png,cat\n")
    assert "b.csv:1: the first line must name the columns: picture,label" in said(tmp_path / "b.csv")
    sets.save(tmp_path / "val" / "val" / "cat" / "a.png", 0)
    assert "train split is empty" in said(tmp_path / "val")
    sets.yolo(tmp_path / "yolo")
    (tmp_path / "yolo" / "data.yaml").unlink()
    assert "no data.yaml: write one" in said(tmp_path / "yolo", "boxes")


@pytest.mark.parametrize("name", ["../../aside.png", "{home}/aside.png"])
def test_pictures_outside_of_a_folder_are_none_of_its(tmp_path, name):
    sets.jsonl(tmp_path / "data")
    shutil.copy(tmp_path / "data" / "train" / "cat0.png", tmp_path / "aside.png")
    row = {"file_name": name.format(home=tmp_path), "label": "cat"}
    with (tmp_path / "data" / "train" / "metadata.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(BadData, match=r"metadata\.jsonl:3: picture '.*aside\.png' does not exist"):
        open_dataset(str(tmp_path / "data"), "labels")


def test_a_table_that_was_named_may_lead_anywhere(tmp_path):
    sets.csv(tmp_path / "data")
    table = (tmp_path / "data" / "labels.csv").read_text()
    for stem in sets.NAMES:
        table = table.replace(stem, f"../data/pictures/{stem}")
    write(tmp_path / "said" / "labels.csv", table)
    assert len(open_dataset(str(tmp_path / "said" / "labels.csv"), "labels").train) == 2


def test_options(tmp_path):
    with pytest.raises(BadOption, match="need 'box'"):
        open_dataset("digits", "box")
    with pytest.raises(BadOption, match=r"share of 1\.0"):
        open_dataset("digits", "labels", held_out=1.0)


def test_a_class_in_val_that_train_lacks(tmp_path):
    sets.folders(tmp_path)
    sets.save(tmp_path / "val" / "bird" / "bird0.png", 9)
    with pytest.raises(BadData, match=r"val/bird/bird0\.png: class 'bird' is in no training picture"):
        open_dataset(str(tmp_path), "labels")


def test_a_faulty_box_is_refused_at_opening_with_file_and_line(tmp_path):
    sets.yolo(tmp_path)
    write(tmp_path / "labels" / "train" / "cat0.txt", "0 0.5 0.5 0.25 0.25\n0 0.5 0.5 0 0.25\n0 0.5 0.5 nan 0.25\n")
    with pytest.raises(BadData, match=r"labels/train/cat0\.txt:2: box .* is empty .*\(1 more: `isotrain data check"):
        open_dataset(str(tmp_path), "boxes")


def test_boxes_drawn_before_the_exif_rotation_are_refused(tmp_path):
    sets.coco(tmp_path)
    path = tmp_path / "train2017" / "cat0.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    with pytest.raises(BadData, match=r"json:2 images\[0\]: size 80 x 60 is stated, .*cat0\.png is 60 x 80 \(its EXIF"):
        open_dataset(str(tmp_path), "boxes")


def test_scoring_needs_no_training_samples(tmp_path):
    sets.coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    assert len(open_dataset(str(path), "boxes", held_out=0).held_out) == 2
    with pytest.raises(BadData, match="train split is empty"):
        open_dataset(str(path), "boxes")


def test_objects_without_masks_are_refused_where_masks_are_learned(tmp_path):
    sets.coco(tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    del content["annotations"][1]["segmentation"]
    path.write_text(sets.lines_of(content))
    with pytest.raises(
        BadData, match=r"instances_train2017\.json:\d+ annotations\[1\]: object without a mask \(1 of 4"
    ):
        open_dataset(str(tmp_path), "masks")
    assert len(open_dataset(str(tmp_path), "boxes").train) == 2


def test_unpacked_archives_and_names(tmp_path, monkeypatch):
    sets.folders(tmp_path / "home" / "pets" / "pets-v1" / "pets")
    monkeypatch.setenv("ISOTRAIN_DATA", str(tmp_path / "home"))
    assert open_dataset("pets", "labels").classes == ("cat", "dog")


def test_links_that_lead_back(tmp_path):
    sets.folders(tmp_path / "a")
    (tmp_path / "a" / "train" / "again").symlink_to(tmp_path / "a")
    assert open_dataset(str(tmp_path / "a"), "labels").classes == ("cat", "dog")


# --- real data --------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_lgg(data_dir):
    dataset = open_dataset(str(data_dir / "lgg"), "masks")
    samples = dataset.train + dataset.held_out
    assert len(samples) == 246 and dataset.classes == ("object",)
    assert sum(bool(sample.things) for sample in samples) == 123
    assert len({s.group for s in samples}) == 13
    assert {s.group for s in dataset.train}.isdisjoint({s.group for s in dataset.held_out})
    for sample in dataset.held_out[:20]:
        for thing in sample.things:
            mask = decode(thing.mask, 256, 256)
            left, top, right, bottom = map(int, thing.box)
            assert mask.any() and mask[top:bottom, left:right].sum() == mask.sum()


@pytest.mark.data
def test_coco_mini(data_dir):
    dataset = open_dataset(str(data_dir / "coco_mini"), "masks")
    assert (len(dataset.classes), dataset.classes[0], dataset.classes[79]) == (80, "person", "toothbrush")
    assert (len(dataset.train), len(dataset.held_out)) == (80, 79)
    assert sum(len(sample.things) for sample in dataset.train) == 739
    assert sum(thing.crowd for sample in dataset.train for thing in sample.things) == 8


@pytest.mark.data
@pytest.mark.parametrize(("name", "sizes"), [("mnist", (55000, 5000, 10000)), ("cifar10", (2700, 300, 1000))])
def test_mnist_and_cifar10(data_dir, name, sizes):
    dataset = open_dataset(str(data_dir / name), "labels")
    assert (len(dataset.train), len(dataset.held_out), len(dataset.test)) == sizes and len(dataset.classes) == 10
    counts = Counter(sample.labels[0] for sample in dataset.held_out)
    everyone = Counter(sample.labels[0] for sample in dataset.train + dataset.held_out)
    for label, count in everyone.items():
        assert counts[label] == pytest.approx(count * sizes[1] / (sizes[0] + sizes[1]), abs=1.01)
