"""A parameter of a layer isotrain cannot observe: train it by an ordinary rule, and lose the claims for it.

python examples/custom_layer_plain.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import isotrain


class Temperature(nn.Module):
    """One number, used by hand: no layer of units."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.log.exp()


torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10), Temperature())

try:
    isotrain.Riemannian(model)
except isotrain.IsotrainError as error:
    print(error)

optimizer = isotrain.Riemannian(model, plain=["3"])
for step in range(200):
    batch = slice(step % 15 * 100, step % 15 * 100 + 100)
    loss = F.cross_entropy(model(x[batch]), y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.no_grad():
    right = (model(x[1500:]).argmax(1) == y[1500:]).float().mean().item()
print(f"held out: {right:.1%} right, temperature {model[3].log.exp().item():.3f}")
print(f"claims left: {', '.join(sorted(optimizer.claims()))}")
