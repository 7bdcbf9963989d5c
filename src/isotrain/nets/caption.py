"""A picture put into words: a residual net sees, a decoder with attention over its places writes.

Letters: b picture, c channel, h w place in two dimensions, s place in one, f feature, t word, v symbol.

Source: Xu et al. 2015, arXiv:1502.03044 ("Show, attend and tell"), with soft attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isotrain.nets.resnet import ResNet
from isotrain.nets.seq2seq import Decoder


class Places(nn.Module):
    """What a residual net sees at each place of its last representation, and where that place is.

    Args:
        name: of the net, one of `isotrain.nets.resnet.NETS`.
        features: of a place.
        mean: of each channel of the pictures, in [0, 1].
        spread: of each channel.
        frozen: the net's weights stay as they are: only how its places are read is learned.
    """

    def __init__(
        self, name: str, features: int, mean: Sequence[float], spread: Sequence[float], frozen: bool = False
    ) -> None:
        super().__init__()
        self.trunk = ResNet(name, 2, mean, spread)
        channels = self.trunk.get_submodule("fc").in_features
        self.trunk.add_module("fc", nn.Identity())  # places are described, not classes
        self.frozen = frozen
        if frozen:
            self.trunk.requires_grad_(False)
        assert isinstance(channels, int)
        self.project = nn.Linear(channels + 2, features)

    def train(self, mode: bool = True) -> Places:
        """A frozen net's norms stay as they are, too."""
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures [b,c,h,w] in [0, 1] to their places [b,s,f], row by row."""
        seen_bchw = self.trunk.through(self.trunk.stem(pictures), range(len(self.trunk.blocks)))
        height, width = seen_bchw.shape[2:]
        # From -1 to 1 over the picture: what is left of what cannot be told from colours and shapes.
        y_h1 = torch.linspace(-1, 1, height, dtype=seen_bchw.dtype, device=seen_bchw.device).view(-1, 1)
        x_1w = torch.linspace(-1, 1, width, dtype=seen_bchw.dtype, device=seen_bchw.device).view(1, -1)
        where_2hw = torch.stack([y_h1.expand(height, width), x_1w.expand(height, width)])
        both_bchw = torch.cat([seen_bchw, where_2hw.unsqueeze(0).expand(seen_bchw.shape[0], -1, -1, -1)], 1)
        places_bsf: Tensor = self.project(both_bchw.flatten(2).transpose(1, 2)).relu()
        return places_bsf


class Captioner(nn.Module):
    """Pictures and the words of their captions so far, to logits of the next word.

    Args:
        name: of the residual net.
        symbols: of the captions' alphabet.
        mean: of each channel of the pictures, in [0, 1].
        spread: of each channel.
        embedded: features of a word.
        hidden: units of each of the decoder's layers, and features of a place.
        cell: "lstm", "gru" or "rnn".
        attention: "additive" or "dot".
        dropout: share of the decoder's features left out while training.
        frozen: the residual net's weights stay as they are.

    >>> net = Captioner("resnet8", 11, [0.5] * 3, [0.25] * 3, embedded=4, hidden=6)
    >>> list(net(torch.zeros(2, 3, 32, 32), torch.ones(2, 5, dtype=torch.long)).shape)
    [2, 5, 11]
    """

    def __init__(
        self,
        name: str,
        symbols: int,
        mean: Sequence[float],
        spread: Sequence[float],
        embedded: int = 128,
        hidden: int = 256,
        cell: str = "lstm",
        attention: str = "additive",
        dropout: float = 0.0,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Places(name, hidden, mean, spread, frozen)
        self.decoder = Decoder(symbols, hidden, embedded, hidden, cell, attention, dropout)

    def forward(self, pictures: Tensor, words_bt: Tensor) -> Tensor:
        """[b,c,h,w] and [b,t] to [b,t,v]."""
        values_bsf = self.encoder(pictures)
        memory, state_bkh = self.decoder.begin(values_bsf, open_places(values_bsf))
        logits_btv, _, _ = self.decoder(words_bt, memory, state_bkh)
        return torch.as_tensor(logits_btv)


def open_places(values_bsf: Tensor) -> Tensor:
    """No place of a picture is padding: bool [b, s]."""
    return torch.zeros(values_bsf.shape[:2], dtype=torch.bool, device=values_bsf.device)
