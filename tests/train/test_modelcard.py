"""The model card of a run: read by YAML, complete, and nothing in it that is not to be passed on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from isotrain.errors import BadCheckpoint
from isotrain.tasks import TASKS
from isotrain.train.modelcard import ABOUT, model_card
from isotrain.train.rundir import CARD, SCORES, RunFolder

PLAN = {"epochs": 3.0, "batch": 8, "optimizer": "riemannian", "seed": 0, "minutes": None, "judges": 9, "decay": 0.0}
OUTCOME = {
    "scores": {
        "held-out": {"accuracy": 0.93, "by_class": {"Ada": 1.0}, "signature": "nrefs:1", "fine": True},
        "test": {"accuracy": 0.9},
    },
    "steps": 12,
    "seconds": 3.21,
    "notes": ["stopped after 1 min"],
}


def run(folder: Path, task: str, **changes: Any) -> RunFolder:
    card = {"classes": ["Ada", "Grace <b>|`x`"], "net": "resnet8", "pretrained": "/secret/machine/old.pt", "size": 32}
    document = {"isotrain_run": 1, "isotrain": "9.8.7", "task": task, "card": card, "plan": PLAN}
    data = {"source": "/secret/machine/my: photos", "format": "class folders", "samples": {"train": 1200, "test": 3}}
    made = RunFolder(folder / "my run")
    made.write_json(CARD, {**document, "data": data, **changes})
    made.write_json(SCORES, OUTCOME)
    return made


def parts(text: str) -> tuple[dict[str, Any], str]:
    _, front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), body


def test_every_task_has_words():
    assert set(ABOUT) == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_a_card(tmp_path: Path, task: str) -> None:
    text = model_card(run(tmp_path, task))
    front, body = parts(text)
    assert front["library_name"] == "isotrain" and front["license"] == "unknown"
    assert front["tags"] == ["isotrain", task, "safetensors"]
    assert front["datasets"] == ["my: photos"] and front["metrics"] == ["accuracy"]
    (index,) = front["model-index"]
    assert index["name"] == "my run"
    assert [r["dataset"]["split"] for r in index["results"]] == ["held-out", "test"]
    assert index["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.93}]
    assert index["results"][0]["task"]["type"] == front["pipeline_tag"]
    headings = ["What it is for", "How to use it", "Data", "Scores", "How it was trained"]
    assert re.findall("^## (.*)$", body, re.MULTILINE) == headings
    assert "**Limits.**" in body and "isotrain 9.8.7" in body and "1,200 train, 3 test" in body
    assert "| accuracy | 0.93 | 0.9 |" in body and "isotrain evaluate RUN --split held-out" in body
    assert "| optimizer | riemannian |" in body and "| pretrained | old.pt |" in body
    assert "Stopped after 1 min." in body and f"isotrain train {task}" in body
    assert "secret" not in text and "machine" not in text


def test_people_are_counted_and_not_named(tmp_path: Path) -> None:
    text = model_card(run(tmp_path, "faces"))
    assert "Ada" not in text and "2 people, who are not named here." in text
    assert r"2 classes: Ada, Grace &lt;b>\|\`x\`." in model_card(run(tmp_path, "classify"))


def test_beside_exported_files(tmp_path: Path) -> None:
    front, body = parts(model_card(run(tmp_path, "translate"), files=["encoder.onnx", "decoder.onnx"]))
    assert "onnx" in front["tags"] and "`encoder.onnx` and `decoder.onnx`" in body
    assert 'InferenceSession("encoder.onnx")' in body


def test_what_was_not_scored_is_said(tmp_path: Path) -> None:
    made = run(tmp_path, "classify")
    made.write_json(SCORES, {"scores": {}})
    front, body = parts(model_card(made))
    assert "metrics" not in front and "isotrain evaluate RUN more-photos/" in body
    (made.path / SCORES).write_text("{")
    with pytest.raises(BadCheckpoint, match="the run is damaged"):
        model_card(made)


def test_a_card_is_told_by_what_is_in_the_folder(tmp_path: Path) -> None:
    made = run(tmp_path, "classify", data={"source": "", "format": "generated", "samples": {}})
    front, body = parts(model_card(made, name="other"))
    assert front["datasets"] == ["generated"] and "# other" in body
    assert json.loads((made.path / CARD).read_text())["task"] == "classify"
