"""A part answers for pictures like those it learned from, and for no others: both directions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from made_parts import labelled, pictures, write_run

from isotrain.data import synthetic
from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadCheckpoint, BadData, BadOption
from isotrain.look.choosing import caption_part, class_part
from isotrain.look.familiar import FILE, Knowing, learn_familiar, learn_of, read_familiar
from isotrain.look.parts import WEIGHTS
from isotrain.train.rundir import load_run


def _noise(number: int, size: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8) for _ in range(number)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of classify that knows smooth pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("familiar") / "run"
    write_run(folder, "classify", labelled(), sure=1, net="resnet8")
    samples = [Sample(one) for one in pictures(300, seed=5)]
    learn_familiar(folder, samples, [Sample(one) for one in pictures(100, seed=6)], what="smooth colours")
    return folder


def test_known_pictures_are_answered_and_others_not(run: Path) -> None:
    part = class_part(str(run), lambda words: pytest.fail(words))
    assert part is not None
    known = part.look(pictures(100, seed=7))
    assert sum(told.says["name"] == "dog" for told in known) >= 90
    unlike = part.look([*_noise(10, 32), *_noise(5, 64), torch.zeros(3, 32, 32, dtype=torch.uint8)])
    assert sum(told.says["known"] for told in unlike) <= 1
    assert "unlike those the class net learned from (smooth colours)" in unlike[0].unknown[0]
    (large,) = part.look([pictures(1, 32, seed=7)[0].repeat_interleave(5, 1).repeat_interleave(5, 2)])
    assert not large.says["known"] and "much larger" in large.says["why"]
    assert part.about["learned from"] == "smooth colours" and part.about["tells what it does not know"]


def test_what_does_not_belong_to_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    write_run(tmp_path / "other", "classify", labelled(), sure=2, net="resnet8")
    with pytest.raises(BadCheckpoint, match="other weights"):
        class_part(str(tmp_path / "other"), print)
    shutil.copytree(run, tmp_path / "cut")
    (tmp_path / "cut" / FILE).write_bytes((run / FILE).read_bytes()[:500])
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        class_part(str(tmp_path / "cut"), print)
    shutil.copytree(run, tmp_path / "later")
    content = (run / FILE).read_bytes().replace(b'"isotrain_familiar":"1"', b'"isotrain_familiar":"9"')
    (tmp_path / "later" / FILE).write_bytes(content)
    with pytest.raises(BadCheckpoint, match="version 9"):
        class_part(str(tmp_path / "later"), print)


@pytest.mark.parametrize(
    ("train", "held_out", "told"), [(40, 20, True), (39, 20, False), (100, 19, True), (99, 0, False)]
)
def test_a_training_leaves_it_where_there_is_enough_to_tell(run, tmp_path, train, held_out, told) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    parts = [[Sample(one) for one in pictures(number, seed=8)] for number in (train, held_out)]
    path = learn_of(tmp_path / "run", Dataset(("a", "b"), *parts, source="holiday/photos"))
    assert (path is not None) == told == (tmp_path / "run" / FILE).exists()
    if path is not None:
        found = read_familiar(tmp_path / "run")
        assert found is not None and found.what == "photos" and found.largest == 128


def test_what_cannot_be_learned_from(run: Path, tmp_path: Path) -> None:
    few = [Sample(one) for one in pictures(30)]
    with pytest.raises(BadData, match="at least"):
        learn_familiar(run, few)
    with pytest.raises(BadOption, match="quantile"):
        learn_familiar(run, few * 10, quantile=1.0)
    with pytest.raises(BadCheckpoint):
        learn_familiar(tmp_path, few * 10)
    assert read_familiar(tmp_path) is None


def test_samples_are_held_out_where_none_are_given(tmp_path: Path) -> None:
    task, net = write_run(tmp_path / "run", "localise", labelled())
    learn_familiar(tmp_path / "run", [Sample(one) for one in pictures(150)])
    knowing = Knowing(tmp_path / "run", task, net, "class")
    assert knowing.familiar is not None and knowing.familiar.samples == 120 and knowing.untold is None
    assert knowing.why_not([]) == []


def test_the_shipped_caption_net_knows_drawn_shapes_and_nothing_else(tmp_path: Path) -> None:
    """A holiday photo gets no invented caption; drawn shapes get theirs."""
    if not (WEIGHTS / "caption" / "card.json").is_file():
        pytest.skip("no caption net comes with this isotrain yet")
    shutil.copytree(WEIGHTS / "caption", tmp_path / "run")
    drawn = synthetic.captioned_dataset(260, 80, 40)
    learn_familiar(tmp_path / "run", drawn.train, drawn.held_out, what="drawn shapes")
    part = caption_part(str(tmp_path / "run"), print)
    assert part is not None
    told = part.look([read_picture(sample.picture) for sample in drawn.test])
    assert sum(one.says["known"] for one in told) >= 36
    assert not any(one.says["known"] for one in part.look([*_noise(6, 64), *pictures(10, 64)]))
    assert all("drawn shapes" in one.says["why"] for one in part.look(_noise(2, 64)))


@pytest.mark.data
def test_the_shipped_nets_do_not_answer_for_photos(data_dir: Path) -> None:
    """Of photos of everyday scenes: no class, no caption, hardly an object."""
    from isotrain.look import Looker

    looker = Looker.of(faces="none")
    untold = [name for name, about in looker.about().items() if about and not about["tells what it does not know"]]
    if untold or not looker.parts:
        pytest.skip(f"the shipped nets have no familiar.safetensors yet: {untold}")
    photos = sorted((data_dir / "coco_mini").glob("val2017/*.jpg"))[:24]
    sights = looker.look([read_picture(photo) for photo in photos])
    assert sum(bool(sight.kind and sight.kind["known"]) for sight in sights) <= 2
    assert sum(bool(sight.caption and sight.caption["known"]) for sight in sights) <= 1
    assert sum(bool(sight.objects) for sight in sights) <= 4
    assert all(json.dumps(sight.document()) for sight in sights)


def test_load_run_is_not_changed_by_looking(run: Path) -> None:
    """Hooks are taken away again."""
    task, net, _ = load_run(run)
    knowing = Knowing(run, task, net, "class")
    knowing.why_not(pictures(2))
    assert not any(module._forward_hooks for module in net.modules())
