"""How a run's net is shown a whole photo, and which of its layers describe it: for all tasks that look at pictures.

Letters: n photo, c channel, h w places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.pictures import crops_in_channels
from isotrain.errors import BadOption
from isotrain.nets.caption import Captioner
from isotrain.nets.deepmask import DeepMask
from isotrain.nets.multiscale import Multiscale
from isotrain.nets.regions import FastRCNN
from isotrain.tasks.base import Task
from isotrain.tasks.classify_card import fitted

LAYERS = 4
"""Convolutions that describe a photo: evenly spaced over the net, the last one among them."""
FLAT = 1e-4
"""Added to a spread before its logarithm is taken."""
TOGETHER = 64
"""Photos described at a time."""


@dataclass(frozen=True)
class View:
    """A net's own way to see a photo.

    Attributes:
        prepare: a photo uint8 [C, H, W] to what the net takes of it, float32 [c, h, w] in [0, 1].
        run: pictures [n, c, h, w] through the layers that see.
        layers: whose answers describe a photo.
    """

    prepare: Callable[[Tensor], Tensor]
    run: Callable[[Tensor], object]
    layers: Sequence[nn.Module]


def view_of(task: Task, net: nn.Module, longest: int) -> View:
    """How a net sees a photo as a whole.

    Args:
        task: that the net is of.
        net: in evaluation mode.
        longest: pixels of the longer side at which a net that takes any size is shown a photo.

    Raises:
        BadOption: the task looks at no pictures, or at faces.
    """
    card = task.card
    channels = int(card.get("channels", 3))
    if task.name in ("classify", "caption"):
        high, wide = map(int, card["size"] if task.name == "classify" else [card["size"]] * 2)
        seeing = net.encoder.trunk if isinstance(net, Captioner) else net
        return View(lambda picture: fitted(picture, channels, high, wide).float() / 255, seeing, _some(seeing))
    if isinstance(net, Multiscale):
        return View(lambda picture: shrunk(picture, channels, max(map(int, card["size"]))), net.maps, _some(net))
    if isinstance(net, FastRCNN):
        return View(lambda picture: shrunk(picture, channels, int(card["size"])), net.maps, _some(net.backbone))
    if isinstance(net, DeepMask):
        deep = net
        return View(
            lambda picture: shrunk(picture, channels, longest), lambda x: deep.trunk(deep.seen(x)), _some(net.trunk)
        )
    raise BadOption(f"a run of {task.name} does not look at whole photos: it has no way to tell whether it knows one.")


def shrunk(picture: Tensor, channels: int, longest: int) -> Tensor:
    """A photo uint8 [C, H, W] in [0, 1], its longer side at most `longest`, its shape kept; sides are 16 at least.

    >>> shrunk(torch.zeros(1, 20, 80, dtype=torch.uint8), 3, 40).shape
    torch.Size([3, 16, 40])
    """
    height, width = picture.shape[1:]
    scale = min(1.0, longest / max(height, width))
    size = [max(16, round(side * scale)) for side in (height, width)]
    shown = picture[None]
    if size != [height, width]:
        # In bytes: of a large photo the floating-point numbers would be four times as much to go through.
        shown = F.interpolate(shown, size, mode="bilinear", align_corners=False, antialias=True)
    return crops_in_channels(shown.float() / 255, channels)[0]


@torch.no_grad()
def descriptions(view: View, pictures: Sequence[Tensor]) -> Tensor:
    """Photos described by mean and log spread over the places of each channel of the view's layers: [n, d].

    Args:
        view: of the net.
        pictures: uint8 [C, H, W] each.
    """
    prepared = [view.prepare(picture) for picture in pictures]
    rows: list[Tensor | None] = [None] * len(prepared)
    shapes: dict[torch.Size, list[int]] = {}
    for place, one in enumerate(prepared):
        shapes.setdefault(one.shape, []).append(place)
    for places in shapes.values():
        for start in range(0, len(places), TOGETHER):
            some = places[start : start + TOGETHER]
            described = _described(view, torch.stack([prepared[place] for place in some]))
            for place, row in zip(some, described, strict=True):
                rows[place] = row
    return torch.stack(cast("list[Tensor]", rows))


def _described(view: View, pictures_nchw: Tensor) -> Tensor:
    given: dict[int, Tensor] = {}

    def keep(place: int) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_: nn.Module, __: object, out_nchw: Tensor) -> None:
            flat = out_nchw.flatten(2)
            spread = flat.std(2, correction=0)
            # A spread is as far from half of itself as from twice.
            given[place] = torch.cat([flat.mean(2), (spread + FLAT).log()], 1)

        return hook

    hooks = [layer.register_forward_hook(keep(place)) for place, layer in enumerate(view.layers)]
    try:
        view.run(pictures_nchw)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([given[place] for place in sorted(given)], 1)


def _some(net: nn.Module) -> list[nn.Module]:
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    number = min(LAYERS, len(layers))
    return [layers[(place + 1) * len(layers) // number - 1] for place in range(number)]
