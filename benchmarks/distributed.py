"""Two processes: what a step of Riemannian costs beside one of Adam, both under DDP, and whether the curve is one's.

    OMP_NUM_THREADS=1 python benchmarks/distributed.py

Blocks of ten steps of either optimizer take turns, so that both meet the same machine; a block of Riemannian holds one
look. What a step costs beside one of Adam hangs on the samples a process has: `--each` takes several numbers of them.
Wall time on a machine whose cores are busy says little: processor time of both processes, which does not count
waiting, stands beside it, and the bytes that travel are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from isotrain import Riemannian
from machine import processor

BLOCK, EAGER = 10, 20


def perceptron() -> tuple[nn.Module, tuple[int, ...]]:
    layers = [nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)]
    return nn.Sequential(*layers), (784,)


def convolutions() -> tuple[nn.Module, tuple[int, ...]]:
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.GroupNorm(8, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)), (3, 32, 32)


NETS = {"perceptron": perceptron, "convolutions": convolutions}


class Travelled:
    """Counts what the statistics send: calls, and bytes given to them."""

    def __init__(self) -> None:
        self.calls = self.bytes = 0
        for name in ("all_reduce", "all_gather"):
            setattr(dist, name, self.counting(getattr(dist, name)))

    def counting(self, function):
        def call(*args, **kwargs):
            self.calls += 1
            self.bytes += args[-1].nbytes if isinstance(args[-1], torch.Tensor) else args[0].nbytes
            return function(*args, **kwargs)

        return call


def steps(model, optimizer, x, y, first: int, last: int, size: int) -> None:
    for turn in range(first, last):
        at = turn * size % (len(x) - size + 1)
        loss = F.cross_entropy(model(x[at : at + size]), y[at : at + size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def measure(name: str, rank: int, blocks: int, own: int) -> dict[str, object]:
    make = NETS[name]
    models, optimizers = {}, {}
    for kind in ("adam", "riemannian"):
        torch.manual_seed(0)
        net, shape = make()
        models[kind] = DistributedDataParallel(net)
        optimizers[kind] = torch.optim.Adam(net.parameters()) if kind == "adam" else Riemannian(models[kind])
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(8 * own, *shape, generator=generator)
    y = x.flatten(1)[:, :10].argmax(1)
    for kind in models:
        steps(models[kind], optimizers[kind], x, y, 0, EAGER, own)
    travelled = Travelled()
    spent: dict[str, list[tuple[float, float]]] = {kind: [] for kind in models}
    for block in range(blocks):
        for kind in models:
            dist.barrier()
            wall, work = time.perf_counter(), time.process_time()
            first = EAGER + block * BLOCK
            steps(models[kind], optimizers[kind], x, y, first, first + BLOCK, own)
            spent[kind].append(((time.perf_counter() - wall) / BLOCK, (time.process_time() - work) / BLOCK))
    weights = sum(p.numel() for p in models["adam"].parameters())
    looked = {"calls a look": travelled.calls / blocks, "kB a look": travelled.bytes / blocks / 1e3}
    return {"spent": spent, "weights": weights, **looked}


def child(rank: int, folder: Path, blocks: int, nets: list[str], each: list[int]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    found = {f"{name}, {own}": measure(name, rank, blocks, own) for name in nets for own in each}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--each", nargs="+", type=int, default=[64], help="samples a process")
    parser.add_argument("--child", nargs=2)
    args = parser.parse_args()
    if args.child:
        return child(int(args.child[0]), Path(args.child[1]), args.blocks, args.nets, args.each)
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, __file__, "--blocks", str(args.blocks), "--nets", *args.nets]
        command += ["--each", *map(str, args.each), "--child"]
        running = [subprocess.Popen([*command, str(rank), name]) for rank in range(2)]
        if any([process.wait() for process in running]):
            sys.exit("a process failed")
        ranks = [json.loads((Path(name) / f"{rank}.json").read_text()) for rank in range(2)]
    print(
        f"{processor()}, torch {torch.__version__}; load {os.getloadavg()[0]:.1f}; blocks of {BLOCK} steps in turns\n"
    )
    heads = ["net, samples a process", "weights", "Adam, ms", "Riemannian, ms", "wall ratio", "processor ratio"]
    heads += ["calls a look", "kB a look"]
    print(f"| {' | '.join(heads)} |\n{'| --- ' * len(heads)}|")
    for net in ranks[0]:
        both = [rank[net]["spent"] for rank in ranks]
        wall = {kind: [max(r[kind][b][0] for r in both) for b in range(args.blocks)] for kind in both[0]}
        work = {kind: [sum(r[kind][b][1] for r in both) for b in range(args.blocks)] for kind in both[0]}
        ratios = [[b / a for a, b in zip(times["adam"], times["riemannian"], strict=True)] for times in (wall, work)]
        one = ranks[0][net]
        middle = [f"{statistics.median(wall[kind]) * 1e3:.1f}" for kind in wall]
        print(
            f"| {net} | {one['weights']:,} | {' | '.join(middle)} | {' | '.join(map(spread, ratios))} "
            f"| {one['calls a look']:.1f} | {one['kB a look']:,.0f} |"
        )


if __name__ == "__main__":
    main()
