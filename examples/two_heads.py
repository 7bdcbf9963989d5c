"""Two outputs, two losses: give one likelihood for each, by the key it has in the model's output.

    python examples/two_heads.py

A factor of a loss is told to its likelihood (`weight=`), so that the metric counts both heads alike.
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import isotrain

torch.manual_seed(0)
torch.set_num_threads(1)
x, digit = load_digits(return_X_y=True)
x, digit = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(digit)
ink = x.mean(1, keepdim=True)


class TwoHeads(nn.Module):
    """Which digit, and how much ink."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.Tanh())
        self.digit = nn.Linear(32, 10)
        self.ink = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = self.body(x)
        return {"digit": self.digit(seen), "ink": self.ink(seen)}


model = TwoHeads()
optimizer = isotrain.Riemannian(
    model,
    likelihood={"digit": "categorical", "ink": isotrain.Gaussian(weight=20.0)},
)
for step in range(300):
    batch = slice(step % 15 * 100, step % 15 * 100 + 100)
    out = model(x[batch])
    loss = F.cross_entropy(out["digit"], digit[batch]) + 20 * F.mse_loss(out["ink"], ink[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.no_grad():
    out = model(x[1500:])
    right = (out["digit"].argmax(1) == digit[1500:]).float().mean().item()
    error = F.mse_loss(out["ink"], ink[1500:]).sqrt().item()
print(f"held out: {right:.1%} of the digits right, ink wrong by {error:.4f} (its spread is {ink.std().item():.4f})")
