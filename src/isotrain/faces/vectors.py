"""Vectors of faces: bound to the model that made them, of length 1, and of crops that fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isotrain.errors import BadData, NotFinite

if TYPE_CHECKING:
    from hashlib import _Hash


def bound(name: str, weights: _Hash, description: str) -> str:
    """The id of a model: its name and 16 hex digits of sha256 over its weights and its preprocessing.

    Args:
        name: of the model.
        weights: sha256 that was fed the bytes of the weights; it is fed the description, too.
        description: all else that a vector depends on: scaling, channels, alignment, size.

    >>> import hashlib
    >>> bound("net", hashlib.sha256(b"weights"), "rgb") == bound("net", hashlib.sha256(b"weights"), "bgr")
    False
    """
    # The length first: no shift of bytes between weights and description gives the same digest.
    weights.update(len(description).to_bytes(8, "little") + description.encode())
    return f"{name}-{weights.hexdigest()[:16]}"


def checked_crops(crops: Tensor, channels: int, size: int) -> Tensor:
    """The crops, if a model takes them.

    Raises:
        BadData: they are not floating [n, channels, size, size], or not in [0, 1].

    >>> checked_crops(torch.zeros(2, 1, 4, 4), 1, 4).shape
    torch.Size([2, 1, 4, 4])
    """
    if not crops.is_floating_point() or crops.dim() != 4 or tuple(crops.shape[1:]) != (channels, size, size):
        raise BadData(
            f"crops are floating [n, {channels}, {size}, {size}] for this embedder, not {crops.dtype} "
            f"{list(crops.shape)}: align the faces anew for it."
        )
    # Resampling may leave the interval by a rounding.
    if crops.numel() and not (float(crops.amin()) >= -1e-3 and float(crops.amax()) <= 1 + 1e-3):
        raise BadData(f"crops have values from 0 to 1, not {float(crops.amin()):.3g} to {float(crops.amax()):.3g}.")
    return crops


def unit_vectors(raw_nd: Tensor, model: str) -> Tensor:
    """What a model gave, [n, D], scaled to length 1, float32.

    Raises:
        NotFinite: a vector is infinite, not a number, or all zeros: nobody is to be recognised by it.

    >>> unit_vectors(torch.tensor([[3.0, 4.0]]), "net").tolist()
    [[0.6000..., 0.8000...]]
    """
    lengths: Tensor = torch.linalg.vector_norm(raw_nd.double(), dim=1, keepdim=True)
    bad = ~(lengths.isfinite() & (lengths > 0))
    if bool(bad.any()):
        first = int(bad[:, 0].nonzero()[0])
        kind = "all zeros" if float(lengths[first]) == 0 else "not finite"
        raise NotFinite(
            f"{model} gave {int(bad.sum())} of {len(raw_nd)} faces a vector that is {kind} (first: face {first}): the "
            "model is damaged, or its pipeline is described wrongly."
        )
    unit: Tensor = raw_nd.double() / lengths
    return unit.float()
