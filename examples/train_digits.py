"""Train a network of your own in the ordinary loop: the digits that come with scikit-learn.

    python examples/train_digits.py

About two seconds. Nothing is tuned: no rate, no schedule.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import isotrain

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(x))
train, held_out = order[:1500], order[1500:]

model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = isotrain.Riemannian(model)

for _ in range(20):
    for batch in train.split(100):
        loss = F.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

with torch.no_grad():
    right = model(x[held_out]).argmax(1) == y[held_out]
print(f"last loss {loss.item():.4f}, {right.float().mean().item():.1%} of {len(held_out)} held-out digits recognised")
