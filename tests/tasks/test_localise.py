"""The localisation task: its card, its scores, its predictions, and a training that learns to point."""

from __future__ import annotations

import json

import pytest
import torch

import isotrain
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.likelihood import Bernoulli, Categorical
from isotrain.tasks import task_named
from isotrain.tasks.localise import Localise
from isotrain.tasks.variation import shifted
from isotrain.vision.heat import boxes_of, evidence_for, laid_over, peaks

SIDE = 48


def marked(number: int, seed: int, several: bool = False, boxes: bool = True) -> list[Sample]:
    """Noise with a cross (class 0) or a ring (class 1), 13 to 21 pixels wide, at a random place; or any of the two."""
    draws = torch.Generator().manual_seed(seed)
    samples = []
    for index in range(number):
        picture = torch.rand(SIDE, SIDE, generator=draws) * 0.3
        if several:
            kinds = [kind for kind in (0, 1) if float(torch.rand(1, generator=draws)) < 0.5]
        else:
            kinds = [index % 2]
        things = []
        for kind in kinds:
            size = int(torch.randint(6, 11, (1,), generator=draws)) * 2 + 1
            left, top = (int(torch.randint(0, SIDE - size + 1, (1,), generator=draws)) for _ in range(2))
            steps = torch.arange(size) - size // 2
            x, y = steps[None, :], steps[:, None]
            far = (x**2 + y**2).float().sqrt()
            shape = ((x.abs() <= 1) | (y.abs() <= 1)) if kind == 0 else (far - size // 2 + 1).abs() <= 1.2
            spot = picture[top : top + size, left : left + size]
            spot[shape] = 1.0
            things.append(Thing(kind, (left, top, left + size, top + size)))
        pixels = (picture * 255).to(torch.uint8)[None]
        samples.append(Sample(pixels, tuple(kinds), tuple(things) if boxes else (), f"{seed}-{index}"))
    return samples


def dataset(several: bool = False, train: int = 128) -> Dataset:
    return Dataset(("cross", "ring"), marked(train, 0, several), marked(64, 1, several), source="marks")


def trained(data: Dataset, epochs: int, plain: bool, **options: object) -> tuple[Localise, torch.nn.Module]:
    task = Localise(Localise.plan(data, options))
    torch.manual_seed(0)
    net = task.net()
    if plain:
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    else:
        optimizer = isotrain.Riemannian(net, likelihood=task.likelihood)
    shelf, draws = Shelf(data.train, task.load), torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for places in torch.randperm(len(shelf), generator=draws).split(32):
            batch = task.batch(shelf.take(places.tolist()), draws)
            loss = task.loss(net(*batch.inputs), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return task, net.eval()


@pytest.fixture(scope="module")
def pointer() -> tuple[Localise, torch.nn.Module]:
    return trained(dataset(), epochs=4, plain=False, widths=(8, 16))


def test_learns_to_point_from_labels_alone(pointer):
    task, net = pointer
    scores = task.evaluate(net, Shelf(dataset().held_out, task.load))
    assert scores["classification"] == scores["accuracy"] >= 0.9
    # Chance is 0.12. The tips of a cross say the most of it: points come to lie beside them, not far.
    assert scores["pointing"] >= 0.7
    assert scores["pointing within 18 of 500 pixels"] >= 0.9
    assert scores["CorLoc"] >= 0.25
    assert set(scores["pointing by class"]) == {"cross", "ring"}
    json.dumps(scores)


class Brightness(torch.nn.Module):
    """Takes bright cells for a cross: what a prediction makes of a net can then be said beforehand."""

    def maps(self, pictures):
        bright = torch.nn.functional.avg_pool2d(pictures, 4)
        return [torch.cat([10 * bright, -10 * bright - 5], 1)]

    def pooled(self, maps):
        return maps[0].amax((2, 3))

    def sizes(self, height, width):
        return [(height, width)]

    def evidence(self, pictures, classes):
        return torch.ones_like(pictures), torch.full((len(classes),), 32.0)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 240), (200, 100), (24, 24)])
def test_prediction_is_in_pixels_of_the_picture(height, width):
    task = Localise(Localise.plan(dataset(train=4), {}))
    picture = torch.zeros(1, height, width, dtype=torch.uint8)
    left, top, right, bottom = width // 2, height // 4, width // 2 + width // 4, height // 4 + height // 4
    picture[:, top:bottom, left:right] = 255
    prediction = task.predict(Brightness(), picture)
    json.dumps(prediction.answer)
    (one,) = prediction.answer["objects"]
    assert one["class"] == "cross" and prediction.answer["classes"]["cross"] == one["score"] > 0.99
    x, y = one["point"]
    assert left <= x < right and top <= y < bottom
    pixel = max(height, width) / SIDE
    assert one["box"] == pytest.approx([left, top, right, bottom], abs=2.5 * pixel)
    assert prediction.heat.shape[0] == 2 and prediction.heat.min() == 0 and prediction.heat.max() == 1
    assert prediction.heat.shape[1] / prediction.heat.shape[2] == pytest.approx(height / width, rel=0.05)
    assert max(task.draw(picture, prediction).size) >= 240


def test_the_borders_around_a_picture_are_not_pointed_at():
    task = Localise(Localise.plan(dataset(train=4), {}))
    task.card["mean"] = [1.0]  # the borders are then as bright as can be
    prediction = task.predict(Brightness(), torch.full((1, 24, 96), 100, dtype=torch.uint8))
    x, y = prediction.answer["objects"][0]["point"]
    assert 0 <= x < 96 and 0 <= y < 24
    left, top, right, bottom = prediction.answer["objects"][0]["box"]
    assert left >= 0 and top >= 0 and right <= 96 and bottom <= 24


def test_several_classes_a_picture():
    data = dataset(several=True, train=160)
    task, net = trained(data, epochs=6, plain=True, widths=(8, 16))
    assert isinstance(task.likelihood, Bernoulli)
    scores = task.evaluate(net, Shelf(data.held_out, task.load))
    assert scores["classification"] == scores["mAP"] >= 0.9
    assert scores["pointing"] >= 0.8 and scores["pointing AP"] >= 0.9
    assert abs(scores["mAP 11 points"] - scores["mAP"]) < 0.1
    blank = torch.full((1, SIDE, SIDE), 38, dtype=torch.uint8)
    nothing = task.predict(net, blank)
    assert all(one["score"] >= 0.5 for one in nothing.answer["objects"])
    assert task.draw(blank, nothing).mode == "RGB"


def test_boxes_are_not_learned_from():
    task = Localise(Localise.plan(dataset(), {}))
    with_boxes, without = ([task.load(s) for s in marked(4, 3, boxes=known)] for known in (True, False))
    batches = [task.batch(loaded, torch.Generator().manual_seed(0)) for loaded in (with_boxes, without)]
    assert torch.equal(batches[0].inputs[0], batches[1].inputs[0])
    assert batches[0].targets.keys() == {"labels"}
    torch.manual_seed(0)
    scores = task.evaluate(task.net().eval(), Shelf(marked(4, 3, boxes=False), task.load))
    assert "pointing" not in scores and "accuracy" in scores


def test_the_card_follows_from_the_data():
    card = Localise.plan(dataset(), {})
    assert card == json.loads(json.dumps(card))
    assert card["size"] == [48, 48] and card["scales"] == [1.0, 0.71, 0.5] and card["channels"] == 1
    assert card["single"] and not card["mirror"]
    assert isinstance(Localise(card).likelihood, Categorical)
    assert task_named("localise") is Localise
    wide = [Sample(torch.zeros(3, 300, 400, dtype=torch.uint8), (n % 2,), name=str(n)) for n in range(4)]
    card = Localise.plan(Dataset(("a", "b"), wide), {"size": 96})
    assert card["size"] == [72, 96] and card["mirror"]
    example = Localise(card).example()
    assert Localise(card).net().eval()(*example).shape == (1, 2)


@pytest.mark.parametrize(
    ("option", "error", "said"),
    [
        ({"size": 4}, BadOption, "size=4"),
        ({"depth": 0}, BadOption, "depth=0"),
        ({"scales": [1.0, -1.0]}, BadOption, "scales"),
        ({"top": 0}, BadOption, "top=0"),
        ({"widths": [8]}, BadOption, "widths"),
        ({"pooling": "maks"}, UnknownName, "max"),
        ({"depht": 2}, UnknownName, "depth"),
    ],
)
def test_bad_options(option, error, said):
    with pytest.raises(error, match=said):
        Localise.plan(dataset(train=4), option)


def test_data_that_teaches_nothing():
    blank = torch.zeros(1, 32, 32, dtype=torch.uint8)
    with pytest.raises(BadData, match="no labelled picture"):
        Localise.plan(Dataset(("a",), [Sample(blank, name="x")], source="photos"), {})
    with pytest.raises(BadData, match=r"photos.*same label \(a\)"):
        Localise.plan(Dataset(("a", "b"), [Sample(blank, (0,), name=n) for n in "xy"], source="photos"), {})
    with pytest.raises(BadData, match="label 2"):
        Localise.plan(Dataset(("a", "b"), [Sample(blank, (2,), name="x"), Sample(blank, (0,), name="y")]), {})


def test_labels_may_come_from_things():
    blank = torch.zeros(1, 32, 32, dtype=torch.uint8)
    things = (Thing(1, (0, 0, 4, 4)), Thing(0, (4, 4, 8, 8), crowd=True))
    data = Dataset(("a", "b"), [Sample(blank, things=things), Sample(blank, (0,))])
    task = Localise(Localise.plan(data, {}))
    batch = task.batch([task.load(s) for s in data.train], None)
    assert batch.targets["labels"].tolist() == [1, 0]


def test_pictures_are_moved_with_their_edges_drawn_out():
    pictures = torch.arange(16).view(1, 1, 4, 4).expand(64, 1, 4, 4)
    moved = shifted(pictures, (1, 1), False, torch.Generator().manual_seed(0))
    assert len(moved.flatten(1).unique(dim=0)) == 9  # three places each way
    kept = (moved == pictures).flatten(1).all(1)
    assert kept.any() and not kept.all()
    turned = shifted(pictures, (0, 0), True, torch.Generator().manual_seed(0))
    assert {tuple(row.tolist()) for row in turned[:, 0, 0]} == {(0, 1, 2, 3), (3, 2, 1, 0)}


def test_maps_of_any_scale_lie_where_the_picture_is():
    # One warm cell at (2, 5) of a 16 x 16 map of stride 4, and the same place at half the scale.
    fine, coarse = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 8, 8)
    fine[0, 0, 2, 5], coarse[0, 0, 6, 1] = 1.0, 2.0
    assert peaks(laid_over([fine], [(64, 64)], 4, 64, 64)[0]).tolist() == [[21.5, 9.5]]  # cell: 20 to 24, 8 to 12
    both = laid_over([fine, coarse], [(64, 64), (32, 32)], 4, 64, 64)
    assert peaks(both[0]).tolist() == [[11.5, 51.5]]  # cell: 8 to 16, 48 to 56
    # 30 pixels need 8 cells, the last of which hangs over: the picture ends at 30 / 32 of the map.
    hanging = torch.arange(8.0).expand(1, 1, 8, 8)
    over = laid_over([hanging], [(30, 30)], 4, 30, 30)[0, 0, 0]
    assert over[2:28].tolist() == pytest.approx([(x + 0.5) / 4 - 0.5 for x in range(2, 28)], abs=1e-5)


def test_evidence_is_where_the_picture_stands_out_and_the_score_agrees():
    picture = torch.zeros(1, 1, 40, 40)
    picture[0, 0, 10:20, 8:16] = 1.0
    picture[0, 0, 30:34, 30:34] = 1.0
    gradient = torch.zeros_like(picture)
    gradient[0, 0, 8:22, 6:18] = 1.0
    evidence = evidence_for(picture, gradient, torch.tensor([32.0]))
    (box,) = boxes_of(evidence, 0.25).tolist()
    assert box == pytest.approx([8, 10, 16, 20], abs=2)
    inverted = evidence_for(1 - picture, -gradient, torch.tensor([32.0]))
    assert torch.allclose(evidence, inverted, atol=1e-5), "dark on light is as good as light on dark"
