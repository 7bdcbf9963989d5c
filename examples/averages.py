"""Better on what it was not trained on: averages of the weights, and the best of them, then or earlier.

    python examples/averages.py

Two hundred handwritten digits are soon fitted to nothing. `isotrain.Averages` keeps means over the whole run, the last
half, quarter and eighth of it; some samples held out tell which one to use, and others how good it is. Works with any
optimizer.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import isotrain

torch.set_num_threads(1)
torch.manual_seed(0)
digits = load_digits()
x, kinds = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
train, choose, judge = torch.randperm(len(x)).split([200, 500, 1097])


def loss_on(rows: torch.Tensor) -> float:
    with torch.no_grad():
        return F.cross_entropy(model(x[rows]), kinds[rows]).item()


model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = isotrain.Riemannian(model)
averages = isotrain.Averages(model)

for _ in range(60):
    for rows in train[torch.randperm(200)].split(50):
        loss = F.cross_entropy(model(x[rows]), kinds[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averages.update()
    averages.check(lambda _: loss_on(choose))

print(f"the last weights: {loss_on(judge):.3f} on {len(judge)} digits")
best = averages.settle()
print(f"the best: {loss_on(judge):.3f} with the mean over {best.share:g} of the run until step {best.step}")
