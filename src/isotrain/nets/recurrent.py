"""Recurrent layers with one kind of state for all of them, and the net that writes on character by character.

Torch's own layers with their native kernels. Letters: b sequence, t time, f feature, h hidden unit, v symbol, k a row
of the state: every layer has one, an LSTM two (output and cell).

Source: Hochreiter and Schmidhuber 1997 (LSTM); Cho et al. 2014, arXiv:1406.1078 (GRU); Tallec and Ollivier 2018,
arXiv:1804.11188, section 3 (the start of the gates).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isotrain.errors import BadOption, UnknownName

CELLS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
"""The kinds of recurrent layers, by their names in options."""
SHORTEST = 3.0
"""Time scale below which the gates are left as torch draws them."""


class Recurrent(nn.Module):
    """One or several layers of a kind, their states stacked: [b, k, h].

    Args:
        cell: "lstm", "gru" or "rnn".
        inputs: features at a time.
        hidden: units of a layer.
        layers: one above the other.
        dropout: share of what one layer gives the next that is left out while training.
        time_scale: steps over which the data is known to have something to remember; the gates begin with memories of
            all lengths up to it (`chrono`). None: as torch draws them.

    Raises:
        UnknownName: no such cell.

    >>> output, state = Recurrent("lstm", 3, 5, layers=2)(torch.zeros(4, 7, 3))
    >>> list(output.shape), list(state.shape)
    ([4, 7, 5], [4, 4, 5])
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        time_scale: float | None = None,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise UnknownName("cell", cell, CELLS)
        self.hidden = hidden
        self.rows = layers * (2 if cell == "lstm" else 1)
        kind: Any = CELLS[cell]
        self.core = kind(inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        if time_scale is not None:
            chrono(self.core, time_scale)

    def begin(self, like: Tensor) -> Tensor:
        """The state before anything was read, [b, k, h], for a batch and a kind of number like those of a tensor."""
        return like.new_zeros(len(like), self.rows, self.hidden)

    def forward(self, x_btf: Tensor, state_bkh: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[b,t,f] to the outputs at all times [b,t,h], and the state after the last."""
        state: Any = None
        if state_bkh is not None:
            state = state_bkh.transpose(0, 1).contiguous()
            if isinstance(self.core, nn.LSTM):
                state = tuple(state.chunk(2))
        output_bth, state = self.core(x_btf, state)
        last = torch.cat(state) if isinstance(self.core, nn.LSTM) else state
        return output_bth, last.transpose(0, 1)


@torch.no_grad()
def chrono(layer: nn.RNNBase, time_scale: float) -> None:
    """Let the gates of a layer begin with memories of all lengths up to a time scale, log-uniformly, in place.

    An LSTM's forget gates begin with biases log(U(1, T - 1)), its input gates with their negatives; a GRU's update
    gates, which keep the state where they are open, as forget gates. A plain recurrent layer has no gates and stays.
    Torch adds two biases: the second is set to zero. Draws from torch's generator.

    Args:
        layer: of torch, with biases.
        time_scale: T, in steps; below 3 nothing is changed.

    Raises:
        BadOption: not a positive number.

    Source: Tallec and Ollivier 2018, arXiv:1804.11188, section 3, equation 16.

    >>> layer = nn.LSTM(2, 4)
    >>> chrono(layer, 100.0)
    >>> enter, forget = layer.bias_ih_l0[:4], layer.bias_ih_l0[4:8]
    >>> bool((enter == -forget).all()), bool((forget >= 0).all()), bool((forget <= 4.6).all())
    (True, True, True)
    """
    if not 0 < time_scale < float("inf"):
        raise BadOption(f"a time scale of {time_scale} should be a positive number of steps.")
    if time_scale < SHORTEST or not isinstance(layer, nn.LSTM | nn.GRU):
        return
    h = layer.hidden_size
    for name, bias in layer.named_parameters():
        if not name.startswith("bias"):
            continue
        if name.startswith("bias_hh"):
            bias[: 2 * h].zero_()
            continue
        memory = torch.rand(h).to(bias).mul_(time_scale - 2).add_(1).log_()
        bias[h : 2 * h] = memory  # of an LSTM the forget gate, of a GRU the update gate: both second
        if isinstance(layer, nn.LSTM):
            bias[:h] = -memory


class CharacterNet(nn.Module):
    """Symbols to logits of the one that follows each: an embedding, recurrent layers, a linear layer.

    Args:
        symbols: in the alphabet.
        cell: "lstm", "gru" or "rnn".
        embedded: features of a symbol.
        hidden: units of a layer.
        layers: one above the other.
        dropout: share of the features left out while training: after the embedding, between and after the layers.
        time_scale: see `Recurrent`.

    Raises:
        UnknownName: no such cell.

    >>> logits, state = CharacterNet(10, hidden=8)(torch.zeros(4, 7, dtype=torch.long))
    >>> list(logits.shape)
    [4, 7, 10]
    """

    def __init__(
        self,
        symbols: int,
        cell: str = "lstm",
        embedded: int = 64,
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
        time_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedded)
        self.recurrent = Recurrent(cell, embedded, hidden, layers, dropout, time_scale)
        self.head = nn.Linear(hidden, symbols)
        self.dropout = nn.Dropout(dropout)

    def forward(self, symbols_bt: Tensor, state_bkh: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[b,t] and the state before to logits [b,t,v] and the state after."""
        x_btf = self.dropout(self.embedding(symbols_bt))
        output_bth, state_bkh = self.recurrent(x_btf, state_bkh)
        return self.head(self.dropout(output_bth)), state_bkh
