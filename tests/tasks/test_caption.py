"""The task of captions: what is learned from, scores, predictions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.data.synthetic.captioned import captioned_dataset
from isotrain.data.text import PAD
from isotrain.errors import BadData, UnknownName
from isotrain.nets.caption import Captioner
from isotrain.tasks.caption import Caption
from isotrain.tasks.sentences import Search
from isotrain.train.loop import fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import RunFolder, load_run

OPTIONS = {"net": "resnet8", "hidden": 24, "embedded": 12}


def coloured(number: int = 12) -> Dataset:
    """Pictures all red or all blue, two captions each."""
    samples = []
    for n in range(number):
        picture = torch.zeros(3, 48, 48, dtype=torch.uint8)
        picture[2 * (n % 2)] = 200 + n
        word = ("red", "blue")[n % 2]
        samples.append(Sample(picture, said=(f"all of it is {word}.", f"this is a {word} picture"), name=f"p{n}"))
    return Dataset((), samples, samples[:4], [], "coloured", "pictures")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("caption")
    outcome = fit(Caption(Caption.plan(coloured(), OPTIONS)), coloured(), RunFolder(folder), Plan(epochs=20, batch=4))
    assert outcome.scores["held-out"]["exact"] == 1.0, outcome.scores
    return folder


def test_every_caption_is_learned_from_and_none_but_a_picture_s_own() -> None:
    task = Caption(Caption.plan(coloured(), OPTIONS))
    loaded = [task.load(sample) for sample in coloured().train]
    seen: list[set[str]] = [set() for _ in loaded]
    for step in range(20):
        batch = task.batch(loaded, torch.Generator().manual_seed(step))
        for row, found in zip(batch.targets["next"], seen, strict=True):
            found.add(task.symbols.decode(row[row != PAD].tolist()))
    assert all(found == set(sample.said) for found, sample in zip(seen, coloured().train, strict=True))


def test_pictures_are_not_mirrored() -> None:
    """Captions say left and right: what is on the left stays there, moved by a few pixels at most."""
    half = torch.zeros(3, 64, 64, dtype=torch.uint8)
    half[:, :, :32] = 255
    dataset = Dataset((), [Sample(half, said=("left",), name="a"), Sample(255 - half, said=("right",), name="b")])
    task = Caption(Caption.plan(dataset, OPTIONS))
    loaded = [task.load(dataset.train[0])] * 8
    for step in range(10):
        pictures, _ = task.batch(loaded, torch.Generator().manual_seed(step)).inputs
        assert (pictures[:, :, :, :20] == 1).all() and (pictures[:, :, :, 44:] == 0).all()


def test_a_picture_is_put_into_words(trained: Path) -> None:
    task, net, _ = load_run(trained)
    assert isinstance(task, Caption)
    red = torch.zeros(3, 96, 80, dtype=torch.uint8)
    red[0] = 210
    prediction = task.predict(net, red, Search(n_best=3))
    assert "red" in prediction.answer["caption"]
    assert [one["score"] for one in prediction.answer["captions"]] == sorted(
        (one["score"] for one in prediction.answer["captions"]), reverse=True
    )
    assert prediction.heat is not None
    assert prediction.heat.flatten(1).sum(1) == pytest.approx(1.0, abs=1e-4)


def test_scores_of_a_run_are_those_of_its_captions(trained: Path) -> None:
    task, net, _ = load_run(trained)
    samples = coloured().train[:2] * 20  # more than fit into one batch
    scores = task.evaluate(net, Shelf(samples, task.load))
    assert scores["exact"] == 1.0 and scores["BLEU-4"] == pytest.approx(1.0)


def test_a_frozen_net_keeps_its_weights(tmp_path: Path) -> None:
    dataset = coloured(6)
    task = Caption(Caption.plan(dataset, {**OPTIONS, "frozen": True}))
    fit(task, dataset, RunFolder(tmp_path), Plan(epochs=2, batch=3))
    _, net, _ = load_run(tmp_path)
    torch.manual_seed(0)
    fresh = task.net()
    assert isinstance(net, Captioner) and isinstance(fresh, Captioner)
    for name, value in net.encoder.trunk.state_dict().items():
        assert torch.equal(value, fresh.encoder.trunk.state_dict()[name]), name


def test_the_twin_can_be_learned_from() -> None:
    dataset = captioned_dataset(20, 4, 4)
    task = Caption(Caption.plan(dataset, {}))
    assert task.card["net"] == "resnet20" and task.card["size"] == 64
    assert len(task.symbols) > 20
    batch = task.batch([task.load(sample) for sample in dataset.train], None)
    assert torch.isfinite(task.loss(task.net()(*batch.inputs), batch.targets))


def test_what_is_refused() -> None:
    with pytest.raises(BadData, match="no pictures"):
        Caption.plan(Dataset((), []), {})
    with pytest.raises(UnknownName, match="mirror"):
        Caption.plan(coloured(), {"mirror": True})
