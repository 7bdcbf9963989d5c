"""The optimizers of the step-time table: a name, and how a user would build it on a model.

Rates are the libraries' defaults, or small where the default would send a network to infinity within the run:
only the time of a step is measured, but a step on NaN is not a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import isotrain
from isotrain.lab.suite.rivals import RIVALS

torch.backends.opt_einsum.enabled = False


def rival(name: str, rate: float | None = None) -> Callable[[nn.Module], list[Optimizer]]:
    """A rival of the contest, at a rate of our own where its default would not survive random data."""
    found = RIVALS[name]
    return lambda model: found.make(model, found.rate if rate is None else rate, "categorical", 0)


OPTIMIZERS: dict[str, Callable[[nn.Module], list[Optimizer]]] = {
    "sgd": lambda m: [torch.optim.SGD(m.parameters(), lr=1e-2)],
    "sgd-momentum": lambda m: [torch.optim.SGD(m.parameters(), lr=1e-2, momentum=0.9)],
    "adam": lambda m: [torch.optim.Adam(m.parameters())],
    "rmsprop": lambda m: [torch.optim.RMSprop(m.parameters(), lr=1e-3)],
    "isotrain": lambda m: [isotrain.Riemannian(m)],
    "isotrain-quasi-diagonal": lambda m: [isotrain.Riemannian(m, shape="quasi-diagonal")],
    "isotrain-kronecker": lambda m: [isotrain.Riemannian(m, shape="kronecker")],
    "muon": rival("muon", 1e-3),
    "soap": rival("soap", 1e-3),
    "shampoo": rival("shampoo", 1e-4),
    "prodigy": rival("prodigy"),
    "schedule-free": rival("schedule-free"),
    "kron": rival("kron", 1e-4),
    "kfac": rival("k-fac", 1e-4),
}

# singd knows no recurrent layer: only the head would be left to it, which is not K-FAC at all.
CANNOT = {("kfac", "lstm")}


def tensors_within(thing: object, seen: set[int]) -> Iterator[Tensor]:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from tensors_within(value, seen)
    elif isinstance(thing, list | tuple | set):
        for value in thing:
            yield from tensors_within(value, seen)
    elif hasattr(thing, "__dict__") and not isinstance(thing, type | nn.Module):
        yield from tensors_within(vars(thing), seen)


def state_bytes(optimizers: list[Optimizer]) -> int:
    """Exact bytes of what a checkpoint of the optimizers holds; shared storage is counted once."""
    storages = {}
    seen: set[int] = set()
    for optimizer in optimizers:
        saved = {key: value for key, value in optimizer.state_dict().items() if key != "param_groups"}
        for tensor in tensors_within(saved, seen):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
