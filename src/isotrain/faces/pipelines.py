"""What an ONNX face model wants of its crops: its pipeline, read from a sidecar, or guessed for well-known families.

The sidecar of `model.onnx` is `model.json` beside it:

    {
      "isotrain_embedder": 1,            the version of this format
      "channels": "rgb",                 or "bgr", or "grey"
      "mean": 127.5, "std": 127.5,       the model is given (x - mean) / std of values x from 0 to 255; one number, or
                                         one for each channel in the model's order. x/255 is 0 and 255, raw is 0 and 1
      "alignment": "five",               "five" (ArcFace's five points), "dlib", "2d", "3d" or "none"

      "name": "w600k_r50",               all below may be left out. Part of the vectors' id [the file's name]
      "size": 112,                       side of the crops, pixels [what the model's input says]
      "layout": "nchw",                  or "nhwc" [what the model's input says]
      "enlarge": 1.3,                    for "none": side of the crop in sides of the face's box; for "2d" and "3d": a
                                         factor of the average face's square [null: what isotrain's own crops show]
      "compare": "cosine",               what the model was trained for, or "euclidean" [cosine]. Vectors are brought to
                                         length 1 either way: distances are then those of the cosine, and a threshold
                                         that was published for distances of vectors of any length no longer holds
      "batch": 1,                        faces at a time [what the model's input says; any number]
      "output": "fc1"                    the output that is the vector [the only one of two dimensions]
    }
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from torch import Tensor

from isotrain.errors import BadData, BadOption
from isotrain.faces.parts import Alignment
from isotrain.vision.fivepoints import TEMPLATES

VERSION = 1
KEY = "isotrain_embedder"
Channels = Literal["rgb", "bgr", "grey"]
Layout = Literal["nchw", "nhwc"]
Compare = Literal["cosine", "euclidean"]
CHOICES: dict[str, tuple[str, ...]] = {
    "channels": get_args(Channels), "alignment": get_args(Alignment), "layout": get_args(Layout),
    "compare": get_args(Compare),
}  # fmt: skip
WITHOUT_EFFECT = ("name", "compare", "batch")
"""Fields that can be corrected and leave the vectors what they are."""
NEEDED = ("channels", "mean", "std", "alignment")


class Ports(NamedTuple):
    """What an ONNX model says of itself. A dimension that is free is None.

    Attributes:
        input: shape of its input.
        outputs: shapes of its outputs, by name.
        task: of the run that it was exported from, where isotrain did so.
    """

    input: tuple[int | None, ...]
    outputs: dict[str, tuple[int | None, ...]]
    task: str | None = None


@dataclass(frozen=True)
class Pipeline:
    """How crops become the input of a model. The fields are those of the sidecar.

    Attributes:
        name: of the model.
        channels: their order.
        mean: taken off values from 0 to 255, for each channel in the model's order.
        std: what they are then divided by.
        alignment: of the crops.
        size: side of the crops, pixels.
        layout: of the model's input.
        output: the model's output that is the vector.
        enlarge: how far the crops reach, see `isotrain.faces.parts.Embedder`.
        compare: what the vectors were trained for.
        batch: faces at a time; None for any number.
    """

    name: str
    channels: Channels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    alignment: Alignment
    size: int
    layout: Layout
    output: str
    enlarge: float | None = None
    compare: Compare = "cosine"
    batch: int | None = None

    @property
    def planes(self) -> int:
        """Channels of the crops: 1 or 3."""
        return 1 if self.channels == "grey" else 3

    def prepared(self, crops_nchw: Tensor) -> Tensor:
        """The model's input of crops [n, planes, size, size] in [0, 1]: of that shape, or with the planes last.

        >>> import torch
        >>> some = Pipeline("some", "bgr", (127.5,) * 3, (127.5,) * 3, "five", 1, "nchw", "y")
        >>> some.prepared(torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)).flatten().tolist()
        [-1.0, 0.0, 1.0]
        """
        if self.channels == "bgr":
            crops_nchw = crops_nchw.flip(1)
        mean, std = (crops_nchw.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        given = (255 * crops_nchw - mean) / std
        return given if self.layout == "nchw" else given.permute(0, 2, 3, 1).contiguous()

    def description(self) -> str:
        """All that the vectors depend on besides the weights, as canonical JSON."""
        return json.dumps({k: v for k, v in asdict(self).items() if k not in WITHOUT_EFFECT}, sort_keys=True)

    def sidecar(self) -> str:
        """The sidecar that says this, as JSON in one line."""
        short = {field.name: getattr(self, field.name) for field in fields(self)}
        for key in ("mean", "std"):
            short[key] = short[key][0] if len(set(short[key])) == 1 else list(short[key])
        return json.dumps({KEY: VERSION} | {k: v for k, v in short.items() if v is not None})


def sidecar_of(name: str, card: Mapping[str, Any]) -> str:
    """The sidecar of an ONNX file exported from a run of the task faces.

    Args:
        name: of the model.
        card: of the task.
    """
    channels: Channels = "grey" if card["channels"] == 1 else "rgb"
    planes = int(card["channels"])
    scale = ((0.0,) * planes, (255.0,) * planes)  # its net standardises by itself
    made = Pipeline(name, channels, *scale, card["alignment"], int(card["size"]), "nchw", "vectors")
    return made.sidecar() + "\n"


def read_sidecar(path: Path, stem: str, ports: Ports) -> Pipeline:
    """The pipeline that a sidecar describes.

    Args:
        path: of the sidecar.
        stem: name of the model's file without its end.
        ports: of the model.

    Raises:
        BadData: no JSON, another version, a field that is missing, unknown or outside its range, or one that the
            model's own shape contradicts; the message names the file and the field.
        BadOption: the model takes no pictures or gives no vectors.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(said, dict) or said.get(KEY) != VERSION or isinstance(said.get(KEY), bool):
        version = said.get(KEY) if isinstance(said, dict) else None
        raise BadData(
            f'{path}: "{KEY}" is {version!r}, this isotrain reads {VERSION}: begin it with {{"{KEY}": {VERSION}.'
        )
    said = {key: value for key, value in said.items() if key != KEY}
    known = [field.name for field in fields(Pipeline)]
    for key in said:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise BadData(f"{path}: {key!r} is not known.{hint} Known: {', '.join(known)}.")
    for key in NEEDED:
        if key not in said:
            raise BadData(f"{path} does not say {key!r}: it has to say {', '.join(NEEDED)}.")
    return described(said, stem, ports, str(path))


def described(said: Mapping[str, Any], stem: str, ports: Ports, where: str) -> Pipeline:
    """A pipeline of what was said of it, and for the rest of what the model says of itself.

    Raises:
        BadData: something said is outside its range or contradicts the model; `where` stands in the message.
        BadOption: the model takes no pictures or gives no vectors.
    """
    for key, choices in CHOICES.items():
        if key in said and said[key] not in choices:
            raise BadData(f"{where}: {key!r} is {said[key]!r}: it is one of {', '.join(choices)}.")
    channels = cast("Channels", said["channels"])
    planes = 1 if channels == "grey" else 3
    own_layout, own_size = _shape_of(ports, planes, said.get("layout"), where)
    size = _whole(said, "size", where) or own_size
    if size is None:
        raise BadData(f"{where}: the model takes crops of any size: say which by 'size'.")
    if own_size is not None and size != own_size:
        raise BadData(f"{where}: 'size' is {size}, the model takes {own_size}.")
    own_batch, batch = ports.input[0], _whole(said, "batch", where)
    if own_batch is not None and batch not in (None, own_batch):
        raise BadData(f"{where}: 'batch' is {batch}, the model takes {own_batch}.")
    name = said.get("name", stem)
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 100:
        raise BadData(f"{where}: 'name' is {name!r}: it is a text of 1 to 100 characters in one line.")
    enlarge = said.get("enlarge")
    if enlarge is not None and not (_number(enlarge) and 0.2 <= enlarge <= 10):
        raise BadData(f"{where}: 'enlarge' is {enlarge!r}: it is a number from 0.2 to 10.")
    if enlarge is not None and said["alignment"] in TEMPLATES:
        raise BadData(f"{where}: 'enlarge' has no meaning for the alignment {said['alignment']!r}: leave it out.")
    std = _numbers(said["std"], "std", planes, where)
    if min(std) <= 0:
        raise BadData(f"{where}: 'std' is {said['std']!r}: it is above 0.")
    return Pipeline(
        name=name.strip(),
        channels=channels,
        mean=_numbers(said["mean"], "mean", planes, where),
        std=std,
        alignment=cast("Alignment", said["alignment"]),
        size=size,
        layout=own_layout,
        output=_output(ports, said.get("output"), where),
        enlarge=None if enlarge is None else float(enlarge),
        compare=cast("Compare", said.get("compare", "cosine")),
        batch=batch or own_batch,
    )


def _shape_of(ports: Ports, planes: int, said: str | None, where: str) -> tuple[Layout, int | None]:
    """Layout and side of the model's input."""
    shape = ports.input
    if len(shape) != 4:
        raise BadOption(f"{where}: the model's input is {told(shape)}; a face model takes pictures, of 4 dimensions.")
    fits: list[Layout] = []
    if shape[1] in (None, planes):
        fits.append("nchw")
    if shape[3] in (None, planes):
        fits.append("nhwc")
    if said is None and len(fits) == 2 and shape[1] != shape[3]:  # the one that says it, not the one that allows it
        fits = ["nchw"] if shape[1] == planes else ["nhwc"]
    if not fits or (said is not None and said not in fits):
        raise BadData(f"{where}: {planes} channels{f' as {said}' if said else ''} do not fit the input {told(shape)}.")
    if said is None and len(fits) == 2:
        raise BadData(f"{where}: the input {told(shape)} leaves open where the channels are: say it by 'layout'.")
    layout = fits[0] if said is None else said
    sides = set(shape[2:] if layout == "nchw" else shape[1:3]) - {None}
    if len(sides) > 1:
        raise BadOption(f"{where}: the model's input is {told(shape)}; isotrain's crops are square.")
    return layout, sides.pop() if sides else None


def _output(ports: Ports, said: Any, where: str) -> str:
    if said is not None:
        if said not in ports.outputs:
            raise BadData(f"{where}: 'output' is {said!r}, the model's are {', '.join(ports.outputs)}.")
        return str(said)
    vectors = [name for name, shape in ports.outputs.items() if dims_of(shape) is not None]
    if len(vectors) != 1:
        listed = ", ".join(f"{name} {told(shape)}" for name, shape in ports.outputs.items())
        which = "none of which is" if not vectors else "several of which may be"
        raise BadOption(f"{where}: the model gives {listed}, {which} one vector for each face. Name it by 'output'.")
    return vectors[0]


def dims_of(shape: Sequence[int | None]) -> int | None:
    """D of an output [n, D], or [n, D, 1, 1]; None where it is no vector; 0 where the model leaves it open.

    >>> dims_of((None, 512)), dims_of((1, 128, 1, 1)), dims_of((1, 64, 7, 7)), dims_of((None, None))
    (512, 128, None, 0)
    """
    if len(shape) < 2 or any(side != 1 for side in shape[2:]):
        return None
    return shape[1] or 0


def told(shape: Sequence[int | None]) -> str:
    """A shape in words: `?` for what is free."""
    return "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"


def _number(thing: Any) -> bool:
    return isinstance(thing, int | float) and not isinstance(thing, bool) and math.isfinite(thing)


def _numbers(thing: Any, key: str, planes: int, where: str) -> tuple[float, ...]:
    numbers = thing if isinstance(thing, list | tuple) else [thing] * planes
    if len(numbers) != planes or not all(map(_number, numbers)):
        raise BadData(f"{where}: {key!r} is {thing!r}: it is a number, or {planes} of them for the model's channels.")
    return tuple(float(number) for number in numbers)


def _whole(said: Mapping[str, Any], key: str, where: str) -> int | None:
    value = said.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 4096:
        raise BadData(f"{where}: {key!r} is {value!r}: it is a whole number from 1 to 4096.")
    return value
