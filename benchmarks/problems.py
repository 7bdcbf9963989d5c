"""The four problems of the step-time table, as anyone would write them.

B sample, T time, C channel, H W place, D feature, V symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SYMBOLS = 65  # the alphabet of tiny Shakespeare


class ResidualBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity()
        if (before, stride) != (after, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x_bchw: Tensor) -> Tensor:
        inner_bchw = F.relu(self.norm1(self.conv1(x_bchw)))
        return F.relu(self.norm2(self.conv2(inner_bchw)) + self.shortcut(x_bchw))


class ResNet8(nn.Module):
    """He et al. 2015, section 4.2, with n = 1: three stages of one block each."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x_bchw: Tensor) -> Tensor:
        x_bchw = self.blocks(F.relu(self.norm(self.stem(x_bchw))))
        return self.head(x_bchw.mean(dim=(2, 3)))


class CharacterLSTM(nn.Module):
    def __init__(self, hidden: int = 256, embedded: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, embedded)
        self.lstm = nn.LSTM(embedded, hidden, batch_first=True)
        self.head = nn.Linear(hidden, SYMBOLS)

    def forward(self, symbols_bt: Tensor) -> Tensor:
        hidden_btd, _ = self.lstm(self.embedding(symbols_bt))
        return self.head(hidden_btd)  # btv


class TransformerBlock(nn.Module):
    """Pre-norm, as in GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x_btd: Tensor, future_tt: Tensor) -> Tensor:
        normal_btd = self.norm1(x_btd)
        mixed_btd, _ = self.attention(
            normal_btd, normal_btd, normal_btd, attn_mask=future_tt, need_weights=False, is_causal=True
        )
        x_btd = x_btd + mixed_btd
        return x_btd + self.narrow(F.gelu(self.widen(self.norm2(x_btd))))


class CharacterTransformer(nn.Module):
    def __init__(self, width: int = 128, heads: int = 4, depth: int = 2, length: int = 64) -> None:
        super().__init__()
        self.symbols = nn.Embedding(SYMBOLS, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, SYMBOLS)
        self.register_buffer("future_tt", torch.ones(length, length, dtype=torch.bool).triu(1))
        self.register_buffer("place_t", torch.arange(length))

    def forward(self, symbols_bt: Tensor) -> Tensor:
        x_btd = self.symbols(symbols_bt) + self.places(self.place_t)
        for block in self.blocks:
            x_btd = block(x_btd, self.future_tt)
        return self.head(self.norm(x_btd))  # btv


def multilayer_perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


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
    most_over_sgd: float | None = None  # the project's own limits for its default
    most_over_adam: float | None = None


PROBLEMS = {
    "mlp": Problem("MLP 784-512-512-10, B=512", multilayer_perceptron, lambda: pictures(512, 784), 1.20, 1.15),
    "resnet8": Problem("ResNet-8, width 16, 32×32, B=64", ResNet8, lambda: pictures(64, 3, 32, 32), 1.20, 1.15),
    "lstm": Problem("native LSTM, 256 hidden, 64 steps, B=32", CharacterLSTM, lambda: text(32, 64), 1.30, 1.25),
    "transformer": Problem(
        "transformer, 2 blocks, width 128, 64 symbols, B=32", CharacterTransformer, lambda: text(32, 64)
    ),
}


def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
