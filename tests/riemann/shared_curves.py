"""What each process of test_distributed does, on its share or on everything. Run as: script rank world folder."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from isotrain import Riemannian
from isotrain.riemann import gauge

STEPS = 27


class Reader(nn.Module):
    """An embedding tied to the output, around a fused recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.layer = nn.LSTM(5, 5, batch_first=True)
        self.output = nn.Linear(5, 7, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.layer(self.embedding(x))[0]).transpose(1, 2).contiguous()


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 40), nn.LayerNorm(40), nn.Tanh(), nn.Linear(40, 3))


def windowed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(144, 3),
    )  # fmt: skip


# Net, sizes of its inputs (whole numbers where 0), samples of the whole batch, options.
CASES = {
    "dense": (dense, (6,), 40, {}),
    "uneven rows": (dense, (6,), 42, {"subsample": 0.41}),
    "windows": (windowed, (2, 8, 8), 96, {}),
    "reader": (Reader, (0, 4), 40, {}),
    "quasi-diagonal": (dense, (6,), 40, {"shape": "quasi-diagonal"}),
    "unitwise": (dense, (6,), 40, {"shape": "unitwise", "metric": "exact"}),
    "kronecker": (windowed, (2, 8, 8), 40, {"shape": "kronecker", "metric": "monte-carlo"}),
    "backpropagated": (dense, (6,), 40, {"shape": "diagonal", "metric": "backpropagated"}),
    "plain": (dense, (6,), 40, {"plain": ["2"]}),
    "outer-product": (dense, (6,), 40, {"metric": "outer-product", "refresh": 3}),
    "paper's": (dense, (6,), 40, {"shape": "quasi-diagonal", "metric": "monte-carlo", "lr": 0.01, "damping": 0.1}),
}


def batch(turn: int, sizes: tuple[int, ...], n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(turn)
    if sizes[0] == 0:
        x = torch.randint(0, 7, (n, sizes[1]), generator=generator)
        return x, x.cumsum(1) % 7
    x = torch.randn(n, *sizes, generator=generator)
    flat = x.flatten(1)
    return x, (flat[:, 0] > 0).long() + (flat[:, 1] > 0.5).long()


def trained(name: str, rank: int, world: int) -> dict[str, object]:
    """Losses of the whole batches, and the parameters; whether replicas were equal bit for bit after every step."""
    make, sizes, n, options = CASES[name]
    torch.manual_seed(0)
    inside = make()
    model = DistributedDataParallel(inside) if world > 1 else inside
    optimizer = Riemannian(model, **options)
    losses, equal = [], True
    share = n // world
    for turn in range(STEPS):
        x, y = (t[rank * share : (rank + 1) * share] for t in batch(turn, sizes, n))
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.detach()
        if world > 1:
            dist.all_reduce(value)
            flat = torch.cat([p.detach().reshape(-1) for p in inside.parameters()])
            others = [torch.empty_like(flat) for _ in range(world)]
            dist.all_gather(others, flat)
            equal = equal and all(torch.equal(flat, other) for other in others)
        losses.append(float(value) / world)
    claims = sorted(change.value for change in optimizer.claims())
    return {"losses": losses, "parameters": [p.detach() for p in inside.parameters()], "equal": equal, "claims": claims}


def start(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("error")
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world)


def main(rank: int, world: int, folder: Path) -> None:
    if rank:
        gauge.KEPT = 100  # this process makes most inputs twice, the other keeps them: nobody sees a difference
    start(rank, world, folder)
    torch.save({name: trained(name, rank, world) for name in CASES}, folder / f"{rank}of{world}.pt")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
