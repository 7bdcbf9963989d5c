"""Weights that a residual net starts from: a file, or what torchvision keeps in its cache. Nothing is downloaded."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from isotrain.errors import BadCheckpoint, BadOption
from isotrain.nets.resnet import LARGE, ResNet

CACHE = "cache"
"""Stands for torchvision's cache in place of a file's name."""
IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""By which torchvision's weights expect pictures in [0, 1] to be scaled."""


def imagenet_scale(channels: int) -> tuple[list[float], list[float]]:
    """Mean and spread that go with torchvision's weights; their averages for grey pictures.

    Raises:
        BadOption: neither 1 nor 3 channels.

    >>> imagenet_scale(3)[0]
    [0.485, 0.456, 0.406]
    """
    if channels not in (1, 3):
        raise BadOption(f"pretrained weights are for grey or colour pictures, these have {channels} channels.")
    if channels == 1:
        return [sum(IMAGENET_MEAN) / 3], [sum(IMAGENET_SPREAD) / 3]
    return list(IMAGENET_MEAN), list(IMAGENET_SPREAD)


def cached(name: str) -> Path:
    """Where torchvision keeps the weights of a net.

    Raises:
        BadOption: it has none of that name, or they are not in its cache.
    """
    from torchvision.models import get_model_weights

    if name not in LARGE:
        raise BadOption(f"torchvision has no weights for {name}, only for {', '.join(LARGE)}.")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = [Path(entry.url).name for entry in get_model_weights(name)]
    for file in reversed(files):  # the later weights are the better ones
        if (folder / file).is_file():
            return folder / file
    raise BadOption(f"the weights of {name} ({' or '.join(files)}) are not in torchvision's cache, {folder}.")


def load_pretrained(net: ResNet, source: str | Path) -> None:
    """Give a net the weights of a file: torchvision's (.pth) or a run's own (.safetensors).

    The last layer's are left out where its number of classes is another. For a net of one channel the first
    convolution's three are summed: what it gives for a grey picture shown as a colour one. `StochasticDepth` has none.

    Args:
        net: to load into.
        source: a file, or "cache" for torchvision's.

    Raises:
        BadOption: there is no such file.
        BadCheckpoint: it cannot be read, or is another net's.
    """
    path = cached(net.name) if str(source) == CACHE else Path(source)
    found = _read(path)
    own = net.state_dict()
    first = found.get("conv1.weight")
    if first is not None and first.dim() == 4 and first.shape[1] == 3 and own["conv1.weight"].shape[1] == 1:
        found["conv1.weight"] = first.sum(1, keepdim=True)
        found = {key: value for key, value in found.items() if not key.startswith("standardize.")}
    for key in ("fc.weight", "fc.bias"):
        if key in found and found[key].shape != own[key].shape:
            del found[key]
    # torchvision's files know neither our scaling of the pictures nor, the oldest ones, how many batches a norm saw.
    free = ("fc.", "standardize.")
    absent = [k for k in own if k not in found and not k.startswith(free) and not k.endswith("num_batches_tracked")]
    other = [k for k in found if k not in own]
    unfit = [k for k in found if k in own and found[k].shape != own[k].shape]
    if absent or other or unfit:
        key = (absent or other or unfit)[0]
        what = "is missing" if absent else "is not of this net" if other else f"has shape {tuple(found[key].shape)}"
        raise BadCheckpoint(f"{path.name} is not a {net.name}'s weights: {key!r} {what}.")
    net.load_state_dict(found, strict=False)


def load_alike(net: nn.Module, source: Path, but: str) -> None:
    """Give a net the weights of another of its kind.

    Args:
        net: to load into.
        source: a run folder, or a file.
        but: what the names begin with that may be missing or of another shape, and is then left as it is drawn.

    Raises:
        BadOption: there is no such file.
        BadCheckpoint: it cannot be read, or is another net's.
    """
    path = source / "model.safetensors" if source.is_dir() else source
    found, own = _read(path), net.state_dict()
    kept = {k: v for k, v in found.items() if not k.startswith(but) or (k in own and own[k].shape == v.shape)}
    odd = sorted(k for k in set(own) | set(kept) if not k.startswith(but) and (k not in own or k not in kept))
    odd += [k for k in kept if k in own and own[k].shape != kept[k].shape]
    if odd:
        raise BadCheckpoint(f"{path} is not this net's: {odd[0]!r} differs. Begin from a run with the same options.")
    net.load_state_dict(kept, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BadOption(f"pretrained weights {path}: there is no such file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise BadCheckpoint(f"pretrained weights {path.name} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadCheckpoint(f"{path.name} holds no table of weights: give a state dict saved by torch.save.")
    return {str(key): value for key, value in found.items()}
