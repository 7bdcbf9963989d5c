"""A predictive distribution of your own: counts, predicted by the logarithm of their Poisson rate.

    python examples/custom_likelihood.py

`sample` and `nll` are enough; everything else a metric asks for is derived from them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isotrain


class Poisson(isotrain.Likelihood):
    """The output is the logarithm of the rate. The logarithm of target! makes `nll` a true minus log-probability."""

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(output.exp(), generator=generator)

    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        return output.exp() - target * output + torch.lgamma(target + 1)


torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.rand(500, 3)
rate = torch.exp(1 + 2 * x[:, :1] - x[:, 1:2])
counts = torch.poisson(rate)

model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = isotrain.Riemannian(model, likelihood=Poisson())
for _ in range(200):
    loss = F.poisson_nll_loss(model(x), counts)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.no_grad():
    off = (model(x).exp() / rate - 1).abs().mean().item()
print(f"predicted rates are off by {off:.1%} on average")
