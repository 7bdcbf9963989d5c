"""The ten problems of the contest: a network, its data, its loss, and how long it is trained.

Small enough for one processor core: a run of a cheap optimizer takes some seconds. Everything but the seed is
fixed here, the same for every optimizer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isotrain.data.cifar import cifar10
from isotrain.data.digits import digits
from isotrain.data.idx import mnist
from isotrain.data.text import PAD, characters, encoded, vocabulary, words
from isotrain.data.textfiles import read_utf8
from isotrain.errors import BadData
from isotrain.lab.problem import Batch, Loss, binary_cross_entropy, cross_entropy
from isotrain.lab.suite.nets import CharacterLSTM, CharacterTransformer, ConvNet, ResNet8, Translator, perceptron
from isotrain.likelihood import Categorical
from isotrain.likelihood.base import Likelihood

Pairs = tuple[Tensor, Tensor]
Data = Callable[[], tuple[Pairs, Pairs]]

LENGTH = 32
"""Characters in a sequence."""
SENTENCE = 12
"""Most words in a sentence of the translation problem, so that a run stays short."""
WORDS = 1500
"""Words a language of the translation problem knows."""


def _padded_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, -2), target.flatten(), ignore_index=PAD)


@dataclass(frozen=True)
class SuiteProblem:
    """One problem.

    Attributes:
        name: short, as tables call it.
        title: what it is.
        build: makes the network.
        data: samples to train on and samples held out.
        batch: samples in a minibatch.
        steps: length of a run.
        longer: how much longer the runs of cheap rivals are, so that they reach equal seconds.
        loss: mean loss of outputs and targets.
        likelihood: what the loss stands for.
        scale: what the loss is multiplied by in tables (pixels, where it is customary to sum over them).
    """

    name: str
    title: str
    build: Callable[[], nn.Module]
    data: Data
    batch: int
    steps: int
    loss: Loss = cross_entropy
    likelihood: str | Likelihood = "categorical"
    scale: float = 1.0
    longer: float = 2.0

    def model(self, seed: int) -> nn.Module:
        """The network of one seed."""
        torch.manual_seed(seed)
        return self.build()

    def stream(self, seed: int, steps: int) -> list[Batch]:
        """Minibatches: every pass over the data in an order of its own, drawn from the seed."""
        x, y = self.data()[0]
        generator = torch.Generator().manual_seed(seed)
        batches: list[Batch] = []
        while len(batches) < steps:
            order = torch.randperm(len(x), generator=generator)
            whole = len(x) // self.batch * self.batch
            batches += [(x[rows], y[rows]) for rows in order[:whole].view(-1, self.batch)]
        return batches[:steps]

    def held_out(self) -> list[Batch]:
        """Samples never trained on, in batches."""
        x, y = self.data()[1]
        return list(zip(x.split(500), y.split(500), strict=True))


def _home(name: str) -> Path:
    home = os.environ.get("ISOTRAIN_DATA")
    if not home or not (Path(home) / name).is_dir():
        raise BadData(f"{name} is not part of isotrain: set ISOTRAIN_DATA to the folder that holds {name}/.")
    return Path(home) / name


@lru_cache(maxsize=1)
def _mnist() -> tuple[Pairs, Pairs]:
    (x, y), (held_x, held_y) = mnist(_home("mnist"))
    return (x[:6000], y[:6000]), (held_x[:2000], held_y[:2000])


def _inverted() -> tuple[Pairs, Pairs]:
    (x, y), (held_x, held_y) = _mnist()
    return (1 - x, y), (1 - held_x, held_y)


def _themselves() -> tuple[Pairs, Pairs]:
    (x, _), (held_x, _) = _mnist()
    return (x, x), (held_x, held_x)


@lru_cache(maxsize=1)
def _cifar() -> tuple[Pairs, Pairs]:
    return cifar10(_home("cifar10"))


@lru_cache(maxsize=1)
def _shakespeare() -> tuple[Pairs, Pairs]:
    """Sequences and the same one place later: nine tenths of the text to train on, some of the rest held out."""
    text, _ = characters(read_utf8(_home("text") / "tinyshakespeare.txt"))
    cut = len(text) * 9 // 10
    found = []
    for part in (text[:cut], text[cut : cut + 500 * LENGTH + 1]):
        rows = (len(part) - 1) // LENGTH
        found.append((part[: rows * LENGTH].view(rows, LENGTH), part[1 : rows * LENGTH + 1].view(rows, LENGTH)))
    return found[0], found[1]


@lru_cache(maxsize=1)
def _multi30k() -> tuple[Pairs, Pairs]:
    """English words, and German ones from the begin mark on; the targets are the German ones to the end mark."""
    home = _home("multi30k")
    sides = {
        (part, language): [words(line) for line in read_utf8(home / f"{part}.{language}.gz").splitlines()]
        for part in ("train", "val")
        for language in ("en", "de")
    }
    kept = {
        part: [
            (a, b)
            for a, b in zip(sides[part, "en"], sides[part, "de"], strict=True)
            if len(a) <= SENTENCE and len(b) <= SENTENCE
        ]
        for part in ("train", "val")
    }
    english = vocabulary((a for a, _ in kept["train"]), WORDS)
    german = vocabulary((b for _, b in kept["train"]), WORDS)
    found = []
    for part in ("train", "val"):
        source = encoded([a for a, _ in kept[part]], english, SENTENCE)
        target = encoded([b for _, b in kept[part]], german, SENTENCE + 2, ends=True)
        found.append((torch.cat([source, target[:, :-1]], 1), target[:, 1:]))
    return found[0], found[1]


SYMBOLS = 65
"""Characters of tiny Shakespeare."""

PROBLEMS: dict[str, SuiteProblem] = {
    p.name: p
    for p in (
        SuiteProblem(
            "digits",
            "digits, 64-64-32-10 tanh",
            lambda: perceptron(64, 64, 32, 10, activation=nn.Tanh),
            digits,
            100,
            300,
            longer=5.0,
        ),
        SuiteProblem(
            "mlp", "MNIST, 784-256-128-10 ReLU", lambda: perceptron(784, 256, 128, 10), _mnist, 100, 600, longer=3.0
        ),
        SuiteProblem(
            "deep-sigmoid",
            "MNIST, six hidden layers of 64 sigmoids",
            lambda: perceptron(784, *[64] * 6, 10, activation=nn.Sigmoid),
            _mnist,
            100,
            600,
            longer=5.0,
        ),
        SuiteProblem(
            "autoencoder",
            "MNIST, 784-256-64-16-64-256-784 tanh",
            lambda: perceptron(784, 256, 64, 16, 64, 256, 784, activation=nn.Tanh),
            _themselves,
            100,
            500,
            binary_cross_entropy,
            "bernoulli",
            784.0,
            longer=3.0,
        ),
        SuiteProblem("resnet", "CIFAR, ResNet-8 with batch norm", lambda: ResNet8(8), _cifar, 64, 250, longer=1.5),
        SuiteProblem(
            "resnet-no-norm",
            "CIFAR, ResNet-8 without norm",
            lambda: ResNet8(8, norm=False),
            _cifar,
            64,
            250,
            longer=1.5,
        ),
        SuiteProblem("inverted", "MNIST inverted, ConvNet", ConvNet, _inverted, 100, 300),
        SuiteProblem("lstm", "tiny Shakespeare, LSTM 128", lambda: CharacterLSTM(SYMBOLS, 128), _shakespeare, 32, 300),
        SuiteProblem(
            "translation",
            "Multi30k en-de, GRU encoder and decoder 128",
            lambda: Translator(SENTENCE, WORDS),
            _multi30k,
            32,
            250,
            _padded_cross_entropy,
            Categorical(dim=-1, ignore_index=PAD),
        ),
        SuiteProblem(
            "transformer",
            "tiny Shakespeare, transformer of 2 blocks, 64 wide",
            lambda: CharacterTransformer(SYMBOLS, 64, 4, 2, LENGTH),
            _shakespeare,
            32,
            300,
        ),
    )
}
