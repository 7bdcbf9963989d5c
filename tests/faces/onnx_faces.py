"""Tiny ONNX models of faces: the mean of each channel, led through a known matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def means_model(
    path: Path,
    weight: np.ndarray,
    size: int | str = 8,
    batch: int | str = "n",
    nhwc: bool = False,
    scale: tuple[float, float] | None = None,
    declared: int | str | None = None,
    card: str | None = None,
    second: str | None = None,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Writes y[n, D] = mean over pixels of x[n, C, size, size] times weight [C, D].

    Args:
        path: of the file.
        weight: [C, D].
        size: of the input; a name leaves it free.
        batch: the same.
        nhwc: the channels are last.
        scale: taken off and multiplied inside first, as models that came from MXNet do.
        declared: D as the file says it.
        card: metadata, as isotrain's export writes it.
        second: name of a second output, the same as the first.
        kind: of numbers.
    """
    planes, dims = weight.shape
    kept = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    shape = [batch, size, size, planes] if nhwc else [batch, planes, size, size]
    nodes, constants, last = [], [numpy_helper.from_array(weight.astype(kept), "w")], "x"
    if scale is not None:
        for name, value, operator in (("off", scale[0], "Sub"), ("times", scale[1], "Mul")):
            constants.append(numpy_helper.from_array(np.array(value, kept), name))
            nodes.append(helper.make_node(operator, [last, name], [f"after_{name}"]))
            last = f"after_{name}"
    nodes += [
        helper.make_node("ReduceMean", [last], ["m"], axes=[1, 2] if nhwc else [2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["y"]),
    ]
    outputs = [helper.make_tensor_value_info("y", kind, [batch, dims if declared is None else declared])]
    if second:
        nodes.append(helper.make_node("Identity", ["y"], [second]))
        outputs.append(helper.make_tensor_value_info(second, kind, [batch, dims]))
    graph = helper.make_graph(
        nodes, "faces", [helper.make_tensor_value_info("x", kind, shape)], outputs, initializer=constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if card is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "card", card
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
