"""One row a layer: a tiny model with a softmax head, and inputs. Used by the oracle and by the tests of the twins.

Letters: n sample, t time, f feature. Sizes are the smallest at which every metric is regular: more samples than a
unit has inputs, more places than a layer has.
"""

# A row of the table is a line.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.local import LocallyConnected2d

CLASSES = 3


@dataclass(frozen=True)
class Case:
    """A model in float64 and its inputs, made anew from a seed."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    dim: int = -1
    chain: bool = False
    """An nn.Sequential whose modules do not couple samples: squares can be sent back module by module."""

    def make(self) -> tuple[nn.Module, tuple[Any, ...], Tensor]:
        torch.manual_seed(sum(map(ord, self.name)))
        model, args = self.build().double(), self.inputs()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn_like(p))
        with torch.no_grad():
            logits = model.train()(*args)
        return model, args, torch.randint(0, CLASSES, logits.select(self.dim, 0).shape)

    def __str__(self) -> str:
        return self.name


class Mean(nn.Module):
    """Logits [n, classes] from features [n, ..., f] or [n, c, ...]."""

    def __init__(self, features: int, channels: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.head = nn.Linear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.channels:
            return self.head(x.flatten(2).sum(-1) if x.ndim > 2 else x)
        return self.head(x.flatten(1, -2).sum(1) if x.ndim > 2 else x)


class Recurrent(nn.Module):
    """A recurrent layer, a head on the sum of its outputs and on its last state; sequences packed or not."""

    def __init__(self, layer: nn.RNNBase, packed: str = "", states: bool = False) -> None:
        super().__init__()
        self.layer, self.packed, self.states = layer, packed, states
        directions = 2 if layer.bidirectional else 1
        width = (layer.proj_size or layer.hidden_size) * directions
        self.head = nn.Linear(width + layer.hidden_size, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        layer = self.layer
        hx: Any = None
        if self.states:
            count = layer.num_layers * (2 if layer.bidirectional else 1)
            h = torch.linspace(-1, 1, count * len(x) * (layer.proj_size or layer.hidden_size), dtype=x.dtype)
            c = torch.linspace(1, -1, count * len(x) * layer.hidden_size, dtype=x.dtype)
            h, c = h.view(count, len(x), -1), c.view(count, len(x), -1)
            hx = (h, c) if isinstance(layer, nn.LSTM) else h
        if self.packed:
            assert lengths is not None
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.packed == "sorted")
            out, last = layer(x, hx)
            out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        else:
            out, last = layer(x if layer.batch_first else x.transpose(0, 1), hx)
            out = out if layer.batch_first else out.transpose(0, 1)
        # A projection makes h smaller; the cells are as wide as ever.
        state = last[1] if isinstance(last, tuple) else last
        return self.head(torch.cat([out.sum(1), state.sum(0)], -1))


class Loop(nn.Module):
    """A cell in a loop."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(cell.hidden_size, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Attention(nn.Module):
    """Attention of x to itself, or to other keys and values."""

    def __init__(self, layer: nn.MultiheadAttention, mask: Tensor | None = None) -> None:
        super().__init__()
        self.layer, self.mask = layer, mask
        self.head = nn.Linear(layer.embed_dim, CLASSES)

    def forward(
        self, q: Tensor, k: Tensor | None = None, v: Tensor | None = None, padding: Tensor | None = None
    ) -> Tensor:
        k, v = q if k is None else k, q if v is None else v
        if not self.layer.batch_first:
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        out, _ = self.layer(q, k, v, key_padding_mask=padding, need_weights=False, attn_mask=self.mask)
        out = out if self.layer.batch_first else out.transpose(0, 1)
        return self.head(out.tanh().sum(1))


class Two(nn.Module):
    """Two inputs into a bilinear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Bilinear(2, 3, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.layer(x, y).tanh())


class Twice(nn.Module):
    """One layer called two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(3, 3), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.layer(x).tanh() + x).tanh())


def normal(*shape: int) -> Callable[[], tuple[Tensor]]:
    return lambda: (torch.randn(*shape, dtype=torch.float64) + 0.3,)


def words(n: int, t: int, count: int) -> Callable[[], tuple[Tensor]]:
    return lambda: (torch.randint(0, count, (n, t)),)


def chain(*modules: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(make() for make in modules))


def ragged(n: int, t: int, f: int, ordered: bool) -> Callable[[], tuple[Tensor, Tensor]]:
    def make() -> tuple[Tensor, Tensor]:
        lengths = torch.arange(n) % t + 1
        lengths[0] = t
        return torch.randn(n, t, f, dtype=torch.float64), lengths.sort(descending=True).values if ordered else lengths

    return make


def attended(
    n: int, target: int, source: int, e: int, kdim: int, vdim: int, pad: bool
) -> Callable[[], tuple[Any, ...]]:
    def make() -> tuple[Any, ...]:
        q, k, v = (torch.randn(n, s, d, dtype=torch.float64) for s, d in ((target, e), (source, kdim), (source, vdim)))
        if not pad:
            return q, k, v
        padding = torch.zeros(n, source, dtype=torch.bool)
        padding[::2, -1] = True
        return q, k, v, padding

    return make


L, T = nn.Linear, nn.Tanh
M = nn.MultiheadAttention
causal = torch.ones(3, 3).triu(1).bool()
penalty = torch.tensor([[0.0, -0.5, 0.3], [0.2, 0.0, -1.0], [0.5, 0.1, 0.0]], dtype=torch.float64)

PLAIN = [
    Case("linear", chain(lambda: L(3, 4), T, lambda: L(4, CLASSES)), normal(12, 3), chain=True),
    Case("linear-no-bias", chain(lambda: L(3, 4, bias=False), T, lambda: L(4, CLASSES, bias=False)), normal(12, 3), chain=True),
    Case("linear-ntf", chain(lambda: L(2, 3), T, lambda: Mean(3)), normal(10, 3, 2)),
    Case("linear-ntf-rows", chain(lambda: L(2, 3), T, lambda: L(3, CLASSES)), normal(10, 3, 2), chain=True),
    Case("relu", chain(lambda: L(2, 5), nn.ReLU, nn.Flatten, lambda: L(5, CLASSES)), normal(30, 2), chain=True),
    Case("bilinear", Two, lambda: (torch.randn(16, 2).double(), torch.randn(16, 3).double())),
    Case("twice", Twice, normal(12, 3)),
    Case("embedding", chain(lambda: nn.Embedding(6, 3, padding_idx=0), T, lambda: Mean(3)), words(14, 4, 6)),
    Case("embedding-flat", chain(lambda: nn.Embedding(5, 2), T, nn.Flatten, lambda: L(4, CLASSES)), words(14, 2, 5), chain=True),
    Case("conv1d", chain(lambda: nn.Conv1d(2, 3, 2), T, lambda: Mean(3, True)), normal(14, 2, 5)),
    Case("conv1d-flat", chain(lambda: nn.Conv1d(2, 2, 2, stride=2), T, nn.Flatten, lambda: L(4, CLASSES)), normal(14, 2, 5), chain=True),
    Case("conv1d-dilated", chain(lambda: nn.Conv1d(1, 2, 3, dilation=2, padding=2), T, nn.Flatten, lambda: L(10, CLASSES)), normal(24, 1, 5), chain=True),
    Case("conv1d-same", chain(lambda: nn.Conv1d(2, 2, 3, padding="same"), T, lambda: Mean(2, True)), normal(18, 2, 4)),
    Case("conv1d-circular", chain(lambda: nn.Conv1d(2, 2, 2, padding=1, padding_mode="circular"), T, lambda: Mean(2, True)), normal(18, 2, 4)),
    Case("conv2d", chain(lambda: nn.Conv2d(1, 2, 2, stride=(1, 2), padding=(1, 0)), T, lambda: Mean(2, True)), normal(14, 1, 3, 4)),
    Case("conv2d-groups", chain(lambda: nn.Conv2d(2, 4, (1, 2), groups=2, bias=False), T, lambda: Mean(4, True)), normal(12, 2, 2, 3)),
    Case("conv2d-reflect", chain(lambda: nn.Conv2d(1, 2, (1, 3), padding=(0, 1), padding_mode="reflect"), T, lambda: Mean(2, True)), normal(12, 1, 2, 4)),
    Case("conv2d-pooled", chain(lambda: nn.Conv2d(1, 2, 2), nn.ReLU, lambda: nn.MaxPool2d(2), nn.Flatten, lambda: L(2, CLASSES)), normal(24, 1, 3, 3), chain=True),
    Case("conv3d", chain(lambda: nn.Conv3d(1, 2, (1, 2, 2), padding=(0, 1, 0)), T, lambda: Mean(2, True)), normal(12, 1, 2, 2, 3)),
    Case("transpose1d", chain(lambda: nn.ConvTranspose1d(2, 2, 3, stride=2, padding=1, output_padding=1), T, lambda: Mean(2, True)), normal(16, 2, 3)),
    Case("transpose1d-dilated", chain(lambda: nn.ConvTranspose1d(1, 2, 2, dilation=2), T, lambda: Mean(2, True)), normal(60, 1, 3)),
    Case("transpose2d-groups", chain(lambda: nn.ConvTranspose2d(2, 4, (2, 1), stride=(1, 2), groups=2, bias=False), T, lambda: Mean(4, True)), normal(24, 2, 2, 2)),
    Case("transpose3d", chain(lambda: nn.ConvTranspose3d(1, 2, (1, 2, 1), stride=(1, 2, 1)), T, lambda: Mean(2, True)), normal(12, 1, 1, 2, 2)),
    Case("local2d", chain(lambda: LocallyConnected2d(2, 1, (3, 2), 2), T, nn.Flatten, lambda: L(2, CLASSES)), normal(24, 2, 3, 2), chain=True),
    Case("local2d-stride", chain(lambda: LocallyConnected2d(1, 2, (4, 3), 2, 2), T, lambda: Mean(2, True)), normal(16, 1, 4, 3)),
    Case("batchnorm", chain(lambda: nn.BatchNorm1d(3), T, lambda: L(3, CLASSES)), normal(12, 3), chain=True),
    Case("batchnorm2d", chain(lambda: nn.BatchNorm2d(2), T, lambda: Mean(2, True)), normal(12, 2, 2, 2)),
    Case("layernorm", chain(lambda: L(3, 4), lambda: nn.LayerNorm(4), T, lambda: L(4, CLASSES)), normal(14, 3), chain=True),
    Case("layernorm-2d", chain(lambda: nn.LayerNorm((2, 3)), T, nn.Flatten, lambda: L(6, CLASSES)), normal(14, 2, 3), chain=True),
    Case("rmsnorm", chain(lambda: L(3, 4), lambda: nn.RMSNorm(4), T, lambda: L(4, CLASSES)), normal(14, 3), chain=True),
    Case("groupnorm", chain(lambda: nn.Conv1d(2, 4, 1), lambda: nn.GroupNorm(2, 4), T, lambda: Mean(4, True)), normal(12, 2, 3)),
    Case("instancenorm", chain(lambda: nn.InstanceNorm1d(2, affine=True), T, lambda: Mean(2, True)), normal(12, 2, 4)),
    Case("prelu", chain(lambda: L(3, 2), lambda: nn.PReLU(2), lambda: L(2, CLASSES)), normal(30, 3), chain=True),
    Case("prelu-one", chain(lambda: L(3, 4), nn.PReLU, lambda: L(4, CLASSES)), normal(20, 3), chain=True),
    Case("maps", chain(lambda: nn.Conv1d(2, 3, 1), T, lambda: nn.Conv1d(3, CLASSES, 1)), normal(10, 2, 3), dim=1, chain=True),
]  # fmt: skip
RECURRENT = [
    Case("rnn", lambda: Recurrent(nn.RNN(2, 3, batch_first=True)), normal(14, 3, 2)),
    Case("rnn-of-relu", lambda: Recurrent(nn.RNN(2, 2, nonlinearity="relu", batch_first=True), states=True), normal(30, 3, 2)),
    Case("lstm", lambda: Recurrent(nn.LSTM(2, 2, batch_first=True), states=True), normal(14, 3, 2)),
    Case("lstm-no-bias", lambda: Recurrent(nn.LSTM(2, 2, bias=False)), normal(14, 3, 2)),
    Case("lstm-deep-both-ways", lambda: Recurrent(nn.LSTM(2, 1, num_layers=2, bidirectional=True)), normal(10, 2, 2)),
    Case("lstm-projected", lambda: Recurrent(nn.LSTM(2, 2, num_layers=2, proj_size=1), states=True), normal(18, 2, 2)),
    Case("lstm-packed", lambda: Recurrent(nn.LSTM(2, 2, bidirectional=True, batch_first=True), "any"), ragged(16, 3, 2, False)),
    Case("lstm-sorted", lambda: Recurrent(nn.LSTM(2, 2, num_layers=2, batch_first=True), "sorted", states=True), ragged(16, 3, 2, True)),
    Case("gru", lambda: Recurrent(nn.GRU(2, 2, batch_first=True), states=True), normal(14, 3, 2)),
    Case("gru-deep-both-ways", lambda: Recurrent(nn.GRU(2, 1, num_layers=2, bidirectional=True)), normal(10, 2, 2)),
    Case("gru-packed", lambda: Recurrent(nn.GRU(2, 2, batch_first=True), "any", states=True), ragged(16, 3, 2, False)),
    Case("rnn-cell", lambda: Loop(nn.RNNCell(2, 3)), normal(14, 3, 2)),
    Case("lstm-cell", lambda: Loop(nn.LSTMCell(2, 2)), normal(14, 3, 2)),
    Case("gru-cell", lambda: Loop(nn.GRUCell(2, 2)), normal(14, 3, 2)),
]  # fmt: skip
ATTENTION = [
    Case("attention", lambda: Attention(M(4, 2, batch_first=True)), normal(14, 3, 4)),
    Case("attention-time-first", lambda: Attention(M(4, 2)), normal(14, 3, 4)),
    Case("attention-no-bias", lambda: Attention(M(4, 1, bias=False, batch_first=True)), normal(14, 3, 4)),
    Case("attention-kv", lambda: Attention(M(2, 2, kdim=3, vdim=2, batch_first=True)), attended(14, 2, 3, 2, 3, 2, False)),
    Case("attention-padding", lambda: Attention(M(2, 1, batch_first=True)), attended(14, 2, 3, 2, 2, 2, True)),
    Case("attention-causal", lambda: Attention(M(4, 2, batch_first=True), causal), normal(14, 3, 4)),
    Case("attention-penalty", lambda: Attention(M(4, 2), penalty), normal(14, 3, 4)),
    Case("attention-extra", lambda: Attention(M(2, 1, add_bias_kv=True, add_zero_attn=True, batch_first=True)), attended(14, 2, 3, 2, 2, 2, True)),
]  # fmt: skip
ALL = PLAIN + RECURRENT + ATTENTION
