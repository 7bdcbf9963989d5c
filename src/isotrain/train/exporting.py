"""A trained net as ONNX files, which run without torch, written only once they give what torch gives."""

from __future__ import annotations

import inspect
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from isotrain.aside import write_aside
from isotrain.errors import BadOption, MissingExtra
from isotrain.tasks.base import Card

if TYPE_CHECKING:
    import onnx

ALLOWED = 1e-4
"""Largest difference between onnxruntime and torch; in proportion to outputs beyond 1."""
OPSET = 17


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the file.
        bytes: its size.
        inputs: their names and shapes; a name in a shape stands for any size.
        outputs: the same.
        difference: largest absolute difference between onnxruntime and torch; None if nobody looked.
    """

    path: Path
    bytes: int
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    difference: float | None

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {**vars(self), "path": str(self.path)}


Free = Mapping[str, Mapping[int, str]]
"""Names of inputs and outputs -> their dimensions of any size -> what those are called."""


@dataclass(frozen=True)
class Part:
    """A net that becomes a file of its own.

    Attributes:
        net: gives a tensor, a tuple or a mapping of tensors. It is left in evaluation mode.
        inputs: its arguments, of the shape it expects.
        path: of the file, which ends in .onnx.
        free: which dimensions may have any size; without an entry: the first ones, and how many regions there are.
        tried: further inputs that onnxruntime and torch are compared on, of other sizes where these are free; none:
            random pictures, in a larger batch.
    """

    net: nn.Module
    inputs: Sequence[Tensor]
    path: Path
    free: Free = field(default_factory=dict)
    tried: Sequence[Sequence[Tensor]] = ()


def export_onnx(net: nn.Module, inputs: Sequence[Tensor], path: Path, card: Card, check: bool = True) -> Exported:
    """Write a net as one ONNX file; its first dimensions are free, the others those of `inputs`.

    The card goes into the file as its metadata `card`, so that a reader knows the classes. Outputs are named as the net
    names them. `net` is left in evaluation mode.

    Args:
        net: gives a tensor, a tuple or a mapping of tensors.
        inputs: its arguments, of the shape it expects.
        path: of the file, which ends in .onnx.
        card: of the task.
        check: compare onnxruntime with torch, on these inputs and on random pictures in a larger batch.

    Raises:
        MissingExtra: the packages of the extra "export" are not there.
        BadOption: the ending is another, the place cannot be written, the net has an operator that ONNX lacks, or the
            file gives something else than torch does.
    """
    (exported,) = export_parts([Part(net, inputs, path)], card, check)
    return exported


def export_parts(parts: Sequence[Part], card: Card, check: bool = True) -> list[Exported]:
    """Write nets that belong together, each as one ONNX file, once all of them give what torch gives.

    Args:
        parts: the nets, their files, and what to try them on.
        card: of the task; into each file as its metadata `card`.
        check: compare onnxruntime with torch.

    Raises:
        MissingExtra: the packages of the extra "export" are not there.
        BadOption: an ending is another, a place cannot be written, a net has an operator that ONNX lacks, or a file
            gives something else than torch does.
    """
    for part in parts:
        if part.path.suffix != ".onnx":
            raise BadOption(f"{part.path} should end in .onnx.")
    _packages()
    made = [_made(part, card, check) for part in parts]
    for exported, content in made:
        try:
            write_aside(exported.path, content)
        except OSError as error:
            raise BadOption(f"{exported.path} cannot be written: {error.strerror or error}.") from error
    return [exported for exported, _ in made]


def _made(part: Part, card: Card, check: bool) -> tuple[Exported, bytes]:
    """What will be written, compared with torch."""
    net, flat = part.net, _Flat(part.net).eval()
    inputs = tuple(tensor.detach().clone() for tensor in part.inputs)
    with torch.no_grad():
        flat(*inputs)  # learns the names of the outputs
    names = [f"{name}_in" if name in flat.names else name for name in _arguments(net, inputs)]
    try:
        with _quiet():
            if part.free:  # recurrent layers of any number of steps are known to torch's older exporter alone
                model = _traced(flat, inputs, names, part.free)
                with torch.no_grad():
                    _settle(model, flat(*inputs), part.free)
            elif _has_regions(flat, inputs):
                free = dict(zip(names, _free(names, inputs, str), strict=True))
                model = _traced(flat, inputs, names, free | {name: {0: f"{name}_rows"} for name in flat.names})
            else:
                model = _graph(flat, inputs, names)
    except Exception as error:  # whatever an unknown operator makes torch raise, and it is a long list
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BadOption(f"this {type(net).__name__} cannot be written as ONNX: {reason[:300]}") from error
    entry = model.metadata_props.add()
    entry.key, entry.value = "card", json.dumps(card)
    model.producer_name = "isotrain"
    content = model.SerializeToString()
    tried = [inputs, *(map(tuple, part.tried) if part.tried else [_others(inputs)])]
    difference = _compare(flat, names, tried, content) if check else None
    shapes = _shapes(model.graph.input), _shapes(model.graph.output)
    return Exported(part.path, len(content), *shapes, difference), content


class _Flat(nn.Module):
    """The net with its outputs in a row, which is all that ONNX knows."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.names: list[str] = []

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given: Any = self.net(*inputs)
        if isinstance(given, Tensor):
            named = {"output": given}
        elif isinstance(given, Mapping):
            named = dict(given)
        elif hasattr(given, "_asdict"):
            named = given._asdict()
        else:
            named = {f"output{place}": tensor for place, tensor in enumerate(given)}
        self.names = list(named)
        return tuple(named.values())


class _Operators(TorchDispatchMode):
    """Notes the operators that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), keywords: Mapping[str, Any] | None = None
    ) -> Any:
        self.found.add(operator.namespace)
        return operator(*arguments, **(keywords or {}))


def _has_regions(net: nn.Module, inputs: Sequence[Tensor]) -> bool:
    """Whether the net uses torchvision's own operators (RoI pooling, nms), known in part to torch's newer exporter."""
    with torch.no_grad(), _Operators() as operators:
        net(*inputs)
    return "torchvision" in operators.found


def _graph(net: _Flat, inputs: tuple[Tensor, ...], names: list[str]) -> onnx.ModelProto:
    free = tuple(_free(names, inputs, torch.export.Dim))
    program = torch.onnx.export(
        net,
        inputs,
        dynamo=True,
        input_names=names,
        output_names=net.names,
        dynamic_shapes=(free,),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _traced(net: _Flat, inputs: tuple[Tensor, ...], names: list[str], free: Free) -> onnx.ModelProto:
    import onnx

    file = io.BytesIO()
    torch.onnx.export(
        net,
        inputs,
        cast(Any, file),  # torch takes a file too, its types do not say so
        dynamo=False,
        opset_version=OPSET,
        input_names=names,
        output_names=net.names,
        dynamic_axes={name: dict(axes) for name, axes in free.items()},
    )
    return onnx.load_from_string(file.getvalue())


def _settle(model: onnx.ModelProto, given: Sequence[Tensor], free: Free) -> None:
    """State the sizes of the outputs that are not free, where the exporter lost sight of them."""
    for entry, tensor in zip(model.graph.output, given, strict=True):
        for axis, size in enumerate(tensor.shape):
            if axis not in free.get(entry.name, {}):
                entry.type.tensor_type.shape.dim[axis].dim_value = size


def _free(names: Sequence[str], inputs: Sequence[Tensor], made: Any) -> Iterator[dict[int, Any]]:
    """The free dimensions of each input: samples, and regions: rows [r, 5], or so many of each sample, [n, r, 4]."""
    for name, tensor in zip(names, inputs, strict=True):
        free = {0: made("batch" if tensor is inputs[0] or tensor.dim() > 2 else f"{name}_rows")}
        yield free | ({1: made(f"{name}_each")} if tensor.dim() == 3 else {})


def _arguments(net: nn.Module, inputs: Sequence[Tensor]) -> list[str]:
    """Names of the inputs: the net's own, without the letters of their shapes (pictures_nchw is pictures)."""
    names = [
        name
        for name, parameter in inspect.signature(net.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(names) < len(inputs):
        return [f"input{place}" for place in range(len(inputs))]
    told = []
    for name, tensor in zip(names, inputs, strict=False):
        stem, _, letters = name.rpartition("_")
        told.append(stem if stem and len(letters) == tensor.dim() else name)
    return told


def _compare(net: _Flat, names: list[str], tries: Sequence[tuple[Tensor, ...]], content: bytes) -> float:
    """Largest absolute difference to onnxruntime on several inputs.

    Raises:
        BadOption: it is too large, the shapes differ, or the file does not run.
    """
    onnxruntime = import_module("onnxruntime")  # has no types
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised, too
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    taken = [entry.name for entry in session.get_inputs()]
    places = {name: place for place, name in enumerate(names)}
    largest = 0.0
    for tried in tries:
        with torch.no_grad():
            expected = net(*tried)
        try:
            given = session.run(None, {name: tried[places[name]].numpy() for name in taken})
        except Exception as error:  # onnxruntime has a class for each status
            reason = str(error).splitlines()[0][:300]
            raise BadOption(
                f"the ONNX file does not run on {len(tried[0])} samples: {reason} Nothing was written."
            ) from error
        for name, theirs, ours in zip(net.names, given, expected, strict=True):
            if theirs.shape != tuple(ours.shape):
                raise BadOption(
                    f"the ONNX file gives {name} of shape {list(theirs.shape)}, torch {list(ours.shape)}: nothing was "
                    "written."
                )
            if ours.numel() == 0:
                continue
            apart = float((torch.from_numpy(theirs).double() - ours.double()).abs().max())
            scale = max(1.0, float(ours.double().abs().max()))
            if not apart <= ALLOWED * scale:
                raise BadOption(f"the ONNX file gives {name} up to {apart:.1e} off from torch: nothing was written.")
            largest = max(largest, apart)
    return largest


def _others(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Random pictures, three times as many; what is no picture three times over, and twice as many regions in each."""
    generator = torch.Generator().manual_seed(0)

    def other(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point() and tensor.dim() == 4:
            shape = (3 * len(tensor), *tensor.shape[1:])
            return torch.rand(shape, generator=generator, dtype=tensor.dtype)
        return tensor.repeat(3, *((2, 1) if tensor.dim() == 3 else (1,) * (tensor.dim() - 1)))

    return tuple(map(other, inputs))


def _shapes(entries: Any) -> dict[str, list[int | str]]:
    return {
        entry.name: [dimension.dim_param or int(dimension.dim_value) for dimension in entry.type.tensor_type.shape.dim]
        for entry in entries
    }


def _packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):  # torch's exporter needs the second
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtra(f"export comes with the optional {name}: pip install 'isotrain[export]'.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's notes to its own developers (deprecations, constants in a trace) are not for who exports a net."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
