"""Every shape of the metric, and every way to weigh it, on one small problem: loss, memory and claims.

    python examples/shapes_and_metrics.py [seed]

The table of docs/choosing.md is its output. One problem and one seed: an illustration, not a ranking.
"""

import copy
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import isotrain

torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(x))
x, y = x[order], y[order]
start = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
parameters = sum(p.numel() for p in start.parameters())


def row(shape: str, metric: str) -> None:
    model = copy.deepcopy(start)
    optimizer = isotrain.Riemannian(model, shape=shape, metric=metric)
    for step in range(150):
        batch = slice(step % 15 * 100, step % 15 * 100 + 100)
        loss = F.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        final = F.cross_entropy(model(x[:1500]), y[:1500]).item()
        right = (model(x[1500:]).argmax(1) == y[1500:]).float().mean().item()
    numbers = sum(t.numel() for kept in optimizer.state.values() for t in kept.values())
    print(f"{shape:<15} {metric:<15} {final:6.3f} {right:7.1%} {numbers / parameters:6.1f} {len(optimizer.claims()):5}")


print(f"{'shape':<15} {'metric':<15} {'loss':>6} {'right':>7} {'state':>6} {'keeps':>5}")
for shape in ("polar", "diagonal", "quasi-diagonal", "unitwise", "kronecker", "kronecker-full"):
    row(shape, "signs")
for metric in ("monte-carlo", "exact", "outer-product", "backpropagated"):
    row("quasi-diagonal", metric)
