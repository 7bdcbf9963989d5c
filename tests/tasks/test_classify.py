"""The task of classifying pictures: its card, its batches, its scores, and that it learns."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from isotrain.data.idx import mnist
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.nets.resnet import ResNet
from isotrain.tasks import task_named
from isotrain.tasks.classify import Classify, Seen
from isotrain.tasks.classify_card import fitted
from isotrain.tasks.variation import cut_out, shifted

CLASSES = ("across", "down", "dots")


def picture(label: int, channels: int = 1, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    """Stripes across, stripes down, or dots, on noise."""
    noise = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed)) * 80
    down, across = torch.meshgrid(torch.arange(height) + seed, torch.arange(width) + seed, indexing="ij")
    ink = {0: down % 4 < 2, 1: across % 4 < 2, 2: (down % 4 < 2) & (across % 4 < 2)}[label]
    return (noise + 170 * ink).to(torch.uint8)


def samples(count: int, **more) -> list[Sample]:
    return [
        Sample(picture(i % 3, seed=i, **more), labels=(i % 3,), name=f"sample {i}", where=f"list.csv:{i + 1}")
        for i in range(count)
    ]


def dataset(train: int = 30, held_out: int = 6, **more) -> Dataset:
    return Dataset(CLASSES, samples(train, **more), samples(held_out, **more), source="stripes")


def task(data: Dataset | None = None, **options) -> Classify:
    return Classify(Classify.plan(data or dataset(), {"net": "resnet8", **options}))


def test_the_card_follows_from_small_grey_pictures_and_is_plain_json():
    card = Classify.plan(dataset(height=12, width=20), {})
    assert json.loads(json.dumps(card)) == card
    assert card["size"] == [12, 20]
    assert (card["channels"], card["net"], card["mirror"], card["pretrained"]) == (1, "resnet20", False, None)
    pixels = torch.cat([s.picture.flatten() for s in dataset(height=12, width=20).train]).double() / 255
    assert card["mean"] == pytest.approx([float(pixels.mean())])
    assert card["spread"] == pytest.approx([float(pixels.std(correction=0))])


def test_the_card_follows_from_larger_pictures_of_several_sizes():
    mixed = samples(15, channels=3, height=90, width=120) + samples(15, channels=1, height=100, width=80)
    card = Classify.plan(Dataset(CLASSES, mixed), {})
    assert card["size"] == [90, 90]
    assert (card["channels"], card["net"], card["mirror"], card["shift"]) == (3, "resnet18", True, 11)


def test_options_win_over_the_data_and_none_is_no_option():
    options = {"net": "resnet14", "size": 24, "mirror": True, "shift": 0, "cutout": 4, "stochastic_depth": 0.2}
    card = Classify.plan(dataset(), {**options, "pretrained": None})
    assert {name: card[name] for name in options} == options | {"size": [24, 24]}
    assert Classify.plan(dataset(), {"size": (8, 12)})["size"] == [8, 12]


def test_pretrained_weights_bring_their_own_scale_and_are_loaded_once(tmp_path):
    donor = ResNet("resnet8", 3, [0.5], [0.5])
    torch.save(donor.state_dict(), tmp_path / "weights.pth")
    ours = task(pretrained=tmp_path / "weights.pth")
    assert ours.card["mean"] == pytest.approx([0.449], abs=1e-3)
    assert json.loads(json.dumps(ours.card)) == ours.card
    net = ours.net()
    assert not torch.equal(net.conv1.weight, donor.conv1.weight)
    ours.begin(net)
    assert torch.equal(net.conv1.weight, donor.conv1.weight)
    task().begin(net)  # names none: does nothing


@pytest.mark.parametrize(
    ("options", "error", "fault"),
    [
        ({"nets": "resnet8"}, UnknownName, "option 'nets' is not known. Did you mean 'net'"),
        ({"net": "resnet21"}, UnknownName, "net 'resnet21'"),
        ({"size": 3}, BadOption, "size=3x3: the net takes sides of 4 to 1024"),
        ({"size": "wide"}, BadOption, "size='wide' is a number of pixels"),
        ({"shift": 16}, BadOption, "shift=16 should be 0 to 15 pixels"),
        ({"cutout": "x"}, BadOption, "cutout='x' is a number of pixels"),
        ({"stochastic_depth": 1.5}, BadOption, "stochastic_depth=1.5 is a share"),
        ({"stochastic_depth": [0.1, 0.2, 0.3]}, BadOption, "or two: first and last"),
        ({"stochastic_depth": "deep"}, BadOption, "stochastic_depth='deep' is a share"),
    ],
)
def test_options_outside_their_range(options, error, fault):
    with pytest.raises(error, match=fault):
        Classify.plan(dataset(), options)


def test_data_that_cannot_be_learned_from():
    good = samples(9)
    unlabelled = Sample(good[0].picture, name="x", where="list.csv:7")
    double = Sample(good[0].picture, labels=(0, 1), name="x", where="list.csv:8")
    black = [Sample(torch.zeros(1, 16, 16, dtype=torch.uint8), labels=(i % 3,)) for i in range(6)]
    for data, fault in (
        (Dataset(CLASSES, [], source="folder"), "folder: there are no pictures to learn from"),
        (Dataset(CLASSES, good[::3]), "all pictures to learn from are of class 'across'"),
        (Dataset(CLASSES, [*good, unlabelled]), "list.csv:7 has no class"),
        (Dataset(CLASSES, [*good, double]), "list.csv:8 has 2 classes"),
        (Dataset(CLASSES, good[:2], good[2:3]), "list.csv:3 is of class 'dots', which no picture to learn from has"),
        (Dataset(CLASSES, black), "all of one colour"),
        (Dataset(CLASSES, samples(6, height=1, width=1)), "the pictures' size is 1x1"),
    ):
        with pytest.raises((BadData, BadOption), match=fault):
            Classify.plan(data, {})


@given(
    height=st.integers(1, 70), width=st.integers(1, 70), channels=st.sampled_from([1, 3]), size=st.sampled_from([4, 32])
)
def test_any_picture_fits(height, width, channels, size):
    found = fitted(torch.full((channels, height, width), 7, dtype=torch.uint8), 4 - channels, size, size + 3)
    assert found.shape == (4 - channels, size, size + 3)
    assert found.dtype is torch.uint8
    assert int(found.float().sub(7).abs().max()) <= 1  # an even picture stays even


def test_a_strip_does_not_become_gigabytes_and_a_fitting_picture_is_left_alone():
    assert fitted(torch.zeros(3, 1, 50_000, dtype=torch.uint8), 3, 64, 64).shape == (3, 64, 64)
    whole = picture(0)
    assert fitted(whole, 1, 16, 16) is whole
    # Twice as wide: the middle half is kept.
    left_and_right = torch.cat([torch.zeros(1, 8, 8), torch.full((1, 8, 16), 200), torch.zeros(1, 8, 8)], 2).byte()
    assert int(fitted(left_and_right, 1, 8, 8)[:, :, 2:-2].min()) == 200


# --- batches ------------------------------------------------------------------------------------------------------


def test_batches_are_reproducible_and_plain_without_a_generator():
    ours = task(cutout=4, mirror=True, shift=3)
    loaded = Shelf(dataset().train, ours.load).take(range(8))
    plain = ours.batch(loaded, None)
    assert torch.equal(plain.inputs[0], torch.stack([seen.picture for seen in loaded]).float() / 255)
    assert plain.targets["labels"].tolist() == [i % 3 for i in range(8)]
    assert plain.names[:2] == ["sample 0", "sample 1"]
    first, again, other = (ours.batch(loaded, torch.Generator().manual_seed(seed)).inputs[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == plain.inputs[0].shape
    assert 0 <= float(first.min())
    assert float(first.max()) <= 1


@given(seed=st.integers(0, 1000), down=st.integers(0, 3), across=st.integers(0, 3), mirror=st.booleans())
def test_a_shifted_picture_is_one_of_the_possible_crops_of_the_padded_one(seed, down, across, mirror):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 255, (5, 3, 6, 7), generator=generator, dtype=torch.uint8)
    moved = shifted(pictures, (down, across), mirror, generator)
    padded = torch.nn.functional.pad(pictures.float(), (across, across, down, down), mode="replicate").byte()
    for row in range(5):
        crops = [
            padded[row, :, top : top + 6, left : left + 7]
            for top in range(2 * down + 1)
            for left in range(2 * across + 1)
        ]
        crops += [crop.flip(2) for crop in crops] if mirror else []
        assert any(torch.equal(moved[row], crop) for crop in crops)


def test_shifts_and_mirrors_reach_all_they_may():
    pictures = torch.arange(5.0).view(1, 1, 1, 5).expand(400, 1, 1, 5)
    moved = shifted(pictures, (0, 2), True, torch.Generator().manual_seed(0))
    assert len(moved.flatten(1).unique(dim=0)) == 10


def test_cutout_takes_a_square_and_nothing_else():
    pictures = torch.ones(200, 2, 9, 9)
    cut = cut_out(pictures, 3, torch.tensor([0.25, 0.5]), torch.Generator().manual_seed(0))
    gone = cut != 1
    assert torch.equal(gone[:, 0], gone[:, 1])
    assert set(cut[:, 1].unique().tolist()) == {0.5, 1.0}
    areas = gone[:, 0].flatten(1).sum(1)
    assert int(areas.max()) == 9
    assert int(areas.min()) == 4  # about a corner pixel


# --- scores and predictions ---------------------------------------------------------------------------------------


class Told(torch.nn.Module):
    """Knows the classes of the pictures it is shown, in order, but for the first."""

    def __init__(self, labels: list[int], classes: int) -> None:
        super().__init__()
        self.labels, self.classes, self.at = labels, classes, 0
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        labels = torch.tensor(self.labels[self.at : self.at + len(x)])
        self.at += len(x)
        labels[0] = (labels[0] + 1) % self.classes
        return 4.0 * torch.nn.functional.one_hot(labels, self.classes)


def test_scores_of_a_net_that_is_known():
    data, ours, ticks = dataset(), task(), []
    shelf = Shelf(data.train, ours.load)
    scores = ours.evaluate(Told([s.labels[0] for s in data.train], 3), shelf, ticks.append)
    assert json.loads(json.dumps(scores)) == scores
    assert scores["accuracy"] == pytest.approx(29 / 30)
    assert scores["accuracy by class"] == {"across": 0.9, "down": 1.0, "dots": 1.0}
    assert scores["confusion"] == [[9, 1, 0], [0, 10, 0], [0, 0, 10]]
    confidence = float(torch.tensor([4.0, 0.0, 0.0]).softmax(0)[0])
    assert scores["calibration error"] == pytest.approx(abs(confidence - 29 / 30), abs=1e-6)
    assert "top 5 accuracy" not in scores
    assert sum(ticks) == 30
    with pytest.raises(BadData, match="no pictures to score"):
        ours.evaluate(Told([], 3), Shelf([], ours.load))


def test_more_than_five_classes_have_a_top_five_accuracy():
    ours = Classify(task().card | {"classes": [str(i) for i in range(8)]})
    shelf = Shelf(dataset().train, ours.load)
    scores = ours.evaluate(Told([s.labels[0] for s in dataset().train], 8), shelf)
    assert scores["top 5 accuracy"] == 1.0


def test_the_first_steps_mend_most_answers_and_kept_weights_are_chosen_by_wrong_ones():
    torch.manual_seed(0)
    data, ours = dataset(train=48), task()
    net, shelf = ours.net(), Shelf(data.train, ours.load)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    net.eval()
    with torch.no_grad():
        before, scores = ours.weigh(net, shelf, 20), ours.evaluate(net, shelf)
    assert before == pytest.approx(1 - scores["accuracy"] + 1e-4 * min(1, scores["loss"]), rel=1e-4)
    net.train()
    for _ in range(15):
        batch = ours.batch(shelf.take(range(48)), generator)
        optimizer.zero_grad()
        ours.loss(net(*batch.inputs), batch.targets).backward()
        optimizer.step()
    assert ours.evaluate(net.eval(), shelf)["accuracy"] >= 0.9
    assert ours.weigh(net, shelf, 20) < 0.2 < before
    answer = ours.predict(net, picture(0, channels=3, height=40, width=32, seed=99)).answer
    assert json.loads(json.dumps(answer)) == answer
    assert answer["classes"][0]["class"] == answer["class"]
    assert sum(one["probability"] for one in answer["classes"]) == pytest.approx(1)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 16, 16), (3, 1, 300), (3, 2000, 40)])
def test_drawings_show_any_picture(channels, height, width):
    ours = task()
    shown = picture(1, channels, height, width)
    drawn = ours.draw(shown, ours.predict(ours.net().eval(), shown))
    assert drawn.mode == "RGB"
    assert 256 <= drawn.width <= 1024
    assert drawn.height <= 1200


def test_the_example_is_what_the_net_takes():
    ours = task()
    assert ours.net()(*ours.example()).shape == (2, 3)


def test_a_sample_without_its_class_names_its_place():
    with pytest.raises(BadData, match=r"list.csv:7: one class is needed, there are 0"):
        task().load(Sample(picture(0), where="list.csv:7"))


def test_the_command_line_finds_the_task():
    assert task_named("classify") is Classify
    assert issubclass(Seen, tuple)


@pytest.mark.data
def test_mnist_is_taken_as_it_is(data_dir):
    (x, y), _ = mnist(data_dir / "mnist")
    train = [
        Sample(p, labels=(int(k),))
        for p, k in zip((x[:200] * 255).round().byte().view(-1, 1, 28, 28), y[:200], strict=True)
    ]
    card = Classify.plan(Dataset(tuple("0123456789"), train), {})
    assert (card["size"], card["net"], card["mirror"], card["shift"]) == ([28, 28], "resnet20", False, 2)
    assert card["mean"] == pytest.approx([0.13], abs=0.01)
