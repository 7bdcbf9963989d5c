"""Detection: its card, its regions and their targets, and what it finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.ops import box_iou

from isotrain import Riemannian
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.shelf import Shelf
from isotrain.data.synthetic.scene import scene_dataset
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.nets.regions import FastRCNN
from isotrain.tasks.detect import Detect
from isotrain.tasks.framing import frame, mirrored, zoomed
from isotrain.tasks.looking import Prediction
from isotrain.tasks.regionfiles import RegionFile
from isotrain.tasks.sampling import IGNORED, Anchors, Regions, Truth, around
from isotrain.vision.boxes import decode


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truth(*boxes: tuple[float, ...], labels: tuple[int, ...] = (), crowd: tuple[bool, ...] = ()) -> Truth:
    return Truth(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(labels or [0] * len(boxes), dtype=torch.long),
        torch.tensor(crowd or [False] * len(boxes), dtype=torch.bool),
    )


def plain_set(count: int = 3) -> Dataset:
    """Grey squares on black, one a picture, 40 x 30 pixels."""
    samples = []
    for place in range(count):
        picture = torch.zeros(1, 30, 40, dtype=torch.uint8)
        left, top = 3 + 4 * place, 2 + 3 * place
        picture[:, top : top + 12, left : left + 16] = 200
        box = (float(left), float(top), float(left + 16), float(top + 12))
        samples.append(Sample(picture, things=(Thing(place % 2, box),), name=f"{place}"))
    return Dataset(("a", "b"), samples, samples[:1])


# --- which regions a step learns from ---------------------------------------------------------------


@given(seed=st.integers(0, 1000), regions=st.integers(1, 90), objects=st.integers(0, 4))
def test_drawn_regions(seed: int, regions: int, objects: int) -> None:
    """Always as many as asked for; a quarter on objects at most; every class and delta belongs to its region."""
    draws = gen(seed)
    corner = torch.rand(regions + objects, 2, generator=draws) * 60
    boxes = torch.cat([corner, corner + 5 + 30 * torch.rand(regions + objects, 2, generator=draws)], 1)
    labels = torch.randint(3, (objects,), generator=draws)
    known = Truth(boxes[:objects], labels, torch.zeros(objects, dtype=torch.bool))
    got = Regions(count=32).draw(boxes, known, draws)
    assert got.boxes.shape == (32, 4)
    overlap = box_iou(got.boxes, known.boxes)
    best = overlap.amax(1) if objects else torch.zeros(32)
    assert torch.equal(got.classes > 0, best >= 0.5)
    beside_none = (box_iou(boxes, known.boxes).amax(1) >= 0.5).all() if objects else torch.tensor(False)
    assert bool(beside_none) or int((got.classes > 0).sum()) <= 8
    on = got.classes > 0
    if on.any():
        led = decode(got.deltas[on], got.boxes[on])
        torch.testing.assert_close(led, known.boxes[overlap.argmax(1)[on]], atol=1e-3, rtol=1e-3)
        assert torch.equal(got.classes[on], labels[overlap.argmax(1)[on]] + 1)


def test_near_misses_are_preferred_as_background() -> None:
    known = truth((0.0, 0.0, 20.0, 20.0))
    near = torch.tensor([[0.0, 0.0, 20.0, 6.0]]).repeat(30, 1)  # overlap 0.3
    far = torch.tensor([[50.0, 50.0, 60.0, 60.0]]).repeat(300, 1)
    got = Regions(count=20).draw(torch.cat([far, near]), known, gen())
    assert int((got.boxes[:, 0] == 0).sum()) == 20
    got = Regions(count=40).draw(torch.cat([far, near]), known, gen())
    assert int((got.boxes[:, 0] == 0).sum()) == 30


def test_crowds_are_neither_object_nor_background() -> None:
    known = truth((0.0, 0.0, 40.0, 40.0), crowd=(True,))
    on, off = torch.tensor([[5.0, 5.0, 20.0, 20.0]]), torch.tensor([[50.0, 50.0, 60.0, 60.0]])
    got = Regions(count=8).draw(torch.cat([on, off]), known, gen())
    assert torch.equal(got.boxes, off.expand(8, 4)) and int(got.classes.sum()) == 0
    assert Regions(count=8).draw(on, known, gen()).classes.tolist() == [IGNORED] * 8


def test_anchors_of_an_object_and_beside_it() -> None:
    grid = torch.tensor([[x, y, x + 16, y + 16] for y in range(0, 64, 8) for x in range(0, 64, 8)]).float()
    known = truth((1.0, 1.0, 17.0, 17.0), (40.0, 40.0, 50.0, 50.0))
    got = Anchors(count=16).draw(grid, known, gen())
    overlap = box_iou(grid, known.boxes)
    assert (overlap[got.classes == 1].amax(1) >= overlap.amax(0).min()).all()
    assert bool((got.classes[overlap.argmax(0)] == 1).all())  # each object has its best anchor
    assert (overlap[got.classes == 0].amax(1) < 0.3).all()
    assert int((got.classes != IGNORED).sum()) == 16
    led = decode(got.deltas[got.classes == 1], grid[got.classes == 1])
    assert box_iou(led, known.boxes).amax(1).min() > 0.999


def test_regions_around_objects_reach_from_near_to_far() -> None:
    known = truth((20.0, 20.0, 44.0, 40.0))
    grid = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    boxes = around(known, grid, 64, gen())
    overlap = box_iou(boxes, known.boxes)[:, 0]
    assert overlap.max() > 0.9 and ((overlap > 0.1) & (overlap < 0.5)).any()
    assert boxes.min() >= 0 and boxes.max() <= 64
    assert len(around(truth(), grid, 64, gen())) > 100


# --- the square a picture is shown in ---------------------------------------------------------------


def corners(picture: Tensor) -> list[float]:
    """Box around what is bright."""
    places = (picture.float().mean(0) > 100).nonzero()
    (top, left), (bottom, right) = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
    return [left, top, right, bottom]


def test_boxes_go_with_the_picture() -> None:
    sample = plain_set().train[1]
    assert isinstance(sample.picture, Tensor)
    framed = frame(sample.picture, truth(sample.things[0].box), 96, torch.zeros(1))
    regions = framed.truth.boxes.clone()
    assert framed.picture.shape == (1, 96, 96)
    assert framed.truth.boxes[0].tolist() == pytest.approx(corners(framed.picture), abs=1.5)
    turned, moved = mirrored(framed, regions)
    assert moved[0].tolist() == pytest.approx(corners(turned.picture), abs=1.5)
    torch.testing.assert_close(mirrored(turned, moved)[1], regions)
    for seed in range(5):
        scaled, moved = zoomed(framed, regions, 1.5, torch.zeros(1), gen(seed))
        assert scaled.picture.shape == (1, 96, 96)
        assert moved[0].tolist() == pytest.approx(corners(scaled.picture), abs=2)
        torch.testing.assert_close(scaled.truth.boxes, moved)


def test_an_object_that_is_nearly_gone_counts_as_a_crowd() -> None:
    picture = torch.zeros(1, 64, 64, dtype=torch.uint8)
    framed = frame(picture, truth((0.0, 0.0, 8.0, 64.0), (28.0, 28.0, 36.0, 36.0)), 64, torch.zeros(1))
    seen = [zoomed(framed, framed.truth.boxes, 2.0, torch.zeros(1), gen(seed))[0].truth for seed in range(40)]
    for one in seen:
        assert len(one.boxes) == len(one.labels) == len(one.crowd) >= 1
    assert any(len(one.boxes) == 1 for one in seen) and any(bool(one.crowd.any()) for one in seen)


# --- regions from files -----------------------------------------------------------------------------


def test_regions_from_csv_and_from_results(tmp_path: Path) -> None:
    table = tmp_path / "r.csv"
    table.write_text("picture,left,top,right,bottom,score\n0,1,2,9,8,0.1\n0,-5,0,4,4,0.9\n12,0,0,3,3,1\n")
    sample = Sample(torch.zeros(1, 30, 40, dtype=torch.uint8), name="0")
    assert RegionFile(table).of(sample, 30, 40).tolist() == [[0, 0, 4, 4], [1, 2, 9, 8]]
    results = tmp_path / "r.json"
    results.write_text(json.dumps([{"image_id": 12, "bbox": [1, 2, 8, 6], "score": 0.1}]))
    named = Sample(Path("pictures/000012.jpg"), name="pictures/000012.jpg")
    assert RegionFile(results).of(named, 30, 40).tolist() == [[1, 2, 9, 8]]
    with pytest.raises(BadData, match=r"r\.csv has no region of picture 7"):
        RegionFile(table).of(replace(sample, name="7"), 30, 40)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "picture,left,top,right\n", "lack the column 'bottom'"),
        ("r.csv", "picture,left,top,right,bottom\n0,1,2,x,4\n", r"r\.csv:2: .*'x'"),
        ("r.csv", "picture,left,top,right,bottom\n0,1,2,nan,4\n", r"r\.csv:2: .*not finite"),
        ("r.json", "{}", "must be a list"),
        ("r.json", '[{"bbox": [1, 2, 3, 4]}]', "entry 0 is no"),
        ("r.json", "[\n1,", r"r\.json:2 are no JSON"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadData, match=message):
        RegionFile(tmp_path / name)


def test_a_region_outside_the_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("picture,left,top,right,bottom\n0,1,1,9,9\n0,50,2,60,8\n")
    sample = Sample(torch.zeros(1, 30, 40, dtype=torch.uint8), name="0")
    with pytest.raises(BadData, match=r"r\.csv:3: region \[50.0, 2.0, 60.0, 8.0\] has no area inside .* 40 x 30"):
        RegionFile(tmp_path / "r.csv").of(sample, 30, 40)


# --- the task ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return scene_dataset(6, 2, 0, size=64)


@pytest.mark.parametrize("regions", ["search", "net"])
def test_card_to_prediction(scenes: Dataset, regions: str) -> None:
    card = Detect.plan(scenes, {"regions": regions})
    task = Detect(json.loads(json.dumps(card)))
    assert task.size == 64 and len(task.classes) == len(scenes.classes)
    net = task.net()
    shelf = Shelf(scenes.train, task.load)
    batch = task.batch(shelf.take(range(3)), gen())
    assert all(len(one) == 3 for one in (*batch.inputs, *batch.targets.values()))
    loss = task.loss(net(*batch.inputs), batch.targets)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert set(task.likelihood) == set(net(*task.example()))  # type: ignore[arg-type]
    net.eval()
    scores = task.evaluate(net, Shelf(scenes.held_out, task.load))
    assert task.score in scores and json.dumps(scores)
    answer = task.predict(net, scenes.held_out[0].picture).answer
    assert json.dumps(answer)
    answer["objects"].append({"class": task.classes[0], "score": 0.9, "box": [2.0, 2.0, 30.0, 30.0]})
    bare, drawn = (task.draw(scenes.held_out[0].picture, Prediction({"objects": o})) for o in ([], answer["objects"]))
    assert drawn.size == bare.size and drawn.tobytes() != bare.tobytes()


def test_rows_that_do_not_count_have_no_gradient(scenes: Dataset) -> None:
    task = Detect(Detect.plan(scenes, {"regions": "net"}))
    batch = task.batch(Shelf(scenes.train, task.load).take([0, 1]), gen())
    out = {name: one.detach().requires_grad_() for name, one in task.net()(*batch.inputs).items()}
    task.loss(out, batch.targets).backward()
    still = {
        "boxes": batch.targets["classes"] <= 0,
        "objects": batch.targets["objects"] == IGNORED,
        "anchors": batch.targets["objects"] <= 0,
    }
    for name, rows in still.items():
        gradient = out[name].grad
        assert gradient is not None
        assert not gradient[rows].any() and bool(gradient[~rows].any())


def test_a_batch_hangs_on_its_generator_alone(scenes: Dataset) -> None:
    task = Detect(Detect.plan(scenes, {}))
    shelf = Shelf(scenes.train, task.load)
    first, again, other = (task.batch(shelf.take([0, 1]), gen(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.inputs[1], again.inputs[1]) and torch.equal(first.inputs[0], again.inputs[0])
    assert not torch.equal(first.inputs[1], other.inputs[1])
    plain = [task.batch(shelf.take([0, 1]), None) for _ in range(2)]
    assert torch.equal(plain[0].inputs[1], plain[1].inputs[1])


class Knowing(FastRCNN):
    """Sees one box: the nearer a region, the surer is class 1."""

    target: Tensor

    def judge(self, maps: list[Tensor], boxes_nr4: Tensor) -> dict[str, Tensor]:
        out = super().judge(maps, boxes_nr4)
        best = box_iou(boxes_nr4[0], self.target[None])[:, 0]
        logits = torch.full_like(out["classes"], -9.0)
        logits[0, :, 1] = 9 * best
        return {"classes": logits, "boxes": torch.zeros_like(out["boxes"])}


def test_finds_are_in_pixels_of_the_picture() -> None:
    """40 x 30 pixels shown in a square of 64: what was found there is told in the picture's own pixels."""
    data = plain_set()
    task = Detect(Detect.plan(data, {"size": 64}))
    sample = data.train[0]
    assert isinstance(sample.picture, Tensor)
    net = Knowing(2, channels=1)
    regions = torch.tensor([sample.things[0].box, (25.0, 20.0, 39.0, 29.0)])
    seen = task.load(sample)
    net.target = seen.frame.truth.boxes[0]
    answer = task.predict(net, sample.picture, regions).answer["objects"]
    assert answer[0]["class"] == "a" and answer[0]["score"] > 0.99
    assert answer[0]["box"] == pytest.approx(list(sample.things[0].box), abs=0.2)
    scores = task.evaluate(net, Shelf([sample], task.load))
    assert scores["VOC07_mAP50"] == pytest.approx(1.0)
    assert scores["recall_of_regions"] == 1.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 50}, BadOption, "multiple of 32"),
        ({"zoom": 0.5}, BadOption, "zoom=0.5"),
        ({"backbone": "resnet19"}, UnknownName, "resnet18"),
        ({"pool": "mean"}, UnknownName, "align, max"),
        ({"rergions": "net"}, UnknownName, "Did you mean 'regions'"),
        ({"regions": "nowhere.csv"}, BadData, "nowhere.csv cannot be read"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Detect.plan(plain_set(), options)


def test_data_that_cannot_be_learned_from() -> None:
    data = plain_set()
    bare = replace(data, train=[replace(sample, things=()) for sample in data.train])
    with pytest.raises(BadData, match="no object with a box"):
        Detect.plan(bare, {})
    task = Detect(Detect.plan(data, {}))
    wrong = replace(data.train[0], things=(Thing(0, (50.0, 2.0, 60.0, 9.0), where="labels.csv:7"),))
    with pytest.raises(BadData, match=r"labels\.csv:7: box .* 40 x 30 pixels"):
        task.load(wrong)


def test_regions_of_a_file_are_asked_for_when_predicting(tmp_path: Path) -> None:
    data = plain_set()
    rows = [f"{s.name},{','.join(map(str, s.things[0].box))}" for s in data.train]
    (tmp_path / "r.csv").write_text("picture,left,top,right,bottom\n" + "\n".join(rows) + "\n")
    task = Detect(Detect.plan(data, {"regions": str(tmp_path / "r.csv")}))
    assert len(task.load(data.train[1]).regions) == 1
    net: nn.Module = task.net().eval()
    with pytest.raises(BadOption, match="give the picture's regions too"):
        task.predict(net, data.train[0].picture)  # type: ignore[arg-type]
    task.predict(net, data.train[0].picture, torch.tensor([[0.0, 0.0, 9.0, 9.0]]))  # type: ignore[arg-type]


def test_pictures_without_objects_are_background(scenes: Dataset) -> None:
    task = Detect(Detect.plan(scenes, {}))
    seen = task.load(replace(scenes.train[0], things=()))
    batch = task.batch([seen], gen())
    assert int(batch.targets["classes"].abs().sum()) == 0
    net = task.net()
    assert torch.isfinite(task.loss(net(*batch.inputs), batch.targets))


@pytest.mark.slow
@pytest.mark.parametrize("regions", ["search", "net"])
def test_learns_a_few_scenes_by_heart(regions: str) -> None:
    data = scene_dataset(6, 0, 0, size=64)
    task = Detect(Detect.plan(data, {"regions": regions, "zoom": 1, "mirror": False}))
    net, shelf = task.net(), Shelf(data.train, task.load)
    optimizer = Riemannian(net, likelihood=task.likelihood)
    for step in range(120):
        batch = task.batch(shelf.take(range(6)), gen(step))
        loss = task.loss(net(*batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = task.evaluate(net.eval(), shelf)
    assert scores["VOC07_mAP50"] >= 0.9
    assert scores["recall_of_regions"] >= 0.95
