"""Every task that can be trained can be exported, and what is written gives what torch gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from isotrain.app import run_data
from isotrain.app.export_command import export
from isotrain.app.run_data import Asked
from isotrain.tasks import TASKS, task_named
from isotrain.train.rundir import RunFolder

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
SMALL: dict[str, dict[str, Any]] = {
    "characters": {"embedded": 8, "hidden": 16},
    "translate": {"embedded": 8, "hidden": 16, "vocabulary": 200},
    "caption": {"embedded": 8, "hidden": 16, "net": "resnet8"},
    "classify": {"net": "resnet8"},
}
CASES = [(name, SMALL.get(name, {})) for name in TASKS] + [("masks", {"system": "regions"})]
FILES = {"translate": ["decoder.onnx", "encoder.onnx"], "caption": ["decoder.onnx", "encoder.onnx"]}


@pytest.mark.parametrize(("name", "options"), CASES, ids=["-".join((name, *map(str, o.values()))) for name, o in CASES])
def test_export(name: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run as it is before its first step: what is exported is the net, not what it has learned."""
    monkeypatch.setitem(run_data.TWINS, name, (*run_data.TWINS[name][:2], (24, 4, 4)))
    kind, dataset = task_named(name), Asked(options=options).open(name)
    task = kind(kind.plan(dataset, options))
    torch.manual_seed(0)
    net = task.net()
    run = RunFolder(tmp_path / "run")
    run.write_card(task, {}, {})
    run.write_weights(net)
    out = tmp_path / "out" if name in FILES else tmp_path / "out" / "model.onnx"
    document = export(run.path, out, check=True, rank=None)
    written = [document] if "path" in document else document["files"]
    assert sorted(Path(one["path"]).name for one in written) == FILES.get(name, ["model.onnx"])
    for one in written:
        assert one["difference"] is not None and one["difference"] < 1e-3
        session = onnxruntime.InferenceSession(one["path"], providers=["CPUExecutionProvider"])
        card = json.loads(session.get_modelmeta().custom_metadata_map["card"])
        assert card["task"] == name and {"classes"} <= set(card)
        assert next(iter(one["inputs"].values()))[0] == "batch"
