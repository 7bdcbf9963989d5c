"""Runs as parts: what they say is the net's, in pixels of the photo; what they are not is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_parts import labelled, masked, pictures, write_run

from isotrain.errors import BadCheckpoint, BadOption, IsotrainError
from isotrain.look import Looker, Sight
from isotrain.look.classes import RunClasses
from isotrain.look.objects import RunObjects
from isotrain.look.outlines import outline_of
from isotrain.look.words import RunWords
from isotrain.train.rundir import load_run

NOTHING = dict.fromkeys(("classify", "objects", "faces", "caption"), "none")


def test_a_looker_without_parts_sees_nothing() -> None:
    (sight,) = Looker.of(**NOTHING).look(pictures(1), ["a.png"])
    document = sight.document()
    assert document["size"] == [32, 32] and document["photo"] == "a.png"
    assert [document[part] for part in ("class", "objects", "faces", "caption")] == [None] * 4
    assert Sight.of(document).document() == document
    assert Looker.of(**NOTHING).look([]) == []
    assert Looker.of(**NOTHING).about() == {"class": None, "objects": None, "faces": None, "caption": None}


def test_the_class_and_its_activation_map(tmp_path: Path) -> None:
    """The map's mean is the class's score but for the bias; a photo that is no square is looked at in its middle."""
    task, net = write_run(tmp_path / "run", "classify", labelled(), sure=1, net="resnet8")
    photo = pictures(1, 32)[0].repeat_interleave(4, 1).repeat_interleave(8, 2)
    (sight,) = Looker.of(**{**NOTHING, "classify": tmp_path / "run"}).look([photo])
    kind = sight.document()["class"]
    assert kind["name"] == "dog" and kind["known"] and kind["probability"] > 0.9
    assert [name for name, _ in kind["others"]] == [n for n, _ in sorted(kind["others"], key=lambda one: -one[1])]
    heat = kind["heat"]
    assert (heat["rows"], heat["columns"]) == (8, 8) and heat["box"] == [64.0, 0.0, 192.0, 128.0]
    assert len(heat["values"]) == 64 and 0 <= min(heat["values"]) and max(heat["values"]) in (0.0, 1.0)
    # Nobody measured what it learned from: that is said.
    assert sight.unknown == ["class: cannot tell whether the class net knows this kind of picture"]
    part = RunClasses(tmp_path / "run", task, net, {}, lambda _: None)
    shown = pictures(1)[0]
    with torch.no_grad():
        last = net.through(net.stem(shown[None].float() / 255), range(len(net.blocks)))
        weight, bias = net.fc.weight, net.fc.bias
        maps = torch.einsum("chw,kc->khw", last[0], weight)
        assert torch.allclose(maps.mean((1, 2)) + bias, net(shown[None].float() / 255)[0], atol=1e-5)
        told = part.look([shown])[0].says["heat"]["values"]
    warm = maps[1].clamp_min(0)
    assert told == pytest.approx((warm / warm.max().clamp_min(1e-12)).flatten().tolist(), abs=1e-3)


def test_a_class_that_is_not_sure_is_not_named(tmp_path: Path) -> None:
    _, net = write_run(tmp_path / "run", "classify", labelled(), sure=1, net="resnet8")
    task, net, card = load_run(tmp_path / "run")
    net.get_submodule("fc").bias.data.zero_()
    (told,) = RunClasses(tmp_path / "run", task, net, card, lambda _: None).look(pictures(1))
    assert told.says["name"] is None and not told.says["known"] and told.says["heat"] is None
    assert "not sure" in told.unknown[0] and len(told.says["others"]) == 3


def test_a_run_of_localise_has_its_own_heat(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "localise", labelled())
    (sight,) = Looker.of(**{**NOTHING, "classify": tmp_path / "run"}).look(pictures(1, 100))
    kind = sight.document()["class"]
    assert kind["heat"] is None or max(kind["heat"]["rows"], kind["heat"]["columns"]) <= 32
    assert kind["known"] or "not sure" in kind["why"]


@pytest.mark.parametrize("name", ["masks", "detect"])
def test_objects_lie_in_the_photo_as_it_was_given(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "run", name, masked(), **({"size": 64} if name == "detect" else {}))
    task, net, card = load_run(tmp_path / "run")
    part = RunObjects(tmp_path / "run", task, net, card, lambda _: None, sure=0.0)
    (told,) = part.look([pictures(1, 400)[0][:, :200]])
    for thing in told.says:
        left, top, right, bottom = thing["box"]
        assert thing["name"] in ("square", "ring") and left < right <= 400.1 and top < bottom <= 200.1
        assert all(0 <= x <= 400 and 0 <= y <= 200 for r in thing["outline"] for x, y in _corners(r))
    assert told.unknown == ["objects: cannot tell whether the objects net knows this kind of picture"]


def _corners(ring: list[float]) -> list[tuple[float, float]]:
    return list(zip(ring[::2], ring[1::2], strict=True))


def test_captions_are_those_of_the_task(tmp_path: Path) -> None:
    from isotrain.data.samples import Dataset, Sample

    samples = [Sample(one, said=("a red square", "a blue ring"), name=str(p)) for p, one in enumerate(pictures(6))]
    task, net = write_run(
        tmp_path / "run", "caption", Dataset((), samples, samples), net="resnet8", hidden=8, longest=5
    )
    part = RunWords(tmp_path / "run", task, net, {"data": {}}, lambda _: None)
    with torch.no_grad():
        said = [text for text, _ in part._said(pictures(3, 50, seed=4))]
    assert said == [task.predict(net, one).answer["caption"] for one in pictures(3, 50, seed=4)]
    (sight,) = Looker.of(**{**NOTHING, "caption": tmp_path / "run"}).look(pictures(1))
    assert sight.caption and not sight.caption["known"] and "not sure" in sight.unknown[0]


@pytest.mark.parametrize("option", ["classify", "objects", "caption"])
def test_parts_that_are_none(tmp_path: Path, option: str) -> None:
    write_run(
        tmp_path / "run",
        "masks" if option != "objects" else "classify",
        masked() if option != "objects" else labelled(),
    )
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for choice, kind, said in (
        ("run", BadOption, "is a run of"), ("absent", BadOption, "is not there"),
        ("a.txt", BadOption, "neither a run folder nor"), ("empty", BadCheckpoint, "holds no run"),
    ):  # fmt: skip
        with pytest.raises(kind, match=said) as caught:
            Looker.of(**{**NOTHING, option: tmp_path / choice})
        assert str(caught.value).count("\n") == 0 and option in str(caught.value)
    with pytest.raises(IsotrainError, match="absent"):
        Looker.of(**{**NOTHING, "faces": tmp_path / "absent"})


def test_the_identity_is_that_of_the_weights(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "classify", labelled(), sure=1, net="resnet8")
    write_run(tmp_path / "b", "classify", labelled(), sure=2, net="resnet8")
    one, same, other = (Looker.of(**{**NOTHING, "classify": tmp_path / name}).identity for name in "aab")
    assert one == same != other


def test_an_outline_encloses_its_mask() -> None:
    """Filled again, rings give the mask back, its hole too; corners on a line are left out."""
    from PIL import Image, ImageChops, ImageDraw

    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:50, 20:70] = True
    mask[20:30, 30:50] = False
    rings = outline_of(mask)
    assert len(rings) == 2 and sum(map(len, rings)) <= 40
    drawn = Image.new("1", (80, 60))
    for ring in rings:
        own = Image.new("1", (80, 60))
        ImageDraw.Draw(own).polygon([(x - 0.5, y - 0.5) for x, y in zip(ring[::2], ring[1::2], strict=True)], fill=1)
        drawn = ImageChops.logical_xor(drawn, own)
    import numpy as np

    wrong = (torch.from_numpy(np.array(drawn)) != mask).sum()
    assert int(wrong) <= 200  # the rim, twice
    doubled = outline_of(mask, (2.0, 3.0))
    assert max(doubled[0][::2]) == pytest.approx(140, abs=1) and max(doubled[0][1::2]) == pytest.approx(150, abs=2)
