"""Detectors: the one that is shipped, those that come by path, and what is said of those that do not fit."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from onnx_yunet import yunet_model
from torchvision.ops import box_iou

from isotrain.data.pictures import read_picture
from isotrain.errors import BadCheckpoint, BadData, BadOption, MissingExtra, UnknownName
from isotrain.faces.detectors import SHIPPED, detector_named, shipped, squared, yunet_decoded
from isotrain.faces.parts import Detector
from isotrain.train.exporting import export_onnx
from isotrain.train.rundir import RunFolder, load_run

ASTRONAUT = [170.0, 60.0, 275.0, 165.0]
"""Of scikit-image's picture of Eileen Collins, as LFW's boxes lie."""
SIDES = [40, 56, 80, 160, 320]


@pytest.fixture(scope="module")
def ours() -> Detector:
    return shipped()


def picture_of(name: str) -> torch.Tensor:
    """A picture that is inside scikit-image's wheel."""
    skimage = pytest.importorskip("skimage")
    return read_picture(Path(skimage.__file__).parent / "data" / name)


def iou(boxes: torch.Tensor, box: list[float]) -> float:
    return float(box_iou(boxes, torch.tensor([box])).max()) if len(boxes) else 0.0


# --- the shipped one -----------------------------------------------------------------------------------------


def test_the_shipped_net_finds_the_astronaut_and_nobody_else(ours):
    found = ours.find([picture_of("astronaut.png")])[0]
    assert len(found.boxes) == 1
    assert iou(found.boxes, ASTRONAUT) > 0.6
    assert found.boxes.dtype == torch.float32
    assert 0.5 <= float(found.scores[0]) <= 1


@pytest.mark.parametrize("name", ["coffee.png", "brick.png", "grass.png", "gravel.png", "moon.png", "page.png"])
def test_the_shipped_net_finds_nobody_where_nobody_is(ours, name):
    assert len(ours.find([picture_of(name)])[0].boxes) == 0


def test_a_batch_says_what_each_picture_alone_says_in_any_size_and_colour(ours):
    colour = picture_of("astronaut.png")
    grey = colour.float().mean(0, keepdim=True).byte()
    pictures = [colour, grey, colour[:, :240, 100:400], colour.flip(2), torch.zeros(1, 20, 9, dtype=torch.uint8)]
    together = ours.find(pictures)
    for one, picture in zip(together, pictures, strict=True):
        alone = ours.find([picture])[0]
        torch.testing.assert_close(one.boxes, alone.boxes, atol=0.05, rtol=1e-3)
    assert [len(one.boxes) for one in together] == [1, 1, 1, 1, 0]
    left, top, right, bottom = ASTRONAUT
    assert iou(together[2].boxes, [left - 100, top, right - 100, bottom]) > 0.6
    assert iou(together[3].boxes, [512 - right, top, 512 - left, bottom]) > 0.6
    assert ours.find([]) == []


def test_the_shipped_files_are_small_and_say_how_they_were_made():
    card = RunFolder(SHIPPED).card()
    assert card["task"] == "finder"
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 1_000_000
    assert load_run(SHIPPED)[0].classes == ["face"]


# --- by name or path -----------------------------------------------------------------------------------------


def test_the_cascade_finds_the_astronaut():
    pytest.importorskip("skimage")
    found = detector_named("lbp").find([picture_of("astronaut.png"), torch.zeros(3, 10, 10, dtype=torch.uint8)])
    assert iou(found[0].boxes, ASTRONAUT) > 0.5
    assert len(found[1].boxes) == 0


def test_without_scikit_image_the_cascade_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtra, match=r"isotrain\[faces\]"):
        detector_named("lbp")


def test_yunet_is_decoded_as_opencv_does():
    """One cell of stride 16, second row, third column of a frame 64 wide."""
    outputs = {}
    for stride in (8, 16, 32):
        cells = (64 // stride) ** 2
        outputs |= {f"cls_{stride}": torch.zeros(1, cells, 1), f"obj_{stride}": torch.ones(1, cells, 1)}
        outputs[f"bbox_{stride}"] = torch.zeros(1, cells, 4)
    outputs["cls_16"][0, 4 + 2] = 0.25
    outputs["bbox_16"][0, 4 + 2] = torch.tensor([0.5, 0.25, math.log(2), math.log(2)])
    found = yunet_decoded(outputs, 64)
    best = int(found.scores.argmax())
    assert float(found.scores[best]) == 0.5
    torch.testing.assert_close(found.boxes[best][None], squared(torch.tensor([[24.0, 4.0, 56.0, 36.0]]), 0.99, -0.02))


def test_a_yunet_file_takes_blue_first_and_its_boxes_come_back_in_pixels_of_the_picture(tmp_path):
    detector = detector_named(str(yunet_model(tmp_path / "yunet.onnx")), least=0.6)
    picture = torch.zeros(3, 128, 96, dtype=torch.uint8)
    picture[0, 32:48, :] = 255  # red is not looked at
    picture[2, 64:80, 16:32] = 255  # a cell of stride 8 in the frame of half the size, 8 pixels to its right
    found = detector.find([picture])[0]
    assert detector.name == "yunet"
    assert len(found.boxes) == 1
    middle, size = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2, found.boxes[0, 2:] - found.boxes[0, :2]
    side = (24 * 32) ** 0.5 * 2
    torch.testing.assert_close(middle, torch.tensor([24.0, 72 - 0.02 * side]), atol=0.05, rtol=0)
    torch.testing.assert_close(size, torch.full((2,), 0.99 * side), atol=0.05, rtol=0)


def test_a_run_folder_and_its_export_find_the_same(tmp_path):
    task, net, _ = load_run(SHIPPED)
    folder = RunFolder(tmp_path / "mine")
    folder.write_card(task, {}, {})
    folder.write_weights(net)
    example = (torch.full((2, 1, 192, 256), 0.4),)
    file = export_onnx(net, example, tmp_path / "mine.onnx", {"task": "finder", **task.card}).path
    astronaut = picture_of("astronaut.png")[:, :384]
    pictures = [astronaut, astronaut.flip(2), picture_of("brick.png")]
    run, export = (detector_named(str(path)) for path in (folder.path, file))
    assert (run.name, export.name) == ("mine", "mine")
    for mine, theirs in zip(run.find(pictures), export.find(pictures), strict=True):
        assert len(mine.boxes) == len(theirs.boxes)
        for box in mine.boxes:  # the file has a frame of its own, half as large
            assert iou(theirs.boxes, box.tolist()) > 0.6


def test_what_is_no_detector_is_named(tmp_path):
    with pytest.raises(UnknownName, match=r"detector 'ship' is not known. Did you mean 'shipped'"):
        detector_named("ship")
    with pytest.raises(BadData, match=r"none\.onnx does not exist"):
        detector_named(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(BadData, match=r"bad\.onnx cannot be read"):
        detector_named(str(tmp_path / "bad.onnx"))
    other = yunet_model(tmp_path / "other.onnx", left_out="obj_16")
    with pytest.raises(BadData, match=r"other\.onnx gives bbox_16"):
        detector_named(str(other))
    with pytest.raises(BadCheckpoint, match="holds no run"):
        detector_named(str(tmp_path))
    with pytest.raises(BadOption, match="longest=8"):
        detector_named("shipped", longest=8)
    with pytest.raises(BadOption, match="least=1"):
        detector_named("shipped", least=1.0)


def test_a_run_of_another_task_is_refused(tmp_path):
    from isotrain.data.synthetic import shapes_dataset
    from isotrain.tasks.classify import Classify

    task = Classify(Classify.plan(shapes_dataset(12, 0, 0), {}))
    folder = RunFolder(tmp_path / "shapes")
    folder.write_card(task, {}, {})
    folder.write_weights(task.net())
    with pytest.raises(BadCheckpoint, match="a run of the task classify"):
        detector_named(str(folder.path))


# --- hard cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_faces_of_all_sizes_are_found(ours, side):
    """The astronaut, her face `side` pixels, in a photo of 640."""
    photo = torch.full((3, 480, 640), 90.0)
    scale, middle = side / 105, [320.0, 240.0]
    whole = torch.nn.functional.interpolate(
        picture_of("astronaut.png").float()[None], scale_factor=scale, mode="bilinear", antialias=True
    )[0]
    left, top = (
        round(at - scale * (low + high) / 2) for at, low, high in zip(middle, ASTRONAUT[:2], ASTRONAUT[2:], strict=True)
    )
    part = whole[:, max(0, -top) : 480 - top, max(0, -left) : 640 - left]
    y, x = max(0, top), max(0, left)
    photo[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    found = ours.find([photo.clamp(0, 255).round().byte()])[0]
    box = [scale * edge + shift for edge, shift in zip(ASTRONAUT, [left, top, left, top], strict=True)]
    assert iou(found.boxes, box) > 0.5


def test_two_hundred_faces_in_one_picture():
    face = picture_of("astronaut.png")[:, 20:205, 130:315].float()
    small = torch.nn.functional.interpolate(face[None], (64, 64), mode="bilinear", antialias=True)[0].byte()
    found = shipped(longest=1280).find([small.repeat(1, 10, 20)])[0]
    assert len(found.boxes) >= 180
    assert len(found.boxes) <= 205


@pytest.mark.data
def test_faces_of_the_people_left_out_are_found(ours, data_dir):
    """Every 40th picture of LFW: the figures of all are in docs/faces.md."""
    paths = sorted((data_dir / "lfw").glob("*/*.jpg"))[::40]
    found = ours.find([read_picture(path) for path in paths])
    middle = [250 / 2 - 250 / 4.4] * 2 + [250 / 2 + 250 / 4.4] * 2
    assert sum(iou(one.boxes, middle) >= 0.5 for one in found) >= 0.98 * len(paths)
