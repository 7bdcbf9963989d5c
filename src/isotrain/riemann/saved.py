"""What a saved state says about itself, so that nothing but its own run is resumed from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from isotrain.errors import BadCheckpoint

VERSION = 6


def sizes(groups: list[dict[str, Any]]) -> list[list[list[int]]]:
    """Shape of every parameter of every group.

    >>> sizes([{"params": [torch.zeros(2, 3)]}])
    [[[2, 3]]]
    """
    return [[list(p.shape) for p in group["params"]] for group in groups]


def require_own(saved: Mapping[str, Any], groups: list[dict[str, Any]], mark: Mapping[str, Any]) -> None:
    """Refuse a state that is not this optimizer's.

    Raises:
        BadCheckpoint: the state is another optimizer's, another version's, model's or composition's.
    """
    found = saved.get("isotrain")
    if not isinstance(found, Mapping):
        raise BadCheckpoint(
            "the state was not saved by isotrain.Riemannian (it has no 'isotrain' entry): load it into the optimizer "
            "that saved it, or start this one afresh."
        )
    if found.get("version") != VERSION:
        raise BadCheckpoint(
            f"the state has version {found.get('version')!r}, this isotrain reads {VERSION}: resume it with the "
            "isotrain that saved it."
        )
    for name in ("metric", "plain"):
        if found.get(name) != mark[name]:
            raise BadCheckpoint(
                f"the state has {name}={found.get(name)!r}, this optimizer {name}={mark[name]!r}: "
                "make the optimizer as it was made for the run."
            )
    shapes = [g.get("shape") for g in saved["param_groups"]], [g["shape"] for g in groups]
    if shapes[0] != shapes[1]:
        raise BadCheckpoint(f"the state has shapes {shapes[0]}, this optimizer {shapes[1]}, one for each group.")
    for place, (theirs, ours) in enumerate(zip(found["sizes"], mark["sizes"], strict=True)):
        if theirs != ours:
            wrong = next(
                (pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]), (len(theirs), len(ours))
            )
            raise BadCheckpoint(
                f"the state is another model's: in group {place} it has {wrong[0]} where this one has {wrong[1]} "
                "(shape or number of the parameters)."
            )


def restore(state: MutableMapping[Any, Any], saved: Mapping[str, Any], groups: list[dict[str, Any]]) -> None:
    """Put every tensor back as it was saved: torch casts state to the parameter's type, which loses bits."""
    places: Iterator[int] = (place for group in saved["param_groups"] for place in group["params"])
    for p in (p for group in groups for p in group["params"]):
        kept = saved["state"].get(next(places))
        if kept is not None:
            state[p] = {name: _copied(value, p.device) for name, value in kept.items()}


def _copied(value: Tensor, device: torch.device) -> Tensor:
    # Scalars are counts of turns, read on the host.
    return value.clone() if value.ndim == 0 else value.to(device, copy=True)
