"""The metric authors' experiment: MNIST, 784-100-10, four ways of writing the same network down.

    .venv/bin/python benchmarks/mnist.py --data FOLDER       all rules; reckoned at 11 minutes
    .venv/bin/python benchmarks/mnist.py --rules QDOP --dtype float32

Batches of 500 in fixed order, 50,000 digits to train on and 10,000 held out, 10 epochs. The columns are tanh
and sigmoid, pictures as they are and inverted; every column starts as exactly the same function, so a trainer
that does not care how a network is written draws the same loss curve four times. Rates are the authors'.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

import isotrain
from isotrain.data.idx import mnist
from isotrain.errors import BadData
from machine import REPORTS, described, heading, table

HIDDEN, BATCH, TRAINED = 100, 500, 50_000
COLUMNS = {
    "tanh": (nn.Tanh, False),
    "tanh, inverted": (nn.Tanh, True),
    "sigmoid": (nn.Sigmoid, False),
    "sigmoid, inverted": (nn.Sigmoid, True),
}
RULES: dict[str, Callable[[nn.Module], Optimizer]] = {
    "SGD 1.0": lambda m: torch.optim.SGD(m.parameters(), lr=1.0),
    "RMSProp 0.01": lambda m: torch.optim.RMSprop(m.parameters(), lr=0.01),
    "DOP 1e-4": lambda m: isotrain.DOP(m, lr=1e-4),
    "QDOP 1e-3": lambda m: isotrain.QDOP(m, lr=1e-3),
    "isotrain's default": lambda m: isotrain.Riemannian(m),
}
MOST_LOSS, MOST_GAP = 0.035, 1e-6  # the project's own aim for QDOP


def started(activation: type[nn.Module], inverted: bool, seed: int, dtype: torch.dtype) -> nn.Sequential:
    """W ~ N(0, 1/fan-in) and b = 0 for tanh on pictures as they are; the exact image of that elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(784, HIDDEN), activation(), nn.Linear(HIDDEN, 10)).to(dtype)
    first, _, second = model
    with torch.no_grad():
        for layer in (first, second):
            weight_ki = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
            layer.weight.copy_(weight_ki / layer.in_features**0.5)
            layer.bias.zero_()
        if activation is nn.Sigmoid:  # tanh(z) = 2 sigmoid(2z) - 1
            first.weight *= 2
            first.bias *= 2
            second.bias -= second.weight.sum(dim=1)
            second.weight *= 2
        if inverted:  # W x + b = -W (1 - x) + (b + sum W)
            first.bias += first.weight.sum(dim=1)
            first.weight *= -1
    return model


@dataclass(frozen=True)
class Run:
    curve: Tensor  # the loss of every minibatch
    train_loss: float
    accuracy: float
    epoch_seconds: float


def evaluated(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    with torch.no_grad():
        logits = model(x)
        return F.cross_entropy(logits, y).item(), (logits.argmax(dim=1) == y).double().mean().item()


def trained(model: nn.Module, make: Callable[[nn.Module], Optimizer], x: Tensor, y: Tensor, epochs: int) -> Run:
    optimizer = make(model)
    curve, seconds = [], []
    for _ in range(epochs):
        start = time.perf_counter()
        for batch in range(0, TRAINED, BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[batch : batch + BATCH]), y[batch : batch + BATCH])
            loss.backward()
            optimizer.step()
            curve.append(loss.detach())
        seconds.append(time.perf_counter() - start)
    train_loss, _ = evaluated(model, x[:TRAINED], y[:TRAINED])
    _, accuracy = evaluated(model, x[TRAINED:], y[TRAINED:])
    return Run(torch.stack(curve), train_loss, accuracy, statistics.median(seconds))


def gap(runs: list[Run]) -> float:
    curves = torch.stack([run.curve for run in runs])
    return (curves.amax(dim=0) - curves.amin(dim=0)).max().item()


def digits(folder: str | None) -> tuple[Tensor, Tensor]:
    if not folder:
        raise SystemExit("no data: name the folder of MNIST's four idx files with --data or $ISOTRAIN_DATA")
    nested = Path(folder) / "mnist"
    try:
        (x, y), _ = mnist(nested if nested.is_dir() else Path(folder))
    except BadData as error:
        raise SystemExit(str(error)) from error
    return x, y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("ISOTRAIN_DATA"), help="default: $ISOTRAIN_DATA")
    parser.add_argument("--rules", nargs="+", default=list(RULES), help=f"of {', '.join(RULES)}")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report", type=Path, help="default: benchmarks/reports/mnist-DATE.md")
    chosen = parser.parse_args()
    rules = {name: make for name, make in RULES.items() if any(name.startswith(given) for given in chosen.rules)}
    if not rules:
        parser.error(f"no rule is named {' or '.join(chosen.rules)}; there are {', '.join(RULES)}")

    torch.set_num_threads(chosen.threads)
    facts = described() | {
        "threads": str(chosen.threads),
        "numbers": f"{chosen.dtype}, seed {chosen.seed}, {chosen.epochs} epochs",
    }
    dtype = getattr(torch, chosen.dtype)
    pixels, y = digits(chosen.data)
    x_by_side = {False: pixels.to(dtype), True: 1 - pixels.to(dtype)}

    rows = []
    verdict = []
    for name, make in rules.items():
        runs = []
        for activation, inverted in COLUMNS.values():
            model = started(activation, inverted, chosen.seed, dtype)
            runs.append(trained(model, make, x_by_side[inverted], y, chosen.epochs))
        cells = [f"{run.train_loss:.4f} / {100 * run.accuracy:.1f} %" for run in runs]
        seconds = statistics.median(run.epoch_seconds for run in runs)
        rows.append([name, *cells, f"{gap(runs):.1e}", f"{seconds:.2f}"])
        print("  ".join(rows[-1]), flush=True)
        if name.startswith("QDOP"):
            worst = max(run.train_loss for run in runs)
            met = worst <= MOST_LOSS and gap(runs) <= MOST_GAP
            verdict.append(
                f"QDOP: worst train loss {worst:.4f} (aim: at most {MOST_LOSS}), largest gap {gap(runs):.1e} "
                f"(aim: at most {MOST_GAP:.0e}): {'met' if met else '**missed**'}."
            )
    header = ["rule", *COLUMNS, "largest gap", "s an epoch"]
    page = [
        heading("MNIST, 784-100-10, four ways of writing it down", facts),
        "Train loss (negative log-likelihood, 50,000 digits) / accuracy on the 10,000 held out, at the end.\n"
        "The largest gap is over all minibatches: from the lowest of the four curves to the highest.\n",
        table(header, rows),
        "",
        *verdict,
        "",
    ]
    report = chosen.report or REPORTS / f"mnist-{facts['date']}.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(page))
    print("\n".join(verdict))
    print(f"written to {report}")


if __name__ == "__main__":
    main()
