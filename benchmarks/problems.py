"""The four problems of the step-time table: networks of the contest, on random data of the right shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isotrain.lab.suite.nets import CharacterLSTM, CharacterTransformer, ResNet8, perceptron

SYMBOLS = 65  # the alphabet of tiny Shakespeare


def pictures(batch: int, *shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, *shape), torch.randint(10, (batch,))


def text(batch: int, length: int) -> tuple[Tensor, Tensor]:
    symbols = torch.randint(SYMBOLS, (batch, length + 1))
    return symbols[:, :-1].contiguous(), symbols[:, 1:].contiguous()


@dataclass(frozen=True)
class Problem:
    """A network and batches of random data of the right shape: only the time is looked at."""

    title: str
    build: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    most_over_sgd: float | None = None  # the project's own limits for the quasi-diagonal shape
    most_over_adam: float | None = None


def lstm() -> nn.Module:
    return CharacterLSTM(SYMBOLS)


def transformer() -> nn.Module:
    return CharacterTransformer(SYMBOLS)


def multilayer_perceptron() -> nn.Module:
    return perceptron(784, 512, 512, 10)


PROBLEMS = {
    "mlp": Problem("MLP 784-512-512-10, B=512", multilayer_perceptron, lambda: pictures(512, 784), 1.20, 1.15),
    "resnet8": Problem("ResNet-8, width 16, 32×32, B=64", ResNet8, lambda: pictures(64, 3, 32, 32), 1.20, 1.15),
    "lstm": Problem("native LSTM, 256 hidden, 64 steps, B=32", lstm, lambda: text(32, 64), 1.30, 1.25),
    "transformer": Problem(
        "transformer, 2 blocks, width 128, 64 symbols, B=32",
        lambda: CharacterTransformer(SYMBOLS),
        lambda: text(32, 64),
    ),
}


def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
