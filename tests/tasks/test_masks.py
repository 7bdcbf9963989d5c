"""The task of masks: what it learns from, what it refuses, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isotrain.data.outlines import RunLengths, decode
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.shelf import Shelf
from isotrain.data.synthetic import scene_dataset
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.tasks.masks import Masks
from isotrain.tasks.refine import Refine, soft_dice
from isotrain.tasks.windows import NONE, UNSURE, Windows, see

SCENES = scene_dataset(6, 1, 0, size=48)


def rectangle(height: int, width: int, left: int, top: int, right: int, bottom: int, label: int = 0) -> Thing:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return Thing(label, (left, top, right, bottom), mask)


def singles() -> Dataset:
    """One white rectangle on black, or none."""
    samples = []
    for turn in range(4):
        picture = torch.zeros(1, 60, 80, dtype=torch.uint8)
        things = ()
        if turn % 2:
            picture[:, 10:40, 20 + turn : 60] = 255
            things = (rectangle(60, 80, 20 + turn, 10, 60, 40),)
        samples.append(Sample(picture, (), things, f"s{turn}"))
    return Dataset(("one",), samples, samples)


def task_for(dataset: Dataset, **options: Any) -> Masks:
    return Masks(Masks.plan(dataset, options))


SYSTEMS = [
    (SCENES, {}),
    (SCENES, {"system": "regions"}),
    (SCENES, {"system": "regions", "per_class": True}),
    (singles(), {}),
]


@pytest.mark.parametrize(("dataset", "options"), SYSTEMS)
def test_the_card_is_json_and_makes_the_same_task(dataset: Dataset, options: dict[str, Any]) -> None:
    card = Masks.plan(dataset, options)
    again = Masks(json.loads(json.dumps(card)))
    assert [p.shape for p in again.net().parameters()] == [p.shape for p in Masks(card).net().parameters()]


@pytest.mark.parametrize(("dataset", "options"), SYSTEMS)
def test_a_batch_fits_net_loss_and_likelihoods(dataset: Dataset, options: dict[str, Any]) -> None:
    task = task_for(dataset, **options)
    shelf: Shelf[Any] = Shelf(dataset.train, task.load)
    batch = task.batch(shelf.take(range(3)), torch.Generator().manual_seed(1))
    n = len(batch.inputs[0])
    assert len(batch.names) == n
    assert all(len(t) == n for t in (*batch.inputs, *batch.targets.values()))
    output = task.net()(*batch.inputs)
    assert all(len(t) == n for t in output.values())
    likelihoods = task.likelihood
    assert isinstance(likelihoods, dict) and set(likelihoods) == set(output)
    for name, likelihood in likelihoods.items():
        likelihood.check(output[name])
    loss = task.loss(output, batch.targets)
    assert loss.ndim == 0 and bool(loss.isfinite())
    loss.backward()


@pytest.mark.parametrize(("dataset", "options"), SYSTEMS)
def test_the_gradient_is_what_the_likelihoods_say(dataset: Dataset, options: dict[str, Any]) -> None:
    """The evidence of every head gives back its own part of the loss; the overlap of whole pictures comes on top."""
    task = task_for(dataset, **options)
    batch = task.batch(Shelf(dataset.train, task.load).take(range(4)), torch.Generator().manual_seed(2))
    with torch.no_grad():
        output = task.net()(*batch.inputs)
    leaves = {name: out.detach().requires_grad_() for name, out in output.items()}
    loss = task.loss(leaves, batch.targets)
    if isinstance(task.system, Refine) and task.system.whole:
        loss = loss - soft_dice(leaves["masks"], batch.targets["masks"], batch.targets["masked"])
    loss.backward()
    assert isinstance(task.likelihood, dict)
    for name in ("masks", "scores", "objects"):
        if name in leaves and leaves[name].grad is not None:
            likelihood, leaf = task.likelihood[name], leaves[name].detach()
            found = likelihood.evidence(leaf, leaves[name].grad / likelihood.weight, likelihood.rows(leaf))
            target = leaf.sigmoid() - found.residual
            counted = found.share.expand_as(target) > 0
            assert float(((target - target.round()) * counted).abs().max()) < 1e-3


@pytest.mark.parametrize(("dataset", "options"), SYSTEMS)
def test_batches_hang_on_the_generator_alone(dataset: Dataset, options: dict[str, Any]) -> None:
    task = task_for(dataset, **options)
    loaded = Shelf(dataset.train, task.load).take(range(3))
    one, same, other = (task.batch(loaded, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert bool((one.inputs[0] == same.inputs[0]).all()) and not bool((one.inputs[0] == other.inputs[0]).all())
    still, again = task.batch(loaded, None), task.batch(loaded, None)
    assert bool((still.inputs[0] == again.inputs[0]).all())


@pytest.mark.parametrize(("dataset", "options"), SYSTEMS)
def test_it_speaks_of_pictures_of_any_size(dataset: Dataset, options: dict[str, Any]) -> None:
    task = task_for(dataset, **options)
    net = task.net().eval()
    for shape in ((1, 1, 1), (3, 20, 90)):
        prediction = task.predict(net, torch.randint(0, 256, shape, dtype=torch.uint8))
        json.dumps(prediction.answer)
        assert prediction.masks is not None and prediction.masks.shape[1:] == shape[1:]
        assert len(prediction.masks) == len(prediction.answer["objects"])
    assert task.draw(torch.zeros(3, 20, 90, dtype=torch.uint8), prediction).size == (360, 80)


@pytest.mark.parametrize(("dataset", "options"), SYSTEMS)
def test_it_is_scored_and_exported_as_it_is_trained(dataset: Dataset, options: dict[str, Any]) -> None:
    task = task_for(dataset, **options)
    net = task.net().eval()
    ticks: list[int] = []
    scores = task.evaluate(net, Shelf(dataset.held_out, task.load), ticks.append)
    assert sum(ticks) == len(dataset.held_out)
    assert {task.score, "AP50", "box_AP", "proposals_AR100", "dice"} <= set(scores)
    assert set(net(*task.example())) == set(task.likelihood)  # type: ignore[arg-type]


@pytest.mark.parametrize("turn", range(6))
def test_masks_lie_on_what_is_seen(turn: int) -> None:
    """Turned, mirrored and scaled, the mask covers just what was white in its window."""
    sample = singles().train[1]
    windows = Windows(64, 8, 8, (1.0,), (0.0,))
    drawn = windows.draw([see(sample, 1)], torch.Generator().manual_seed(turn))
    assert drawn.pictures.shape == (1, 1, 144, 144)
    for (row, column), mask, label in zip(drawn.cells[0].tolist(), drawn.masks[0], drawn.labels[0], strict=True):
        assert int(drawn.there[0, row, column]) == (1 if label >= 0 else int(label) if label == UNSURE else 0)
        if label >= 0:
            window = drawn.pictures[0, 0, 8 + 8 * row : 72 + 8 * row, 8 + 8 * column : 72 + 8 * column]
            white = window > (window.max() + window.min()) / 2
            assert float((white ^ mask).float().mean()) < 0.02
            middle = torch.stack([place.float().mean() for place in mask.nonzero(as_tuple=True)])
            assert float((middle - 32).abs().max()) < 0.15 * 64


def test_what_is_nearly_in_the_middle_is_left_out() -> None:
    seen = see(Sample(torch.zeros(1, 60, 80, dtype=torch.uint8), (), (rectangle(60, 80, 20, 10, 52, 30),)), 1)
    windows = Windows(64, 8, 8, (1.0,), (0.0,))

    def owner(x: float, y: float, scale: float) -> int:
        return int(windows._owners(seen, torch.tensor([[x, y, scale, 0.0, 1.0]])))

    assert owner(36, 20, 1.0) == 0 and owner(41, 20, 1.0) == 0 and owner(36, 20, 1.25) == 0
    assert owner(46, 20, 1.0) == UNSURE and owner(36, 20, 1.5) == UNSURE
    assert owner(36, 40, 1.0) == NONE and owner(36, 20, 2.0) == NONE


def test_nobody_learns_from_a_crowd() -> None:
    thing = rectangle(60, 80, 20, 10, 52, 30)
    crowd = Thing(thing.label, thing.box, thing.mask, crowd=True)
    windows = Windows(64, 8, 8, (1.0,), (0.0,))
    picture = torch.zeros(1, 60, 80, dtype=torch.uint8)
    drawn = windows.draw([see(Sample(picture, (), (crowd,)), 1)] * 4, torch.Generator().manual_seed(0))
    assert bool((drawn.labels < 0).all()) and not bool((drawn.there == 1).any())


def test_one_object_a_picture_is_shown_whole() -> None:
    task = task_for(singles())
    assert task.card["scales"] == [] and task.card["window"] == 128
    batch = task.batch(Shelf(singles().train, task.load).take(range(4)), None)
    assert batch.targets["scores"].flatten().tolist() == [0, 1, 0, 1]
    assert task_for(SCENES).card["scales"] and task_for(singles(), whole=False).card["scales"]


def test_scraps_of_whole_pictures_are_left_out_where_objects_are_in_one_piece() -> None:
    task = task_for(singles())
    assert task.card["least_piece"] == 0.5 and task_for(SCENES).card["least_piece"] == 0
    apart = torch.zeros(60, 80, dtype=torch.bool)
    apart[2:20, 2:20] = apart[30:38, 22:38] = True
    twice = [Sample(s.picture, s.labels, tuple(replace(t, mask=apart) for t in s.things)) for s in singles().train]
    assert task_for(replace(singles(), train=twice)).card["least_piece"] == 0
    net = task.net().eval()
    shapes = torch.full((2, 128, 128), -9.0)
    shapes[:, 10:50, 44:84] = 9.0  # in the middle: its mirror image lies on it
    shapes[:, 100:110, 59:69] = 9.0
    net.masks = lambda features, wide: shapes  # type: ignore[method-assign, assignment]
    found = task.system.proposals(net, torch.rand(int(task.card["channels"]), 128, 128))
    assert int(found.masks[0].sum()) == 1600


class Told(nn.Module):
    """Stands in for a net; the system is told what it finds."""


def test_masks_that_are_right_score_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from isotrain.tasks.objects import Objects

    task = task_for(SCENES)
    shelf: Shelf[Any] = Shelf(SCENES.held_out, task.load)
    pictures = {bytes(seen.levels[0].numpy()): seen for seen in shelf.take(range(len(shelf)))}

    def right(self: Refine, net: nn.Module, picture: Tensor) -> Objects:
        seen = pictures[bytes((picture * 255).round().to(torch.uint8).numpy())]
        masks = torch.stack([seen.mask(place) for place in range(len(seen.labels))])
        return Objects(seen.boxes, torch.ones(len(masks)), seen.labels, masks)

    monkeypatch.setattr(Refine, "find", right)
    monkeypatch.setattr(Refine, "proposals", right)
    scores = task.evaluate(Told(), shelf)
    assert scores["AP"] == scores["box_AP"] == scores["proposals_AR100"] == pytest.approx(1.0)
    assert scores["dice"] == 1.0


def test_the_answers_masks_are_cocos() -> None:
    task = task_for(singles())
    net = task.net().eval()
    with torch.no_grad():
        net.get_submodule("mask").bias.fill_(3.0)
        net.get_submodule("score").bias.fill_(3.0)
    prediction = task.predict(net, torch.zeros(1, 60, 80, dtype=torch.uint8))
    counts = prediction.answer["objects"][0]["mask"]
    from isotrain.data.outlines import rle

    runs = rle(counts["counts"], counts["size"])
    assert isinstance(runs, RunLengths) and prediction.masks is not None
    assert bool((decode(runs, 60, 80) == prediction.masks[0]).all())


@pytest.mark.parametrize("options", [{"system": "region"}, {"windows": 64}, {"system": "regions", "backbone": "vgg"}])
def test_names_that_are_not_known(options: dict[str, Any]) -> None:
    with pytest.raises(UnknownName):
        Masks.plan(SCENES, options)


@pytest.mark.parametrize("options", [{"window": 65}, {"whole": True}, {"system": "regions", "size": 50}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        Masks.plan(SCENES, options)


def test_boxes_alone_are_not_enough() -> None:
    picture = torch.zeros(1, 60, 80, dtype=torch.uint8)
    boxed = Sample(picture, (), (Thing(0, (1, 1, 5, 5), where="a.json:3"),), "a")
    with pytest.raises(BadData, match="no object with a mask"):
        Masks.plan(Dataset(("one",), [boxed]), {})
    with pytest.raises(BadData, match=r"a\.json:3.*no mask"):
        task_for(singles()).load(boxed)


@pytest.mark.slow
def test_it_learns_rectangles() -> None:
    torch.manual_seed(0)
    task = task_for(singles(), window=64)
    net, shelf = task.net(), Shelf(singles().train, task.load)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for step in range(80):
        batch = task.batch(shelf.take(range(4)), torch.Generator().manual_seed(step))
        loss = task.loss(net(*batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert task.evaluate(net.eval(), shelf)["dice"] > 0.9
