"""What a user hands over: a model, a loss and data, in the forms that PyTorch users already have.

* ``build``: ``build()`` or ``build(seed)``, returning an ``nn.Module``, a pair ``(module, loss)``, or a
  mapping with ``model`` and, if wanted, ``loss`` and ``likelihood``. An ``nn.Module`` itself will do too.
  ``loss`` and ``likelihood`` may also be attributes of the function: ``build.likelihood = "bernoulli"``.
* ``loss``: ``"categorical"``, ``"bernoulli"``, ``"gaussian"``, or a function of output and target that
  returns a mean. Left out: categorical when the targets are integers, gaussian (mean squared error)
  otherwise.
* ``batches``: anything that yields pairs ``(x, y)``: a list, a generator, a DataLoader.
"""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isotrain.errors import BadBuild, BadData, UnknownName

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Any, Tensor], Tensor]


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy, with the classes last or second, whichever fits the targets.

    >>> cross_entropy(torch.zeros(2, 5, 4), torch.zeros(2, 5, dtype=torch.long)).exp().round(decimals=4)
    tensor(4.)
    """
    if output.dim() == target.dim() + 1 and output.dim() > 2 and output.shape[:-1] == target.shape:
        return F.cross_entropy(output.flatten(0, -2), target.flatten())
    return F.cross_entropy(output, target)


def binary_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of yes/no answers given as logits."""
    return F.binary_cross_entropy_with_logits(output.view_as(target), target.to(output.dtype))


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(output.view_as(target), target.to(output.dtype))


LOSSES: dict[str, Loss] = {
    "categorical": cross_entropy,
    "bernoulli": binary_cross_entropy,
    "gaussian": squared_error,
}


@dataclass(frozen=True)
class Problem:
    """A model to start from, its loss, the likelihood the loss stands for, and one list of minibatches.

    `likelihood` is None when a loss of the user's own comes without one.
    """

    model: nn.Module
    loss: Loss
    likelihood: Any
    stream: list[Batch]

    @property
    def example(self) -> Tensor:
        """The inputs of the first minibatch."""
        return self.stream[0][0]


def problem(build: Any, batches: Any, steps: int, seed: int, dtype: torch.dtype | None) -> Problem:
    """Build the model and lay out the minibatches of a run.

    Raises:
        BadBuild: `build` fails or returns something else than a model.
        BadData: the batches are missing, empty or not pairs.
        UnknownName: the loss is a name, and not one of the three.
    """
    model, loss, likelihood = built(build, seed)
    stream = lay_out(batches, steps, device_of(model), dtype)
    if dtype is not None:
        model = model.to(dtype)
    if loss is None and likelihood is None:
        likelihood = "gaussian" if stream[0][1].is_floating_point() else "categorical"
    if loss is None:
        loss = likelihood
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise UnknownName("loss", loss, LOSSES)
        likelihood = loss if likelihood is None else likelihood
        loss = LOSSES[loss]
    if not callable(loss):
        raise BadBuild(
            f"no loss is known for the likelihood {likelihood!r}; return the loss too: "
            "build() -> {'model': ..., 'loss': ..., 'likelihood': ...}."
        )
    _try(model, loss, stream[0])
    return Problem(model, loss, likelihood, stream)


def built(build: Any, seed: int) -> tuple[nn.Module, Any, Any]:
    """Call `build` with torch's generator seeded, and sort out what it returned."""
    torch.manual_seed(seed)
    if isinstance(build, nn.Module):
        returned: Any = copy.deepcopy(build)
    elif callable(build):
        returned = call(build, "build", seed)
    else:
        raise BadBuild(f"build must be a function or an nn.Module, not {type(build).__name__}.")
    loss, likelihood = getattr(build, "loss", None), getattr(build, "likelihood", None)
    if isinstance(returned, Mapping):
        loss, likelihood = returned.get("loss", loss), returned.get("likelihood", likelihood)
        returned = returned.get("model")
    elif isinstance(returned, tuple) and len(returned) == 2:
        returned, loss = returned
    if not isinstance(returned, nn.Module):
        raise BadBuild(f"build must return an nn.Module, it returned {type(returned).__name__}.")
    if not any(p.requires_grad for p in returned.parameters()):
        raise BadBuild(f"the model that build returned ({type(returned).__name__}) has no parameters to train.")
    return returned, loss, likelihood


def call(function: Callable[..., Any], name: str, seed: int) -> Any:
    """Call a user's function, with the seed if it takes one; an error of theirs is told with their line."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin or a C type tells nothing about its arguments
        parameters = dict[str, inspect.Parameter]().values()
    empty, positional = (
        inspect.Parameter.empty,
        (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD),
    )
    wants = [p for p in parameters if p.kind in positional and (p.default is empty or p.name == "seed")]
    try:
        return function(seed) if wants else function()
    except Exception as error:
        raise BadBuild(f"{name} failed{where(error, function)}: {type(error).__name__}: {error}") from error


def where(error: BaseException, function: Any = None) -> str:
    """The user's own line on the way to an error: `` at model.py, line 12`` ('' if there is none)."""
    frames = traceback.extract_tb(error.__traceback__)
    home = str(Path(__file__).parents[1])
    theirs = [f for f in frames if not f.filename.startswith(home) and "site-packages" not in f.filename]
    source = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [f for f in theirs if f.filename == source]
    last = (own or theirs)[-1:]
    return f" at {Path(last[0].filename).name}, line {last[0].lineno}" if last else ""


def lay_out(batches: Any, steps: int, device: torch.device, dtype: torch.dtype | None) -> list[Batch]:
    """`steps` minibatches, going round the data again as often as needed. Every run sees this list."""
    if callable(batches) and not isinstance(batches, Iterable):
        batches = call(batches, "batches", 0)
    if not isinstance(batches, Iterable) or isinstance(batches, str | bytes | Tensor):
        raise BadData(f"batches must yield pairs (x, y); a {type(batches).__name__} does not.")
    stream: list[Batch] = []
    once = isinstance(batches, Iterator)  # a generator can be read only once
    while len(stream) < steps:
        before = len(stream)
        for batch in batches:
            stream.append(_pair(batch, device, dtype))
            if len(stream) == steps:
                return stream
        if len(stream) == 0:
            raise BadData("batches is empty: not a single pair (x, y) came out of it.")
        if once or len(stream) == before:  # nothing more to be had: go round what there was
            return [stream[at % len(stream)] for at in range(steps)]
    return stream


def _pair(batch: Any, device: torch.device, dtype: torch.dtype | None) -> Batch:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise BadData(f"a batch must be a pair (x, y), not {_shape(batch)}.")
    if not all(isinstance(part, Tensor) for part in batch):
        raise BadData(f"x and y must be tensors, not {_shape(batch[0])} and {_shape(batch[1])}.")
    x, y = (part.to(device) for part in batch)
    if len(x) == 0:
        raise BadData("a batch is empty: x has no samples.")
    if dtype is not None:
        x, y = (part.to(dtype) if part.is_floating_point() else part for part in (x, y))
    return x, y


def _shape(thing: Any) -> str:
    return f"a {type(thing).__name__}" + (f" of {len(thing)}" if isinstance(thing, tuple | list) else "")


def _try(model: nn.Module, loss: Loss, batch: Batch) -> None:
    """One forward pass on a copy, so that a misfit is told before the runs start."""
    x, y = batch
    try:
        with torch.no_grad():
            value: Any = loss(copy.deepcopy(model)(x), y)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise BadBuild(
            f"the model cannot be trained on the first batch (x {tuple(x.shape)}, y {tuple(y.shape)} "
            f"{y.dtype})"
            f"{where(error)}: {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise BadBuild(f"the loss must be one number, a mean over the batch; it is {_shape(value)}.")


def device_of(model: nn.Module) -> torch.device:
    """Where the model lives; its batches are moved there."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def parts(batch: Batch, size: int) -> Iterator[Batch]:
    """A large batch in pieces, for evaluation."""
    x, y = batch
    for start in range(0, len(x), size):
        yield x[start : start + size], y[start : start + size]
