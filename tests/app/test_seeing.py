"""The task commands, as transcripts: train, evaluate, predict and export a run, and what is refused.

Most go by a task of this file, so small that a run is a matter of milliseconds; the last ones by the real tasks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from isotrain.app import run_data
from isotrain.app.cli import main
from isotrain.app.run_data import part_of, renumbered
from isotrain.data.opened import open_dataset
from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData
from isotrain.likelihood import Categorical
from isotrain.progress import Tick
from isotrain.tasks import TASKS
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.train.recipes import RECIPES
from isotrain.train.rundir import CHECKPOINT, load_run


class Mean(nn.Module):
    """Scores from the colours alone."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layer(pictures.mean((2, 3)))


class Colours(PictureTask):
    """A task like the others, but tiny."""

    name = "colours"
    score = "accuracy"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        if set(options) - {"size"}:
            raise BadData(f"options are {options}.")
        return {"classes": list(dataset.classes), "size": options.get("size", 16)}

    def net(self) -> nn.Module:
        return Mean(len(self.classes))

    @property
    def likelihood(self) -> Likelihoods:
        return Categorical()

    def load(self, sample: Sample) -> Any:
        return read_picture(sample.picture), sample.labels[0], sample.name

    def batch(self, loaded: Sequence[Any], generator: torch.Generator | None) -> Batch:
        pictures, labels, names = zip(*loaded, strict=True)
        return Batch((torch.stack(pictures) / 255,), {"labels": torch.tensor(labels)}, list(names))

    def loss(self, output: Any, targets: Mapping[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(output, targets["labels"])

    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        batch = self.batch(shelf.take(range(len(shelf))), None)
        right = (net(*batch.inputs).argmax(1) == batch.targets["labels"]).float()
        by = {name: float(right[batch.targets["labels"] == c].mean()) for c, name in enumerate(self.classes)}
        return {"accuracy": float(right.mean()), "samples": len(shelf), "accuracy_by_class": by}

    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        scores = net(picture[None].expand(1, 3, -1, -1) / 255).softmax(1)[0]
        return Prediction({"class": self.classes[int(scores.argmax())], "probability": float(scores.max())})

    def draw(self, picture: Tensor, prediction: Prediction) -> Image.Image:
        return Image.fromarray(picture.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())

    def example(self) -> tuple[Tensor, ...]:
        return (torch.rand(2, 3, self.card["size"], self.card["size"]),)


def at(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """In a folder, where the tiny task and a tiny twin are known."""
    patch.chdir(folder)
    patch.setenv("COLUMNS", "120")
    patch.delenv("ISOTRAIN_DATA", raising=False)
    patch.setitem(sys.modules, "tiny_task", SimpleNamespace(Colours=Colours))
    patch.setitem(TASKS, "colours", "tiny_task:Colours")
    patch.setitem(RECIPES, "colours", RECIPES["classify"])
    for name in ("colours", "classify"):
        patch.setitem(run_data.TWINS, name, ("labels", "shapes_dataset", (60, 20, 12)))


@pytest.fixture
def isotrain(answer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    at(tmp_path, monkeypatch)

    return answer_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, trained once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        at(folder, patch)
        patch.setattr(sys, "argv", "isotrain train colours --epochs 2 --batch 10 --json".split())
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
    return folder


@pytest.fixture
def trained(isotrain: Callable[..., Any], made: Path, tmp_path: Path) -> Callable[..., Any]:
    """The run in runs/colours."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    return isotrain


# -- help ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "export", "data check", "data list"])
def test_each_command_shows_an_example(isotrain: Callable[..., Any], command: str) -> None:
    answer = isotrain(*command.split(), "--help")
    assert answer.code == 0
    assert f"Example: isotrain {command}" in answer.out
    assert "Raises" not in answer.out


def test_neither_help_nor_the_list_of_sets_imports_torch() -> None:
    asked = [
        *(f"{c} --help".split() for c in ("train", "evaluate", "predict", "export", "data check")),
        ["data", "list"],
    ]
    code = (
        "import sys\nfrom isotrain.app.cli import main\n"
        f"for words in {asked!r}:\n    sys.argv = ['isotrain', *words]\n"
        "    try:\n        main()\n    except SystemExit as stop:\n        assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- answers ------------------------------------------------------------------------------------------------------


def test_training_leaves_a_run(isotrain: Callable[..., Any], tmp_path: Path) -> None:
    answer = isotrain("train", "colours", "--epochs", "3", "--batch", "10", "--out", "here")
    assert answer.code == 0, answer.err
    assert answer.err.startswith("No data given: to try it, generated")
    assert answer.err.count("\n") == 1
    assert "accuracy" in answer.out
    assert "held-out" in answer.out
    run = tmp_path / "here"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"card.json", "model.safetensors", "scores.json", "curve.csv", "asked.json"} <= names
    assert {"pictures/curve.png", "pictures/predictions.png"} <= names
    for name in ("curve", "predictions"):
        assert read_picture(run / "pictures" / f"{name}.png").shape[2] > 300
    assert load_run(run)[0].name == "colours"


def test_generated_data_is_tried_for_a_minute(isotrain: Callable[..., Any]) -> None:
    assert isotrain("train", "colours", "--json").json["plan"]["minutes"] == 1
    asked = isotrain("train", "colours", "--epochs", "1", "--json", "--overwrite")
    assert asked.json["plan"]["minutes"] is None


@pytest.mark.parametrize("task", ["classify", "localise", "detect", "masks"])
def test_generated_data_is_written_and_found_again(isotrain: Callable[..., Any], task: str) -> None:
    made = isotrain("data", "make", task, "made", "--train", "7", "--held-out", "2", "--test", "0", "-o", "size=40")
    assert made.code == 0, made.err
    assert "7 train, 2 held out" in made.out
    found = open_dataset("made", run_data.TWINS[task][0])
    twin = run_data.twin(task, 0, (7, 2, 0), {"size": 40})
    assert found.classes == tuple(sorted(twin.classes)) if task == "classify" else found.classes == twin.classes
    assert [len(found.train), len(found.held_out), len(found.test)] == [7, 2, 0]
    pictures = {read_picture(sample.picture).numpy().tobytes() for sample in found.train}
    assert pictures == {sample.picture.numpy().tobytes() for sample in twin.train}


def test_training_tells_json_and_nothing_else(isotrain: Callable[..., Any]) -> None:
    answer = isotrain("train", "colours", "--epochs", "1", "--optimizer", "adam@3e-3", "--json", "-o", "size=16")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert answer.json["plan"]["optimizer"] == "adam@3e-3"
    assert answer.json["samples"] == {"train": 60, "held_out": 20, "test": 12}
    assert set(answer.json["scores"]) == {"held-out", "test"}


def test_a_run_goes_on_with_what_it_was_begun_with(trained: Callable[..., Any], tmp_path: Path) -> None:
    longer = trained("train", "colours", "--resume", "--epochs", "4", "--json")
    assert longer.code == 0, longer.err
    assert longer.json["plan"]["batch"] == 10
    assert longer.json["steps"] == 24
    anew = trained("train", "colours", "--epochs", "4", "--batch", "10", "--out", "anew", "--json")
    assert anew.json["steps"] == 24
    resumed, whole = (torch.load(tmp_path / run / CHECKPOINT, weights_only=True) for run in ("runs/colours", "anew"))
    for name, tensor in whole["net"].items():
        assert torch.equal(resumed["net"][name], tensor)


def test_evaluate(trained: Callable[..., Any]) -> None:
    answer = trained("evaluate", "runs/colours")
    assert answer.code == 0, answer.err
    assert "20 held-out samples" in answer.out
    assert "accuracy" in answer.out
    assert trained("evaluate", "runs/colours", "--split", "test", "--json").json["samples"] == 12


def test_predict(trained: Callable[..., Any], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (30, 20), "red").save(tmp_path / folder / "one.png")
    Image.new("L", (9, 12)).save(tmp_path / "grey.jpg")
    answer = trained("predict", "runs/colours", "a/one.png", "b", "grey.jpg", "--out", "seen")
    assert answer.code == 0, answer.err
    assert "3 pictures" in answer.out
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {
        "one.png", "one-2.png", "grey.png", "predictions.json",
    }  # fmt: skip
    written = json.loads((tmp_path / "seen" / "predictions.json").read_text())
    assert [found["picture"] for found in written["predictions"]] == ["a/one.png", "b/one.png", "grey.jpg"]
    assert written["predictions"][0]["class"] in written["classes"]
    told = trained("predict", "runs/colours", "grey.jpg", "--json")
    assert told.json["predictions"][0]["drawn"] == "runs/colours/predictions/grey.png"
    for _ in range(2):  # its own drawings are no pictures
        again = trained("predict", "runs/colours", "b", "--out", "b/seen", "--json")
        assert [found["picture"] for found in again.json["predictions"]] == ["b/one.png"]


def test_a_picture_that_cannot_be_read_keeps_no_other_from_being_seen(
    trained: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (30, 20)).save(tmp_path / "good.png")
    answer = trained("predict", "runs/colours", "cut.png", "good.png", "--out", "seen")
    assert answer.code == 2
    assert "cut.png" in answer.err
    assert answer.err.count("\n") == 1
    assert (tmp_path / "seen" / "good.png").is_file()


def test_export(trained: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    answer = trained("export", "runs/colours", "--to", "onnx", "--json")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert answer.json["difference"] < 1e-4
    assert (tmp_path / "runs/colours/model.onnx").stat().st_size == answer.json["bytes"]


def test_the_public_sets(isotrain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sets" / "mnist").mkdir(parents=True)
    (tmp_path / "sets" / "mnist" / "train-images-idx3-ubyte.gz").touch()
    (tmp_path / "sets" / "cifar10").mkdir()
    told = isotrain("data", "list")
    assert told.code == 0
    assert "licence" in told.out
    assert "Set ISOTRAIN_DATA" in told.out
    monkeypatch.setenv("ISOTRAIN_DATA", str(tmp_path / "sets"))
    sets = {row["name"]: row["found"] for row in isotrain("data", "list", "--json").json["sets"]}
    assert sets["mnist"] == str(tmp_path / "sets" / "mnist")
    assert sets["cifar10"] is None
    assert {"coco", "voc2012", "lfw", "multi30k"} <= set(sets)


def test_classify_from_end_to_end(isotrain: Callable[..., Any], tmp_path: Path) -> None:
    trained = isotrain("train", "classify", "--net", "resnet8", "--epochs", "2", "--batch", "20", "--json")
    assert trained.code == 0, trained.err
    assert trained.json["steps"] == 6
    assert set(trained.json["scores"]) == {"held-out", "test"}
    scored = isotrain("evaluate", "runs/classify", "--depth")
    assert scored.code == 0, scored.err
    assert "calibration error" in scored.out
    assert "With so many blocks kept" in scored.out
    assert (tmp_path / "runs/classify/pictures/depth.png").is_file()
    Image.new("RGB", (50, 30), "red").save(tmp_path / "red.png")
    whole = isotrain("predict", "runs/classify", "red.png", "--json")
    shallow = isotrain("predict", "runs/classify", "red.png", "--depth", "1", "--json")
    first, second = (answer.json["predictions"][0] for answer in (whole, shallow))
    assert first["class"] in trained.json["data"]["classes"]
    assert first["probability"] != second["probability"]
    too_deep = isotrain("predict", "runs/classify", "red.png", "--depth", "9")
    assert too_deep.code == 2
    assert "3 residual blocks" in too_deep.err


def test_classify_class_folders(isotrain: Callable[..., Any], tmp_path: Path) -> None:
    for place, colour in enumerate(["red", "green"] * 10):
        (tmp_path / "photos" / colour).mkdir(parents=True, exist_ok=True)
        picture = Image.effect_noise((16, 16), 10 + place)
        Image.merge("RGB", [picture if colour == "red" else picture.point(lambda v: v // 2)] * 3).save(
            tmp_path / "photos" / colour / f"{place}.png"
        )
    checked = isotrain("data", "check", "photos")
    assert checked.code == 0, checked.err
    assert "class folders" in checked.out
    assert "No fault found" in checked.out
    trained = isotrain("train", "classify", "photos", "--net", "resnet8", "--epochs", "1", "--held-out", "0.2")
    assert trained.code == 0, trained.err
    assert "16 to learn from, 4 held out, 0 to test on" in trained.err
    other = isotrain("evaluate", "runs/classify", "photos", "--json")
    assert other.code == 0, other.err
    assert other.json["samples"] == 20
    (tmp_path / "photos" / "red" / "cut.png").write_bytes((tmp_path / "photos" / "red" / "0.png").read_bytes()[:60])
    faulty = isotrain("data", "check", "photos")
    assert faulty.code == 1
    assert "cut.png" in faulty.out
    refused = isotrain("train", "classify", "photos", "--out", "other")
    assert refused.code == 2
    assert "cut.png" in refused.err
    assert not (tmp_path / "other" / "card.json").exists()


# -- parts of data ------------------------------------------------------------------------------------------------


def test_classes_are_matched_by_name() -> None:
    things = (Thing(0, (0, 0, 1, 1)), Thing(1, (0, 0, 1, 1)))
    other = Dataset(("dog", "cat"), [Sample(Path("a"), (1, 0), things)], source="other")
    matched = renumbered(other, ["ape", "cat", "dog"])
    assert matched.classes == ("ape", "cat", "dog")
    assert matched.train[0].labels == (1, 2)
    assert [thing.label for thing in matched.train[0].things] == [2, 1]
    with pytest.raises(BadData, match="not trained on: dog"):
        renumbered(other, ["cat", "ape"])
    assert part_of(matched, None)[0] == "train"
    assert part_of(replace(matched, test=matched.train), None)[0] == "test"


# -- faults of the user's -----------------------------------------------------------------------------------------

FAULTS = [
    ("train colurs", ["task 'colurs' is not known", "Did you mean 'colours'"]),
    ("train colours", ["runs/colours holds a run already", "--resume", "--overwrite"]),
    ("train colours --overwrite --optimizer adm", ["optimizer 'adm' is not known"]),
    ("train colours --overwrite --epochs 0", ["epochs=0"]),
    ("train colours --overwrite -o size", ["should be key=value"]),
    ("train detect --resume --out runs/colours", ["holds a run of colours, not of detect"]),
    ("train colours --resume --out nothing", ["nothing holds no run"]),
    ("train colours --resume --batch 7", ["batch"]),
    ("train colours --resume --held-out 0.5", ["held out 0.1, not 0.5"]),
    ("train colours --resume -o size=9", ["another size"]),
    ("train colours --out here --held-out 1", ["--held-out 1 should be a share"]),
    ("evaluate nothing", ["nothing holds no run", "card.json"]),
    ("evaluate runs/colours --split valid", ["split 'valid' is not known"]),
    ("evaluate runs/colours absent", ["absent"]),
    ("predict runs/colours absent.png", ["absent.png does not exist"]),
    ("predict runs/colours empty", ["folder empty holds no picture"]),
    ("evaluate runs/colours --depth", ["--depth is for residual nets", "Mean"]),
    ("predict runs/colours empty.png --depth 1", ["--depth is for residual nets"]),
    ("predict runs/colours empty.png --regions r.csv", ["colours looks at whole pictures"]),
    ("export runs/colours --to coreml", ["format 'coreml' is not known", "onnx"]),
    ("export runs/colours --out net.pt", ["should end in .onnx"]),
    ("data check absent", ["absent"]),
    ("data make detect runs", ["runs is there already and not empty"]),
    ("data make detct new", ["task 'detct' is not known", "Did you mean 'detect'"]),
    ("data make detect new -o sise=40", ["option of the twin of detect 'sise' is not known", "size"]),
    ("data make detect new -o size=wide", ["size='wide'", "128"]),
    ("data make localise new -o mnist=absent", ["train-images-idx3-ubyte(.gz) is not in absent"]),
]


@pytest.mark.parametrize(("words", "said"), FAULTS, ids=[words for words, _ in FAULTS])
def test_a_fault_is_one_line_and_nothing_is_lost(
    trained: Callable[..., Any], tmp_path: Path, words: str, said: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    answer = trained(*words.split())
    assert answer.code == 2
    assert answer.out == ""
    # Said before the fault was met: what data is used.
    lines = [line for line in answer.err.splitlines() if not line.startswith("No data given")]
    assert len(lines) == 1
    assert lines[0].startswith("isotrain: ")
    for part in said:
        assert part in answer.err
    assert {path: path.read_bytes() for path in before} == before


DAMAGES = {
    "card of another version": ("card.json", lambda text: text.replace(b'"isotrain_run": 1', b'"isotrain_run": 99')),
    "card cut off": ("card.json", lambda text: text[: len(text) // 2]),
    "weights cut off": ("model.safetensors", lambda text: text[: len(text) // 2]),
    "weights missing": ("model.safetensors", lambda text: None),
    "asked cut off": ("asked.json", lambda text: text[: len(text) // 2]),
    "asked missing": ("asked.json", lambda text: None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_one_line(trained: Callable[..., Any], tmp_path: Path, damage: str) -> None:
    name, change = DAMAGES[damage]
    path = tmp_path / "runs" / "colours" / name
    changed = change(path.read_bytes())
    path.unlink() if changed is None else path.write_bytes(changed)
    answer = trained("evaluate", "runs/colours")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert name in answer.err
    assert answer.out == ""


def test_a_checkpoint_cut_off_is_one_line(trained: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "runs" / "colours" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    answer = trained("train", "colours", "--resume")
    assert answer.code == 2
    assert "checkpoint.pt cannot be read" in answer.err.splitlines()[-1]
