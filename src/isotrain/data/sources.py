"""Where data is looked for: a name, a file or a function, given on the command line or in the environment.

* ``digits``: scikit-learn's, always there;
* ``mnist``: the four idx files, in ``mnist/`` of the folder named by ``$ISOTRAIN_DATA``; or that folder's own
  path;
* ``FILE.npz`` or ``FILE.pt`` with arrays ``x`` and ``y``: read without pickle, so that a file can do no harm;
* ``FILE.py:NAME``: a function of the user's own that returns batches.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isotrain.data.digits import digits
from isotrain.data.idx import MNIST_FILES, mnist
from isotrain.errors import BadData, UnknownName

Pairs = tuple[Tensor, Tensor]
NAMES = ("digits", "mnist")


def find(name: str) -> tuple[Pairs, Pairs | None]:
    """Samples to train on and, where the source has some, samples held out.

    Raises:
        UnknownName: neither a name of a source nor a file.
        BadData: the file is absent, unreadable, or holds something else.
    """
    if name == "digits":
        return digits()
    if name == "mnist" and not Path(name).is_dir():
        home = os.environ.get("ISOTRAIN_DATA")
        if not home:
            raise BadData("mnist is not part of isotrain: name its folder (--data FOLDER) or set ISOTRAIN_DATA.")
        return mnist(Path(home) / "mnist" if (Path(home) / "mnist").is_dir() else Path(home))
    path = Path(name)
    if path.is_dir():
        if any(p.name.startswith(MNIST_FILES["train"][0]) for p in path.iterdir()):
            return mnist(path)
        raise BadData(f"folder {name} holds no data that is known here (MNIST's idx files would be).")
    if path.suffix in (".npz", ".pt", ".pth"):
        return read_arrays(path), None
    if path.exists():
        raise BadData(f"{name}: data comes from an .npz, a .pt, a folder or FILE.py:NAME.")
    raise UnknownName("data", name, NAMES)


def read_arrays(path: Path) -> Pairs:
    """``x`` and ``y`` of an ``.npz`` or ``.pt`` file, loaded without pickle.

    Raises:
        BadData: the file is absent or unreadable, or has no x and y of one length.
    """
    if not path.is_file():
        raise BadData(f"{path} does not exist.")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found = {key: torch.from_numpy(arrays[key]) for key in arrays.files if key in ("x", "y")}
        else:
            loaded = torch.load(path, weights_only=True, map_location="cpu")
            if not isinstance(loaded, dict):
                raise BadData(f"{path.name} must hold a mapping with x and y, it holds a {type(loaded).__name__}.")
            found = {key: loaded[key] for key in ("x", "y") if isinstance(loaded.get(key), Tensor)}
    except BadData:
        raise
    except Exception as error:  # whatever a broken file makes the two libraries raise, and it is a long list
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadData(f"{path.name} cannot be read without running code from it: {reason}") from error
    if set(found) != {"x", "y"}:
        raise BadData(f"{path.name} must hold arrays named x and y.")
    x, y = found["x"], found["y"]
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y) or len(x) == 0:
        raise BadData(f"{path.name}: x has shape {tuple(x.shape)}, y {tuple(y.shape)}: as many of each are needed.")
    x = x.float() if x.is_floating_point() or x.dtype is torch.uint8 else x
    return x, y.float() if y.is_floating_point() else y.long()


def batched(pairs: Pairs, size: int, seed: int = 0) -> list[Pairs]:
    """Minibatches in an order drawn once from the seed; what does not fill the last one is left out.

    Raises:
        BadData: minibatches of nothing.

    >>> [len(x) for x, y in batched((torch.rand(7, 2), torch.rand(7)), 3)]
    [3, 3]
    """
    if size < 1:
        raise BadData(f"a batch of {size} has nothing in it.")
    x, y = pairs
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    whole = max(1, len(x) // size) * size
    return [(x[at], y[at]) for at in order[:whole].view(-1, min(size, len(x)))]
