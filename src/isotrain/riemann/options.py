"""The optimizer's options: their names, ranges and defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from isotrain.errors import BadOption, UnknownName
from isotrain.likelihood import named
from isotrain.likelihood.base import Likelihood
from isotrain.riemann.blocks import Shape
from isotrain.riemann.diagonal import Diagonal
from isotrain.riemann.kronecker import Kronecker
from isotrain.riemann.polar import Polar
from isotrain.riemann.quasidiagonal import Gains, QuasiDiagonal
from isotrain.riemann.rows import PolarRows, Rows
from isotrain.riemann.units import Units
from isotrain.riemann.unitwise import Unitwise
from isotrain.riemann.windows import WIDEST, Windows

SHAPES: dict[str, Shape] = {
    s.name: s for s in (Diagonal(), QuasiDiagonal(), Unitwise(), Kronecker(), Kronecker(full=True), Polar())
}
GAINS, WINDOWS = Gains(), Windows()
"""What `shape="polar"` means for norms and for narrow convolutions."""
WHOLE = ("metric", "refresh", "subsample", "maximize")
"""Options of the whole model, the same in every group."""
_RANGES = {
    "lr": (0.0, float("inf")),
    "decay": (0.0, 1.0),
    "damping": (0.0, float("inf")),
    "momentum": (0.0, 1.0),
    "weight_decay": (0.0, float("inf")),
}


def shape_of(group: Mapping[str, Any], units: Units, guest: bool = False) -> Shape:
    """The shape of a block in its group; embeddings, norms and narrow convolutions have a polar shape of their own.

    A guest is an embedding whose weights are another layer's too: it gives that layer its diagonal.
    """
    if units.one_hot:
        return (PolarRows if group["shape"] == "polar" and not guest else Rows)(units.anchor.shape[0])
    single = all(part.shape[1:] == (1, 1) for part in units.parts) and len(units.parts) == 1
    if group["shape"] == "polar":
        narrow = sum(part.width for part in units.parts) <= WIDEST
        return GAINS if single else WINDOWS if units.spatial and narrow else SHAPES["polar"]
    return SHAPES[group["shape"]]


def paced(group: Mapping[str, Any]) -> bool:
    """Whether a group's steps are judged by the gradients that follow (pace.py): it costs a copy of the weights."""
    return bool(group["natural"]) and group["shape"] == "polar"


def momentum_of(natural: bool, shape: str) -> float:
    """The default: a polar step wants an averaged gradient, whose weak directions are not noise; the others do not."""
    return 0.9 if natural and shape == "polar" else 0.0


def complete_group(group: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Fill in what follows from the options a parameter group names itself."""
    if "lr" in group:
        group.setdefault("natural", False) if group["lr"] is not None else group.update(lr=1.0, natural=True)
    if "lr" in group or "shape" in group:
        whole = {**defaults, **group}
        if (whole["natural"], whole["shape"]) != (defaults["natural"], defaults["shape"]):
            group.setdefault("momentum", momentum_of(whole["natural"], whole["shape"]))


def check_group(group: Mapping[str, Any], defaults: Mapping[str, Any], progress: Iterable[str]) -> None:
    """Raise UnknownName or BadOption for a parameter group that is not one."""
    for name in set(group) - {"params", *defaults, *progress, "initial_lr", "param_names"}:
        raise UnknownName("option", name, defaults)
    for name in WHOLE:
        if group.get(name, defaults[name]) != defaults[name]:
            raise BadOption(
                f"{name}={group[name]!r} in a parameter group: the metric is the whole model's. Leave it out, or "
                f"give it to all: Riemannian(model, {name}={group[name]!r})."
            )
    group = {**defaults, **group}
    if group["shape"] not in SHAPES:
        raise UnknownName("shape", group["shape"], SHAPES)
    if isinstance(group["lr"], Tensor) and group["lr"].numel() != 1:
        raise BadOption(f"Tensor lr must be 1-element, got shape {tuple(group['lr'].shape)}.")
    for name, (low, high) in _RANGES.items():
        if not low <= float(group[name]) < high:
            raise BadOption(f"{name}={group[name]!r} must be in [{low:g}, {high:g}).")


def check_whole(refresh: int, subsample: float) -> None:
    """Raise BadOption for a refresh or a share of the batch that is none."""
    if refresh < 1 or not 0 < subsample <= 1:
        raise BadOption(f"refresh={refresh!r} must be at least 1 and subsample={subsample!r} in (0, 1].")


def likelihoods(likelihood: Any) -> Any:
    """Names made objects: one, a dict by output, or a list by place."""
    if isinstance(likelihood, Mapping):
        return {name: None if one is None else named(one) for name, one in likelihood.items()}
    if isinstance(likelihood, str | Likelihood):
        return named(likelihood)
    if not isinstance(likelihood, Iterable):
        raise BadOption(f"likelihood={likelihood!r} is none: give a name, a Likelihood, a dict or a list of them.")
    return [None if one is None else named(one) for one in likelihood]
