"""Depth reports: of nets whose blocks are known, and their pictures."""

from __future__ import annotations

import json

import pytest
import torch

from isotrain.data.pictures import picture_size
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData
from isotrain.nets.resnet import ResNet, along, shallower
from isotrain.tasks.classify import Classify
from isotrain.tasks.depth import PASSES, BlockWorth, DepthReport, depth_report


@pytest.fixture(scope="module")
def shelf_of_noise() -> tuple[Classify, ResNet, Shelf]:
    """40 pictures whose classes are what the net itself says, so that the whole net is right on all of them."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (40, 1, 12, 12), generator=generator, dtype=torch.uint8)
    data = Dataset(tuple("abcd"), [Sample(p, labels=(i % 4,)) for i, p in enumerate(pictures)])
    task = Classify(Classify.plan(data, {"net": "resnet20"}))
    torch.manual_seed(0)
    net = task.net()
    net(pictures.float() / 255)
    net.eval()
    with torch.no_grad():
        net.blocks[4].bn2.weight.zero_()  # a block that does nothing
        net.blocks[4].bn2.bias.zero_()
        net.fc.bias.sub_(net(pictures.float() / 255).mean(0))  # else a new net says the same of every picture
        said = net(pictures.float() / 255).argmax(1)
    return task, net, Shelf([Sample(p, labels=(int(k),)) for p, k in zip(pictures, said, strict=True)], task.load)


@pytest.fixture(scope="module")
def report(shelf_of_noise) -> DepthReport:
    return depth_report(*shelf_of_noise)


def test_every_score_is_that_of_the_net_on_the_path(shelf_of_noise, report):
    task, net, shelf = shelf_of_noise

    def score(path) -> float:
        with along(net, path):
            return task.evaluate(net, shelf)["accuracy"]

    whole = list(range(9))
    assert report.score == 1.0
    for worth in report.blocks:
        k = worth.block
        assert worth.dropped == score(whole[:k] + whole[k + 1 :])
        if worth.repeated is not None:
            assert worth.repeated == score(whole[: k + 1] + whole[k:])
        if worth.swapped is not None:
            assert worth.swapped == score([*whole[:k], k + 1, k, *whole[k + 2 :]])
    assert [w.block for w in report.blocks if w.repeated is None] == [3, 6]
    assert [w.block for w in report.blocks if w.swapped is None] == [2, 3, 5, 6, 8]
    assert [w.stage for w in report.blocks] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for depth, found in report.depths.items():
        assert found == score(sorted(report.order[9 - depth :]))


def test_a_block_that_does_nothing_costs_nothing_and_does_not_move(report):
    idle = report.blocks[4]
    assert (idle.dropped, idle.repeated, idle.swapped, idle.movement) == (1.0, 1.0, 1.0, 0.0)
    assert sum(w.dropped < 1 for w in report.blocks) >= 4  # the others do something
    assert all(w.movement > 0.1 for w in report.blocks if w.block != 4)
    assert report.depths[9] == report.depths[8] == 1.0


def test_movement_is_the_branchs_norm_over_the_shortcuts(shelf_of_noise, report):
    task, net, shelf = shelf_of_noise
    with torch.no_grad():
        x = net.stem(task.batch(shelf.take(range(40)), None).inputs[0])
        branch = net.blocks[0].branch(x)
    ratio = branch.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    assert report.blocks[0].movement == pytest.approx(float(ratio.mean()), rel=1e-4)


def test_the_net_is_left_as_it_was_and_progress_is_told(shelf_of_noise):
    task, net, shelf = shelf_of_noise
    before = {key: value.clone() for key, value in net.state_dict().items()}
    ticks: list[int] = []
    with along(net, [0, 1]):
        again = depth_report(task, net, shelf, ticks.append)
        assert net.path == (0, 1)
    assert again.score == 1.0  # the whole net, whatever its path was
    assert sum(ticks) == PASSES * 40
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_reports_order_gives_the_shallower_net(shelf_of_noise, report):
    task, net, shelf = shelf_of_noise
    with along(net, None):
        assert task.evaluate(shallower(net, 5, report.order), shelf)["accuracy"] == report.depths[5]


def test_no_pictures_no_report(shelf_of_noise):
    task, net, _ = shelf_of_noise
    with pytest.raises(BadData, match="no pictures to measure the depth on"):
        depth_report(task, net, Shelf([], task.load))


def test_the_report_is_plain_json(report):
    found = json.loads(json.dumps(report.to_dict()))
    assert found["blocks"][4]["dropped"] == 1.0
    assert found["order"] == report.order
    assert found["depths"]["9"] == 1.0


def test_bottlenecks_and_projections_are_measured_too():
    data = Dataset(
        ("a", "b"),
        [Sample(torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8), labels=(i % 2,)) for i in range(4)],
    )
    task = Classify(Classify.plan(data, {"net": "resnet50", "stochastic_depth": 0.2}))
    found = depth_report(task, task.net().eval(), Shelf(data.train, task.load))
    assert [w.block for w in found.blocks if w.reshapes] == [0, 3, 7, 13]
    assert len(found.depths) == 16


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_written(report, tmp_path, ending):
    path = tmp_path / "new" / f"depth.{ending}"
    report.plot(path)
    assert path.stat().st_size > 5000


def test_a_picture_of_many_blocks_and_of_one_stage(tmp_path):
    worths = [BlockWorth(k, k // 18, k in (18, 36), 0.2, 0.9, None, None) for k in range(54)]
    DepthReport("resnet110", 10, 0.95, worths, list(range(54)), {d: 0.9 for d in range(1, 55)}).plot(tmp_path / "a.png")
    DepthReport("resnet8", 10, 0.95, worths[:1], [0], {1: 0.95}).plot(tmp_path / "b.png")
    assert picture_size(tmp_path / "a.png")[1] > picture_size(tmp_path / "b.png")[1]
