"""Every fault, planted in a sound set, is found with its file and line; and a sound set has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_sets as sets
from PIL import Image
from small_sets import write

from isotrain.data.doctor import check, summary
from isotrain.data.opened import open_dataset


@pytest.mark.parametrize("name", sets.ALL)
def test_sound_sets_have_no_fault(tmp_path, name):
    sets.ALL[name](tmp_path)
    assert check(str(tmp_path)) == []


def edit_coco(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        path = root / "annotations" / "instances_train2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(sets.lines_of(content))

    return plant


def annotation(**changes) -> Callable[[Path], None]:
    """In the second annotation, line 9 of the file (below 2 pictures and 2 categories, with a line for each key)."""

    def change(content: dict) -> None:
        content["annotations"][1].update(changes)

    return edit_coco(change)


def voc_box(*box: float) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        write(root / "VOC2007" / "Annotations" / "cat0.xml", sets.voc_xml("cat0", "cat", box))

    return plant


def yolo_line(line: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        with (root / "labels" / "train" / "cat0.txt").open("a") as file:
            file.write(f"{line}\n")

    return plant


def csv_line(line: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        with (root / "labels.csv").open("a") as file:
            file.write(f"{line}\n")

    return plant


def jsonl_line(line: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        with (root / "train" / "metadata.jsonl").open("a") as file:
            file.write(f"{line}\n")

    return plant


def cut(name: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])

    return plant


COCO = "annotations/instances_train2017.json:9 annotations[1]"
XML = "VOC2007/Annotations/cat0.xml:4"
CAT = "labels/train/cat0.txt:2"
ROW = "labels.csv:6"
ENTRY = "train/metadata.jsonl:3"
HINT_XYXY = "Read as left, top, right, bottom it would fit"
HINT_XYWH = "Read as x, y, width, height it would fit"


def objects(box: str) -> str:
    return f'{{"file_name": "cat0.png", "objects": {{"bbox": [{box}], "categories": ["cat"]}}}}'


PLANTED = [
    ("coco", annotation(bbox=[20, 10, 0, 30], segmentation=[]), COCO, "is empty", "", "error"),
    ("coco", annotation(bbox=[20, 10, -5, 30], segmentation=[]), COCO, "is inverted", "", "error"),
    (
        "coco",
        annotation(bbox=[90, 10, 5, 30], segmentation=[]),
        COCO,
        "is outside of its picture of 80 x 60",
        "",
        "error",
    ),
    ("coco", annotation(bbox=[70, 10, 30, 30], segmentation=[]), COCO, "sticks out", "", "warning"),
    ("coco", annotation(bbox=[50, 30, 70, 55], segmentation=[]), COCO, "sticks out", HINT_XYXY, "warning"),
    (
        "coco",
        annotation(bbox=[20, 10, 50, 40]),
        COCO,
        "left, top, right, bottom of its outline",
        "x, y, width",
        "error",
    ),
    ("coco", annotation(bbox=[1, 2, 3]), COCO, "no list of four numbers", "", "error"),
    ("coco", annotation(segmentation=[[1, 2, 3, 4]]), COCO, "polygon of 4 numbers", "", "error"),
    ("coco", annotation(segmentation={"counts": "1", "size": [60, 80]}), COCO, "cover 1 pixels of", "", "error"),
    ("coco", annotation(category_id=19), COCO, "category_id 19", "Add the category", "error"),
    ("coco", annotation(image_id=77), COCO, "image_id 77 is that of no picture", "", "error"),
    ("coco", annotation(image_id=[1]), COCO, "image_id or category_id is no number", "", "error"),
    ("coco", annotation(category_id={}), COCO, "image_id or category_id is no number", "", "error"),
    (
        "coco",
        edit_coco(lambda content: content["images"][1].update(id=[1])),
        "annotations/instances_train2017.json:3 images[1]",
        "picture id [1] is no number",
        "",
        "error",
    ),
    (
        "coco",
        edit_coco(lambda content: content["annotations"].insert(1, 7)),
        "annotations/instances_train2017.json:9 annotations[1]",
        "no image_id or no category_id",
        "",
        "error",
    ),
    ("csv", csv_line(f"train/cat0.png,{'x' * 200_000}"), ROW, "no valid csv (field larger", "Mend or delete", "error"),
    ("jsonl", jsonl_line("[" * 100_000), ENTRY, "no valid JSON (brackets within brackets", "", "error"),
    ("jsonl", jsonl_line(f'{{"file_name": "{"x" * 5000}", "label": 1}}'), ENTRY, "does not exist", "", "error"),
    ("coco", cut("annotations/instances_train2017.json"), "annotations/instances_train2017.json:", "JSON", "", "error"),
    (
        "coco",
        edit_coco(
            lambda content: (
                [a.update(category_id=n) for n, a in enumerate(content["annotations"])]
                + [c.update(id=n) for n, c in enumerate(content["categories"], 1)]
            )
        ),
        "annotations/instances_train2017.json:8 annotations[0]",
        "category_id 0",
        "count from 0, categories from 1: add 1",
        "error",
    ),
    (
        "coco",
        edit_coco(lambda content: content["images"][1].update(height=80, width=60)),
        "annotations/instances_train2017.json:3 images[1]",
        "size 60 x 80 is stated, picture train2017/dog0.png is 80 x 60",
        "",
        "error",
    ),
    ("voc", voc_box(20, 10, 20, 40), XML, "is empty", "", "error"),
    ("voc", voc_box(50, 10, 20, 40), XML, "is inverted", HINT_XYWH, "error"),
    ("voc", voc_box(90, 10, 95, 40), XML, "is outside", "", "error"),
    ("voc", cut("VOC2007/Annotations/cat0.xml"), "VOC2007/Annotations/cat0.xml:", "no valid XML", "", "error"),
    (
        "voc",
        lambda root: write(root / "VOC2007/Annotations/cat0.xml", sets.voc_xml("cat0", "cat").replace("xmax", "xmay")),
        XML,
        "no box of four numbers",
        "xmin, ymin, xmax, ymax",
        "error",
    ),
    (
        "voc",
        lambda root: write(root / "VOC2007/ImageSets/Main/val.txt", "cat1\ndog1\ncat0\n"),
        "VOC2007/ImageSets/Main/val.txt:3",
        "cat0 is in train and in val",
        "",
        "error",
    ),
    ("yolo", yolo_line("0 0.5 0.5 0 0.2"), CAT, "is empty", "", "error"),
    ("yolo", yolo_line("0 0.1 0.1 0.6 0.6"), CAT, "sticks out", "Read as left, top, width, height", "warning"),
    ("yolo", yolo_line("0 0.5 0.5 nan 0.2"), CAT, "holds no numbers", "", "error"),
    ("yolo", yolo_line("0 40 30 10 10"), CAT, "40 is no share", "divide x by the picture's width", "error"),
    ("yolo", yolo_line("0 0.5 0.5 0.2"), CAT, "4 numbers are not CLASS", "", "error"),
    ("yolo", yolo_line("0 0.5 0.5 0.2 0.2 0.9"), CAT, "6 numbers", "confidence", "error"),
    ("yolo", yolo_line("cat 0.5 0.5 0.2 0.2"), CAT, "'cat 0.5", "", "error"),
    ("yolo", yolo_line("5 0.5 0.5 0.2 0.2"), CAT, "class 5, and there are 2 names (0 to 1)", "Give it a name", "error"),
    ("yolo", yolo_line("0 0.4375 0.41666667 0.375 0.5"), CAT, "the same line as one before", "", "warning"),
    (
        "yolo",
        lambda root: write(root / "labels/train/bird.txt", ""),
        "labels/train/bird.txt",
        "does not exist",
        "",
        "error",
    ),
    (
        "yolo",
        lambda root: (root / "labels/train/cat0.txt").unlink(),
        "images/train/cat0.png",
        "picture without a label",
        "empty text file",
        "warning",
    ),
    ("csv", csv_line("cat0.png,cat,train,20,10,20,40"), ROW, "is empty", "", "error"),
    ("csv", csv_line("cat0.png,cat,train,30,20,10,15"), ROW, "is inverted", HINT_XYWH, "error"),
    ("csv", csv_line("cat0.png,cat,train,30,20,a,15"), ROW, "is incomplete", "", "error"),
    ("csv", csv_line("cat0.png,cat,train,30"), ROW, "4 cells, the header has 7", "", "error"),
    ("csv", csv_line("bird.png,cat,train,1,2,3,4"), ROW, "picture 'bird.png' does not exist", "", "error"),
    ("csv", csv_line("cat0.png,cat,often,1,2,3,4"), ROW, "split 'often' is not known", "", "error"),
    ("csv", csv_line("cat0.png,cat,val,1,2,3,4"), ROW, "is in train and in val", "", "error"),
    ("csv", lambda root: sets.save(root / "pictures/new.png", 8), "pictures/new.png", "without a label", "", "warning"),
    ("jsonl", jsonl_line(objects("[1, 2, 0, 4]")), ENTRY, "is empty", "", "error"),
    ("jsonl", jsonl_line(objects("[1, 2, 4]")), ENTRY, "no list of four numbers", "", "error"),
    ("jsonl", jsonl_line('{"file_name": "cat0.png", '), ENTRY, "no valid JSON", "", "error"),
    ("jsonl", jsonl_line('{"file_name": "bird.png", "label": 1}'), ENTRY, "'bird.png' does not exist", "", "error"),
    ("jsonl", jsonl_line('{"file_name": "cat0.png"}'), ENTRY, "no label and no objects", "", "error"),
    ("jsonl", jsonl_line('{"label": "cat"}'), ENTRY, "no file_name", "", "error"),
    ("folders", cut("train/cat/cat0.png"), "train/cat/cat0.png", "cannot be read", "", "error"),
    (
        "folders",
        lambda root: (root / "train/bird").mkdir(),
        "train/bird",
        "class folder without a picture",
        "",
        "warning",
    ),
    ("folders", lambda root: sets.save(root / "a.png", 7), "a.png", "without a label", "class's folder", "warning"),
    ("folders", lambda root: write(root / "val/cat/a.txt", ""), "val/cat/a.txt", "not a picture", "", "warning"),
    (
        "folders",
        lambda root: sets.save(root / "val/bird/bird.png", 7),
        "val/bird/bird.png",
        "class 'bird' is in val and in no training picture",
        "",
        "error",
    ),
    (
        "folders",
        lambda root: shutil.copy(root / "train/cat/cat0.png", root / "train/cat/copy.png"),
        "train/cat/copy.png",
        "the same pixels as train/cat/cat0.png",
        "Delete one",
        "warning",
    ),
    (
        "folders",
        lambda root: Image.open(root / "train/cat/cat0.png").save(root / "val/cat/copy.bmp"),
        "val/cat/copy.bmp",
        "the same pixels as train/cat/cat0.png: it leaks from train to val",
        "Take it out of val",
        "error",
    ),
    (
        "folders",
        lambda root: Image.open(root / "train/cat/cat0.png").resize((160, 120)).save(root / "val/cat/near.jpg"),
        "val/cat/near.jpg",
        "looks like train/cat/cat0.png: it may leak",
        "",
        "warning",
    ),
    (
        "folders",
        lambda root: shutil.copy(root / "train/cat/cat0.png", root / "train/dog/dog7.png"),
        "train/dog/dog7.png",
        "and another label",
        "Keep the right one",
        "warning",
    ),
    ("masks", cut("train/cat/cat0_mask.png"), "train/cat/cat0_mask.png", "cannot be read", "", "error"),
    (
        "masks",
        lambda root: sets.save(root / "train/cat/cat0_mask.png", 1),
        "train/cat/cat0_mask.png",
        "in colour",
        "",
        "error",
    ),
    (
        "masks",
        lambda root: Image.new("L", (60, 80)).save(root / "train/cat/cat0_mask.png"),
        "train/cat/cat0_mask.png",
        "the mask is 80 x 60, its picture 60 x 80",
        "",
        "error",
    ),
    (
        "masks",
        lambda root: Image.fromarray(np.array([0, 90, 255], dtype=np.uint8)[np.arange(4800).reshape(60, 80) % 3]).save(
            root / "train/cat/cat0_mask.png"
        ),
        "train/cat/cat0_mask.png",
        "has the values 0, 90 and 255, as soft edges do",
        "",
        "error",
    ),
    (
        "coco",
        edit_coco(lambda content: content["annotations"].pop()),
        "annotations/instances_train2017.json:3 images[1]",
        "nothing is labelled in picture train2017/dog0.png",
        "",
        "warning",
    ),
    (
        "masks",
        lambda root: (root / "train/cat/cat0.png").unlink(),
        "train/cat/cat0_mask.png",
        "does not exist",
        "",
        "error",
    ),
    (
        "masks",
        lambda root: (root / "train/cat/cat0_mask.png").unlink(),
        "train/cat/cat0.png",
        "without a mask",
        "",
        "warning",
    ),
]


@pytest.mark.parametrize(("name", "plant", "where", "what", "fix", "severity"), PLANTED)
def test_a_planted_fault_is_found(tmp_path, name, plant, where, what, fix, severity):
    sets.ALL[name](tmp_path)
    plant(tmp_path)
    faults = check(str(tmp_path))
    found = [
        f for f in faults if f.where.startswith(where) and what in f.what and fix in f.fix and f.severity == severity
    ]
    assert found, "\n".join(f"{f.severity} {f}" for f in faults)
    assert all(fault.where and fault.what and fault.fix and "\n" not in str(fault) for fault in faults)


def test_all_faults_are_found_at_once(tmp_path):
    sets.yolo(tmp_path)
    for line in ("0 0.5 0.5 0 0.2", "7 0.5 0.5 0.1 0.2", "0 0.5"):
        yolo_line(line)(tmp_path)
    cut("images/val/dog1.png")(tmp_path)
    assert {fault.where for fault in check(str(tmp_path)) if fault.severity == "error"} == {
        "labels/train/cat0.txt:2",
        "labels/train/cat0.txt:3",
        "labels/train/cat0.txt:4",
        "labels/val/dog1.txt",
    }


def test_labels_that_count_from_one(tmp_path):
    sets.yolo(tmp_path)
    for stem, label, split in zip(sets.NAMES, sets.LABELS, sets.SPLITS, strict=True):
        write(tmp_path / "labels" / split / f"{stem}.txt", f"{label + 1} 0.5 0.5 0.2 0.2\n")
    faults = check(str(tmp_path))
    assert {fault.where for fault in faults} == {"labels/train/dog0.txt:1", "labels/val/dog1.txt:1"}
    assert all("count from 1 to 2: subtract 1" in fault.fix for fault in faults)


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_all_boxes_mixed_up(tmp_path, name):
    sets.ALL[name](tmp_path)
    if name == "coco":  # x, y, width, height are asked for

        def corners(content: dict) -> None:
            content["annotations"] = [
                {**content["annotations"][0], "id": n, "bbox": [30 + n, 20, 75, 55], "segmentation": []}
                for n in range(4)
            ]

        edit_coco(corners)(tmp_path)
        where = "annotations/instances_train2017.json"
    else:  # corners are asked for
        for number, stem in enumerate(sets.NAMES):
            write(tmp_path / f"VOC2007/Annotations/{stem}.xml", sets.voc_xml(stem, "cat", (30 + number, 20, 20, 15)))
        where = "VOC2007"
    (fault,) = [fault for fault in check(str(tmp_path)) if "all would if they were" in fault.what]
    assert fault.where.startswith(where) or name == "voc"
    assert "4 of 4 boxes do not fit" in fault.what and fault.severity == "error"


def test_one_class_only(tmp_path):
    sets.folders(tmp_path)
    shutil.rmtree(tmp_path / "train" / "dog"), shutil.rmtree(tmp_path / "val" / "dog")
    (fault,) = check(str(tmp_path))
    assert fault.what == "one class only ('cat')"


def test_small_pictures_that_look_alike_are_no_duplicates(tmp_path):
    for number, split in enumerate(("train", "val")):
        for label in ("a", "b"):
            pixels = np.full((20, 20), 100, dtype=np.uint8)
            pixels[5:15, 8:12] = 200 + number + (label == "b") * 20
            (tmp_path / split / label).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / split / label / f"{number}.png")
    assert check(str(tmp_path)) == []


def test_summary(tmp_path):
    sets.masks(tmp_path)
    found = summary(open_dataset(str(tmp_path), "masks"))
    assert json.loads(json.dumps(found)) == found
    train = found["splits"]["train"]
    assert (train["pictures"], train["objects"], train["masks"]) == (2, 2, 2)
    assert train["objects of class"] == {"cat": 1, "dog": 1} == train["pictures of class"]
    assert found["splits"]["test"]["pictures"] == 0 and found["unreadable"] == 0
    assert found["sizes"] == {"smallest": [60, 80], "median": [60, 80], "largest": [60, 80]}


def test_it_ticks(tmp_path):
    sets.folders(tmp_path)
    ticks: list[int] = []
    check(str(tmp_path), ticks.append)
    assert sum(ticks) == 4


@pytest.mark.data
@pytest.mark.parametrize("name", ["lgg", "coco_mini"])
def test_real_sets_are_sound(data_dir, name):
    assert [fault for fault in check(str(data_dir / name)) if fault.severity == "error"] == []
