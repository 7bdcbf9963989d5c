"""What each of two gloo processes does for test_distributed. Run as: two_processes.py rank folder."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from small_problem import batch, net
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from isotrain import Riemannian
from isotrain.errors import IsotrainError
from isotrain.riemann.ranks import Ranks

EXACT = {"metric": "outer-product", "subsample": 1.0, "lr": 1e-2, "damping": 0.1}


def mine(turn, rank, n=24):
    x, y = batch(turn, n)
    half = n // 2
    return x[rank * half :][:half], y[rank * half :][:half]


def go(model, optimizer, rank, turns=4, pieces=1):
    for turn in range(turns):
        x, y = mine(turn, rank)
        optimizer.zero_grad()
        for place, (xs, ys) in enumerate(zip(x.chunk(pieces), y.chunk(pieces), strict=True)):
            if place + 1 < pieces:
                with model.no_sync():
                    (F.cross_entropy(model(xs), ys) / pieces).backward()
            else:
                (F.cross_entropy(model(xs), ys) / pieces).backward()
        optimizer.step()
    return {"parameters": [p.detach() for p in model.parameters()], "state": optimizer.state_dict()["state"]}


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.left, self.right = net(), nn.Linear(3, 3), nn.Linear(3, 3)
        self.branch = "left"

    def forward(self, x):
        return getattr(self, self.branch)(self.body(x))


def wrapped(**options):
    model = DistributedDataParallel(net())
    return model, Riemannian(model, **options)


def made_before(**options):
    model = net()
    optimizer = Riemannian(model, **options)
    return DistributedDataParallel(model), optimizer


def refusal(optimizer):
    try:
        optimizer.step()
    except IsotrainError as error:
        return type(error).__name__, str(error)
    return None


def one_bad_batch(rank):
    """Only the second process meets a NaN: both refuse, neither waits, and both go on."""
    model, optimizer = wrapped()
    x, y = mine(0, rank)
    loss = F.cross_entropy(model(x), y)
    (loss * float("nan") if rank else loss).backward()
    said = refusal(optimizer)
    return said, go(model, optimizer, rank)


def different_branches(rank):
    model = DistributedDataParallel(Branches(), find_unused_parameters=True)
    optimizer = Riemannian(model)
    model.module.branch = ("left", "right")[rank]
    x, y = mine(0, rank)
    F.cross_entropy(model(x), y).backward()
    said = refusal(optimizer)
    model.module.branch = "left"
    right = model.module.right.weight.clone()
    optimizer.zero_grad()
    return said, go(model, optimizer, rank), torch.equal(model.module.right.weight, right)


def uneven_pieces(rank):
    """The second process has a micro-batch more: both refuse, neither waits, and both go on."""
    model, optimizer = wrapped()
    x, y = mine(0, rank)
    with model.no_sync():
        for _ in range(rank):
            F.cross_entropy(model(x), y).backward()
    F.cross_entropy(model(x), y).backward()
    said = refusal(optimizer)
    return said, go(model, optimizer, rank)


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    found = {
        "exact": go(*wrapped(**EXACT), rank),
        "natural": go(*wrapped(), rank),
        "momentum": go(*wrapped(momentum=0.9, shape="kronecker"), rank),
        "no_sync": go(*wrapped(**EXACT), rank, pieces=2),
        "made_before": go(*made_before(**EXACT), rank),
        "compiled": Ranks(torch.compile(DistributedDataParallel(net()), backend="eager")).group is not None,
        "one_bad_batch": one_bad_batch(rank),
        "different_branches": different_branches(rank),
        "uneven_pieces": uneven_pieces(rank),
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
