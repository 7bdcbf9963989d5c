"""The networks of the contest, as anyone would write them.

Letters in the names of tensors: b sample, t time, c channel, h w place, d feature, v symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def perceptron(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Dense layers of the given widths with an activation between them.

    >>> len(perceptron(784, 256, 10))
    3
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class ConvNet(nn.Sequential):
    """Two convolutions, two poolings and a dense head, for pictures [b, 1, 28, 28]."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, width, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * 16, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; without `norm` they have biases instead."""

    def __init__(self, before: int, after: int, stride: int, norm: bool = True) -> None:
        super().__init__()
        normed: Callable[[int], nn.Module] = nn.BatchNorm2d if norm else lambda width: nn.Identity()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=not norm)
        self.norm1 = normed(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=not norm)
        self.norm2 = normed(after)
        self.shortcut: nn.Module = nn.Identity()
        if (before, stride) != (after, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=not norm), normed(after))

    def forward(self, x_bchw: Tensor) -> Tensor:
        """[b,c,h,w] to [b,after,h/stride,w/stride]."""
        inner_bchw = F.relu(self.norm1(self.conv1(x_bchw)))
        return F.relu(self.norm2(self.conv2(inner_bchw)) + self.shortcut(x_bchw))


class ResNet8(nn.Module):
    """He et al. 2015, section 4.2, with n = 1: three stages of one block each."""

    def __init__(self, width: int = 16, classes: int = 10, norm: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, 1, norm),
            ResidualBlock(width, 2 * width, 2, norm),
            ResidualBlock(2 * width, 4 * width, 2, norm),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Pictures to logits."""
        x_bchw = self.blocks(F.relu(self.norm(self.stem(x_bchw))))
        logits: Tensor = self.head(x_bchw.mean(dim=(2, 3)))
        return logits


class CharacterLSTM(nn.Module):
    """Symbols [b,t] to logits of the next symbol [b,t,v]."""

    def __init__(self, symbols: int, hidden: int = 256, embedded: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedded)
        self.lstm = nn.LSTM(embedded, hidden, batch_first=True)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, symbols_bt: Tensor) -> Tensor:
        """[b,t] to [b,t,v]."""
        hidden_btd, _ = self.lstm(self.embedding(symbols_bt))
        logits_btv: Tensor = self.head(hidden_btd)
        return logits_btv


class Translator(nn.Module):
    """A GRU reads the source [b,:source], another writes the target [b,source:] given its words so far: [b,t,v]."""

    def __init__(self, source: int, symbols: int, hidden: int = 128, embedded: int = 64) -> None:
        super().__init__()
        self.source = source
        self.read = nn.Embedding(symbols, embedded, padding_idx=0)
        self.encoder = nn.GRU(embedded, hidden, batch_first=True)
        self.write = nn.Embedding(symbols, embedded, padding_idx=0)
        self.decoder = nn.GRU(embedded, hidden, batch_first=True)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, pair_bt: Tensor) -> Tensor:
        """[b, source + t] to [b,t,v]."""
        _, state_ubd = self.encoder(self.read(pair_bt[:, : self.source]))
        hidden_btd, _ = self.decoder(self.write(pair_bt[:, self.source :]), state_ubd)
        logits_btv: Tensor = self.head(hidden_btd)
        return logits_btv


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each behind its norm, as in GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x_btd: Tensor, future_tt: Tensor) -> Tensor:
        """[b,t,d] to the same; no place looks at a later one."""
        normal_btd = self.norm1(x_btd)
        mixed_btd, _ = self.attention(
            normal_btd, normal_btd, normal_btd, attn_mask=future_tt, need_weights=False, is_causal=True
        )
        x_btd = x_btd + mixed_btd
        wide_btd: Tensor = F.gelu(self.widen(self.norm2(x_btd)))
        return torch.add(x_btd, self.narrow(wide_btd))


class CharacterTransformer(nn.Module):
    """Symbols [b,t] to logits of the next symbol [b,t,v]."""

    future_tt: Tensor
    place_t: Tensor

    def __init__(self, symbols: int, width: int = 128, heads: int = 4, depth: int = 2, length: int = 64) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols)
        self.register_buffer("future_tt", torch.ones(length, length, dtype=torch.bool).triu(1))
        self.register_buffer("place_t", torch.arange(length))

    def forward(self, symbols_bt: Tensor) -> Tensor:
        """[b,t] to [b,t,v]."""
        x_btd = self.symbols(symbols_bt) + self.places(self.place_t)
        for block in self.blocks:
            x_btd = block(x_btd, self.future_tt)
        logits_btv: Tensor = self.head(self.norm(x_btd))
        return logits_btv
