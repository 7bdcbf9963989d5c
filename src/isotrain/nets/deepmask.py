"""Masks proposed without regions: what object is in the middle of a window, and whether there is one at all.

A trunk of residual blocks sees a window; a layer over the whole of its features says whether an object of the right
size is in the middle, and gives a first rough mask of it; modules from the top down then sharpen that mask with the
finer features below. Over a picture the trunk and the score run as convolutions, once for all windows.

In training, too: the score learns from all windows of a part of a picture, as a picture has a hundred windows that show
nothing for one that shows an object, and the net must not take any of them for one.

Shapes: n pictures, r windows masked of each, G x G windows in all; c channels, h and w places; a window has P x P
pixels, and M more on each side, so that the features of its rim know what lies beyond.

Where a window shows a whole picture, and pictures are few, `WholeMask` learns more from each.

Sources: Pinheiro et al. 2015, "Learning to segment object candidates" (window, two heads); Pinheiro et al. 2016,
"Learning to refine object segments" (the modules from the top down).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation, roi_align

from isotrain.nets.standardize import Standardize

POOLED = 7
"""Bins along a side of a region."""
LEAST_VARIANCE = 1e-2
"""Of a picture's channel, in units of the data set's, below which it is not brought to 1."""
Norm = Callable[[int], nn.Module]
"""From a number of channels to a layer that normalizes them."""


class Trunk(nn.Module):
    """Residual blocks; every stage halves the picture.

    Args:
        channels: of the pictures.
        widths: channels after each stage.
        norm: of the layers.
    """

    def __init__(self, channels: int, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.stem = Conv2dNormActivation(channels, widths[0], 3, stride=2, norm_layer=norm)
        self.stages = nn.ModuleList(_stage(a, b, norm) for a, b in pairwise(widths))

    def forward(self, pictures_nchw: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, ... of the resolution."""
        features = [self.stem(pictures_nchw)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


def _stage(before: int, width: int, norm: Norm) -> nn.Sequential:
    shortcut = Conv2dNormActivation(before, width, 1, stride=2, activation_layer=None, norm_layer=norm)
    return nn.Sequential(
        BasicBlock(before, width, 2, shortcut, norm_layer=norm), BasicBlock(width, width, norm_layer=norm)
    )


class Refine(nn.Module):
    """A mask's features and the trunk's at the same resolution, merged, then twice as fine.

    Args:
        features: channels of the trunk's features.
        before: channels of the mask's features.
        after: channels that are given on.
        norm: of the layers.
    """

    def __init__(self, features: int, before: int, after: int, norm: Norm) -> None:
        super().__init__()
        self.skip = Conv2dNormActivation(features, before, 3, norm_layer=norm)
        self.merge = Conv2dNormActivation(2 * before, after, 3, norm_layer=norm)

    def forward(self, mask: Tensor, features: Tensor) -> Tensor:
        """[n, before, h, w] and [n, features, h, w] to [n, after, 2h, 2w]."""
        merged = self.merge(torch.cat((mask, self.skip(features)), 1))
        return F.interpolate(merged, scale_factor=2.0, mode="bilinear", align_corners=False)


class DeepMask(nn.Module):
    """Windows of pictures to the mask of the object in their middle, a score of its being there, and its class.

    Args:
        mean: of each channel of the pictures, in [0, 1].
        spread: of each channel.
        classes: of objects; with a single one there is no region classifier.
        window: P, pixels along a side.
        margin: M, pixels more on each side.
        widths: channels of the trunk's stages.
        hidden: features of a whole window.
        norm: of the layers.

    >>> net = DeepMask([0.5], [0.25], classes=3)
    >>> cells, boxes = torch.tensor([[[0, 1]]]), torch.tensor([[[16.0, 16.0, 48.0, 48.0]]])
    >>> {name: tuple(t.shape) for name, t in net(torch.zeros(1, 1, 88, 88), cells, boxes).items()}
    {'scores': (1, 2, 2), 'masks': (1, 1, 64, 64), 'classes': (1, 1, 4)}
    """

    def __init__(
        self,
        mean: Sequence[float],
        spread: Sequence[float],
        classes: int,
        window: int = 64,
        margin: int = 8,
        widths: Sequence[int] = (16, 32, 64),
        hidden: int = 128,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(widths)
        self.window, self.margin = window, margin
        self.cells = window // self.stride
        top, narrow = widths[-1], 32
        self.standardize = Standardize(mean, spread)
        self.trunk = Trunk(len(mean), widths, norm)
        self.narrow = Conv2dNormActivation(top, narrow, 1, norm_layer=norm)
        # One convolution over a whole window: slid over a picture it is the score of every window at once.
        self.whole = nn.Conv2d(narrow, hidden, self.cells)
        self.score = nn.Conv2d(hidden, 1, 1)
        self.rough = nn.Linear(hidden, narrow * self.cells**2)
        outs = [max(8, width // 2) for width in reversed(widths)]
        ins = [narrow, *outs[:-1]]
        self.refine = nn.ModuleList(Refine(*sizes, norm) for sizes in zip(reversed(widths), ins, outs, strict=True))
        self.mask = nn.Conv2d(outs[-1], 1, 3, padding=1)
        self.answers = classes + 1
        self.classify = (
            None if classes == 1 else _region_classifier(widths[-2] + top, narrow, hidden, self.answers, norm)
        )

    def forward(self, pictures: Tensor, cells: Tensor, boxes: Tensor | None = None) -> dict[str, Tensor]:
        """Pictures as they are trained on: every window of them is scored, some are masked and classified.

        Args:
            pictures: [n, c, S + 2M, S + 2M] in [0, 1], S = P and G = 1 or larger by G - 1 strides.
            cells: integers [n, r, 2], row and column below G of the windows whose masks are wanted.
            boxes: [n, r, 4] of the regions to classify, in pixels of those windows; only with classes.

        Returns:
            `scores`: logits [n, G, G]. `masks`: logits [n, r, P, P]. `classes`: logits [n, r, classes + 1], the last
            for none.
        """
        features = self.inner(pictures)
        wide = self.features_of_window(features[-1])
        out = {"scores": self.score(wide).squeeze(1)}
        own, own_wide = self.at(features, wide, cells)
        out["masks"] = self.masks(own, own_wide).unflatten(0, cells.shape[:2])
        if self.classify is not None:
            assert boxes is not None
            out["classes"] = self.classes(own, boxes.flatten(0, 1)).unflatten(0, cells.shape[:2])
        return out

    def at(self, features: list[Tensor], wide: Tensor, cells: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of windows [n, r, 2]: the trunk's, [n r, c, h, w] each, and those of the whole, [n r, hidden].

        Gathered by index: slices of every window would each cost the whole map on the way back.
        """
        r = cells.shape[1]
        found = []
        for level, whole in enumerate(features, 1):
            side, step = self.window >> level, self.stride >> level
            places = torch.arange(side, device=cells.device)
            rows, columns = (cells[..., axis, None] * step + places for axis in (0, 1))
            index = (rows[..., :, None] * whole.shape[3] + columns[..., None, :]).flatten(1)
            taken = whole.flatten(2).gather(2, index[:, None].expand(-1, whole.shape[1], -1))
            found.append(taken.unflatten(2, (r, side, side)).transpose(1, 2).flatten(0, 1))
        index = cells[..., 0] * wide.shape[3] + cells[..., 1]
        own = wide.flatten(2).gather(2, index[:, None].expand(-1, wide.shape[1], -1))
        return found, own.transpose(1, 2).flatten(0, 1)

    def seen(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1] as the trunk takes them."""
        standard: Tensor = self.standardize(pictures)
        return standard

    def inner(self, pictures: Tensor) -> list[Tensor]:
        """The trunk's features of pictures [n, c, H, W] in [0, 1], without the margin's."""
        features = []
        for level, whole in enumerate(self.trunk(self.seen(pictures)), 1):
            rim = self.margin >> level
            features.append(whole[:, :, rim : whole.shape[2] - rim, rim : whole.shape[3] - rim])
        return features

    def features_of_window(self, top: Tensor) -> Tensor:
        """The trunk's last features, [n, c, h, w], to those of every whole window, [n, hidden, h', w']."""
        return F.relu(self.whole(self.narrow(top)))

    def masks(self, features: list[Tensor], wide: Tensor) -> Tensor:
        """Logits [n, P, P] from the trunk's features of n windows and of the whole of each, [n, hidden]."""
        mask = self.roughly(features[-1], wide)
        for module, fine in zip(self.refine, reversed(features), strict=True):
            mask = module(mask, fine)
        logits: Tensor = self.mask(mask).squeeze(1)
        return logits

    def roughly(self, top: Tensor, wide: Tensor) -> Tensor:
        """A first mask's features, [n, narrow, G, G], from the whole of each window alone."""
        mask: Tensor = F.relu(self.rough(wide)).unflatten(1, (-1, self.cells, self.cells))
        return mask

    def classes(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Logits [n, classes + 1] of one region in each of n windows."""
        assert self.classify is not None
        rows = torch.arange(boxes.shape[0], dtype=boxes.dtype, device=boxes.device)[:, None]
        regions = torch.cat((rows, boxes), 1)
        pooled = [
            roi_align(features[level], regions, POOLED, 2.0 ** -(level + 1), sampling_ratio=2, aligned=True)
            for level in (-2 + len(features), -1 + len(features))
        ]
        logits: Tensor = self.classify(torch.cat(pooled, 1))
        return logits


class WholeMask(DeepMask):
    """For windows that show whole pictures, one object in each at most, of which there are few.

    The first mask is made place by place, of the features there and of what the whole is: a layer from all places to
    all places learns where the objects of its pictures lay, and that is soon by heart. Every channel of a picture and
    of its features is brought to mean 0 and spread 1 within the picture, so that one of another scanner is not
    strange.

    Args:
        mean: as of `DeepMask`.
        spread: of each channel.
        classes: of objects.
        window: pixels along a side.
        widths: channels of the trunk's stages.
        hidden: features of a whole window.

    Source: Ronneberger et al. 2015, "U-Net" (places stay places); Isensee et al. 2021, "nnU-Net" (norms of each picture
    for itself).

    >>> net = WholeMask([0.5], [0.25], classes=1)
    >>> net(torch.rand(2, 1, 128, 128), torch.zeros(2, 1, 2, dtype=torch.long))["masks"].shape
    torch.Size([2, 1, 128, 128])
    """

    def __init__(
        self,
        mean: Sequence[float],
        spread: Sequence[float],
        classes: int,
        window: int = 128,
        widths: Sequence[int] = (16, 32, 64, 96),
        hidden: int = 128,
    ) -> None:
        super().__init__(mean, spread, classes, window, 0, widths, hidden, _within)
        narrow = self.whole.in_channels
        self.level = nn.InstanceNorm2d(len(mean), eps=LEAST_VARIANCE)
        self.rough = nn.Linear(hidden, narrow)
        self.places = nn.Conv2d(narrow, narrow, 3, padding=1)

    def seen(self, pictures: Tensor) -> Tensor:
        """Every picture's channels for themselves."""
        level: Tensor = self.level(super().seen(pictures))
        return level

    def roughly(self, top: Tensor, wide: Tensor) -> Tensor:
        """From what is at each place and what the whole is."""
        return F.relu(self.places(self.narrow(top)) + self.rough(wide)[:, :, None, None])


def _within(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def _region_classifier(width: int, narrow: int, hidden: int, answers: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        Conv2dNormActivation(width, narrow, 1, norm_layer=norm),
        nn.Flatten(),
        nn.Linear(narrow * POOLED**2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, answers),
    )
