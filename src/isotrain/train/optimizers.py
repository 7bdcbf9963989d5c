"""The trainers by name, each with the rate its authors publish or its library defaults to.

A name may carry a rate of the user's own: ``"adam@3e-3"``. A function of the model works wherever a name
does.

>>> sorted(OPTIMIZERS)[:4]
['adagrad', 'adam', 'adamw', 'diagonal-gauss-newton']
>>> chosen("sgd@0.5").rate
0.5
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import nn

from isotrain.errors import BadOption, MissingExtra, UnknownName


class Steps(Protocol):
    """What a run needs of an optimizer."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """Change the parameters."""

    def state_dict(self) -> dict[str, Any]:
        """All it remembers."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember what was saved."""


Make = Callable[[nn.Module, float | None, Any, int], Steps]


@dataclass(frozen=True)
class Trainer:
    """A row of the table.

    Attributes:
        name: how it is asked for, and how plots call it.
        make: of the model, the rate, the likelihood and the seed, makes the optimizer.
        rate: the default rate; None when the optimizer needs none.
        source: where that rate comes from.
    """

    name: str
    make: Make
    rate: float | None
    source: str

    def __call__(self, model: nn.Module, likelihood: Any = "categorical", seed: int = 0) -> Steps:
        """The optimizer of one run."""
        return self.make(model, self.rate, likelihood, seed)

    @property
    def label(self) -> str:
        """The name with its rate."""
        return self.name if self.rate is None else f"{self.name} {self.rate:g}"


class Together:
    """Several optimizers, each on parameters of its own, stepping as one.

    >>> model = nn.Linear(2, 1)
    >>> both = Together(torch.optim.SGD([model.weight], lr=0.1), torch.optim.Adam([model.bias]))
    >>> len(both.state)
    0
    """

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def state(self) -> dict[Any, Any]:
        """What they remember, put together."""
        return {key: value for optimizer in self.optimizers for key, value in optimizer.state.items()}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Change the parameters."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """All they remember, each by its place."""
        return {str(place): optimizer.state_dict() for place, optimizer in enumerate(self.optimizers)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember what was saved."""
        for place, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(state_dict[str(place)])


def _torch(name: str, **options: Any) -> Make:
    def make(model: nn.Module, rate: float | None, likelihood: Any, seed: int) -> Steps:
        optimizer: Steps = getattr(torch.optim, name)(_trained(model), lr=rate, **options)
        return optimizer

    return make


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _muon(model: nn.Module, rate: float | None, likelihood: Any, seed: int) -> Steps:
    # Muon is meant for the weight matrices of hidden layers; its authors leave embeddings, the last layer,
    # and everything that is not a matrix to AdamW.
    matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear)][:-1]
    hidden = {id(p) for p in matrices if p.requires_grad}
    if not hidden:
        raise BadOption("muon trains the weight matrices of hidden nn.Linear layers, and this model has none.")
    others = torch.optim.AdamW([p for p in _trained(model) if id(p) not in hidden], lr=1e-3, weight_decay=0.0)
    muon = torch.optim.Muon([p for p in matrices if id(p) in hidden], lr=rate or 0.02, weight_decay=0.0)
    return Together(muon, others)


def _bench(name: str, **options: Any) -> Make:
    def make(model: nn.Module, rate: float | None, likelihood: Any, seed: int) -> Steps:
        try:
            home = import_module("pytorch_optimizer")
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"optimizer {name} comes with the optional pytorch_optimizer: pip install 'isotrain[bench]'."
            ) from error
        optimizer: Steps = getattr(home, name)(_trained(model), lr=rate, **options)
        if hasattr(optimizer, "train"):  # schedule-free optimizers keep two sets of weights
            optimizer.train()
        return optimizer

    return make


def _ours(name: str) -> Make:
    def make(model: nn.Module, rate: float | None, likelihood: Any, seed: int) -> Steps:
        options: dict[str, Any] = {"seed": seed} if rate is None else {"seed": seed, "lr": rate}
        optimizer: Steps = getattr(import_module("isotrain"), name)(model, likelihood=likelihood, **options)
        return optimizer

    return make


_TORCH, _AUTHORS = "torch.optim's default", "its authors' default"

OPTIMIZERS: dict[str, Trainer] = {
    t.name: t
    for t in (
        Trainer("sgd", _torch("SGD"), 0.1, "the customary first try"),
        Trainer("momentum", _torch("SGD", momentum=0.9, nesterov=True), 0.01, "the customary first try"),
        Trainer("adagrad", _torch("Adagrad"), 0.01, _TORCH),
        Trainer("rmsprop", _torch("RMSprop"), 0.01, _TORCH),
        Trainer("adam", _torch("Adam"), 1e-3, _TORCH),
        Trainer("adamw", _torch("AdamW"), 1e-3, _TORCH),
        Trainer("nadam", _torch("NAdam"), 2e-3, _TORCH),
        Trainer("muon", _muon, 0.02, "its author's default, AdamW at 1e-3 for the rest"),
        Trainer("soap", _bench("SOAP"), 3e-3, _AUTHORS),
        Trainer("shampoo", _bench("Shampoo"), 1e-3, "pytorch_optimizer's default"),
        Trainer("prodigy", _bench("Prodigy"), 1.0, _AUTHORS),
        Trainer("schedulefree", _bench("ScheduleFreeAdamW"), 2.5e-3, _AUTHORS),
        Trainer("kron", _bench("Kron"), 1e-3, "pytorch_optimizer's default"),
        Trainer("riemannian", _ours("Riemannian"), None, "needs no rate"),
        Trainer("qdop", _ours("QDOP"), 1e-3, _AUTHORS),
        Trainer("qdmcnat", _ours("QDMCNat"), 1e-2, _AUTHORS),
        Trainer("qdnat", _ours("QDNat"), 1e-4, _AUTHORS),
        Trainer("qdbpm", _ours("QDBPM"), 1e-4, _AUTHORS),
        Trainer("dop", _ours("DOP"), 1e-4, _AUTHORS),
        Trainer("dmcnat", _ours("DMCNat"), 1e-2, _AUTHORS),
        Trainer("diagonal-gauss-newton", _ours("DiagonalGaussNewton"), 1e-4, _AUTHORS),
    )
}


def chosen(asked: str | Trainer | Callable[[nn.Module], Steps]) -> Trainer:
    """The trainer that a name, a name with a rate, or a function of the model stands for.

    Raises:
        UnknownName: no such optimizer.
        BadOption: the rate after the @ is not a positive number.
    """
    if isinstance(asked, Trainer):
        return asked
    if not isinstance(asked, str):
        function = asked
        name = getattr(function, "__name__", type(function).__name__)
        return Trainer(name, lambda model, rate, likelihood, seed: function(model), None, "the user's own")
    name, _, rate = asked.partition("@")
    if name not in OPTIMIZERS:
        raise UnknownName("optimizer", name, OPTIMIZERS)
    if not rate:
        return OPTIMIZERS[name]
    try:
        value = float(rate)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise BadOption(f"the rate in {asked!r} must be a positive number, as in '{name}@3e-3'.")
    return replace(OPTIMIZERS[name], rate=value, source="given")


def all_chosen(asked: Iterable[str | Trainer | Callable[[nn.Module], Steps]]) -> list[Trainer]:
    """Several trainers, each name once.

    Raises:
        BadOption: none at all, or the same one twice.
    """
    trainers = [chosen(a) for a in ([asked] if isinstance(asked, str) else asked)]
    if not trainers:
        raise BadOption("optimizers is empty: name at least one.")
    labels = [t.label for t in trainers]
    if len(set(labels)) < len(labels):
        raise BadOption(f"optimizers names the same one twice: {', '.join(labels)}.")
    return trainers
