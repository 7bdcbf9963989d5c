"""The idx format of MNIST: a big-endian header (type, sizes), then the numbers; gzipped or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isotrain.errors import BadData

TYPES = {0x08: np.uint8, 0x09: np.int8, 0x0B: np.int16, 0x0C: np.int32, 0x0D: np.float32, 0x0E: np.float64}
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path: Path) -> Tensor:
    """The array in an idx file.

    Raises:
        BadData: not an idx file, or one that is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{path.name} cannot be read: {error}.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise BadData(f"{path.name} is not an idx file: its first bytes are {content[:4].hex(' ') or 'missing'}.")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise BadData(f"{path.name} is cut short within its header.")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    kind = np.dtype(TYPES[content[2]]).newbyteorder(">")
    if len(content) != start + math.prod(shape) * kind.itemsize:
        raise BadData(
            f"{path.name} should hold {'x'.join(map(str, shape))} numbers after its header, "
            f"it holds {len(content) - start} bytes: cut short, or not the file it says."
        )
    array = np.frombuffer(content, kind, offset=start).reshape(shape)
    return torch.from_numpy(array.astype(kind.newbyteorder("=")))


def mnist(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """MNIST's training and test pictures in [0, 1], flattened to 784 numbers, with their labels.

    Raises:
        BadData: a file that is missing or does not fit the others.
    """
    found = []
    for pictures, labels in MNIST_FILES.values():
        x, y = read_idx(_there(folder, pictures)), read_idx(_there(folder, labels))
        if x.dim() != 3 or y.dim() != 1 or len(x) != len(y):
            raise BadData(f"{pictures} has shape {tuple(x.shape)}, {labels} {tuple(y.shape)}: they do not fit.")
        found.append((x.flatten(1).float() / 255, y.long()))
    return found[0], found[1]


def _there(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    raise BadData(f"{name}(.gz) is not in {folder}: put MNIST's four idx files there.")
