"""What a set of pictures of one class each asks for: the net, its size, how pictures may be varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, evenly
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.tasks.base import Card

MEASURED = 512
"""Training pictures, evenly spaced, that sizes, means and spreads are measured on."""
SMALL = 64
"""Longest side in pixels up to which pictures are left as they are and taken by the nets for 32 pixels."""
LARGE = 224
"""Side of the square that larger pictures are brought to, unless they are smaller themselves."""
SIDES = (4, 1024)
"""Least and greatest side of the net's pictures."""
FLAT = 1 / 255
"""Spread of a channel below which it shows nothing."""
OPTIONS = ("net", "size", "mirror", "shift", "cutout", "stochastic_depth", "pretrained")


def card_for(dataset: Dataset, options: Mapping[str, Any]) -> Card:
    """The card of a classifier; see `Classify.plan`.

    Raises:
        BadData: as there.
        BadOption: as there.
        UnknownName: as there.
    """
    from isotrain.nets.resnet import NETS

    chosen = {name: value for name, value in options.items() if value is not None}
    for name in chosen:
        if name not in OPTIONS:
            raise UnknownName("option", name, OPTIONS)
    _check_labels(dataset)
    shown = [read_picture(sample.picture, reduce=True) for sample in evenly(dataset.train, MEASURED)]
    channels = max(len(picture) for picture in shown)
    height, width = _size(chosen.get("size"), shown)
    net = str(chosen.get("net", "resnet20" if max(height, width) <= SMALL else "resnet18"))
    if net not in NETS:
        raise UnknownName("net", net, NETS)
    mean, spread = _measured([fitted(picture, channels, height, width) for picture in shown])
    if "pretrained" in chosen:
        from isotrain.nets.pretrained import imagenet_scale

        mean, spread = imagenet_scale(channels)
    side = min(height, width)
    return {
        "classes": list(dataset.classes),
        "channels": channels,
        "mean": mean,
        "spread": spread,
        "size": [height, width],
        "net": net,
        "mirror": bool(chosen.get("mirror", channels == 3)),
        "shift": _number(chosen, "shift", side // (8 if channels == 3 else 14), 0, side - 1),
        "cutout": _number(chosen, "cutout", 0, 0, side),
        "stochastic_depth": _share(chosen.get("stochastic_depth", 0.0)),
        "pretrained": str(chosen["pretrained"]) if "pretrained" in chosen else None,
    }


def fitted(picture: Tensor, channels: int, height: int, width: int) -> Tensor:
    """A picture uint8 [1 or 3, H, W] scaled until it covers height x width, its middle cut out: uint8 [C, h, w].

    >>> fitted(torch.zeros(1, 40, 80, dtype=torch.uint8), 3, 20, 20).shape
    torch.Size([3, 20, 20])
    """
    from torchvision.transforms.v2 import functional as V

    if len(picture) != channels:
        picture = V.grayscale_to_rgb(picture) if channels == 3 else V.rgb_to_grayscale(picture)
    if picture.shape[1:] == (height, width):
        return picture
    scale = max(height / picture.shape[1], width / picture.shape[2])
    covering = [max(side, round(own * scale)) for side, own in zip((height, width), picture.shape[1:], strict=True)]
    # A strip of 1 x 10,000 pixels would become gigabytes: its middle is cut out first.
    most = [max(1, round(4 * side / scale)) for side in (height, width)]
    if any(own > limit for own, limit in zip(picture.shape[1:], most, strict=True)):
        picture = V.center_crop(picture, [min(a, b) for a, b in zip(picture.shape[1:], most, strict=True)])
        covering = [max(a, round(own * scale)) for a, own in zip((height, width), picture.shape[1:], strict=True)]
    found: Tensor = V.center_crop(V.resize(picture, covering, antialias=True), [height, width])
    return found.contiguous()


def _check_labels(dataset: Dataset) -> None:
    if not dataset.train:
        raise BadData(f"{dataset.source or 'the data'}: there are no pictures to learn from.")
    for sample in (*dataset.train, *dataset.held_out, *dataset.test):
        if len(sample.labels) != 1:
            what = "no class" if not sample.labels else f"{len(sample.labels)} classes"
            raise BadData(
                f"{sample.where or sample.name} has {what}, classify needs one for each picture. "
                "For pictures of several classes there is `isotrain train localise`."
            )
    learned = {sample.labels[0] for sample in dataset.train}
    if len(learned) < 2:
        only = dataset.classes[next(iter(learned))]
        raise BadData(f"all pictures to learn from are of class {only!r}: there is nothing to tell apart.")
    for sample in (*dataset.held_out, *dataset.test):
        if sample.labels[0] not in learned:
            raise BadData(
                f"{sample.where or sample.name} is of class {dataset.classes[sample.labels[0]]!r}, "
                "which no picture to learn from has."
            )


def _size(asked: Any, shown: Sequence[Tensor]) -> tuple[int, int]:
    if asked is not None:
        try:
            sides = [int(side) for side in (asked if isinstance(asked, Sequence) and len(asked) == 2 else (asked,) * 2)]
        except (TypeError, ValueError) as error:
            raise BadOption(f"size={asked!r} is a number of pixels, or two: height and width.") from error
    elif len(alike := {tuple(picture.shape[1:]) for picture in shown}) == 1 and max(next(iter(alike))) <= SMALL:
        sides = list(next(iter(alike)))
    else:
        shorter = sorted(min(picture.shape[1:]) for picture in shown)
        sides = [min(LARGE, shorter[len(shorter) // 2])] * 2
    for side in sides:
        if not SIDES[0] <= side <= SIDES[1]:
            whose = "size=" if asked is not None else "the pictures' size is "
            raise BadOption(f"{whose}{'x'.join(map(str, sides))}: the net takes sides of {SIDES[0]} to {SIDES[1]}.")
    return sides[0], sides[1]


def _measured(shown: Sequence[Tensor]) -> tuple[list[float], list[float]]:
    """Mean and spread of each channel over all pixels, in [0, 1].

    Raises:
        BadData: all pixels are the same.
    """
    pixels_ncs = torch.stack([picture.flatten(1) for picture in shown]).float() / 255
    # Moments of each picture first: single precision loses nothing of a picture, but of all their pixels.
    means_nc, squares_nc = pixels_ncs.double().mean(2), pixels_ncs.double().square().mean(2)
    mean_c = means_nc.mean(0)
    spread_c = (squares_nc.mean(0) - mean_c.square()).clamp_min(0).sqrt()
    if float(spread_c.max()) < FLAT:
        raise BadData(f"the {len(shown)} pictures looked at are all of one colour: there is nothing to learn from.")
    return mean_c.tolist(), spread_c.clamp_min(FLAT).tolist()


def _number(chosen: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    try:
        value = int(chosen.get(name, default))
    except (TypeError, ValueError) as error:
        raise BadOption(f"{name}={chosen[name]!r} is a number of pixels.") from error
    if not least <= value <= most:
        raise BadOption(f"{name}={value} should be {least} to {most} pixels for pictures of this size.")
    return value


def _share(asked: Any) -> float | list[float]:
    try:
        shares = [float(share) for share in (asked if isinstance(asked, Sequence) else [asked])]
    except (TypeError, ValueError):
        shares = []
    if len(shares) not in (1, 2) or not all(0 <= share < 1 for share in shares):
        raise BadOption(f"stochastic_depth={asked!r} is a share of dropped branches in [0, 1), or two: first and last.")
    return shares if len(shares) == 2 else shares[0]
