"""A tiny ONNX model with YuNet's outputs: it sees a face where the first channel it is given is bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
SIDES = 3.0
"""Width of every box in strides; they are a third higher."""


def yunet_model(path: Path, size: int = 64, left_out: str = "") -> Path:
    """Writes cls_s = the mean of channel 0 in each cell over 255, obj_s = 1, bbox_s about the middle of the cell."""
    nodes, constants, outputs = [], [numpy_helper.from_array(np.float32(255), "white")], []
    for name, ends in (("starts", 0), ("ends", 1), ("axes", 1)):
        constants.append(numpy_helper.from_array(np.array([ends], np.int64), name))
    nodes.append(helper.make_node("Slice", ["input", "starts", "ends", "axes"], ["first"]))
    nodes.append(helper.make_node("Div", ["first", "white"], ["grey"]))
    for stride in STRIDES:
        cells = (size // stride) ** 2
        constants.append(numpy_helper.from_array(np.array([1, cells, 1], np.int64), f"shape_{stride}"))
        box = np.tile(np.float32([0.5, 0.5, np.log(SIDES), np.log(SIDES * 4 / 3)]), (1, cells, 1))
        constants.append(numpy_helper.from_array(box, f"const_{stride}"))
        constants.append(numpy_helper.from_array(np.ones((1, cells, 1), np.float32), f"one_{stride}"))
        nodes += [
            helper.make_node("AveragePool", ["grey"], [f"p_{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("Reshape", [f"p_{stride}", f"shape_{stride}"], [f"cls_{stride}"]),
            helper.make_node("Identity", [f"one_{stride}"], [f"obj_{stride}"]),
            helper.make_node("Identity", [f"const_{stride}"], [f"bbox_{stride}"]),
        ]
        outputs += [
            helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, [1, cells, numbers])
            for kind, numbers in (("cls", 1), ("obj", 1), ("bbox", 4))
            if f"{kind}_{stride}" != left_out
        ]
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size, size])
    graph = helper.make_graph(nodes, "yunet", [taken], outputs, initializer=constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
