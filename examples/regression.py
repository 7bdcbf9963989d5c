"""Predict a number: mean squared error, declared as likelihood="gaussian". The features are left as measured.

    python examples/regression.py

scikit-learn's wine table: thirteen features whose sizes differ by a factor of thousands. One of them is
predicted from the twelve others, once as they come and once standardised, by the same function at the start.
"""

import copy

import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.nn import functional as F

import isotrain

torch.manual_seed(0)
torch.set_num_threads(1)
table = torch.tensor(load_wine().data)
target, x = table[:, :1], table[:, 1:]
middle, spread = x.mean(0), x.std(0)

standard = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 1)).double()
raw = copy.deepcopy(standard)
with torch.no_grad():  # the same function of the raw features
    raw[0].weight /= spread
    raw[0].bias -= raw[0].weight @ middle
    for model in (standard, raw):
        model[2].bias += target.mean()


def train(model: nn.Module, features: torch.Tensor) -> float:
    optimizer = isotrain.Riemannian(model, likelihood="gaussian")
    for _ in range(200):
        loss = F.mse_loss(model(features), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


losses = train(standard, (x - middle) / spread), train(raw, x)
print(f"variance of the target {target.var().item():.3f}")
print(f"squared error, standardised features: {losses[0]:.6f}")
print(f"squared error, raw features:          {losses[1]:.6f}")
