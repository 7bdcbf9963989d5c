"""The whole run, start included, in several codings: weights are never mapped, `isotrain.start` is all there is.

    ISOTRAIN_DATA=folder .venv/bin/python benchmarks/start.py            all; reckoned at six minutes
    .venv/bin/python benchmarks/start.py --problems wine cancer

Every problem is written down several ways (pictures as they are and inverted, tanh, sigmoid and 1.7159 tanh(2x/3),
tables standardised, raw, and with each feature in a unit of its own) and every way is trained from its own
`isotrain.start` with the same seed, on the same minibatches, in float64. The gap is the largest difference between
two of the loss curves, at any step. Beside it Adam, at its published rate, from torch's start and from ours. Where
pictures are padded with zeros, black and white are not mere coordinates: there the losses of three seeds are given.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from sklearn.datasets import load_breast_cancer, load_wine
from torch import Tensor, nn
from torch.nn import functional as F

import isotrain
from isotrain.data.cifar import cifar10
from isotrain.data.idx import mnist
from isotrain.lab.changes import scaled_tanh
from isotrain.lab.suite.nets import ResNet8
from machine import REPORTS, described, heading, table

Activation = Callable[[], nn.Module]
Coding = tuple[str, Activation, Callable[[Tensor], Tensor]]


class ScaledTanh(nn.Module):
    """LeCun's."""

    def forward(self, x: Tensor) -> Tensor:
        return scaled_tanh(x)


def _same(x: Tensor) -> Tensor:
    return x


def _inverted(x: Tensor) -> Tensor:
    return 1 - x


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


def _units(x: Tensor) -> Tensor:
    """Every feature in a unit of its own, from a thousandth to a thousand times."""
    return x * torch.logspace(-3, 3, x.shape[1], dtype=x.dtype)


TANHS: dict[str, Activation] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "1.7159 tanh": ScaledTanh}
PICTURES = {"as they are": _same, "inverted": _inverted}
TABLES = {"standardised": _standardised, "raw": _same, "units of 1e-3 to 1e3": _units}


def dense(*widths: int) -> Callable[[Activation], nn.Module]:
    def build(activation: Activation) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        for i, k in pairwise(widths):
            layers += [nn.Linear(i, k), activation()]
        return nn.Sequential(*layers[:-1])

    return build


def convolutional(activation: Activation) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2), activation(), nn.Conv2d(16, 32, 5, stride=2), activation(), nn.Flatten(),
        nn.Linear(800, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A network in several codings."""

    build: Callable[[Activation], nn.Module]
    data: Callable[[], tuple[Tensor, Tensor]]
    activations: dict[str, Activation]
    inputs: dict[str, Callable[[Tensor], Tensor]]
    batch: int
    steps: int

    def codings(self) -> Iterator[Coding]:
        for said, activation in self.activations.items():
            for form, code in self.inputs.items():
                yield f"{said}, {form}", activation, code


def home() -> Path:
    if "ISOTRAIN_DATA" not in os.environ:
        raise SystemExit("the pictures are not part of isotrain: set ISOTRAIN_DATA to the folder that holds mnist/.")
    return Path(os.environ["ISOTRAIN_DATA"])


def digits() -> tuple[Tensor, Tensor]:
    (x, y), _ = mnist(home() / "mnist")
    return x[:6000].double(), y[:6000]


def colours() -> tuple[Tensor, Tensor]:
    (x, y), _ = cifar10(home() / "cifar10")
    return x.double(), y


def rows(load: Callable[[], object]) -> Callable[[], tuple[Tensor, Tensor]]:
    def data() -> tuple[Tensor, Tensor]:
        bunch = load()
        return torch.tensor(bunch.data), torch.tensor(bunch.target)

    return data


PROBLEMS = {
    "mnist": Problem(dense(784, 100, 30, 10), digits, TANHS, PICTURES, 100, 300),
    "mnist-relu": Problem(dense(784, 256, 128, 10), digits, {"ReLU": nn.ReLU}, PICTURES, 100, 300),
    "cifar": Problem(convolutional, colours, TANHS, PICTURES, 64, 300),
    "wine": Problem(dense(13, 32, 16, 3), rows(load_wine), TANHS, TABLES, 32, 300),
    "cancer": Problem(dense(30, 32, 16, 2), rows(load_breast_cancer), TANHS, TABLES, 32, 300),
}


def minibatches(n: int, batch: int, steps: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    while len(found) < steps:
        found += torch.randperm(n, generator=generator)[: n // batch * batch].split(batch)
    return found[:steps]


def curve(
    model: nn.Module, x: Tensor, y: Tensor, problem: Problem, rule: str, ours: bool, seed: int = 0
) -> list[float]:
    """Loss of every minibatch."""
    if ours:
        isotrain.start(model, x[:512], seed)
    optimizer = isotrain.Riemannian(model) if rule == "isotrain" else torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for at in minibatches(len(x), problem.batch, problem.steps, seed):
        loss = F.cross_entropy(model(x[at]), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def measured(name: str) -> list[str]:
    """One row of the table."""
    problem = PROBLEMS[name]
    x, y = problem.data()
    curves: dict[str, list[list[float]]] = {}
    for rule, ours in (("isotrain", True), ("adam", True), ("adam", False)):
        for said, activation, code in problem.codings():
            torch.manual_seed(0)
            model = problem.build(activation).double()
            curves.setdefault(f"{rule} {ours}", []).append(curve(model, code(x), y, problem, rule, ours))
            print(f"{name}, {rule}{' from our start' if ours else ''}, {said}: {ended(curves[f'{rule} {ours}'][-1])}")

    def gap(of: list[list[float]]) -> float:
        return max(abs(a - b) for one in of for a, b in zip(one, of[0], strict=True))

    def ends(of: list[list[float]]) -> str:
        last = [statistics.mean(one[-len(one) // 10 :]) for one in of]
        return f"{min(last):.3g} to {max(last):.3g}"

    ours = curves["isotrain True"]
    return [
        name, str(len(ours)), f"{gap(ours):.1e}", ended(ours[0]),
        ends(curves["adam True"]), ends(curves["adam False"]),
    ]  # fmt: skip


def ended(losses: list[float]) -> str:
    """Mean of the last tenth."""
    return f"{statistics.mean(losses[-len(losses) // 10 :]):.3g}"


def padded(seeds: int) -> list[list[str]]:
    """ResNet-8 pads with zeros: its losses on pictures as they are and inverted, for some seeds."""
    x, y = colours()
    x = x.float()
    problem = Problem(lambda _: ResNet8(8, norm=False), colours, {}, {}, 64, 250)
    found = []
    for said, code in PICTURES.items():
        losses = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            losses.append(ended(curve(problem.build(nn.ReLU), code(x), y, problem, "isotrain", True, seed)))
            print(f"ResNet-8 without norm, {said}, seed {seed}: {losses[-1]}")
        found.append([said, *losses])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=[*PROBLEMS, "padded"], default=[*PROBLEMS, "padded"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    facts = described()
    lines = [heading("The whole run, in several codings", facts)]
    header = ["problem", "codings", "gap", "loss", "Adam from our start", "Adam from torch's"]
    found = [measured(name) for name in asked.problems if name != "padded"]
    if found:
        lines += [table(header, found), ""]
    if "padded" in asked.problems:
        seeds = 3
        title = ["ResNet-8 without norm, zero padding, CIFAR", *(f"seed {seed}" for seed in range(seeds))]
        lines += [table(title, padded(seeds)), ""]
    print("\n" + "\n".join(lines))
    if set(asked.problems) == {*PROBLEMS, "padded"}:
        path = REPORTS / f"start-{facts['date']}.md"
        path.write_text("\n".join(lines))
        print(f"written to {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
