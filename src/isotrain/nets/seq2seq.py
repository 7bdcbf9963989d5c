"""From one sequence to another: an encoder that reads both ways, attention, and a decoder that writes.

The decoder is the same whatever it looks at: the states of an encoder, or the places of a picture (nets/caption.py).
Its lower layer asks, attention answers, its upper layer takes both: no layer waits for the answer to its own question,
so that all words of a known sentence go through the native kernels at once.

Letters: b sentence, s place of what is looked at, t place of what is written, f feature, h hidden unit, a feature of
attention, k row of a state (nets/recurrent.py), v symbol.

Source: Bahdanau et al. 2015, arXiv:1409.0473 (additive attention); Luong et al. 2015, arXiv:1508.04025 (dot); Wu et al.
2016, arXiv:1609.08144, section 3 (attention asked by the lowest layer of the decoder).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isotrain.errors import UnknownName
from isotrain.nets.recurrent import Recurrent

ATTENTIONS = ("additive", "dot")
PAD = 0
"""The symbol that fills up a row."""


class Memory(NamedTuple):
    """What a decoder looks at.

    Attributes:
        values: [b, s, f], what is seen at each place.
        keys: [b, s, a], what each place is asked by.
        blocked: bool [b, s], places that are none (padding).
    """

    values: Tensor
    keys: Tensor
    blocked: Tensor


class Attention(nn.Module):
    """Which places answer a question: shares of one, and what is seen there on average.

    Args:
        asking: features of a question.
        seen: features of a place.
        size: features in which the two are compared.
        kind: "additive", a small net of both; or "dot", their product.

    Raises:
        UnknownName: no such kind.
    """

    def __init__(self, asking: int, seen: int, size: int, kind: str = "additive") -> None:
        super().__init__()
        if kind not in ATTENTIONS:
            raise UnknownName("attention", kind, ATTENTIONS)
        self.query = nn.Linear(asking, size)
        self.key = nn.Linear(seen, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False) if kind == "additive" else None

    def memory(self, values_bsf: Tensor, blocked_bs: Tensor) -> Memory:
        """What is seen, made ready to be asked."""
        return Memory(values_bsf, self.key(values_bsf), blocked_bs)

    def forward(self, question_bth: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Questions [b,t,h] to answers [b,t,f] and the shares of the places [b,t,s]."""
        query_bta = self.query(question_bth)
        if self.score is None:
            score_bts = query_bta @ memory.keys.transpose(1, 2) / math.sqrt(query_bta.shape[-1])
        else:
            both_btsa = query_bta.unsqueeze(2) + memory.keys.unsqueeze(1)
            score_bts = self.score(both_btsa.tanh()).squeeze(-1)
        score_bts = score_bts.masked_fill(memory.blocked.unsqueeze(1), -torch.inf)
        share_bts = score_bts.softmax(-1)
        return share_bts @ memory.values, share_bts


class Encoder(nn.Module):
    """Sentences read from both ends by recurrent layers: every place then knows what stands around it.

    Args:
        symbols: in the alphabet, padding (0) included.
        embedded: features of a symbol.
        hidden: units of each direction.
        cell: "lstm", "gru" or "rnn".
        dropout: share of the features left out while training.
        time_scale: see `Recurrent`.
    """

    def __init__(
        self,
        symbols: int,
        embedded: int,
        hidden: int,
        cell: str = "lstm",
        dropout: float = 0.0,
        time_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedded, padding_idx=PAD)
        self.onward = Recurrent(cell, embedded, hidden, time_scale=time_scale)
        self.backward_ = Recurrent(cell, embedded, hidden, time_scale=time_scale)
        self.dropout = nn.Dropout(dropout)

    def forward(self, symbols_bs: Tensor) -> tuple[Tensor, Tensor]:
        """[b,s], padded at the end, to the states [b,s,2h], and bool [b,s] where there is padding."""
        blocked_bs = symbols_bs == PAD
        x_bsf = self.dropout(self.embedding(symbols_bs))
        onward_bsh, _ = self.onward(x_bsf)
        turned_bs = turned(blocked_bs)
        back_bsh, _ = self.backward_(along(x_bsf, turned_bs))
        return torch.cat([onward_bsh, along(back_bsh, turned_bs)], -1), blocked_bs


def turned(blocked_bs: Tensor) -> Tensor:
    """For every place of rows padded at the end, the place it changes with when each row is turned round: [b, s].

    >>> turned(torch.tensor([[False, False, False], [False, False, True]]))
    tensor([[2, 1, 0],
            [1, 0, 2]])
    """
    place_bs = torch.arange(blocked_bs.shape[1], device=blocked_bs.device).expand_as(blocked_bs)
    last_b1 = (~blocked_bs).sum(1, keepdim=True) - 1
    return torch.where(blocked_bs, place_bs, last_b1 - place_bs)


def along(x_bsf: Tensor, place_bs: Tensor) -> Tensor:
    """The places of every row in another order."""
    return x_bsf.gather(1, place_bs.unsqueeze(-1).expand_as(x_bsf))


class Decoder(nn.Module):
    """Writes a sequence symbol by symbol, looking at a memory.

    Args:
        symbols: in the alphabet.
        seen: features of a place of the memory.
        embedded: features of a symbol.
        hidden: units of each of its two recurrent layers.
        cell: "lstm", "gru" or "rnn".
        attention: "additive" or "dot".
        dropout: share of the features left out while training.
        time_scale: see `Recurrent`.
    """

    def __init__(
        self,
        symbols: int,
        seen: int,
        embedded: int,
        hidden: int,
        cell: str = "lstm",
        attention: str = "additive",
        dropout: float = 0.0,
        time_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedded, padding_idx=PAD)
        self.lower = Recurrent(cell, embedded, hidden, time_scale=time_scale)
        self.upper = Recurrent(cell, hidden + seen, hidden, time_scale=time_scale)
        self.attention = Attention(hidden, seen, hidden // 2, attention)
        self.start = nn.Linear(seen, hidden)
        self.readout = nn.Linear(hidden + seen, embedded)
        self.head = nn.Linear(embedded, symbols)
        self.dropout = nn.Dropout(dropout)

    def begin(self, values_bsf: Tensor, blocked_bs: Tensor) -> tuple[Memory, Tensor]:
        """What is looked at made ready, and the state [b,k,h] before the first symbol: of what is seen on average."""
        open_bs1 = (~blocked_bs).unsqueeze(-1).to(values_bsf)
        mean_bf = (values_bsf * open_bs1).sum(1) / open_bs1.sum(1).clamp_min(1)
        first_b1h = self.start(mean_bf).tanh().unsqueeze(1)
        rows = self.lower.rows
        state_bkh = nn.functional.pad(first_b1h, (0, 0, 0, rows - 1)).repeat(1, 2, 1)
        return self.attention.memory(values_bsf, blocked_bs), state_bkh

    def forward(self, symbols_bt: Tensor, memory: Memory, state_bkh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Symbols so far [b,t] to logits of the next [b,t,v], the state after them, and where it looked [b,t,s]."""
        lower_bkh, upper_bkh = state_bkh.chunk(2, 1)
        x_btf = self.dropout(self.embedding(symbols_bt))
        asked_bth, lower_bkh = self.lower(x_btf, lower_bkh)
        seen_btf, share_bts = self.attention(asked_bth, memory)
        written_bth, upper_bkh = self.upper(self.dropout(torch.cat([asked_bth, seen_btf], -1)), upper_bkh)
        read_btf = self.readout(self.dropout(torch.cat([written_bth, seen_btf], -1))).tanh()
        return self.head(self.dropout(read_btf)), torch.cat([lower_bkh, upper_bkh], 1), share_bts


class Translator(nn.Module):
    """An encoder and a decoder: source symbols and the target's so far to logits of the target's next.

    Args:
        source: symbols of the source's alphabet.
        target: symbols of the target's.
        embedded: features of a symbol.
        hidden: units of each direction of the encoder, half of those of the decoder's layers.
        cell: "lstm", "gru" or "rnn".
        attention: "additive" or "dot".
        dropout: share of the features left out while training.
        time_scale: see `Recurrent`.

    >>> net = Translator(9, 11, embedded=4, hidden=6)
    >>> list(net(torch.ones(2, 5, dtype=torch.long), torch.ones(2, 3, dtype=torch.long)).shape)
    [2, 3, 11]
    """

    def __init__(
        self,
        source: int,
        target: int,
        embedded: int = 256,
        hidden: int = 256,
        cell: str = "lstm",
        attention: str = "additive",
        dropout: float = 0.0,
        time_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(source, embedded, hidden, cell, dropout, time_scale)
        self.decoder = Decoder(target, 2 * hidden, embedded, 2 * hidden, cell, attention, dropout, time_scale)

    def forward(self, source_bs: Tensor, target_bt: Tensor) -> Tensor:
        """[b,s] and [b,t] to [b,t,v]."""
        values_bsf, blocked_bs = self.encoder(source_bs)
        memory, state_bkh = self.decoder.begin(self.encoder.dropout(values_bsf), blocked_bs)
        logits_btv, _, _ = self.decoder(target_bt, memory, state_bkh)
        return torch.as_tensor(logits_btv)
