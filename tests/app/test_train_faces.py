"""Landmarks and faces from end to end by the command line: trained on drawn people, taken up again, scored on pairs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent.parent / "faces"))
from drawn_people import found_pictures, save

TINY = "-o size=32 -o width=0.1 -o dims=16 -o alignment=2d"


@pytest.fixture
def isotrain(answer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], dict]:
    """A command, typed in an empty folder; its answer as JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)

    def run(words: str) -> dict:
        answer = answer_of(*words.split(), "--json")
        assert answer.code == 0, answer.err
        return answer.json

    return run


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Two pictures, whose faces the detector finds, of each of ten drawn people; some of them with lists of pairs."""
    root = tmp_path / "people"
    names = []
    for person, pictures in found_pictures(people=10).items():
        names.append(f"Person_{person}")
        for number, picture in enumerate(pictures):
            save(picture, root / names[-1] / f"{names[-1]}_{number + 1:04d}.png")
    same = [f"{name}\t1\t2" for name in names]
    different = [f"{a}\t1\t{b}\t2" for a, b in zip(names, names[1:] + names[:1], strict=True)]
    (tmp_path / "pairs.txt").write_text("\n".join([str(len(names)), *same, *different]) + "\n")
    return root


def refused(answer: Any, *said: str) -> None:
    """One line, exit code 2."""
    assert answer.code == 2
    assert all(words in answer.err for words in said), answer.err
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err


def landmarks_table(root: Path, number: int) -> None:
    """ytfaces' layout, of drawn faces."""
    from isotrain.data.synthetic import faces_dataset

    data = faces_dataset(train=number, held_out=0, test=4, size=64, each=2)
    for split, samples in (("training", data.train), ("test", data.test)):
        lines = ["," + ",".join(map(str, range(136)))]
        for sample in samples:
            save(sample.picture, root / split / f"{sample.name}.png")
            places = [f"{value - 0.5:.3f}" for point in sample.things[0].points for value in point]
            lines.append(",".join([f"{sample.name}.png", *places]))
        (root / f"{split}_frames_keypoints.csv").write_text("\n".join(lines) + "\n")


def test_landmarks(isotrain: Callable[[str], dict], answer_of: Callable[..., Any], tmp_path: Path) -> None:
    landmarks_table(tmp_path / "frames", 12)
    trained = isotrain("train landmarks frames --epochs 1 --batch 4 --held-out 0.2 --out run")
    assert trained["samples"]["test"] == 4 and trained["samples"]["held_out"] >= 2
    assert trained["steps"] == trained["samples"]["train"] // 4
    assert set(trained["scores"]["test"]) == {"right", "median error", "mean error", "failures"}
    assert trained["scores"]["test"]["mean error"] > 0
    assert all(Path(path).stat().st_size > 0 for path in trained["written"])
    scores = isotrain("evaluate run --split test")
    assert scores["samples"] == 4
    assert scores["scores"]["test"] == pytest.approx(trained["scores"]["test"], abs=1e-4)
    seen = isotrain("predict run frames/test --out seen")["predictions"]
    assert len(seen) == 4 and all(Path(one["drawn"]).stat().st_size > 0 for one in seen)
    refused(answer_of("train", "landmarks", "frames", "--out", "other", "-o", "size=9", "--json"), "'size'")
    table = tmp_path / "frames" / "training_frames_keypoints.csv"
    table.write_text(table.read_text() + "absent.png" + ",1" * 136 + "\n")
    refused(
        answer_of("train", "landmarks", "frames", "--out", "other", "--json"),
        "training_frames_keypoints.csv:14",
        "absent",
    )
    assert not (tmp_path / "other").exists()


def test_faces_from_a_folder_to_verified(
    isotrain: Callable[[str], dict], answer_of: Callable[..., Any], crowd: Path, tmp_path: Path
) -> None:
    """Trained, scored on its own people held out and on a list of pairs, which sets the thresholds of `verify`."""
    (crowd / "Person_broken").mkdir()
    (crowd / "Person_broken" / "a.jpg").write_bytes(b"\xff\xd8\xff no picture")
    trained = isotrain(f"train faces people --epochs 4 --batch 8 --held-out 0.4 --out run {TINY}")
    assert trained["samples"] == {"train": 12, "held_out": 8, "test": 0}
    assert {"accuracy", "AUC", "EER", "pairs of one person"} <= set(trained["scores"]["held-out"])
    assert trained["scores"]["held-out"]["pairs of one person"] == 4
    again = isotrain("evaluate run")
    assert again["split"] == "held-out" and again["scores"]["held-out"] == trained["scores"]["held-out"]
    # All of other people: nobody has to be known.
    everyone = isotrain("evaluate run people")
    assert everyone["samples"] == 20 and everyone["scores"]["train"]["pairs of one person"] == 10

    one, two, other = (str(crowd / name) for name in sorted_pictures(crowd))
    refused(answer_of("faces", "verify", one, two, "--embedder", "run"), "has no calibration")
    scored = isotrain("evaluate run --pairs pairs.txt people/")
    # The pairs show people that the run learned from: that is said beside the figures.
    assert any("were learned from" in note for note in scored["notes"])
    assert (tmp_path / "run" / "pairs.html").read_text().count("<") > 20
    assert (tmp_path / "run" / "pairs.json").exists()
    assert all(Path(path).stat().st_size > 0 for path in scored["written"])
    assert str(tmp_path) not in (tmp_path / "run" / "pairs.html").read_text()
    calibration = json.loads((tmp_path / "run" / "calibration.json").read_text())
    assert calibration["model"] == scored["model"]
    assert (calibration["same"], calibration["different"]) == (10, 10)
    verified = isotrain(f"faces verify {one} {two} --embedder run --far 0.1")
    assert verified["threshold"] == pytest.approx(calibration["levels"][0]["threshold"])
    assert verified["same"] == (verified["similarity"] >= verified["threshold"])
    assert 0 <= verified["probability"] <= 1
    refused(answer_of("faces", "verify", one, other, "--embedder", "run", "--far", "0.001"), "0.001")

    # Exported it gives the same vectors, from the same crops.
    assert isotrain("export run")["difference"] < 1e-4
    exported = isotrain(f"faces verify {one} {two} --embedder run/model.onnx --threshold 0.5")
    assert exported["similarity"] == pytest.approx(verified["similarity"], abs=1e-3)

    # Other weights: the old thresholds are not theirs.
    isotrain(f"train faces people --epochs 1 --batch 8 --held-out 0.4 --seed 1 --overwrite --out run {TINY}")
    again = answer_of("faces", "verify", one, two, "--embedder", "run", "--far", "0.1")
    refused(again, "calibration")


def sorted_pictures(crowd: Path) -> list[str]:
    """Two pictures of one person and one of another, below the folder."""
    first, second = sorted(path.name for path in crowd.iterdir() if any(path.glob("*_0001.png")))[:2]
    return [f"{first}/{first}_0001.png", f"{first}/{first}_0002.png", f"{second}/{second}_0001.png"]


def test_a_run_goes_on_bit_for_bit(isotrain: Callable[[str], dict], answer_of: Callable[..., Any], crowd: Path) -> None:
    words = f"train faces people --batch 8 --held-out 0.4 -o loss=triplet {TINY} --out"
    isotrain(f"{words} whole --epochs 4")
    assert isotrain(f"{words} cut --epochs 4 --minutes 0.00001")["steps"] == 1
    assert isotrain("train faces --resume --out cut --minutes 5")["steps"] == 4
    whole, cut = (load_file(f"{run}/model.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for name, weight in whole.items():
        assert torch.equal(weight, cut[name]), name
    refused(answer_of("train", "faces", "people", "--out", "whole"), "--resume")
    refused(answer_of("train", "faces", "--resume", "--out", "whole", "-o", "dims=32", "--json"), "another dims")


def test_pairs_that_cannot_be_followed(
    isotrain: Callable[[str], dict], answer_of: Callable[..., Any], crowd: Path, tmp_path: Path
) -> None:
    isotrain(f"train faces people --epochs 1 --batch 8 --held-out 0.4 --out run {TINY}")
    one, two, _ = sorted_pictures(crowd)
    first = one.split("/")[0]
    lines = ["1", f"{first}\t1\t9", f"{first}\t1\tNobody\t1"]
    (tmp_path / "bad.txt").write_text("\n".join(lines) + "\n")
    refused(answer_of("evaluate", "run", "--pairs", "bad.txt", "people/"), "bad.txt:2", f"{first}_0009")
    (tmp_path / "short.txt").write_text("5\n" + lines[1] + "\n")
    refused(answer_of("evaluate", "run", "--pairs", "short.txt", "people/"), "short.txt: line 1")
    (tmp_path / "table.csv").write_text(f"first,second,same\n{one},{two},1\n{one},absent.png,0\n")
    refused(answer_of("evaluate", "run", "--pairs", "table.csv", "people/"), "table.csv:3", "absent.png")
    refused(answer_of("evaluate", "run", "--pairs", "absent.txt", "people/"), "absent.txt")
    refused(answer_of("evaluate", "run", "--pairs", "pairs.txt", "elsewhere/"), "elsewhere")
    refused(answer_of("evaluate", "nowhere", "--pairs", "pairs.txt", "people/"), "nowhere")
    assert not (tmp_path / "run" / "calibration.json").exists() and not (tmp_path / "run" / "pairs.html").exists()


def test_options_that_are_wrong_leave_nothing(
    isotrain: Callable[[str], dict], answer_of: Callable[..., Any], crowd: Path, tmp_path: Path
) -> None:
    for option, said in (("loss=hinge", "'hinge'"), ("size=40", "size=40"), ("begin=gone", "gone"), ("dim=8", "'dim'")):
        words = f"train faces people --epochs 1 --held-out 0.4 --out run {TINY} -o {option}"
        refused(answer_of(*words.split(), "--json"), said)
    refused(answer_of("train", "faces", "nobody", "--out", "run"), "nobody")
    refused(answer_of("train", "faces", "people", "--held-out", "1", "--out", "run", "--json"), "--held-out 1")
    assert not (tmp_path / "run").exists()


def test_softmax_first_then_pairs(isotrain: Callable[[str], dict], answer_of: Callable[..., Any], crowd: Path) -> None:
    """As the paper has it: the second run begins from the first one's weights."""
    isotrain(f"train faces people --epochs 2 --batch 8 --held-out 0.4 -o loss=softmax --out first {TINY}")
    words = f"train faces people --epochs 1 --batch 8 --held-out 0.4 -o loss=contrastive -o begin=first {TINY}"
    isotrain(f"{words} --out second")
    first, second = (load_file(f"{run}/model.safetensors") for run in ("first", "second"))
    assert set(first) - set(second) == {"people.weight"}
    off = max(float((first[name] - second[name]).abs().max()) for name in second if name.endswith("conv1.weight"))
    assert off < 0.5 * max(float(first[name].abs().max()) for name in first if name.endswith("conv1.weight"))
    refused(answer_of(*words.split(), "-o", "dims=8", "--out", "third", "--json"), "Begin from a run with the same")
