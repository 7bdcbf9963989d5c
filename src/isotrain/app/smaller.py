"""A run's net made smaller before it is used: fewer residual blocks, or narrower layers for regions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch import nn

from isotrain.errors import BadCheckpoint, BadOption
from isotrain.tasks.base import Task
from isotrain.train.rundir import RunFolder

if TYPE_CHECKING:
    from isotrain.nets.resnet import ResNet

DEPTH = "depth.json"
"""In the run folder: what `evaluate --depth` found."""


def residual(task: Task, net: nn.Module) -> ResNet:
    """The net, if it has residual blocks.

    Raises:
        BadOption: it has none.
    """
    from isotrain.nets.resnet import ResNet

    if not isinstance(net, ResNet):
        raise BadOption(f"--depth is for residual nets, this {task.name} run has a {type(net).__name__}.")
    return net


def shallow(task: Task, net: nn.Module, depth: int, folder: RunFolder) -> ResNet:
    """The net with so many blocks; the cheapest are dropped, if `evaluate --depth` has found out which.

    Raises:
        BadOption: it has no residual blocks, or fewer.
        BadCheckpoint: the report is damaged.
    """
    from isotrain.nets.resnet import shallower

    whole = residual(task, net)
    path, order = folder.path / DEPTH, None
    if path.is_file():
        try:
            order = json.loads(path.read_text(encoding="utf-8"))["order"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise BadCheckpoint(f"{path} cannot be read: make it anew by `isotrain evaluate --depth`.") from error
    return shallower(whole, depth, order)


def compressed(task: Task, net: nn.Module, rank: int) -> nn.Module:
    """A region net whose fully connected layers are cut down to a rank by their singular values.

    Raises:
        BadOption: the net has no regions, or the rank is below 1.
    """
    from isotrain.nets.regions import FastRCNN, compress

    if not isinstance(net, FastRCNN):
        raise BadOption(f"--rank is for nets that look at regions, this {task.name} run has a {type(net).__name__}.")
    return compress(net, rank)
