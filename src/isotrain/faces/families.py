"""Well-known families of face models, and the pipeline that each was trained with: for models without a sidecar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from isotrain.errors import BadOption, MissingExtra
from isotrain.faces.pipelines import KEY, VERSION, Pipeline, Ports, described, dims_of, told


class Family(NamedTuple):
    """Models that share a pipeline.

    Attributes:
        name: as it is announced.
        words: one of them stands in the names of such files or of their folders.
        size: side of the crops, pixels.
        dims: of the vectors, those there are.
        said: what their sidecar would say.
        alone: whether the shape says it without a name.
    """

    name: str
    words: tuple[str, ...]
    size: int
    dims: tuple[int, ...]
    said: Mapping[str, Any]
    alone: bool


_FIVE = {"channels": "rgb", "alignment": "five"}
FAMILIES = (
    # InsightFace's mobile models are named mbf, and have the pipeline of the large ones: before MobileFaceNet.
    Family(
        "ArcFace as InsightFace has it",
        ("w600k", "insightface", "buffalo", "antelope", "glint", "arcface", "ms1m", "webface", "casia"),
        112, (512,), {**_FIVE, "mean": 127.5, "std": 127.5}, True,
    ),
    Family("MobileFaceNet", ("mobilefacenet", "mobile_facenet"), 112, (128, 192, 256, 512),
           {**_FIVE, "mean": 127.5, "std": 128.0}, False),
    Family("OpenCV's SFace", ("sface",), 112, (128,), {**_FIVE, "mean": 0.0, "std": 1.0}, False),
    Family(
        "dlib's ResNet, also face-api's", ("dlib", "face_recognition", "face-api", "faceapi"), 150, (128,),
        {
            "channels": "rgb", "mean": [122.782, 117.001, 104.298], "std": 256.0, "alignment": "dlib",
            "compare": "euclidean",
        }, True,
    ),
)  # fmt: skip
EXAMPLE = f'{{"{KEY}": {VERSION}, "channels": "rgb", "mean": 127.5, "std": 127.5, "alignment": "five"}}'


def guessed(path: Path, ports: Ports, first: Callable[[], list[str]], tell: Callable[[str], None]) -> Pipeline:
    """The pipeline that a model's names and shapes point to; the guess and its reason are told.

    Args:
        path: of the model.
        ports: what it says of itself.
        first: names its first operators.
        tell: what to announce the guess by.

    Raises:
        BadOption: it is of no family known; the message says what to write beside it.
        MissingExtra: a package that the guess needs is not there.
    """
    sidecar = path.with_suffix(".json")
    found = _family(path, ports)
    if found is None:
        shapes = ", ".join(f"{name} {told(shape)}" for name, shape in ports.outputs.items())
        raise BadOption(
            f"{path} (input {told(ports.input)}, output {shapes}) is of no family of face models known here: describe "
            f"its pipeline in {sidecar}, for example {EXAMPLE}."
        )
    family, reason = found
    said = dict(family.said)
    # InsightFace's own test: models that came from MXNet subtract and divide inside.
    inside = family.name.startswith("ArcFace") and {"Sub", "Mul"} <= set(first())
    if inside:
        said |= {"mean": 0.0, "std": 1.0}
        reason += ", and its first operators scale the values"
    pipeline = described(said, path.stem, ports, str(path))
    tell(
        f"{path.name} has no {sidecar.name} that describes its pipeline. By {reason} it is taken for {family.name}: "
        f"{pipeline.sidecar()}. Write that into {sidecar} if it is right; a wrong one makes it worse without a word."
    )
    return pipeline


def _family(path: Path, ports: Ports) -> tuple[Family, str] | None:
    fitting = [family for family in FAMILIES if _fits(family, ports)]
    for where, name in (("its name", path.stem.lower()), ("its folder's name", path.parent.name.lower())):
        for family in fitting:
            for word in family.words:
                if word in name:
                    return family, f"{where} ({word!r}) and its shapes"
    for family in fitting:
        if family.alone:
            return family, "its shapes alone"
    return None


def _fits(family: Family, ports: Ports) -> bool:
    shape = ports.input
    if len(shape) != 4 or shape[1:] not in ((3, family.size, family.size), (family.size, family.size, 3)):
        return False
    return any(dims_of(shape) in family.dims for shape in ports.outputs.values())


def first_operators(content: bytes, number: int = 8) -> list[str]:
    """The first operators of an ONNX file.

    Raises:
        MissingExtra: the package onnx is not there.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra(
            "telling the family of a face model needs the optional onnx: pip install 'isotrain[export]', or describe "
            "the model's pipeline in a sidecar."
        ) from error
    return [node.op_type for node in onnx.load_model_from_string(content).graph.node[:number]]
