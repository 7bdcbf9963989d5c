"""A model of your own, audited: how much does its training depend on how it was written down?

    isotrain audit examples/audit_my_model.py:build --optimizers sgd,adam,riemannian --steps 100 --out
    audit.html

`build` makes the model and `batches` gives pairs (x, y); `held_out` is used by `isotrain compare`.
Run as a script, this file audits itself in a few seconds.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import isotrain


def build(seed: int = 0) -> nn.Module:
    """Two convolutions and a dense layer on pictures of 8x8 pixels."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    )


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ten minibatches of 100 digits."""
    x, y = load_digits(return_X_y=True)
    pictures, labels = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    return list(zip(pictures[:1000].split(100), labels[:1000].split(100), strict=True))


def held_out() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The other digits, for the final scores."""
    x, y = load_digits(return_X_y=True)
    return [(torch.tensor(x[1000:] / 16, dtype=torch.float32), torch.tensor(y[1000:]))]


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    report = isotrain.audit(build, batches(), optimizers=["sgd", "adam", "riemannian"], steps=steps)
    print(report.verdict)
