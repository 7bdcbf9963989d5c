"""ONNX files as parts: every form of output, names from every place, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_parts import labelled, masked, pictures, write_classifier, write_model, write_run

from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadCheckpoint, BadOption
from isotrain.look.choosing import caption_part, class_part, objects_part
from isotrain.look.classes import told_class
from isotrain.train.exporting import export_onnx
from isotrain.train.exporting_text import export_writer

NAMES = {"names": "{0: 'person', 1: 'cat'}"}


def _table(boxes: list[list[float]], scores: list[list[float]], more: int = 60) -> np.ndarray:
    """[a, 4 + k], boxes by middle and size; the rest is nothing."""
    rows = np.array([[*box, *score] for box, score in zip(boxes, scores, strict=True)], np.float32)
    return np.vstack([rows, np.zeros((more, rows.shape[1]), np.float32)])


TWO = _table([[32, 32, 16, 16], [33, 32, 16, 16], [10, 32, 8, 8]], [[0.1, 0.9], [0.1, 0.8], [0.7, 0.0]])
OLD = np.hstack([TWO[:, :4], np.full((len(TWO), 1), 0.9, np.float32), TWO[:, 4:]])
ENDED = np.array([[24, 24, 40, 40, 0.9, 1], [6, 28, 14, 36, 0.63, 0], [0, 0, 9, 9, 0.1, 0]], np.float32)
APART = {"boxes": ENDED[:, :4], "labels": np.array([1, 0, 0]), "scores": ENDED[:, 4]}
FORMS = {
    "[1, 4 + k, a]": ({"output0": TWO.T[None].copy()}, (1, 3, 64, 64)),
    "[1, a, 5 + k]": ({"output0": OLD[None]}, (1, 3, 64, 64)),
    "[1, n, 6]": ({"output0": ENDED[None]}, (1, 3, 64, 64)),
    "boxes, labels, scores": (APART, (3, 64, 64)),
    "of a lot of one": ({name: one[None] for name, one in APART.items()}, ("n", 3, 64, 64)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_detector(tmp_path: Path, form: str) -> None:
    """The photo is twice as wide as high: what the model sees in its square is told in pixels of the photo."""
    outputs, shape = FORMS[form]
    write_model(tmp_path / "net.onnx", outputs, shape, NAMES)
    part = objects_part(str(tmp_path / "net.onnx"), lambda words: pytest.fail(words))
    assert part is not None and part.about["classes"] == ["person", "cat"]
    (told,) = part.look([torch.zeros(3, 64, 128, dtype=torch.uint8)])
    cat, person = told.says
    assert (cat["name"], person["name"]) == ("cat", "person")
    assert cat["box"] == pytest.approx([48, 16, 80, 48], abs=0.2)
    assert person["box"] == pytest.approx([12, 24, 28, 40], abs=0.2)
    assert cat["score"] == pytest.approx(0.81 if "5 + k" in form else 0.9, abs=1e-3) and cat["outline"] == []
    assert "cannot tell" in told.unknown[0]


def _disc(middle: tuple[float, float], radius: float, side: int) -> np.ndarray:
    """[side, side] positive inside of a disc in a square of 64 pixels."""
    y, x = (np.mgrid[:side, :side] + 0.5) * 64 / side
    return (radius - np.hypot(x - middle[0], y - middle[1])).astype(np.float32)


DISCS = np.stack([_disc((32, 32), 6, 16), _disc((10, 32), 3, 16)])
MIX = np.vstack([np.array([[1, 0], [1, 0], [0, 1]], np.float32), np.zeros((60, 2), np.float32)])
WHOLE = np.stack([_disc((32, 32), 6, 64), _disc((10, 32), 3, 64), _disc((0, 0), 3, 64)])[:, None]
MASKED = {
    "[1, 4 + k + m, a]": {"output0": np.hstack([TWO, MIX]).T[None].copy(), "output1": DISCS[None]},
    "[1, a, 5 + k + m]": {"output0": np.hstack([OLD, MIX])[None], "output1": DISCS[None]},
    "[1, n, 6 + m]": {
        "output0": np.hstack([ENDED, np.array([[1, 0], [0, 1], [0, 0]], np.float32)])[None], "output1": DISCS[None],
    },
    "a mask an object": APART | {"masks": 1 / (1 + np.exp(-WHOLE))},
}  # fmt: skip


@pytest.mark.parametrize("names", [NAMES, {}])
@pytest.mark.parametrize("form", MASKED)
def test_masks_become_outlines_in_the_photo(tmp_path: Path, form: str, names: dict[str, str]) -> None:
    """Discs of 6 and 3 pixels in the model's square, of 12 and 6 in the photo."""
    write_model(tmp_path / "net.onnx", MASKED[form], told=names)
    said: list[str] = []
    part = objects_part(str(tmp_path / "net.onnx"), said.append)
    assert part is not None and not any("boxes alone" in words for words in said)
    things = part.look([torch.zeros(3, 64, 128, dtype=torch.uint8)])[0].says
    assert [thing["name"] for thing in things] == (["cat", "person"] if names else ["class 1", "class 0"])
    for thing, radius, middle in zip(things, (12, 6), ((64, 32), (20, 32)), strict=True):
        (ring,) = thing["outline"]
        points = np.array(ring).reshape(-1, 2)
        away = np.hypot(*(points - middle).T)
        assert len(points) > 5 and np.abs(away - radius).max() < 1.6
    cut = _disc((32, 32), 30, 16)  # reaches out of the box: what is outside of it is none of the object's
    wide = MASKED["[1, n, 6 + m]"] | {"output1": np.stack([cut, cut])[None]}
    write_model(tmp_path / "wide.onnx", wide, told=NAMES)
    part = objects_part(str(tmp_path / "wide.onnx"), print)
    assert part is not None
    thing = part.look([torch.zeros(3, 64, 128, dtype=torch.uint8)])[0].says[0]
    points = np.array(thing["outline"][0]).reshape(-1, 2)
    assert [*points.min(0), *points.max(0)] == pytest.approx(thing["box"], abs=1)


def test_masks_of_no_known_form_are_said_to_be_left_out(tmp_path: Path) -> None:
    write_model(tmp_path / "net.onnx", APART | {"masks": np.zeros((3, 1, 28, 28), np.float32)}, told=NAMES)
    said: list[str] = []
    part = objects_part(str(tmp_path / "net.onnx"), said.append)
    assert part is not None and len(said) == 1 and "masks [3, 1, 28, 28]" in said[0] and "boxes alone" in said[0]
    assert all(thing["outline"] == [] for thing in part.look(pictures(1, 64))[0].says)


def test_names_stand_beside_the_file_or_are_numbers(tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", {"output0": TWO.T[None].copy()})
    said: list[str] = []
    part = objects_part(str(path), said.append)
    assert part is not None and "net.txt" in said[0]
    assert [thing["name"] for thing in part.look(pictures(1, 64))[0].says] == ["class 1", "class 0"]
    before = part.identity
    path.with_suffix(".txt").write_text("bird\nfish\n")
    part = objects_part(str(path), lambda words: pytest.fail(words))
    assert part is not None and part.identity != before  # or photos that were looked at would keep their numbers
    assert [thing["name"] for thing in part.look(pictures(1, 64))[0].says] == ["fish", "bird"]


def test_a_table_of_finds_of_a_single_class(tmp_path: Path) -> None:
    """YOLO 5's table of one class has as many columns."""
    one = np.array([[24, 24, 40, 40, 0.9, 0], [0, 0, 9, 9, 0.1, 0]], np.float32)
    old = np.array([[32, 32, 16, 16, 0.9, 0.9], [4, 4, 9, 9, 0.1, 0.5]], np.float32)
    for place, (table, score) in enumerate(((one, 0.9), (old, 0.81))):
        path = write_model(
            tmp_path / f"{place}.onnx", {"output0": table[None]}, (1, 3, 64, 64), {"names": "{0: 'cat'}"}
        )
        part = objects_part(str(path), lambda words: pytest.fail(words))
        assert part is not None
        (found,) = part.look([torch.zeros(3, 64, 64, dtype=torch.uint8)])[0].says
        assert found["box"] == pytest.approx([24, 24, 40, 40], abs=0.2) and found["score"] == pytest.approx(
            score, abs=1e-3
        )


def test_numbers_that_a_picture_cannot_hold_are_none(tmp_path: Path) -> None:
    huge = {"boxes": ENDED[:, :4], "labels": np.array([1, 0, 0]), "scores": np.array([1e300, 0.5, 0.1])}
    path = write_model(tmp_path / "net.onnx", huge, (3, 64, 64), NAMES)
    with pytest.raises(BadCheckpoint, match="no number"):
        objects_part(str(path), lambda words: None)
    with pytest.raises(BadCheckpoint, match="no number"):
        told_class(torch.tensor([float("nan"), 0.5]), ["cat", "dog"], torch.ones(1, 1), [0, 0, 2, 2])


def test_detectors_that_are_none(tmp_path: Path) -> None:
    wrong = {
        "other.onnx": ({"output0": np.zeros((1, 7, 9, 3), np.float32)}, (1, 3, 64, 64), NAMES, "Known are"),
        "classes.onnx": ({"output0": TWO.T[None].copy()}, (1, 3, 64, 64), {"names": "['a']"}, "for 1 classes"),
        "flat.onnx": ({"output0": ENDED[None]}, (1, 64), NAMES, "takes pictures alone"),
        "code.onnx": ({"output0": ENDED[None]}, (1, 3, 64, 64), {"names": "__import__('os')"}, "names"),
        "nan.onnx": ({"output0": ENDED[None] * np.nan}, (1, 3, 64, 64), NAMES, "no number"),
    }
    for name, (outputs, shape, told, said) in wrong.items():
        write_model(tmp_path / name, outputs, shape, told)
        with pytest.raises((BadOption, BadCheckpoint), match=said) as caught:
            objects_part(str(tmp_path / name), print)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "text.onnx").write_bytes(b"no model")
    with pytest.raises(BadCheckpoint, match="no ONNX model"):
        objects_part(str(tmp_path / "text.onnx"), print)


def test_a_classifier_and_what_it_looks_at(tmp_path: Path) -> None:
    """Covering the left upper quarter changes the answer: the heat map is warm there and nowhere else."""
    path = write_classifier(tmp_path / "net.onnx", {"names": "{0: 'dark', 1: 'bright'}"})
    part = class_part(str(path), lambda words: pytest.fail(words))
    photo = torch.full((3, 32, 32), 20, dtype=torch.uint8)
    photo[:, :16, :16] = 230
    assert part is not None
    (told,) = part.look([photo])
    assert told.says["name"] == "bright" and told.says["probability"] > 0.9
    heat = torch.tensor(told.says["heat"]["values"]).view(7, 7)
    assert heat.max() == 1 and int(heat.argmax()) // 7 <= 2 and int(heat.argmax()) % 7 <= 2
    assert float(heat[4:].max()) < 0.1 and float(heat[:, 4:].max()) < 0.1
    one = class_part(str(write_classifier(tmp_path / "one.onnx", NAMES, batch=1)), print)
    assert one is not None and one.look([photo])[0].says["name"] == "cat"


def test_a_classifier_says_how_it_is_scaled_beside_it(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "net.onnx")
    said: list[str] = []
    class_part(str(path), said.append)
    assert "net.json" in said[0] and "net.txt" in said[1]
    path.with_suffix(".json").write_text('{"classes": ["dark", "bright"], "mean": [-1, -1, -1]}')
    part = class_part(str(path), lambda words: pytest.fail(words))
    assert part is not None and part.look([torch.zeros(3, 9, 9, dtype=torch.uint8)])[0].says["name"] == "bright"
    path.with_suffix(".json").write_text('{"means": 1}')
    with pytest.raises(BadOption, match=r"net\.json"):
        class_part(str(path), print)


def test_a_single_score_is_no_choice_between_classes(tmp_path: Path) -> None:
    """Or a picture would be of the only class whatever it shows."""
    path = write_model(tmp_path / "net.onnx", {"score": np.array([[-50]], np.float32)}, (1, 3, 32, 32))
    part = class_part(str(path), lambda words: None)
    assert part is not None
    with pytest.raises(BadOption, match="two or more classes"):
        part.look(pictures(1, 32))


def test_isotrains_own_exports(tmp_path: Path) -> None:
    """Of classify and caption they say what the runs say; of masks the run itself is asked for."""
    task, net = write_run(tmp_path / "run", "classify", labelled(), sure=2, net="resnet8")
    export_onnx(net, task.example(), tmp_path / "a.onnx", {"task": "classify", **task.card})
    shown = pictures(2, 48)
    both = [class_part(str(tmp_path / name), print) for name in ("run", "a.onnx")]
    (one, other) = (part.look(shown)[1].says for part in both if part is not None)
    assert one["name"] == other["name"] == "ship"
    assert one["probability"] == pytest.approx(other["probability"], abs=1e-3)
    with pytest.raises(BadOption, match="exported from a run of classify"):
        objects_part(str(tmp_path / "a.onnx"), print)
    samples = [Sample(one, said=("a red square",), name=str(p)) for p, one in enumerate(pictures(4))]
    kind, writer = write_run(tmp_path / "words", "caption", Dataset((), samples, samples), net="resnet8", hidden=8)
    export_writer(kind, writer, tmp_path / "onnx")
    part = caption_part(str(tmp_path / "onnx"), print)
    assert part is not None
    told = part.look(shown)
    assert len(told) == 2 and all(one.says["text"] is not None or "not sure" in one.says["why"] for one in told)
    (tmp_path / "onnx" / "decoder.onnx").unlink()
    with pytest.raises(BadOption, match=r"decoder\.onnx is not there"):
        caption_part(str(tmp_path / "onnx"), print)
    write_run(tmp_path / "masks", "masks", masked())
    with pytest.raises(BadOption, match="run of masks"):
        class_part(str(tmp_path / "masks"), print)
