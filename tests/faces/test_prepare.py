"""People made into crops: by their landmarks where these are known, else found; who is held out is held out whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drawn_people import found_pictures, save

from isotrain.data.samples import Dataset, Sample
from isotrain.data.synthetic import faces_dataset
from isotrain.errors import BadData, IsotrainError
from isotrain.faces.aligning import Aligner
from isotrain.faces.chain import cutter_of
from isotrain.faces.parts import Marked
from isotrain.faces.prepare import Skipped, crops_of, people

OPTIONS = {"size": 32, "alignment": "2d"}


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    return faces_dataset(train=24, held_out=0, test=0, size=64, each=2)


def folder(root: Path) -> Path:
    """Two pictures of each of six drawn people."""
    for person, pictures in found_pictures().items():
        for number, picture in enumerate(pictures):
            save(picture, root / f"person {person}" / f"{number}.png")
    return root


def people_of(dataset: Dataset, samples: list[Sample]) -> set[str]:
    return {dataset.classes[sample.labels[0]] for sample in samples}


class Refuses:
    """A detector that must not be asked."""

    name = "refuses"

    def find(self, pictures):
        assert not pictures, "landmarks were known: nothing has to be found"
        return []


@pytest.mark.parametrize("alignment", ["2d", "3d", "none"])
def test_known_landmarks_are_used(drawn, alignment):
    cutter = cutter_of(Aligner(alignment, 32, 1))
    cutter.detector = Refuses()
    ticks: list[int] = []
    crops, skipped = crops_of(drawn.train, cutter, ticks.append)
    assert sum(ticks) == len(crops) == 24 and not skipped
    for crop, sample in zip(crops[:3], drawn.train, strict=False):
        (thing,) = sample.things
        marked = Marked(torch.tensor(thing.points)[None], torch.ones(1))
        one = cutter.aligner.crops([sample.picture], torch.tensor([thing.box]), marked).crops[0]
        assert torch.equal(crop.picture, one.mul(255).round().to(torch.uint8))
        assert crop.picture.shape == (1, 32, 32)
        assert (crop.labels, crop.name, crop.group) == (sample.labels, sample.name, sample.group)
        assert not crop.things


def test_people_held_out_are_others(drawn):
    found, skipped = people(drawn, OPTIONS, held_out=0.25, seed=0)
    learned, kept = people_of(found, found.train), people_of(found, found.held_out)
    assert (len(learned), len(kept)) == (9, 3) and not learned & kept and not skipped
    assert len(found.train) + len(found.held_out) == 24 and not found.test
    # Those learned from have the first numbers: a net has outputs for them alone.
    assert {sample.labels[0] for sample in found.train} == set(range(9))
    assert {sample.labels[0] for sample in found.held_out} == set(range(9, 12))
    for sample in found.train + found.held_out:
        assert sample.name.startswith(found.classes[sample.labels[0]])
    again, _ = people(drawn, OPTIONS, held_out=0.25, seed=0)
    other, _ = people(drawn, OPTIONS, held_out=0.25, seed=1)
    assert people_of(again, again.held_out) == kept != people_of(other, other.held_out)


def test_nobody_is_held_out_if_nothing_is_asked(drawn):
    found, _ = people(drawn, OPTIONS, held_out=0.0, seed=0)
    assert len(found.train) == 24 and not found.held_out and found.classes == drawn.classes


def test_parts_of_the_datas_own_are_kept():
    data = faces_dataset(train=8, held_out=4, test=4, size=64, each=2)
    found, _ = people(data, OPTIONS, held_out=0.5, seed=0)
    for name in ("train", "held_out", "test"):
        before, after = getattr(data, name), getattr(found, name)
        assert [sample.name for sample in after] == [sample.name for sample in before]
        assert people_of(found, after) == people_of(data, before)


def test_one_person_in_two_parts_keeps_one_number():
    data = faces_dataset(train=8, held_out=0, test=0, size=64, each=4)
    data = replace(data, train=data.train[:6], held_out=data.train[6:])
    found, _ = people(data, OPTIONS, held_out=0.1, seed=0)
    assert [sample.labels[0] for sample in found.train] == [0] * 4 + [1] * 2
    assert [sample.labels[0] for sample in found.held_out] == [1] * 2
    assert found.classes == data.classes[:2]


def test_a_folder_with_broken_pictures_and_pictures_of_nobody(tmp_path):
    root = folder(tmp_path / "people")
    some = sorted(path.name for path in root.iterdir())
    (root / some[0] / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    save(torch.full((3, 90, 90), 120, dtype=torch.uint8), root / some[1] / "wall.png")
    save(torch.full((3, 90, 90), 60, dtype=torch.uint8), root / "Nobody" / "dark.png")
    ticks: list[int] = []
    found, skipped = people(str(root), OPTIONS, held_out=0.34, seed=0, tick=ticks.append)
    assert sum(ticks) == 15
    assert len(found.train) + len(found.held_out) == 12
    assert not people_of(found, found.train) & people_of(found, found.held_out)
    assert "Nobody" not in found.classes and sorted(found.classes) == some
    assert sorted(Path(name).name for name, _ in skipped) == ["broken.jpg", "dark.png", "wall.png"]
    why = {Path(name).name: words for name, words in skipped}
    assert why["wall.png"] == "no face was found" and "broken.jpg" in why["broken.jpg"]
    assert skipped.said().startswith("3 pictures left out (") and "wall.png" in skipped.said()
    assert "faces aligned" in found.format


def test_many_skipped_are_counted_and_some_named():
    skipped = Skipped([(f"{n}.jpg", "no face was found") for n in range(1200)])
    assert skipped.said() == (
        "1,200 pictures left out (0.jpg: no face was found; 1.jpg: no face was found; 2.jpg: no face was found ...)."
    )
    assert Skipped().said() == ""


def test_what_cannot_be_prepared_is_refused(tmp_path, drawn):
    with pytest.raises(BadData, match="nowhere"):
        people("nowhere", OPTIONS, 0.1, 0)
    with pytest.raises(BadData, match="here shows nobody"):
        people(Dataset(("a",), [], source="here"), OPTIONS, 0.1, 0)
    save(torch.full((3, 90, 90), 120, dtype=torch.uint8), tmp_path / "Ada" / "wall.png")
    save(torch.full((3, 90, 90), 20, dtype=torch.uint8), tmp_path / "Ben" / "night.png")
    with pytest.raises(BadData, match=r"no face was found in any of 2 pictures\. 2 pictures left out"):
        people(str(tmp_path), OPTIONS, 0.0, 0)
    with pytest.raises(IsotrainError, match="too few"):
        people(replace(drawn, train=drawn.train[:4]), OPTIONS, 0.1, 0)
    with pytest.raises(IsotrainError, match="'nothing'"):
        people(drawn, OPTIONS, 0.1, 0, detector="nothing")


def test_too_few_people_are_refused_before_anything_is_looked_for(tmp_path: Path) -> None:
    from isotrain.data.synthetic.faces import write_people
    from isotrain.errors import BadOption

    write_people(tmp_path, people=4, each=2, pairs=2, size=64)
    with pytest.raises(BadOption, match=r"4 people are too few to hold out 10%.*--held-out 0.5"):
        people(str(tmp_path), {"size": 32}, held_out=0.1, seed=0)


def test_people_of_a_test_folder_need_not_be_learned_from(tmp_path: Path) -> None:
    from isotrain.data.opened import open_dataset
    from isotrain.data.synthetic.faces import write_people

    write_people(tmp_path / "train", people=2, each=2, pairs=1, size=64)
    write_people(tmp_path / "test", people=2, each=2, pairs=1, size=64, first=5)
    for folder in ("train", "test"):
        for listed in (tmp_path / folder).glob("*.txt"):
            listed.unlink()
    dataset = open_dataset(str(tmp_path), "people", held_out=0.0)
    assert (len(dataset.train), len(dataset.test), len(dataset.classes)) == (4, 4, 4)
    with pytest.raises(BadData, match="in no training picture"):
        open_dataset(str(tmp_path), "labels", held_out=0.0)
