"""The finder: its net, its cells, its scenes, and that it learns to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from isotrain import Riemannian
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.synthetic import crowd_dataset
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.nets import finder
from isotrain.nets.finder import SQUARES, STRIDES, Finder, cells_of, squares_of
from isotrain.tasks.cells import BORDERS, UNKNOWN, truth_of
from isotrain.tasks.collage import Pose, Scene, compose, source_of
from isotrain.tasks.developing import developed
from isotrain.tasks.finder import CHANCE, HARD, FindFaces, counted
from isotrain.tasks.finds import shrunk
from isotrain.vision.boxes import decode

NOTHING = torch.zeros(0, 4)


def square(x: float, y: float, side: float) -> list[float]:
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


@pytest.fixture
def task() -> FindFaces:
    return FindFaces({"classes": ["face"], "scene": 64, "channels": 1, "mean": [0.45], "spread": [0.25]})


# --- the net -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 64), (50, 70), (33, 31)])
def test_every_cell_has_an_answer_and_a_square(size):
    out = Finder(0.5, 0.25)(torch.rand(2, 1, *size))
    squares = squares_of(*size)
    assert out["faces"].shape == (2, len(squares))
    assert out["boxes"].shape == (2, len(squares), 4)


def test_cells_lie_where_they_look():
    """A cell's answer changes most with the pixels around its centre: a patch of noise moved over the picture."""
    torch.manual_seed(0)
    net = Finder(0.5, 0.25).eval()
    centres, strides = cells_of(96, 96)
    picture = torch.rand(1, 1, 96, 96, requires_grad=True)
    for level, stride in enumerate(STRIDES):
        place = int((strides == stride).nonzero()[(strides == stride).sum() // 2 + (96 // stride) // 2])
        (slope,) = torch.autograd.grad(net(picture)["faces"][0, place], picture)
        weight = slope[0, 0].square()
        grid = torch.arange(96) + 0.5
        middle = torch.stack([(weight.sum(0) * grid).sum(), (weight.sum(1) * grid).sum()]) / weight.sum()
        assert (middle - centres[place]).abs().max() < 0.7 * stride, (level, middle, centres[place])


def test_colours_are_averaged():
    net = Finder(0.5, 0.25).eval()
    picture = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(net(picture)["faces"], net(picture.mean(1, keepdim=True))["faces"])


def test_a_folded_net_says_the_same():
    torch.manual_seed(1)
    net = Finder(0.5, 0.25)
    for _ in range(3):
        net(torch.rand(4, 1, 64, 64))  # the norms count something
    net.eval()
    pictures = torch.rand(2, 1, 64, 96)
    quick = net.folded()
    for name, expected in net(pictures).items():
        torch.testing.assert_close(quick(pictures)[name], expected, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in quick.modules())


# --- what cells should say -----------------------------------------------------------------------------------


@given(side=st.floats(10, 190), x=st.floats(60, 132), y=st.floats(60, 132))
def test_a_face_is_seen_by_the_map_of_its_size_and_decodes_to_itself(side, x, y):
    face = torch.tensor([square(x, y, side)])
    truth, deltas = truth_of(face, NOTHING, 192)
    sees = truth == 1
    _, strides = cells_of(192, 192)
    level = sum(side >= border for border in BORDERS)
    assert sees.any()
    assert (strides[sees] == STRIDES[level]).all()
    decoded = decode(deltas[sees], squares_of(192, 192)[sees])
    torch.testing.assert_close(decoded, face.expand_as(decoded), atol=1e-3, rtol=1e-4)
    assert (deltas[~sees] == 0).all()


def test_cells_in_unknown_places_do_not_count():
    truth, _ = truth_of(torch.tensor([square(40, 40, 24)]), torch.tensor([[96.0, 0.0, 192.0, 192.0]]), 192)
    centres, _ = cells_of(192, 192)
    assert (truth[centres[:, 0] > 96] == UNKNOWN).all()
    assert (truth == 1).any()
    assert (truth == 0).sum() > 200


def test_of_two_faces_each_has_its_own_cells():
    faces = torch.tensor([square(40, 40, 24), square(60, 40, 24)])
    truth, deltas = truth_of(faces, NOTHING, 96)
    sees = truth == 1
    decoded = decode(deltas[sees], squares_of(96, 96)[sees])
    assert box_iou(decoded, faces).max(0).values.min() > 0.99


def test_cells_that_count_are_those_with_a_face_the_worst_and_some_by_chance():
    truth = torch.zeros(2, 4000)
    truth[0, :10], truth[1, :500] = 1.0, UNKNOWN
    entropy = torch.rand(2, 4000)
    entropy[0, 100:120] = 5.0
    chosen = counted(entropy, truth)
    assert chosen[0, :10].all() and not chosen[1, :500].any()
    assert chosen[0, 100:120].all()
    assert (HARD + CHANCE) * 10 * 0.6 < chosen.sum() < (HARD + CHANCE + 1) * 10 * 1.4
    torch.manual_seed(1)
    one = counted(entropy, truth)
    torch.manual_seed(1)
    assert torch.equal(one, counted(entropy, truth))
    assert 0 < counted(entropy, torch.zeros(2, 4000)).sum() < 400  # scenes of nobody teach too


def test_what_is_unknown_changes_neither_loss_nor_gradient(task):
    truth, boxes = (
        one[None] for one in truth_of(torch.tensor([square(32, 32, 24)]), torch.tensor([[0, 0, 64, 20.0]]), 64)
    )
    out = {"faces": torch.randn(1, 84, requires_grad=True), "boxes": torch.randn(1, 84, 4, requires_grad=True)}
    task.loss(out, {"faces": truth, "boxes": boxes}).backward()
    assert (out["faces"].grad[truth == UNKNOWN] == 0).all()
    assert (out["boxes"].grad[truth != 1] == 0).all()
    assert (out["boxes"].grad[truth == 1] != 0).any(-1).all()


# --- scenes --------------------------------------------------------------------------------------------------


def marked(side: int = 100, at: tuple[int, int] = (40, 60), face: int = 20):
    """A dark picture with a bright square where its face is."""
    picture = torch.zeros(1, side, side, dtype=torch.uint8)
    x, y = at
    picture[:, y - face // 2 : y + face // 2, x - face // 2 : x + face // 2] = 255
    return source_of(picture, np.array([square(x, y, face)], np.float32), np.zeros((0, 4), np.float32))


@given(scale=st.floats(0.4, 2.5), angle=st.floats(-0.5, 0.5), mirror=st.booleans(), x=st.floats(50, 140))
def test_a_box_goes_where_its_pixels_go(scale, angle, mirror, x):
    scene = Scene(torch.zeros(192, 192))
    assert scene.lay(marked(), Pose((40.0, 60.0), (x, 96.0), scale, angle, mirror), least=1.0)
    assert len(scene.faces) == 1
    weight = scene.canvas / scene.canvas.sum()
    grid = torch.arange(192) + 0.5
    middle = torch.stack([(weight.sum(0) * grid).sum(), (weight.sum(1) * grid).sum()])
    left, top, right, bottom = scene.faces[0].tolist()
    torch.testing.assert_close(middle, torch.tensor([(left + right) / 2, (top + bottom) / 2]), atol=0.7, rtol=0)
    area = float(scene.canvas.sum() / 255)
    assert area == pytest.approx((right - left) ** 2, rel=0.12, abs=6)


def test_a_face_that_is_cut_off_is_unknown_and_one_that_is_hidden_is_not_laid_over():
    scene = Scene(torch.zeros(192, 192))
    scene.lay(marked(), Pose((40.0, 60.0), (-5.0, 96.0), 3.0))  # 25 of its 60 pixels are seen
    assert (len(scene.faces), len(scene.unknown)) == (0, 1)
    scene.lay(marked(), Pose((40.0, 60.0), (96.0, 96.0), 1.0))
    before = scene.canvas.clone()
    assert not scene.lay(marked(), Pose((10.0, 10.0), (90.0, 90.0), 1.0))
    assert torch.equal(scene.canvas, before)
    assert len(scene.faces) == 1


def test_scenes_are_the_same_from_the_same_numbers_and_their_boxes_are_squares():
    data = crowd_dataset(train=10, held_out=0, test=0, size=96)
    task = FindFaces(FindFaces.plan(data, {"scene": 96}))
    sources = [task.load(sample) for sample in data.train]
    one, again, other = (compose(sources[0], sources[1:], np.random.default_rng(k), 96) for k in (3, 3, 4))
    assert torch.equal(one.canvas, again.canvas)
    assert not torch.equal(one.canvas, other.canvas)
    for turn in range(30):
        scene = compose(sources[turn % 10], sources, np.random.default_rng(turn), 96)
        sides = scene.faces[:, 2:] - scene.faces[:, :2]
        assert np.allclose(sides[:, 0], sides[:, 1], atol=1e-3)
        assert (sides >= 9.99).all()
        assert scene.canvas.shape == (96, 96) and 0 <= float(scene.canvas.min()) <= float(scene.canvas.max()) <= 255


def test_developed_scenes_stay_in_range_and_are_changed():
    scenes = torch.rand(16, 64, 64) * 255
    given = developed(scenes.clone(), np.random.default_rng(0))
    assert given.shape == scenes.shape and given.min() >= 0 and given.max() <= 255
    assert all(not torch.equal(a, b) for a, b in zip(given, scenes, strict=True))


# --- the task ------------------------------------------------------------------------------------------------


def test_it_learns_a_few_scenes_by_the_default_optimizer(monkeypatch):
    """A narrow net, twelve scenes of drawn people, sixty steps: the loss falls to a third, faces stand out."""
    monkeypatch.setattr(finder, "WIDTHS", (6, 8, 12, 12, 12))
    monkeypatch.setattr(finder, "JOINED", 8)
    data = crowd_dataset(train=12, held_out=0, test=0, size=96)
    task = FindFaces(FindFaces.plan(data, {"scene": 96}))
    sources = [task.load(sample) for sample in data.train]
    torch.manual_seed(0)
    net = task.net()
    optimizer = Riemannian(net, likelihood=task.likelihood)
    batch, losses = task.batch(sources, torch.Generator().manual_seed(0)), []
    for _ in range(60):
        loss = task.loss(net(*batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
    said, truth = net(*batch.inputs)["faces"].detach(), batch.targets["faces"]
    assert (said[truth == 1] > said[truth == 0].quantile(0.95)).float().mean() > 0.6


def test_pictures_of_many_sizes_are_looked_through_and_their_finds_lie_in_their_pixels(task):
    class Sees(torch.nn.Module):
        """Says there is a face at the cell of stride 8 around the brightest pixel."""

        def forward(self, pictures):
            n, _, h, w = pictures.shape
            squares = squares_of(h, w)
            faces, boxes = torch.full((n, len(squares)), -9.0), torch.zeros(n, len(squares), 4)
            for row in range(n):
                at = int(pictures[row].mean(0).flatten().argmax())
                middle = (squares[:, :2] + squares[:, 2:]) / 2
                place = (middle - torch.tensor([at % w, at // w])).abs().sum(1)
                faces[row, place[squares[:, 2] - squares[:, 0] == SQUARES[0]].argmin()] = 5.0
            return {"faces": faces, "boxes": boxes}

    pictures = [torch.zeros(1, 64, 96, dtype=torch.uint8), torch.zeros(3, 1280, 960, dtype=torch.uint8)]
    pictures.append(pictures[0].clone())
    pictures[0][:, 20, 28] = 255
    pictures[1][:, 400:416, 600:616] = 255
    pictures[2][:, 44, 60] = 255
    found = task.find(Sees(), pictures)
    assert [found[0].boxes[0].tolist(), found[2].boxes[0].tolist()] == [[16, 8, 40, 32], [48, 32, 72, 56]]
    left, top, right, bottom = found[1].boxes[0].tolist()
    assert right - left == pytest.approx(48, abs=0.1)  # half of its size: 24 pixels there are 48 here
    assert (left + right) / 2 == pytest.approx(608, abs=10) and (top + bottom) / 2 == pytest.approx(408, abs=10)


def test_large_pictures_are_made_smaller_by_area():
    picture = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    picture[..., ::2] = 200
    assert torch.equal(shrunk(picture, 64), picture.float().mean(1, keepdim=True) / 255)
    small = shrunk(picture, 16)
    assert small.shape == (1, 1, 16, 16)
    assert (small[..., 1:-1] - 100 / 255).abs().max() < 0.02


def test_plan_says_what_is_wrong():
    data = crowd_dataset(train=5, held_out=0, test=0, size=96)
    with pytest.raises(UnknownName, match="scenes"):
        FindFaces.plan(data, {"scenes": 96})
    with pytest.raises(BadOption, match="scene=100"):
        FindFaces.plan(data, {"scene": 100})
    two = Dataset(("a", "b"), data.train)
    with pytest.raises(BadData, match="2 classes"):
        FindFaces.plan(two, {})
    with pytest.raises(BadData, match="no face with a box"):
        FindFaces.plan(Dataset(("face",), [s for s in data.train if not s.things]), {})


def test_a_box_outside_its_picture_is_named(task):
    sample = Sample(torch.zeros(1, 20, 30, dtype=torch.uint8), (), (Thing(0, (40, 0, 50, 10), where="a.csv:7"),), "one")
    with pytest.raises(BadData, match=r"a\.csv:7"):
        task.load(sample)


def test_one_sample_is_a_batch_and_names_are_kept(task):
    data = crowd_dataset(train=1, held_out=0, test=0, size=64)
    batch = task.batch([task.load(data.train[0])], None)
    assert batch.names == ["photo-0"]
    assert batch.inputs[0].shape == (1, 1, 64, 64)
    again = task.batch([task.load(data.train[0])], None)
    assert torch.equal(batch.inputs[0], again.inputs[0])
