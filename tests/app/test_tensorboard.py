"""`isotrain train --tensorboard`, and the model card that each run and each export leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from isotrain.app import run_data

TRAIN = "train classify --batch 8 --net resnet8 --out run --epochs"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for task, sizes in (("classify", (64, 8, 8)), ("characters", (40, 8, 8))):
        monkeypatch.setitem(run_data.TWINS, task, (*run_data.TWINS[task][:2], sizes))


def shown() -> tuple[dict[str, list[int]], list[str]]:
    """What TensorBoard itself makes of the folder: the steps of each curve, and the pictures."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator("run/tensorboard", purge_orphaned_data=True)
    events.Reload()
    tags = events.Tags()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in tags["scalars"]}, tags["images"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_scores_and_pictures_and_nothing_twice(answer_of, monkeypatch):
    answer = answer_of(*f"{TRAIN} 1 --tensorboard".split())
    assert answer.code == 0, answer.err
    curves, pictures = shown()
    assert curves["loss"] == list(range(1, 9)) == curves["step length"]
    assert curves["held out"][-1] == 8 and curves["held-out/accuracy"] == curves["test/accuracy"] == [8]
    assert {"curve", "predictions"} <= set(pictures)
    # Taken up again from the checkpoint of step 8, of a run whose later points a kill has left behind.
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter("run/tensorboard") as killed:
        for step in (9, 10, 11):
            killed.add_scalar("loss", 1e9, step)
    assert answer_of(*f"{TRAIN} 2 --tensorboard --resume".split()).code == 0
    curves, _ = shown()
    assert curves["loss"] == list(range(1, 17)) and curves["test/accuracy"] == [8, 16]
    # Without the flag nothing is written, and a run that replaces another takes its curves away.
    assert answer_of(*f"{TRAIN} 0.1 --overwrite".split()).code == 0
    assert not list(Path("run/tensorboard").iterdir())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    refused = answer_of(*f"{TRAIN} 1 --tensorboard --overwrite".split())
    assert refused.code == 2 and "isotrain[tensorboard]" in refused.err
    assert Path("run/model.safetensors").exists()  # refused before anything was taken away


def test_cards(answer_of):
    pytest.importorskip("onnxruntime")
    train = "train characters --epochs 0.5 --batch 8 -o embedded=8 -o hidden=16 --out run --json"
    answer = answer_of(*train.split())
    assert "run/README.md" in answer.json["written"]
    card = Path("run/README.md").read_text()
    assert 'isotrain predict RUN --prompt "The "' in card and str(Path.cwd()) not in card
    exported = answer_of("export", "run", "--out", "given", "--no-check", "--json")
    assert exported.json["path"] == "given/model.onnx" and exported.json["card"] == "given/README.md"
    assert "`model.onnx`, by onnxruntime" in Path("given/README.md").read_text()
    assert sorted(path.name for path in Path("given").iterdir()) == ["README.md", "model.onnx"]
    alone = answer_of("export", "run", "--out", "alone/net.onnx", "--no-check", "--json")
    assert "card" not in alone.json and [path.name for path in Path("alone").iterdir()] == ["net.onnx"]
