"""The binary format of CIFAR-10: records of one label byte and 3 x 32 x 32 pixels, channel by channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isotrain.errors import BadData

RECORD = 1 + 3 * 32 * 32


def read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """Pictures [n, 3, 32, 32] in [0, 1] and labels [n] of one batch file.

    Raises:
        BadData: absent, or not a whole number of records with labels 0 to 9.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise BadData(f"{path.name} cannot be read: {error}.") from error
    if not len(content) or len(content) % RECORD:
        raise BadData(f"{path.name} holds {len(content)} bytes, no whole number of CIFAR-10's {RECORD}-byte records.")
    records = content.reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise BadData(f"{path.name} has a label {records[:, 0].max()}: CIFAR-10's go from 0 to 9.")
    pictures = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255)
    return pictures, torch.from_numpy(records[:, 0].astype(np.int64))


def cifar10(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training pictures (every data_batch_N.bin there is) and test pictures, with their labels.

    Raises:
        BadData: a file is missing or is not CIFAR-10's.
    """
    batches = sorted(folder.glob("data_batch_*.bin"))
    if not batches:
        raise BadData(f"data_batch_1.bin is not in {folder}: put the binary version of CIFAR-10 there.")
    found = [read_cifar(path) for path in batches]
    training = torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])
    return training, read_cifar(folder / "test_batch.bin")
