"""Pictures in [0, 1] as a net wants them: around 0, of spread 1, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """(picture - mean) / spread of each channel; buffers, not parameters. First layer of every net.

    >>> Standardize([0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
    2.0
    """

    def __init__(self, mean: Sequence[float], spread: Sequence[float]) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("spread", torch.tensor(spread).view(-1, 1, 1))

    def forward(self, pictures_nchw: Tensor) -> Tensor:
        """Same shape."""
        return (pictures_nchw - self.mean) / self.spread
