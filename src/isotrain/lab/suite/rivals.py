"""The optimizers of the contest, as their users would build them, each with its published rate and schedule."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isotrain.errors import MissingExtra

Make = Callable[[nn.Module, float, Any, int], list[Optimizer]]
"""Of the model, the rate, the likelihood and the seed."""
PERIOD = 10
"""Steps between two looks at the curvature, for every optimizer that has such a setting."""
THIRDS = (-2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3)
"""Powers of ten around the published rate: five rates, three a decade."""


@dataclass(frozen=True)
class Rival:
    """One optimizer of the contest.

    Attributes:
        name: as tables call it.
        make: builds it.
        rate: its published or library default; None when it has no rate.
        cosine: the rate falls along a half cosine to zero over the run.
        cheap: its steps cost less than isotrain's on some problem, so that it gets more of them in equal seconds.
        started: the network begins with `isotrain.start` instead of torch's own weights.
    """

    name: str
    make: Make
    rate: float | None = None
    cosine: bool = False
    cheap: bool = False
    started: bool = False

    @property
    def rates(self) -> list[float]:
        """The grid, in order; a single entry that means nothing for an optimizer without a rate."""
        if self.rate is None:
            return [0.0]
        return [float(f"{self.rate * 10**power:.3g}") for power in THIRDS]


def cosine(optimizers: Sequence[Optimizer], steps: int) -> list[torch.optim.lr_scheduler.LambdaLR]:
    """Half a cosine from 1 to 0 over `steps`."""

    def factor(step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]


def _torch(name: str, **options: Any) -> Make:
    return lambda model, rate, likelihood, seed: [getattr(torch.optim, name)(model.parameters(), lr=rate, **options)]


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this rival needs the optional {name}: pip install 'isotrain[bench]'.") from error


def _packaged(name: str, **options: Any) -> Make:
    def make(model: nn.Module, rate: float, likelihood: Any, seed: int) -> list[Optimizer]:
        optimizer = getattr(_library("pytorch_optimizer"), name)(model.parameters(), lr=rate, **options)
        if hasattr(optimizer, "train"):  # schedule-free optimizers keep two sets of weights
            optimizer.train()
        return [optimizer]

    return make


def matrices_and_rest(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Muon's usual division: hidden weights of two or more dimensions, and the others."""
    outside = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights: list[Tensor] = [weight for weight in model.parameters() if weight.ndim >= 2]
    outside.add(id(weights[-1]))
    hidden = [weight for weight in weights if id(weight) not in outside]
    chosen = {id(weight) for weight in hidden}
    return hidden, [weight for weight in model.parameters() if id(weight) not in chosen]


def muon(model: nn.Module, rate: float, likelihood: Any, seed: int) -> list[Optimizer]:
    """Muon on the hidden matrices (filter banks flattened), AdamW on the rest.

    In float32: the libraries iterate in bfloat16, which many a processor has to emulate, a hundred times slower.
    """
    library = _library("pytorch_optimizer")
    polar = import_module("pytorch_optimizer.optimizer.utils.matrix").zero_power_via_newton_schulz_5

    class Muon(library.Muon):  # type: ignore[misc, name-defined]
        @staticmethod
        def _orthogonalize(group: dict[str, Any], updates: list[Tensor]) -> list[Tensor]:
            return [
                polar(update.flatten(1), group["ns_steps"], weights=group["ns_coeffs"], dtype=torch.float32).view_as(
                    update
                )
                for update in updates
            ]

    hidden, rest = matrices_and_rest(model)
    return [Muon([{"params": hidden, "use_muon": True}], lr=rate), torch.optim.AdamW(rest, lr=1e-3)]


def kron(model: nn.Module, rate: float, likelihood: Any, seed: int) -> list[Optimizer]:
    """PSGD with Kronecker factors.

    Its products of three factors need the order that opt-einsum finds; every other optimizer runs as it does where
    that package is not installed.
    """
    library = _library("pytorch_optimizer")

    class Kron(library.Kron):  # type: ignore[misc, name-defined]
        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            before = torch.backends.opt_einsum.enabled
            torch.backends.opt_einsum.enabled = True
            try:
                return super().step(closure)
            finally:
                torch.backends.opt_einsum.enabled = before

    return [Kron(model.parameters(), lr=rate, pre_conditioner_update_probability=1 / PERIOD)]


def kfac(model: nn.Module, rate: float, likelihood: Any, seed: int) -> list[Optimizer]:
    """singd in its K-FAC-like form on linear and convolution layers, AdamW on what it cannot take.

    A projection inside attention is never called as a module, so singd sees nothing of it.
    """
    with warnings.catch_warnings():  # singd resets the filters of the whole process when imported
        singd = _library("singd.optim.optimizer").SINGD
    uncalled = {id(module.out_proj) for module in model.modules() if isinstance(module, nn.MultiheadAttention)}
    taken = [
        parameter
        for module in model.modules()
        if isinstance(module, singd.SUPPORTED_MODULES) and id(module) not in uncalled
        for parameter in module.parameters()
    ]
    chosen = {id(parameter) for parameter in taken}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    sequences = any(isinstance(module, nn.Embedding) for module in model.modules())
    made: list[Optimizer] = [
        singd(
            model, params=taken, lr=rate, alpha1=0.0, T=PERIOD, structures=("dense", "dense"), kfac_like=True,
            normalize_lr_cov=True, loss_average="batch+sequence" if sequences else "batch",
        )
    ]  # fmt: skip
    return made + ([torch.optim.AdamW(rest, lr=1e-3)] if rest else [])


def _ours(name: str, **options: Any) -> Make:
    def make(model: nn.Module, rate: float, likelihood: Any, seed: int) -> list[Optimizer]:
        given = {"lr": rate} if rate else {}
        return [getattr(import_module("isotrain"), name)(model, likelihood=likelihood, seed=seed, **given, **options)]

    return make


RIVALS: dict[str, Rival] = {
    r.name: r
    for r in (
        Rival("isotrain", _ours("Riemannian")),
        Rival("isotrain-start", _ours("Riemannian"), started=True),
        Rival("sgd", _torch("SGD"), 0.1, cheap=True),
        Rival("momentum", _torch("SGD", momentum=0.9), 0.01, cheap=True),
        Rival("rmsprop", _torch("RMSprop"), 1e-3, cheap=True),
        Rival("adam", _torch("Adam"), 1e-3, cheap=True),
        Rival("adamw-cosine", _torch("AdamW"), 1e-3, cosine=True, cheap=True),
        Rival("muon", muon, 0.02, cheap=True),
        Rival("soap", _packaged("SOAP", precondition_frequency=PERIOD), 3e-3),
        Rival("shampoo", _packaged("Shampoo", preconditioning_compute_steps=PERIOD), 1e-3),
        Rival("kron", kron, 1e-3),
        Rival("prodigy", _packaged("Prodigy"), 1.0, cheap=True),
        Rival("schedule-free", _packaged("ScheduleFreeAdamW"), 2.5e-3, cheap=True),
        Rival("k-fac", kfac, 1e-3),
        Rival("qdop", _ours("QDOP"), 1e-3),
        Rival("qdmcnat", _ours("QDMCNat"), 1e-2),
    )
}
