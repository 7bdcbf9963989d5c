"""What becomes of a layer's output: the function of one entry applied to it, and whether a layer comes after.

A forward pass is followed operation by operation. Nothing is looked up by name: an operation is a function of
one entry if it treats the entries of a test vector apart and alike, and only moves entries (a view, a maximum
over places) if it gives back values it was given. So `1.7159 * tanh(2 z / 3)` or `z * sigmoid(z)`, written out
in a model's own forward, are activations like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

Function = Callable[[Tensor], Tensor]

SAMPLES = 16
"""Entries of a result that are looked for among what the operation was given."""
_NONE: frozenset[nn.Module] = frozenset()


@dataclass(frozen=True)
class Path:
    """The function of one entry, `length` operations long, that leads from an output of `layer` to a tensor.

    Tensors with the same `arrangement` hold their entries at the same places.
    """

    layer: nn.Module
    function: Function
    length: int
    arrangement: int


class Follower(TorchFunctionMode):
    """Follows the outputs of layers through a forward pass.

    What is applied to a layer's output entry by entry is its activation: the longest such function that was met.

    >>> layer, z = nn.Linear(1, 1), torch.tensor([[0.5]])
    >>> follower = Follower()
    >>> with follower:
    ...     follower.begin(layer, z, reader=True)
    ...     y = 1.7159 * torch.tanh(z * 2 / 3)
    >>> round(float(follower.activation(layer)(torch.tensor(1.0))), 3), follower.last([y]) == {layer}
    (1.0, True)
    """

    def __init__(self) -> None:
        super().__init__()
        self._longest: dict[nn.Module, Path] = {}
        self._paths: dict[int, Path] = {}
        self._reaching: dict[int, frozenset[nn.Module]] = {}
        self._kept: list[Tensor] = []  # or another tensor could be given the id of one of them
        self._arrangements = count()

    def activation(self, layer: nn.Module) -> Function | None:
        """The function of one entry that is applied to a layer's output, or None where there is none."""
        path = self._longest.get(layer)
        return path.function if path is not None and path.length else None

    def last(self, outputs: list[Tensor]) -> set[nn.Module]:
        """The readers whose output reaches these tensors through no other reader."""
        return set(_NONE.union(*(self._reaching.get(id(t), _NONE) for t in outputs)))

    def begin(self, layer: nn.Module, output: Tensor, reader: bool) -> None:
        """Note that a tensor is a layer's output; a reader has weights of its own for every input."""
        self._kept.append(output)
        self._note(output, Path(layer, _itself, 0, next(self._arrangements)))
        self._reaching[id(output)] = frozenset([layer]) if reader else self._reaching.get(id(output), _NONE)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation as ever, and note what it made of the tensors that are followed."""
        kwargs = kwargs or {}
        given = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        versions = [t._version for t in given]
        result = func(*args, **kwargs)
        if any(id(t) in self._reaching for t in given):
            read = any(isinstance(t, nn.Parameter) and t.ndim > 1 for t in given)
            behind = () if read else (self._reaching.get(id(t), _NONE) for t in given)
            reaching = _NONE.union(*behind)
            written = {id(t) for t, before in zip(given, versions, strict=True) if t._version != before}
            for out in tree_flatten(result)[0]:
                if isinstance(out, Tensor) and out.is_floating_point():
                    self._kept.append(out)
                    self._reaching[id(out)] = reaching
                    self._note(out, self._path(func, args, kwargs, given, out, id(out) in written))
        return result

    def _note(self, out: Tensor, path: Path | None) -> None:
        if path is None:
            self._paths.pop(id(out), None)
            return
        self._paths[id(out)] = path
        if path.layer not in self._longest or path.length >= self._longest[path.layer].length:
            self._longest[path.layer] = path

    def _path(self, func: Any, args: Any, kwargs: Any, given: list[Tensor], out: Tensor, written: bool) -> Path | None:
        followed = {id(t): self._paths[id(t)] for t in given if id(t) in self._paths}
        strangers = [t for t in given if id(t) not in followed and t.numel() != 1]
        if not followed or strangers:
            return None
        first = next(iter(followed.values()))
        if all(p.layer is first.layer and p.arrangement == first.arrangement for p in followed.values()):
            function = _composed(func, args, kwargs, followed)
            if _of_one_entry(function):
                return Path(first.layer, function, first.length + 1, first.arrangement)
        if len(followed) == 1 and not written and _only_moves(next(t for t in given if id(t) in followed), out):
            return Path(first.layer, first.function, first.length, next(self._arrangements))
        return None


def _itself(z: Tensor) -> Tensor:
    return z


def _composed(func: Any, args: Any, kwargs: Any, followed: dict[int, Path]) -> Function:
    def function(z: Tensor) -> Tensor:
        def at(value: Any) -> Any:
            path = followed.get(id(value)) if isinstance(value, Tensor) else None
            return value if path is None else path.function(z).clone()  # which the operation may write on

        result: Tensor = func(*tree_map(at, args), **tree_map(at, kwargs))
        return result

    return function


def _of_one_entry(function: Function) -> bool:
    """Whether a function of a vector is one function of every entry, wherever it stands and whatever the others."""
    z = torch.linspace(-3, 3, 64, dtype=torch.float64)
    try:
        whole = function(z)
        apart = torch.cat([function(z[:13]), function(z[13:])])
        turned = function(z.flip(0)).flip(0)
    except (RuntimeError, TypeError, ValueError, IndexError):  # an operation that a vector of 64 does not suit
        return False
    if whole.shape != z.shape:
        return False
    return torch.allclose(whole, apart, 1e-9, equal_nan=True) and torch.allclose(whole, turned, 1e-9, equal_nan=True)


def _only_moves(given: Tensor, out: Tensor) -> bool:
    """Whether entries of the result are entries it was given; a sample of them is looked up."""
    if not out.numel() or not given.is_floating_point():
        return False
    rows = torch.arange(SAMPLES, device=out.device) * out.numel() // SAMPLES
    some = out.reshape(-1)[rows].to(given)
    return all(bool((given == value).any()) for value in some)
