"""A layer that torch has not: locally connected, a convolution whose weights differ from place to place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LocallyConnected2d(nn.Module):
    """Like `Conv2d`, each output place with weights and biases of its own: for pictures that are aligned.

    Args:
        channels: of the input.
        wider: channels of the output.
        size: (h, w) of the input: the places are fixed.
        kernel: side of the window.
        stride: between windows.

    Shapes: weight [g, k, i] and bias [g, k] with g places in rows, k output channels and i = (input channel, window).

    Source: Taigman et al. 2014, "DeepFace", section 3 (layers L4 to L6).

    >>> layer = LocallyConnected2d(1, 1, (2, 2), 2)
    >>> _ = torch.nn.init.ones_(layer.weight), torch.nn.init.zeros_(layer.bias)
    >>> layer(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).item()
    10.0
    """

    def __init__(self, channels: int, wider: int, size: tuple[int, int], kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.channels, self.wider = channels, wider
        self.out_size = ((size[0] - kernel) // stride + 1, (size[1] - kernel) // stride + 1)
        places, inputs = self.out_size[0] * self.out_size[1], channels * kernel * kernel
        self.weight = nn.Parameter(torch.empty(places, wider, inputs))
        self.bias = nn.Parameter(torch.empty(places, wider))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as torch draws those of a convolution."""
        bound = 1 / math.sqrt(self.weight.shape[2])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def windows(self, x_nchw: Tensor) -> Tensor:
        """What each place sees, [g, n, i]."""
        windows: Tensor = F.unfold(x_nchw, self.kernel, stride=self.stride).permute(2, 0, 1)
        return windows

    def forward(self, x_nchw: Tensor) -> Tensor:
        """[n, c, h, w] to [n, k, h', w']."""
        y_gnk = torch.bmm(self.windows(x_nchw), self.weight.mT) + self.bias[:, None]
        y_nchw: Tensor = y_gnk.permute(1, 2, 0).unflatten(2, self.out_size)
        return y_nchw

    def extra_repr(self) -> str:
        """Shape, kernel and stride."""
        return f"{self.channels}, {self.wider}, places={self.out_size}, kernel={self.kernel}, stride={self.stride}"
