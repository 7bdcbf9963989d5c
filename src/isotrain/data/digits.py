"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn carries in its package."""

from __future__ import annotations

import torch
from torch import Tensor

TRAINING_PICTURES = 1500


def digits(seed: int = 0) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Pictures in [0, 1] flattened to 64 numbers, and labels: 1,500 to train on, 297 held out.

    The file is ordered by writer, so that the order is drawn at random, from the seed.

    >>> (x, y), (held_x, held_y) = digits()
    >>> x.shape, held_y.shape, float(x.max())
    (torch.Size([1500, 64]), torch.Size([297]), 1.0)
    """
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    x, y = (
        torch.tensor(pictures / 16.0, dtype=torch.float32)[order],
        torch.tensor(labels, dtype=torch.long)[order],
    )
    return (x[:TRAINING_PICTURES], y[:TRAINING_PICTURES]), (x[TRAINING_PICTURES:], y[TRAINING_PICTURES:])
