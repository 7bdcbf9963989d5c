"""The model as the optimizer sees it: which parameters belong to which units, and which to none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from isotrain.errors import BadOption, UnknownName, UnsupportedLayer
from isotrain.riemann.observe import silent, units_of
from isotrain.riemann.units import Units


class Network:
    """Every parameter of a model, sorted.

    Attributes:
        layers: the layers to observe in a look, with the units each call of them shows.
        units: all blocks, each once.
        plain: parameters trained by a plain rule because the user said so.
        still: parameters the function does not need beside others; never moved.

    Raises:
        UnsupportedLayer: a trainable parameter belongs to no layer isotrain can observe.
        UnknownName: `plain` names nothing in the model.
    """

    def __init__(self, model: nn.Module, plain: Iterable[str] = ()) -> None:
        self.names = {p: name for name, p in model.named_parameters()}
        self.plain = self._named(model, plain)
        self.layers: dict[nn.Module, list[Units]] = {}
        self.still: set[nn.Parameter] = set()
        owner: dict[tuple[nn.Parameter, str], Units] = {}
        found = [(module, units_of(name or "model", module)) for name, module in model.named_modules()]
        known = [(module, units) for module, units in found if units]
        for module, units in sorted(known, key=lambda pair: pair[1][0].one_hot):
            own = [u for u in units if not any(p in self.plain for p in u.parameters)]
            if own:
                self.layers[module] = [self._owned(u.free(), owner) for u in own]
            self.still.update(silent(module))
        self.units = list(dict.fromkeys(owner.values()))
        self.covered = {p for u in self.units for p in (u.whole or u).parameters} | self.plain | self.still
        self._refuse_uncovered(model)

    def _owned(self, units: Units, owner: dict[tuple[nn.Parameter, str], Units]) -> Units:
        """The block these units' statistics go to: their own, or that of a layer they share weights with."""
        key = (units.anchor, units.key)
        first = owner.setdefault(key, units)
        if first is units:
            return units
        if units.one_hot and not first.one_hot:
            first.guests.append(units)
            return units
        same_bias = (first.bias and first.bias.parameter) is (units.bias and units.bias.parameter)
        if [part.parameter for part in first.parts] != [part.parameter for part in units.parts] or not same_bias:
            raise UnsupportedLayer(
                f"layers '{first.name}' and '{units.name}' share a weight but not all of their parameters. "
                f"Share the bias too, or train it by a plain rule: Riemannian(model, plain=['{units.name}'])."
            )
        return first

    def _named(self, model: nn.Module, plain: Iterable[str]) -> set[nn.Parameter]:
        chosen: set[nn.Parameter] = set()
        modules = dict(model.named_modules())
        parameters = dict(model.named_parameters())
        for name in plain:
            if name in parameters:
                chosen.add(parameters[name])
            elif name in modules:
                chosen.update(modules[name].parameters())
            else:
                raise UnknownName("plain", name, [*modules, *parameters])
        for module in modules.values():
            units = units_of("", module) or []
            for u in units:
                if chosen.intersection(u.parameters):
                    chosen.update(u.parameters)
        return chosen

    def _refuse_uncovered(self, model: nn.Module) -> None:
        for name, module in model.named_modules():
            for short, p in module.named_parameters(recurse=False):
                full = f"{name}.{short}" if name else short
                if p.requires_grad and p.is_complex():
                    raise UnsupportedLayer(
                        f"'{full}' (shape {tuple(p.shape)}) is {p.dtype}, isotrain's metrics are of real parameters: "
                        "keep its two parts as one real parameter (torch.view_as_complex in the forward)."
                    )
                if p.requires_grad and p not in self.covered:
                    raise UnsupportedLayer(
                        f"'{full}' (shape {tuple(p.shape)}, in {type(module).__name__}) is not a layer isotrain can "
                        "observe. Give it an adapter (docs/layers.md), or train it by a plain rule and lose the "
                        f"claims for it: Riemannian(model, plain=['{full}'])."
                    )


def blocks_of(network: Network, groups: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], Units]]:
    """Every block of the model with the parameter group it belongs to.

    Raises:
        BadOption: another part of a layer is frozen than at the start, or its parameters are in different groups.
    """
    group_of = {p: group for group in groups for p in group["params"]}
    blocks: list[tuple[dict[str, Any], Units]] = []
    for units in network.units:
        own = [group_of[p] for p in units.parameters if p in group_of]
        if not own:
            continue
        if units.refrozen:
            frozen = [network.names[p] for p in (units.whole or units).parameters if not p.requires_grad]
            now = f"('{frozen[0]}' has requires_grad=False)" if frozen else "(all of it needs gradients)"
            raise BadOption(
                f"layer '{units.name}' is frozen in another part than when the optimizer was made {now}, and its "
                "metric is that part's. Make a new optimizer: Riemannian(model, ...)."
            )
        if len(own) < len(units.parameters) or any(g is not own[0] for g in own):
            raise BadOption(
                f"the weight and bias of layer '{units.name}' are in different parameter groups: a unit moves as "
                "one. Put all parameters of a layer in one group."
            )
        blocks.append((own[0], units))
    return blocks


def refuse_strays(root: nn.Module, network: Network, groups: Sequence[dict[str, Any]], plain: Iterable[str]) -> None:
    """Refuse gradients that no block can take.

    Raises:
        BadOption: a gradient is sparse.
        UnsupportedLayer: a parameter was unfrozen since and belongs to no layer isotrain can observe.
    """
    for group in groups:
        for p in group["params"]:
            if p.grad is not None and p.grad.layout != torch.strided:
                raise BadOption(
                    f"the gradient of '{network.names[p]}' is sparse ({p.grad.layout}), isotrain's steps are "
                    "dense: use Embedding(sparse=False)."
                )
            if p.grad is not None and p not in network.covered:
                Network(root, plain)  # raises, naming the layer that was unfrozen since
