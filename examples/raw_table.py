"""A table as it comes, in whatever units: no scaling, no learning rate, and the same run for every choice of units.

    python examples/raw_table.py

scikit-learn's wine table, thirteen measurements of 178 wines. A collaborator sends it in other units and uses
sigmoids where you use tanh. Neither of you scales anything; `isotrain.start` looks at the inputs instead.
"""

import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.nn import functional as F

import isotrain

torch.set_num_threads(1)
wine = load_wine()
yours, kinds = torch.tensor(wine.data), torch.tensor(wine.target)
theirs = 100 - yours * torch.logspace(-3, 3, 13, dtype=torch.float64)
order = torch.randperm(178, generator=torch.Generator().manual_seed(0))
train, held_out = order[:128], order[128:]


def run(activation: type[nn.Module], x: torch.Tensor) -> tuple[list[float], float]:
    model = nn.Sequential(nn.Linear(13, 32), activation(), nn.Linear(32, 3)).double()
    isotrain.start(model, x[train])
    optimizer = isotrain.Riemannian(model)
    losses = []
    for _ in range(15):
        for rows in train.split(32):
            loss = F.cross_entropy(model(x[rows]), kinds[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    right = (model(x[held_out]).argmax(1) == kinds[held_out]).double().mean().item()
    return losses, right


mine, right = run(nn.Tanh, yours)
other, _ = run(nn.Sigmoid, theirs)
apart = max(abs(a - b) for a, b in zip(mine, other, strict=True))
print(f"loss {mine[0]:.3f} to {mine[-1]:.4f}, {100 * right:.1f}% of 50 held-out wines right")
print(f"largest difference between the two runs' losses: {apart:.0e}")
