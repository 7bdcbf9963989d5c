"""A public face model through `--embedder` against its own pipeline: the same LFW pairs, both ways, in one table.

The model is dlib's (29 convolutions, 128 numbers), as the Python packages `face_recognition` and
`face_recognition_models` ship it and use it. Three steps, the second in a Python of its own that has those packages
(`python -m venv own; own/bin/pip install dlib-bin numpy pillow "setuptools<80"; own/bin/pip install --no-deps
face_recognition face_recognition_models`); nothing of theirs is kept in this repository.

    .venv/bin/python benchmarks/public_embedder.py convert MODELS/dlib_face_recognition_resnet_model_v1.dat dlib.onnx
    own/bin/python   benchmarks/public_embedder.py own ../shared/data/lfw own.npz
    .venv/bin/python benchmarks/public_embedder.py compare ../shared/data/lfw dlib.onnx own.npz

`convert` writes the ONNX file and the sidecar that describes its pipeline. `own` finds the central face of each picture
of pairsDevTrain.txt (2,200 pairs, View 1) with the package's detector, and represents it with the package's functions.
`compare` represents the same pictures through isotrain and tells accuracies over ten folds, each with the threshold
that is best on the other nine, and how far the vectors of the two ways are apart. On one core: half a minute, 9
minutes, and 5 minutes for each way through isotrain.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
FOLDS = 10
SIDE, ENLARGED = 250, 2.2
"""LFW's pictures are the box of a detector, enlarged and scaled to this side."""


# --- the pairs -----------------------------------------------------------------------------------------------------


def pairs_of(lfw: Path) -> list[tuple[str, str, bool]]:
    """Names of two pictures, and whether they show one person, of View 1's pairs for development."""
    lines = (lfw / "pairsDevTrain.txt").read_text().splitlines()[1:]
    found = []
    for line in lines:
        words = line.split("\t")
        if len(words) == 3:
            person, first, second = words
            found.append((name_of(person, first), name_of(person, second), True))
        else:
            one, first, other, second = words
            found.append((name_of(one, first), name_of(other, second), False))
    return found


def name_of(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}.jpg"


def pictures_of(pairs: list[tuple[str, str, bool]]) -> list[str]:
    return sorted({name for pair in pairs for name in pair[:2]})


def central() -> tuple[float, float, float, float]:
    """Left, top, right, bottom of LFW's central face."""
    half = SIDE / ENLARGED / 2
    return (SIDE / 2 - half, SIDE / 2 - half, SIDE / 2 + half, SIDE / 2 + half)


def folds_of(same: Array) -> Array:
    """The fold of each pair: both kinds are dealt out evenly, in the order of the file, as in LFW's View 2."""
    fold = np.empty(len(same), int)
    for kind in (True, False):
        places = np.flatnonzero(same == kind)
        fold[places] = np.arange(len(places)) * FOLDS // len(places)
    return fold


def best_threshold(alike: Array, same: Array) -> float:
    """In the middle of the gap between likenesses where most pairs are right."""
    order = np.argsort(alike)
    ranked, kind = alike[order], same[order]
    right = np.concatenate([[0], np.cumsum(~kind)]) + np.concatenate([np.cumsum(kind[::-1])[::-1], [0]])
    cut = int(right.argmax())
    edges = np.concatenate([ranked[:1] - 1, (ranked[1:] + ranked[:-1]) / 2, ranked[-1:] + 1])
    return float(edges[cut])


def accuracy(alike: Array, same: Array) -> tuple[float, float, Array]:
    """Mean and standard error over the folds, and which pairs were right."""
    fold, right = folds_of(same), np.empty(len(same), bool)
    for one in range(FOLDS):
        held = fold == one
        right[held] = (alike[held] > best_threshold(alike[~held], same[~held])) == same[held]
    shares = np.array([right[fold == one].mean() for one in range(FOLDS)])
    return float(shares.mean()), float(shares.std(ddof=1) / FOLDS**0.5), right


def auc(alike: Array, same: Array) -> float:
    ranks = np.argsort(np.argsort(alike)) + 1.0
    return float((ranks[same].sum() - same.sum() * (same.sum() + 1) / 2) / (same.sum() * (~same).sum()))


# --- dlib's network, as torch ----------------------------------------------------------------------------------------


def tensors_of(content: bytes) -> Iterator[Array]:
    """The tensors in a file of dlib's, from the input to the output.

    dlib writes a whole number as a byte that says how many bytes follow, and those; a tensor as its version, which is
    2, four sizes, and floats of 4 bytes, the least first. What is between is skipped: what the layers are is known.
    """

    def number(place: int) -> tuple[int | None, int]:
        length = content[place]
        if not 1 <= length <= 8:
            return None, place
        return int.from_bytes(content[place + 1 : place + 1 + length], "little"), place + 1 + length

    place = 0
    while place < len(content) - 64:
        version, after = number(place)
        shape: list[int] = []
        while version == 2 and len(shape) < 4:
            size, after = number(after)
            if size is None:
                break
            shape.append(size)
        count = int(np.prod(shape)) if len(shape) == 4 else 0
        if count >= 64 and after + 4 * count <= len(content):
            values = np.frombuffer(content, "<f4", count, after)
            if np.isfinite(values).all() and abs(values).max() < 1e4:
                yield values.reshape(shape)
                place = after + 4 * count
                continue
        place += 1


def dlib_network(content: bytes) -> Any:
    """The network of dlib's example dnn_face_recognition_ex.cpp with the weights of `content`, as torch's module."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Convolution(nn.Module):
        """Convolution, then a factor and a shift for each channel. dlib pads where it does not stride."""

        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
            super().__init__()
            self.convolve = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0)
            self.factor, self.shift = (nn.Parameter(torch.zeros(outputs, 1, 1)) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.convolve(x) * self.factor + self.shift

    class Block(nn.Module):
        """Two convolutions and what came in, which is averaged by twos where they stride; the smaller is padded."""

        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.first, self.second = Convolution(inputs, outputs, 3, stride), Convolution(outputs, outputs, 3, 1)
            self.stride = stride

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            new, old = self.second(torch.relu(self.first(x))), F.avg_pool2d(x, 2) if self.stride == 2 else x
            high, wide = max(new.shape[2], old.shape[2]), max(new.shape[3], old.shape[3])
            new, old = (F.pad(t, (0, wide - t.shape[3], 0, high - t.shape[2])) for t in (new, old))
            return torch.relu(new + F.pad(old, (0, 0, 0, 0, 0, new.shape[1] - old.shape[1])))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.blocks = Convolution(3, 32, 7, 2), nn.Sequential()
            inputs = 32
            for outputs, plain, strided in ((32, 3, 0), (64, 3, 1), (128, 2, 1), (256, 2, 1), (256, 0, 1)):
                for stride in [2] * strided + [1] * plain:
                    self.blocks.append(Block(inputs, outputs, stride))
                    inputs = outputs
            self.represent = nn.Linear(256, 128, bias=False)

        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            x = self.blocks(F.max_pool2d(torch.relu(self.stem(crops)), 3, 2))
            return self.represent(x.mean((2, 3)))

    net, tensors = Network(), tensors_of(content)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Convolution):
                weights, scale = (torch.from_numpy(next(tensors).flatten()) for _ in range(2))
                kernel, size = module.convolve.weight, module.convolve.weight.numel()
                kernel.copy_(weights[:size].view_as(kernel))
                module.convolve.bias.copy_(weights[size:])
                module.factor.copy_(scale[: len(kernel), None, None])
                module.shift.copy_(scale[len(kernel) :, None, None])
        net.represent.weight.copy_(torch.from_numpy(next(tensors)[:, :, 0, 0].copy()).T)
    if next(tensors, None) is not None:
        raise SystemExit("The file holds more tensors than the network: it is another of dlib's models.")
    return net.eval()


SIDECAR = {
    "isotrain_embedder": 1,
    "name": "dlib_face_recognition_resnet_model_v1",
    "channels": "rgb",
    "mean": [122.782, 117.001, 104.298],
    "std": 256,
    "alignment": "dlib",
    "compare": "euclidean",
}


def convert(options: argparse.Namespace) -> None:
    import torch

    from isotrain.train.exporting import export_onnx

    net = dlib_network(options.dat.read_bytes())
    export_onnx(net, (torch.randn(2, 3, 150, 150),), options.onnx, {"source": options.dat.name})
    options.onnx.with_suffix(".json").write_text(json.dumps(SIDECAR, indent=1) + "\n")
    print(f"{options.onnx} and {options.onnx.with_suffix('.json')}")


# --- the model's own pipeline --------------------------------------------------------------------------------------


def own(options: argparse.Namespace) -> None:
    """With face_recognition's functions as its documentation uses them: HOG detector, 5 points, no jitter."""
    import face_recognition
    from face_recognition.api import pose_predictor_68_point

    names = pictures_of(pairs_of(options.lfw))
    left, top, right, bottom = central()
    vectors, boxes, points, found = [], [], [], []
    begun = time.perf_counter()
    for name in names:
        picture = face_recognition.load_image_file(options.lfw / name)
        faces = face_recognition.face_locations(picture)  # top, right, bottom, left
        near = [f for f in faces if f[3] < SIDE / 2 < f[1] and f[0] < SIDE / 2 < f[2]]
        face = max(near, key=lambda f: f[1] - f[3]) if near else tuple(round(v) for v in (top, right, bottom, left))
        vectors.append(face_recognition.face_encodings(picture, [face])[0])
        marked = pose_predictor_68_point(picture, dlib_rectangle(face))
        points.append([(part.x, part.y) for part in marked.parts()])
        boxes.append((face[3], face[0], face[1], face[2]))
        found.append(bool(near))
    np.savez(
        options.out, names=names, vectors=np.array(vectors), boxes=np.array(boxes), points=np.array(points),
        found=np.array(found), seconds=time.perf_counter() - begun,
    )  # fmt: skip
    print(f"{len(names)} pictures, {sum(found)} with a central face found, {time.perf_counter() - begun:.0f} s")


def dlib_rectangle(face: tuple[int, ...]) -> Any:
    import dlib

    return dlib.rectangle(face[3], face[0], face[1], face[2])


# --- through isotrain ----------------------------------------------------------------------------------------------


def through_isotrain(lfw: Path, names: list[str], embedder: Any, marks: Callable[[Any, int], Any]) -> Array:
    """Vectors of the pictures, [n, D]: landmarks, the five points, a similarity, `--embedder`'s model."""
    import torch

    from isotrain.data.pictures import in_channels, read_picture
    from isotrain.vision.fivepoints import template_named

    template, vectors = template_named(embedder.alignment), []
    for start in range(0, len(names), 64):
        pictures = [read_picture(lfw / name) for name in names[start : start + 64]]
        points = torch.stack([marks(picture, place) for place, picture in enumerate(pictures, start)])
        coloured = [in_channels(picture, embedder.channels) for picture in pictures]
        vectors.append(embedder.embed(template.crops(coloured, points, embedder.size)))
    return torch.cat(vectors).numpy()


def marks_of(run: Path, detector: str | None) -> Callable[[Any, int], Any]:
    """Landmarks by a run of isotrain's, in the central face that a detector finds, or in LFW's central box."""
    import torch

    from isotrain.faces.detectors import detector_named
    from isotrain.tasks.landmarks import square_in
    from isotrain.train.rundir import load_run

    task: Any
    task, net, _ = load_run(run)
    finder = None if detector is None else detector_named(detector)
    middle = torch.tensor([central()])

    def marked(picture: Any, place: int) -> Any:
        boxes = middle
        if finder is not None:
            found = finder.find([picture])[0].boxes
            inside = ((found[:, :2] < SIDE / 2) & (found[:, 2:] > SIDE / 2)).all(1)
            boxes = found[inside][:1] if bool(inside.any()) else middle
        with torch.no_grad():
            return task.mark(net, picture, square_in(boxes))[0][0]

    return marked


def compare(options: argparse.Namespace) -> None:
    theirs = np.load(options.own)
    own_unit = theirs["vectors"] / np.linalg.norm(theirs["vectors"], axis=1, keepdims=True)
    ways = {
        "the model's own: its package, Euclidean distance": theirs["vectors"],
        "the same vectors, cosine": own_unit,
        **ways_of_isotrain(options, theirs),
    }
    print(f"{int(theirs['found'].sum())} of {len(own_unit)} faces were found by the package's detector.")
    print(table_of(options.lfw, theirs["names"].tolist(), ways, own_unit))


def ways_of_isotrain(options: argparse.Namespace, theirs: Any) -> dict[str, Array]:
    """Vectors through `--embedder`, with the landmarks of the package and with isotrain's own if they are there."""
    import torch

    from isotrain.faces.embedders import embedder_named
    from isotrain.vision.landmarks import CENTRE

    embedder, names = embedder_named(options.onnx), theirs["names"].tolist()
    print(f"{embedder.id}: {embedder.dims} numbers, crops of {embedder.size} pixels, alignment {embedder.alignment!r}.")
    points = torch.from_numpy(theirs["points"]).float() + CENTRE  # dlib counts the centres of pixels
    marking: dict[str, Callable[[Any, int], Any]] = {"the package's landmarks": lambda picture, place: points[place]}
    if options.landmarks:
        box = f"detector {options.detector}" if options.detector else "LFW's box"
        marking[f"{box}, isotrain's own landmarks"] = marks_of(options.landmarks, options.detector)
    return {
        f"isotrain --embedder, {name}": through_isotrain(options.lfw, names, embedder, marks)
        for name, marks in marking.items()
    }


def table_of(lfw: Path, names: list[str], ways: dict[str, Array], own_unit: Array) -> str:
    """Accuracies of several ways to represent the pictures, the first of them the one that the others are held to."""
    from machine import table

    pairs = pairs_of(lfw)
    if names != pictures_of(pairs):
        raise SystemExit("The vectors were made of other pictures: make them again.")
    places = {name: place for place, name in enumerate(names)}
    first, second = (np.array([places[pair[side]] for pair in pairs]) for side in (0, 1))
    same = np.array([pair[2] for pair in pairs])
    rows, reference = [], None
    for name, vectors in ways.items():
        # Of vectors of length 1 the distance says what the cosine says.
        alike = -np.linalg.norm(vectors[first] - vectors[second], axis=1)
        mean, error, right = accuracy(alike, same)
        reference = right if reference is None else reference
        against = f"{int((right & ~reference).sum())} / {int((~right & reference).sum())}"
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosine = np.median((unit * own_unit).sum(1))
        rows.append([name, f"{mean:.2%} ± {error:.2%}", f"{auc(alike, same):.4f}", against, f"{cosine:.4f}"])
    header = [f"{len(pairs)} pairs of {len(names)} pictures", "accuracy ± standard error", "AUC", "pairs won / lost",
              "cosine to the own vectors (median)"]  # fmt: skip
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True)
    one = steps.add_parser("convert", help="dlib's weights as an ONNX file with its sidecar")
    one.add_argument("dat", type=Path)
    one.add_argument("onnx", type=Path)
    one.set_defaults(run=convert)
    one = steps.add_parser("own", help="the pairs' pictures through the model's own pipeline")
    one.add_argument("lfw", type=Path)
    one.add_argument("out", type=Path)
    one.set_defaults(run=own)
    one = steps.add_parser("compare", help="the table")
    one.add_argument("lfw", type=Path)
    one.add_argument("onnx", type=Path)
    one.add_argument("own", type=Path, help="what `own` wrote")
    one.add_argument("--landmarks", type=Path, help="a run of `isotrain train landmarks`: one more row")
    one.add_argument("--detector", help="name, run or ONNX file that finds the faces for them; LFW's box without")
    one.set_defaults(run=compare)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
