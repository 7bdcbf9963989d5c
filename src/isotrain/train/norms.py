"""Batch norms of averaged weights: what they counted belongs to other weights, so they count anew."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from isotrain.data.samples import evenly
from isotrain.train.batches import Batches

COUNTED, COUNTS = 256, 16
"""Training samples, and batches of them, that are counted anew on, at most."""
NORMED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def norms_of(net: nn.Module) -> list[Any]:
    """The batch norms that count averages.

    >>> len(norms_of(nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))))
    1
    """
    return [m for m in net.modules() if isinstance(m, NORMED) and m.track_running_stats]


def counted_on(batches: Batches) -> list[int]:
    """Which training samples norms are counted anew on."""
    return evenly(list(range(len(batches.shelf))), min(COUNTED, COUNTS * batches.size))


@torch.no_grad()
def recount(net: nn.Module, batches: Batches) -> None:
    """Count the averages of batch norms anew (Izmailov et al. 2018, section 3.2)."""
    norms = norms_of(net)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    size = batches.size
    places = counted_on(batches)
    for first in range(0, len(places) - size + 1, size):
        net(*batches.task.batch(batches.shelf.take(places[first : first + size]), None).inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
