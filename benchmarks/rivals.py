"""The optimizers of the step-time table: a name, and how a user would build it on a model.

Rates are the libraries' defaults, or small where the default would send a network to infinity within the run:
only the time of a step is measured, but a step on NaN is not a step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytorch_optimizer
import torch
from pytorch_optimizer.optimizer.utils.matrix import zero_power_via_newton_schulz_5
from torch import Tensor, nn
from torch.optim import Optimizer

import isotrain

torch.backends.opt_einsum.enabled = False
PERIOD = 10  # steps between two looks at the curvature, for every optimizer that has such a setting


def matrices_and_rest(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Muon's usual division: hidden weights of two or more dimensions, and the others."""
    outside = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = [weight for weight in model.parameters() if weight.ndim >= 2]
    outside.add(id(weights[-1]))
    hidden = [weight for weight in weights if id(weight) not in outside]
    chosen = {id(weight) for weight in hidden}
    return hidden, [weight for weight in model.parameters() if id(weight) not in chosen]


class Muon(pytorch_optimizer.Muon):
    """In float32, on matrices and flattened filter banks.

    The libraries' own, torch's too, iterate in bfloat16, which many a processor has to emulate: torch's took
    4.3 s a step on the perceptron, which says nothing about the rule.
    """

    @staticmethod
    def _orthogonalize(group: dict[str, Any], updates: list[Tensor]) -> list[Tensor]:
        return [
            zero_power_via_newton_schulz_5(
                update.flatten(1), group["ns_steps"], weights=group["ns_coeffs"], dtype=torch.float32
            ).view_as(update)
            for update in updates
        ]


def muon(model: nn.Module) -> list[Optimizer]:
    hidden, rest = matrices_and_rest(model)
    groups = [{"params": hidden, "use_muon": True}]
    return [Muon(groups, lr=1e-3), torch.optim.AdamW(rest, lr=1e-3)]


class Kron(pytorch_optimizer.Kron):
    """Its products of three factors need the order that opt-einsum finds.

    Only here: every other optimizer is measured as it runs where the package is not installed.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        torch.backends.opt_einsum.enabled = True  # torch's own context manager cannot return to False
        try:
            return super().step(closure)
        finally:
            torch.backends.opt_einsum.enabled = False


def schedule_free(model: nn.Module) -> list[Optimizer]:
    optimizer = pytorch_optimizer.ScheduleFreeAdamW(model.parameters())
    optimizer.train()
    return [optimizer]


def kfac(model: nn.Module) -> list[Optimizer]:
    """singd in its K-FAC-like form on linear and convolution layers, AdamW on what it cannot take.

    A projection inside attention is never called as a module, so singd sees nothing of it.
    """
    with warnings.catch_warnings():  # singd resets the filters of the whole process when imported
        from singd.optim.optimizer import SINGD
    uncalled = {id(module.out_proj) for module in model.modules() if isinstance(module, nn.MultiheadAttention)}
    taken = [
        parameter
        for module in model.modules()
        if isinstance(module, SINGD.SUPPORTED_MODULES) and id(module) not in uncalled
        for parameter in module.parameters()
    ]
    chosen = {id(parameter) for parameter in taken}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    sequences = any(isinstance(module, nn.Embedding) for module in model.modules())
    made: list[Optimizer] = [
        SINGD(
            model,
            params=taken,
            lr=1e-4,
            alpha1=0.0,
            T=PERIOD,
            structures=("dense", "dense"),
            kfac_like=True,
            normalize_lr_cov=True,
            loss_average="batch+sequence" if sequences else "batch",
        )
    ]
    return made + ([torch.optim.AdamW(rest, lr=1e-3)] if rest else [])


OPTIMIZERS: dict[str, Callable[[nn.Module], list[Optimizer]]] = {
    "sgd": lambda m: [torch.optim.SGD(m.parameters(), lr=1e-2)],
    "sgd-momentum": lambda m: [torch.optim.SGD(m.parameters(), lr=1e-2, momentum=0.9)],
    "adam": lambda m: [torch.optim.Adam(m.parameters())],
    "rmsprop": lambda m: [torch.optim.RMSprop(m.parameters(), lr=1e-3)],
    "isotrain": lambda m: [isotrain.Riemannian(m)],
    "isotrain-kronecker": lambda m: [isotrain.Riemannian(m, shape="kronecker")],
    "muon": muon,
    "soap": lambda m: [pytorch_optimizer.SOAP(m.parameters(), lr=1e-3, precondition_frequency=PERIOD)],
    "shampoo": lambda m: [pytorch_optimizer.Shampoo(m.parameters(), lr=1e-4, preconditioning_compute_steps=PERIOD)],
    "prodigy": lambda m: [pytorch_optimizer.Prodigy(m.parameters())],
    "schedule-free": schedule_free,
    "kron": lambda m: [Kron(m.parameters(), lr=1e-4, pre_conditioner_update_probability=1 / PERIOD)],
    "kfac": kfac,
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
