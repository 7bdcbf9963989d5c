"""A small problem, the ordinary loop, and a snapshot of everything a step may change."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUTS, CLASSES = 6, 3


def net(seed: int = 0, hidden: int = 5) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(INPUTS, hidden), nn.Tanh(), nn.Linear(hidden, CLASSES))


def batch(step: int, n: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(n, INPUTS, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, turn: int, forward: Callable[..., Tensor] | None = None):
    """One turn of the ordinary loop; the loss."""
    x, y = batch(turn)
    loss = F.cross_entropy((model if forward is None else forward)(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train(model, optimizer, turns: Iterable[int], forward=None) -> list[float]:
    return [step(model, optimizer, turn, forward) for turn in turns]


def snapshot(model: nn.Module, *optimizers: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "parameters": {name: p.detach().clone() for name, p in model.named_parameters()},
        "states": [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers],
    }


def same(left: Any, right: Any) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(left, Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return left == right
