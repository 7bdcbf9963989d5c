"""Residual nets: a layer adds a correction to what it was given, so that layers can be left out, repeated or swapped.

Two families: for pictures of about 32 pixels (6n + 2 layers, three stages of 16, 32 and 64 channels, shortcuts without
parameters) and for 224 (four stages, as torchvision has them, under torchvision's names of the parameters). Shapes: n
pictures, c channels, h and w pixels.

Sources: He et al. 2015, "Deep residual learning for image recognition", sections 3.3, 4.1 and 4.2; Huang et al. 2016,
"Deep networks with stochastic depth", section 3; Veit et al. 2016, "Residual networks behave like ensembles of
relatively shallow networks", section 4, for what is left of a block that is dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet as vision
from torchvision.ops import StochasticDepth

from isotrain.errors import BadOption, UnknownName
from isotrain.nets.standardize import Standardize

SMALL = {f"resnet{6 * n + 2}": n for n in (1, 2, 3, 5, 7, 9, 18)}
"""Nets for pictures of about 32 pixels -> blocks in each of their three stages."""
LARGE = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
"""Nets for pictures of about 224 pixels -> blocks in each of their four stages; from 50 on with bottlenecks."""
NETS = (*SMALL, *LARGE)


class Block(nn.Module, ABC):
    """What a residual block of either kind does: relu(shortcut + branch), each of which can be had by itself."""

    drop: StochasticDepth
    """Leaves the branch out for some samples, in training."""
    downsample: nn.Module | None
    """The shortcut of a block that changes the shape; None: the input itself."""
    relu: nn.Module
    conv1: nn.Module
    conv2: nn.Module
    bn1: nn.Module
    bn2: nn.Module

    @abstractmethod
    def branch(self, x_nchw: Tensor) -> Tensor:
        """The correction, before it is dropped or added."""

    def shortcut(self, x_nchw: Tensor) -> Tensor:
        """What the correction is added to."""
        shortcut: Tensor = x_nchw if self.downsample is None else self.downsample(x_nchw)
        return shortcut

    def without_branch(self, x_nchw: Tensor) -> Tensor:
        """What is left of the block when its correction is dropped."""
        return F.relu(self.shortcut(x_nchw))

    def forward(self, x_nchw: Tensor) -> Tensor:
        """[n, c, h, w] to [n, c', h / stride, w / stride]."""
        return F.relu(self.shortcut(x_nchw) + self.drop(self.branch(x_nchw)))


class Basic(Block, vision.BasicBlock):  # type: ignore[misc]  # torchvision is untyped
    """Two 3 x 3 convolutions."""

    def branch(self, x_nchw: Tensor) -> Tensor:
        """Convolution, norm, relu, convolution, norm."""
        y_nchw: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x_nchw)))))
        return y_nchw


class Bottleneck(Block, vision.Bottleneck):  # type: ignore[misc]  # torchvision is untyped
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the middle one of a quarter of the channels."""

    conv3: nn.Module
    bn3: nn.Module

    def branch(self, x_nchw: Tensor) -> Tensor:
        """Convolution, norm, relu, three times but for the last relu."""
        x_nchw = self.relu(self.bn1(self.conv1(x_nchw)))
        y_nchw: Tensor = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(x_nchw)))))
        return y_nchw


class Padding(nn.Module):
    """Every other pixel, and channels of zeros at the end: the paper's shortcut A, without parameters.

    >>> Padding(1)(torch.arange(4.0).view(1, 1, 2, 2)).flatten().tolist()
    [0.0, 0.0]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x_nchw: Tensor) -> Tensor:
        """[n, c, h, w] to [n, c + channels, h / 2, w / 2], halves rounded up."""
        return F.pad(x_nchw[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.channels))


def _shares(asked: float | Sequence[float], blocks: int) -> list[float]:
    """How often each block is dropped."""
    ends = [asked / blocks, asked] if isinstance(asked, int | float) else list(asked)
    if len(ends) != 2 or not all(0 <= share < 1 for share in ends):
        raise BadOption(f"stochastic depth is a share of dropped branches in [0, 1), or two, got {asked}.")
    shares: list[float] = torch.linspace(ends[0], ends[1], blocks, dtype=torch.float64, device="cpu").tolist()
    return shares


class ResNet(nn.Module):
    """Scores of classes, [n, classes], by residual blocks in stages; a stage's first block may change the shape.

    Args:
        name: one of `NETS`.
        classes: how many.
        mean: of each channel of the pictures, in [0, 1]; its length is the number of channels.
        spread: of each channel.
        stochastic_depth: how often the last block's branch is dropped in training; the others' in proportion to their
            place (the paper has 0.5). Two numbers: how often the first block's is and the last's, those between evenly
            spaced; the same twice makes the first blocks, which others lean on most, as easy to do without as the last.
            Samples of a batch are drawn for independently, so that every block learns from every batch and an optimizer
            sees every block at every step.

    Raises:
        UnknownName: there is no net of that name.
        BadOption: `stochastic_depth` is not in [0, 1).

    >>> net = ResNet("resnet8", classes=10, mean=[0.5], spread=[0.25])
    >>> net(torch.zeros(2, 1, 28, 28)).shape, len(net.blocks)
    (torch.Size([2, 10]), 3)
    """

    def __init__(
        self,
        name: str,
        classes: int,
        mean: Sequence[float],
        spread: Sequence[float],
        stochastic_depth: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__()
        if name not in NETS:
            raise UnknownName("net", name, NETS)
        self.name = name
        self.standardize = Standardize(mean, spread)
        layers = _small(SMALL[name], len(mean), classes) if name in SMALL else _large(name, len(mean), classes)
        for key, layer in layers.items():
            self.add_module(key, layer)
        self._layers = [key for key in layers if key.startswith("layer")]
        self._path: tuple[int, ...] | None = None
        for block, share in zip(self.blocks, _shares(stochastic_depth, len(self.blocks)), strict=True):
            block.drop = StochasticDepth(share, "row")

    @property
    def stages(self) -> list[list[Block]]:
        """The blocks between which the shape stays."""
        return [list(cast(Iterator[Block], self.get_submodule(key).children())) for key in self._layers]

    @property
    def blocks(self) -> list[Block]:
        """All residual blocks in their order, numbered from 0 in a path."""
        return [block for stage in self.stages for block in stage]

    @property
    def path(self) -> tuple[int, ...] | None:
        """Which blocks run, in which order; None: each once, as built.

        A block may be left out, be repeated, or change places with another of its stage. Of a block that changes the
        shape the shortcut always runs, so that it comes once at most, and first in its stage.

        Raises:
            BadOption: the path leads through a block that cannot be reached.
        """
        return self._path

    @path.setter
    def path(self, path: Sequence[int] | None) -> None:
        if path is not None:
            self._check(path)
        self._path = None if path is None else tuple(path)

    def stem(self, x_nchw: Tensor) -> Tensor:
        """Pictures in [0, 1] to what the first block takes."""
        x_nchw = self.get_submodule("conv1")(self.standardize(x_nchw))
        # Channels last is what the processor's convolutions work in. Here, because with a single channel the pictures
        # themselves are in both orders and would not hand it on.
        x_nchw = x_nchw.contiguous(memory_format=torch.channels_last)
        for key in ("bn1", "relu", "maxpool"):
            x_nchw = self.get_submodule(key)(x_nchw)
        return x_nchw

    def through(self, x_nchw: Tensor, path: Sequence[int], after: Sequence[int] = ()) -> Tensor:
        """The representation after the blocks of a path; `after` are those that it has come through already."""
        stages = self.stages
        start = [0, *_ends(stages)]
        at = _stage_of(after[-1], stages) if after else -1

        def enter(stage: int, x: Tensor, opener_follows: bool) -> Tensor:
            # What the path leaves out of a stage still has to change the shape.
            for skipped in range(at + 1, stage + 1):
                opener = stages[skipped][0]
                if opener.downsample is not None and not (skipped == stage and opener_follows):
                    x = opener.without_branch(x)
            return x

        for place in path:
            stage = _stage_of(place, stages)
            x_nchw = enter(stage, x_nchw, opener_follows=place == start[stage])
            x_nchw = stages[stage][place - start[stage]](x_nchw)
            at = max(at, stage)
        return enter(len(stages) - 1, x_nchw, opener_follows=False)

    def head(self, x_nchw: Tensor) -> Tensor:
        """The last representation to scores, [n, classes]."""
        scores: Tensor = self.get_submodule("fc")(self.features(x_nchw))
        return scores

    def features(self, x_nchw: Tensor) -> Tensor:
        """Mean over the places of the last representation, [n, c]."""
        pooled: Tensor = self.get_submodule("avgpool")(x_nchw)
        return pooled.flatten(1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures [n, c, h, w] in [0, 1] to scores [n, classes], along the path."""
        path = range(len(self.blocks)) if self._path is None else self._path
        return self.head(self.through(self.stem(pictures), path))

    def _check(self, path: Sequence[int]) -> None:
        stages = self.stages
        blocks = self.blocks
        start = [0, *_ends(stages)]
        at = -1
        for number, place in enumerate(path):
            if not 0 <= place < len(blocks):
                raise BadOption(f"block {place} of a path: {self.name} has blocks 0 to {len(blocks) - 1}.")
            stage = _stage_of(place, stages)
            if stage < at:
                raise BadOption(f"block {place} of a path comes after block {path[number - 1]} of a later stage.")
            if place == start[stage] and blocks[place].downsample is not None and stage == at:
                raise BadOption(f"block {place} of a path changes the shape: it can only come first in its stage.")
            at = stage


@contextmanager
def along(net: ResNet, path: Sequence[int] | None) -> Iterator[ResNet]:
    """The net on another path, for as long as the context lasts.

    Raises:
        BadOption: the path leads through a block that cannot be reached.

    >>> net = ResNet("resnet8", classes=10, mean=[0.5], spread=[0.25])
    >>> with along(net, [0, 2]):
    ...     net.path
    (0, 2)
    >>> net.path
    """
    before = net.path
    net.path = path
    try:
        yield net
    finally:
        net.path = before


def shallower(net: ResNet, depth: int, order: Sequence[int] | None = None) -> ResNet:
    """The same net, set to a path of `depth` blocks.

    Args:
        net: set in place and returned.
        depth: how many blocks are kept.
        order: blocks in the order in which they are dropped (a depth report's `order`). None: the last of the stage
            that has most left, of the latest such stage; blocks that change the shape go last.

    Raises:
        BadOption: `depth` is not between 1 and the net's own, or `order` is not an order of all blocks.

    >>> shallower(ResNet("resnet20", classes=10, mean=[0.5], spread=[0.25]), 6).path
    (0, 1, 3, 4, 6, 7)
    """
    total = len(net.blocks)
    if not 1 <= depth <= total:
        raise BadOption(f"depth {depth}: {net.name} has {total} residual blocks, 1 to {total} can be kept.")
    order = _from_the_ends(net.stages) if order is None else list(order)
    if sorted(order) != list(range(total)):
        raise BadOption(f"the order in which blocks are dropped should name each of 0 to {total - 1} once.")
    net.path = sorted(order[total - depth :])
    return net


def _from_the_ends(stages: Sequence[Sequence[Block]]) -> list[int]:
    left = [list(range(end - len(stage), end)) for stage, end in zip(stages, _ends(stages), strict=True)]
    order = []
    while any(left):
        longest = max(range(len(left)), key=lambda stage: (len(left[stage]), stage))
        order.append(left[longest].pop())
    return order


def _ends(stages: Sequence[Sequence[Block]]) -> list[int]:
    """Of each stage, the number of blocks up to its end."""
    return [sum(map(len, stages[: place + 1])) for place in range(len(stages))]


def _stage_of(place: int, stages: Sequence[Sequence[Block]]) -> int:
    return next(stage for stage, end in enumerate(_ends(stages)) if place < end)


def _small(blocks: int, channels: int, classes: int) -> dict[str, nn.Module]:
    """The 6n + 2 layers of section 4.2, under torchvision's names."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(16),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.Identity(),
    }
    before = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        first = Basic(before, width) if width == before else Basic(before, width, 2, Padding(width - before))
        layers[f"layer{stage}"] = nn.Sequential(first, *(Basic(width, width) for _ in range(blocks - 1)))
        before = width
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "fc": nn.Linear(before, classes)}
    for layer in layers.values():
        for module in layer.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return layers


def _large(name: str, channels: int, classes: int) -> dict[str, nn.Module]:
    """torchvision's net, of our blocks, with as many channels as the pictures have."""
    kind = Basic if name in ("resnet18", "resnet34") else Bottleneck
    layers = dict(vision.ResNet(kind, list(LARGE[name]), num_classes=classes).named_children())
    if channels != 3:
        layers["conv1"] = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(layers["conv1"].weight, mode="fan_out", nonlinearity="relu")
    return layers
