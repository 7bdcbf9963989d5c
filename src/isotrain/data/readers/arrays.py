"""Pictures that lie in one file by the thousand: MNIST's idx, CIFAR-10's batches, scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from isotrain.data.cifar import read_cifar
from isotrain.data.digits import digits
from isotrain.data.idx import MNIST_FILES, read_idx
from isotrain.data.readers.reading import TEST, TRAIN, Reading, Tree
from isotrain.data.readers.textfiles import read_lines
from isotrain.data.samples import Sample
from isotrain.errors import BadData

NAME = "pictures in binary files"


def recognises(tree: Tree) -> bool:
    """MNIST's or CIFAR-10's files are there by their names."""
    return not tree.only and (_idx(tree, MNIST_FILES["train"][0]) is not None or bool(_batches(tree)))


def read(tree: Tree, need: str) -> Reading:
    """MNIST's t10k files and CIFAR's test_batch are the test split."""
    if _batches(tree):
        return _cifar(tree)
    reading = Reading("idx", labelled=True)
    parts = {}
    for split, (pictures, labels) in zip((TRAIN, TEST), MNIST_FILES.values(), strict=True):
        paths = _idx(tree, pictures), _idx(tree, labels)
        if paths[0] is None and paths[1] is None and split == TEST:
            continue
        if paths[0] is None or paths[1] is None:
            raise BadData(
                f"{labels if paths[0] else pictures}(.gz) is not in {tree.root}: the pair of files is needed."
            )
        x, y = read_idx(paths[0]), read_idx(paths[1])
        if x.dim() != 3 or y.dim() != 1 or len(x) != len(y) or x.dtype is not torch.uint8:
            raise BadData(
                f"{paths[0].name} has {x.dtype} of shape {tuple(x.shape)}, {paths[1].name} {tuple(y.shape)}: "
                "[pictures, height, width] bytes and as many labels are needed."
            )
        parts[split] = x[:, None], y.long(), paths[1].name
    numbers = reading.number({str(int(label)) for _, y, _ in parts.values() for label in y.unique()})
    for split, (x, y, file) in parts.items():
        reading.splits[split] = _samples(x, [numbers[str(label)] for label in y.tolist()], split, file)
    return reading


def read_digits() -> Reading:
    """scikit-learn's 1,797 digits; the 297 that `digits` holds out are the test split."""
    reading = Reading("scikit-learn's digits", labelled=True)
    reading.number({str(number) for number in range(10)})
    for split, (x, y) in zip((TRAIN, TEST), digits(), strict=True):
        pictures = (x * 255).round().to(torch.uint8).view(-1, 1, 8, 8)
        reading.splits[split] = _samples(pictures, y.tolist(), split, "digits")
    return reading


def _cifar(tree: Tree) -> Reading:
    reading = Reading("CIFAR-10's binary files", labelled=True)
    for path in _batches(tree):
        split = TEST if path.name.startswith("test") else TRAIN
        x, y = read_cifar(path)
        pictures = (x * 255).round().to(torch.uint8)
        reading.splits[split] += _samples(pictures, y.tolist(), path.stem, path.name)
    names = tree.root / "batches.meta.txt"
    reading.classes = [line.strip() for line in read_lines(names) if line.strip()] if names.is_file() else []
    if len(reading.classes) != 10:
        reading.number({str(number) for number in range(10)})
    return reading


def _samples(pictures: Tensor, labels: list[int], name: str, file: str) -> list[Sample]:
    return [
        Sample(picture, (label,), name=f"{name}[{number}]", where=f"{file}[{number}]")
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True))
    ]


def _idx(tree: Tree, name: str) -> Path | None:
    return next((path for path in (tree.root / f"{name}.gz", tree.root / name) if path.is_file()), None)


def _batches(tree: Tree) -> list[Path]:
    return sorted([*tree.root.glob("data_batch_*.bin"), *tree.root.glob("test_batch.bin")]) if not tree.only else []
