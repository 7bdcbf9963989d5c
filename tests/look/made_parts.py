"""Tiny runs and ONNX files that need no training: what they say is written into their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.tasks import task_named
from isotrain.tasks.base import Task
from isotrain.train.rundir import RunFolder


def pictures(number: int, size: int = 32, seed: int = 0) -> list[Tensor]:
    """Smooth coloured pictures, uint8 [3, size, size]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(number, 3, 4, 4, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return list((255 * fine).to(torch.uint8))


def write_run(folder: Path, name: str, dataset: Dataset, sure: int | None = None, **options: Any) -> tuple[Task, Any]:
    """A run of a task whose net is as it was drawn; with `sure` one that is sure of that class."""
    torch.manual_seed(0)
    kind = task_named(name)
    task = kind(kind.plan(dataset, options))
    net = task.net()
    if sure is not None:
        layer = net.get_submodule("fc")
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.bias.zero_()
            layer.bias[sure] = 6.0
            layer.weight.mul_(0.01)
    run = RunFolder(folder)
    run.write_card(task, {}, {"source": "made up", "format": "made up"})
    run.write_weights(net)
    return task, net.eval()


def labelled(number: int = 40) -> Dataset:
    """Pictures of one class of three each."""
    samples = [Sample(one, (place % 3,), name=str(place)) for place, one in enumerate(pictures(number))]
    return Dataset(("cat", "dog", "ship"), samples, samples[:6])


def masked(number: int = 4) -> Dataset:
    """Pictures with a square of one class each."""
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[16:48, 16:48] = True
    thing = Thing(0, (16.0, 16.0, 48.0, 48.0), mask)
    samples = [Sample(one, (0,), (thing,), str(place)) for place, one in enumerate(pictures(number, 64))]
    return Dataset(("square", "ring"), samples, samples)


def write_model(
    path: Path,
    outputs: dict[str, np.ndarray[Any, Any]],
    shape: Sequence[int | str] = (1, 3, 64, 64),
    told: dict[str, str] | None = None,
) -> Path:
    """An ONNX file that gives the same whatever it is shown."""
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, list(shape))
    nodes, infos = [], []
    for name, value in outputs.items():
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
    return _saved(path, helper.make_graph(nodes, "made", [given], infos), told or {})


def write_classifier(path: Path, told: dict[str, str] | None = None, batch: int | str = "n") -> Path:
    """An ONNX classifier of two classes: whether the left upper quarter of 32 x 32 pixels is brighter than a half."""
    given = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [batch, 3, 32, 32])
    weight = np.zeros((3, 32, 32), np.float32)
    weight[:, :16, :16] = 40 / (3 * 16 * 16)
    both = np.stack([-weight, weight]).reshape(2, -1).T
    nodes = [
        helper.make_node("Flatten", ["pictures"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    held = [
        numpy_helper.from_array(np.ascontiguousarray(both), "weight"),
        numpy_helper.from_array(np.array([20, -20], np.float32), "bias"),
    ]
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 2])
    return _saved(path, helper.make_graph(nodes, "made", [given], [out], held), told or {})


def _saved(path: Path, graph: onnx.GraphProto, told: dict[str, str]) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, told)
    path.write_bytes(model.SerializeToString())
    return path


def save(picture: Tensor, path: Path) -> Path:
    """A picture as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    return path
