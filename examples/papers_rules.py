"""The papers' rules under their own names, beside the natural step length.

    python examples/papers_rules.py

Each has a fixed rate, its authors' default, and looks at the whole batch at every step.
"""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import isotrain

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x[:1500] / 16, dtype=torch.float32), torch.tensor(y[:1500])
start = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))

rules = {
    "QDOP": isotrain.QDOP,  # quasi-diagonal, outer product
    "QDMCNat": isotrain.QDMCNat,  # quasi-diagonal, labels drawn from the model
    "DOP": isotrain.DOP,  # diagonal, outer product: keeps rescalings, no shifts
    "Riemannian": isotrain.Riemannian,  # no rate
}
for name, rule in rules.items():
    model = copy.deepcopy(start)
    optimizer = rule(model)
    for step in range(100):
        batch = slice(step % 15 * 100, step % 15 * 100 + 100)
        loss = F.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        final = F.cross_entropy(model(x), y).item()
    print(f"{name:<10} loss {final:.4f}, keeps {len(optimizer.claims())} of {len(isotrain.Change)} changes")
