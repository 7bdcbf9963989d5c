"""What each process of test_shards does, with its parameters cut. Run as: cut_curves.py rank world folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from shared_curves import CASES, batch, start
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from isotrain import Riemannian
from isotrain.riemann.shards import read_state

STEPS, SAVED = 27, 13
NAMES = ("dense", "windows", "reader", "quasi-diagonal", "unitwise", "kronecker", "plain")


def made(name: str, world: int, options: dict) -> tuple[nn.Module, Riemannian]:
    torch.manual_seed(0)
    model = CASES[name][0]()
    if world > 1:
        mesh = init_device_mesh("cpu", (world,))
        for layer in model.children():
            if list(layer.parameters()) and name != "reader":  # its layers share a weight: they go together
                fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model, Riemannian(model, **options)


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach().clone()


def step(model: nn.Module, optimizer: Riemannian, name: str, turn: int, rank: int, world: int) -> None:
    _, sizes, n, _ = CASES[name]
    share = n // world
    x, y = (t[rank * share : (rank + 1) * share] for t in batch(turn, sizes, n))
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def trained(name: str, rank: int, world: int, folder: Path) -> dict[str, object]:
    options = CASES[name][3]
    model, optimizer = made(name, world, options)
    saved = folder / name.replace("'", "")
    for turn in range(STEPS):
        if world > 1 and turn == SAVED:
            dcp.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint_id=saved)
        step(model, optimizer, name, turn, rank, world)
    found: dict[str, object] = {"parameters": [whole(p) for p in model.parameters()]}
    found["claims"] = sorted(change.value for change in optimizer.claims())
    if world > 1:
        kept = [t for state in optimizer.state.values() for t in state.values()]
        here = sum((t.to_local() if isinstance(t, DTensor) else t).numel() for t in kept)
        found["share"] = here / sum(t.numel() for t in kept)
        again, resumed = made(name, world, options)
        state = {"model": again.state_dict()}
        dcp.load(state, checkpoint_id=saved)
        again.load_state_dict(state["model"])
        resumed.load_state_dict(read_state(saved, "optimizer"))
        for turn in range(SAVED, STEPS):
            step(again, resumed, name, turn, rank, world)
        found["resumed"] = [whole(p) for p in again.parameters()]
    return found


def main(rank: int, world: int, folder: Path) -> None:
    start(rank, world, folder)
    torch.save({name: trained(name, rank, world, folder) for name in NAMES}, folder / f"{rank}of{world}.pt")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
