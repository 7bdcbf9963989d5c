"""Fast R-CNN: one pass of convolutions over a picture, then a class and a better box for each of its regions.

A picture becomes a map of features; what of the map lies in a region is pooled to a grid of fixed size; two fully
connected layers make the region's feature vector of it, and two more its class and the way to its box. Regions come
from outside: `vision.proposals`, `nets.proposing`, a file.

Every tensor begins with the pictures, and all pictures of a batch have the same number of regions, so that a share of
the samples can be looked at. Letters: n picture, R region, p map, c channel, F feature, K class (0 is background).

Source: Girshick 2015, "Fast R-CNN"; He et al. 2017, "Mask R-CNN", for RoIAlign; Lin et al. 2017, "Feature pyramid
networks".
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align, roi_pool
from torchvision.ops.poolers import LevelMapper

from isotrain.errors import BadOption, UnknownName
from isotrain.nets.standardize import Standardize

POOLS = ("align", "max")
PYRAMIDS = ("resnet18", "resnet34", "resnet50", "resnet101")
BACKBONES = ("small", *PYRAMIDS)
"""By size; all but the first are torchvision's residual nets with a feature pyramid."""

POOLED = (2, 5)
"""Logarithms of the strides of the first and the last map of a pyramid that regions are pooled from."""


class Block(nn.Module):
    """Two convolutions beside a shortcut.

    Normalized over the batch: eight pictures have places enough, and on scenes held out batches beat groups of channels
    by ten points of average precision.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if stride == 1 and before == after else nn.Conv2d(before, after, 1, stride)

    def forward(self, x_nchw: Tensor) -> Tensor:
        """[n, after, h / stride, w / stride]."""
        inner = F.relu(self.first_norm(self.first(x_nchw)))
        return F.relu(self.shortcut(x_nchw) + self.second_norm(self.second(inner)))


class SmallBackbone(nn.Module):
    """A residual net for two cores, with a pyramid of two maps: a quarter and an eighth of the picture's size.

    The finer one, with what the coarser knows added to it, is where regions are pooled from: objects of twenty pixels
    still cover five of its places.

    Args:
        channels: of the pictures.
        widths: of the stem and of the two stages behind it, each of which halves the picture.
        out_channels: of the maps.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int] = (16, 32, 64), out_channels: int = 48) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.quarter = Block(widths[0], widths[1], 2)
        self.eighth = nn.Sequential(Block(widths[1], widths[2], 2), Block(widths[2], widths[2], 1))
        self.from_quarter = nn.Conv2d(widths[1], out_channels, 1)
        self.from_eighth = nn.Conv2d(widths[2], out_channels, 1)
        self.together = nn.Conv2d(out_channels, out_channels, 3, 1, 1)
        self.out_channels = out_channels
        self.strides = [4, 8]
        self.proposing = [1]

    def forward(self, pictures_nchw: Tensor) -> list[Tensor]:
        """The two maps, the finer one first."""
        quarter = self.quarter(F.relu(self.stem_norm(self.stem(pictures_nchw))))
        coarse = self.from_eighth(self.eighth(quarter))
        fine = self.from_quarter(quarter) + F.interpolate(coarse, size=quarter.shape[-2:], mode="nearest")
        return [self.together(fine), coarse]


class PyramidBackbone(nn.Module):
    """torchvision's residual net with a feature pyramid: maps of a quarter to a 64th of the picture's size.

    No weights are downloaded; a state dict of torchvision's fits `self.net.body`.
    """

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

        self.net = resnet_fpn_backbone(backbone_name=name, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
        if channels != 3:
            self.net.body.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.out_channels: int = self.net.out_channels
        self.strides = [4, 8, 16, 32, 64]
        self.proposing = [0, 1, 2, 3, 4]

    def forward(self, pictures_nchw: Tensor) -> list[Tensor]:
        """Maps from the finest to the coarsest."""
        return list(self.net(pictures_nchw).values())


class FastRCNN(nn.Module):
    """Classes and boxes of regions.

    Args:
        classes: how many, background not counted.
        channels: of the pictures.
        backbone: one of `BACKBONES`.
        pool: "align" (bilinear samples) or "max" (of whole cells, the paper's; not with a pyramid).
        grid: side of the grid a region is pooled to.
        width: of the region's feature vector.
        mean: of the pictures' channels.
        spread: of the pictures' channels.

    Raises:
        UnknownName: of a backbone or pool that there is not.
        BadOption: max pooling on a pyramid.

    >>> net = FastRCNN(classes=3)
    >>> out = net(torch.zeros(2, 3, 64, 64), torch.tensor([0.0, 0.0, 32.0, 32.0]).expand(2, 5, 4))
    >>> out["classes"].shape, out["boxes"].shape
    (torch.Size([2, 5, 4]), torch.Size([2, 5, 4]))
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        backbone: str = "small",
        pool: str = "align",
        grid: int = 7,
        width: int = 256,
        mean: Sequence[float] | None = None,
        spread: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise UnknownName("backbone", backbone, BACKBONES)
        if pool not in POOLS:
            raise UnknownName("pool", pool, POOLS)
        if pool == "max" and backbone != "small":
            raise BadOption(f"pool='max' has one map to pool from, {backbone!r} gives a pyramid: use pool='align'.")
        self.pool, self.grid = pool, grid
        self.standardize = Standardize(mean or [0.5] * channels, spread or [0.25] * channels)
        small = backbone == "small"
        self.backbone = SmallBackbone(channels) if small else PyramidBackbone(backbone, channels)
        self.pyramid = None if small else LevelMapper(*POOLED)
        self.first = nn.Linear(self.backbone.out_channels * grid * grid, width)
        self.second = nn.Linear(width, width)
        self.to_classes = nn.Linear(width, classes + 1)
        self.to_boxes = nn.Linear(width, 4)

    def maps(self, pictures_nchw: Tensor) -> list[Tensor]:
        """Features [n, c, h, w] of pictures in [0, 1], one map for each of the backbone's strides."""
        found: list[Tensor] = self.backbone(self.standardize(pictures_nchw))
        return found

    def pooled(self, maps: list[Tensor], boxes_nr4: Tensor, grid: int | None = None) -> Tensor:
        """What lies in each region: [n * R, c, grid, grid]. Boxes in pixels of the picture."""
        n, regions = boxes_nr4.shape[:2]
        side = self.grid if grid is None else grid
        number = torch.arange(n, device=boxes_nr4.device, dtype=boxes_nr4.dtype)
        numbered = torch.cat([number.view(n, 1, 1).expand(n, regions, 1), boxes_nr4], 2).flatten(0, 1)
        scale = 1 / self.backbone.strides[0]
        if self.pyramid is not None:
            found = self._from_levels(self.pyramid, maps, numbered, side)
        elif self.pool == "max":
            # roi_pool rounds edges to whole cells, both ends included: so shifted it takes the cells touched.
            shift = numbered.new_tensor([0.0, 0.49, 0.49, 0.51, 0.51]) / scale
            found = roi_pool(maps[0], numbered - shift, side, scale)
        else:
            # One sample a bin: its gradient is half of a step on two cores, and small regions have finer bins anyway.
            found = roi_align(maps[0], numbered, side, scale, sampling_ratio=1, aligned=True)
        bins: Tensor = found
        return bins

    def _from_levels(self, levels: LevelMapper, maps: list[Tensor], numbered_k5: Tensor, side: int) -> Tensor:
        """Each region from the map whose places suit its size.

        torchvision's MultiScaleRoIAlign does so for a list of pictures; this, for any number, fits into an ONNX graph.
        """
        level = levels([numbered_k5[:, 1:]])
        every = range(POOLED[1] - POOLED[0] + 1)
        rows = [(level == one).nonzero()[:, 0] for one in every]
        parts = [
            roi_align(maps[one], numbered_k5[rows[one]], side, 1 / self.backbone.strides[one], 2, True) for one in every
        ]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def vectors(self, maps: list[Tensor], boxes_nr4: Tensor) -> Tensor:
        """Feature vectors of regions on maps, [n, R, F]."""
        inside = self.pooled(maps, boxes_nr4).reshape(*boxes_nr4.shape[:2], -1)
        return F.relu(self.second(F.relu(self.first(inside))))

    def features(self, pictures_nchw: Tensor, boxes_nr4: Tensor) -> Tensor:
        """Feature vectors of regions, [n, R, F]."""
        return self.vectors(self.maps(pictures_nchw), boxes_nr4)

    def judge(self, maps: list[Tensor], boxes_nr4: Tensor) -> dict[str, Tensor]:
        """As `forward`, on maps."""
        vectors = self.vectors(maps, boxes_nr4)
        return {"classes": self.to_classes(vectors), "boxes": self.to_boxes(vectors)}

    def forward(self, pictures_nchw: Tensor, regions_nr4: Tensor) -> dict[str, Tensor]:
        """Of pictures in [0, 1] and regions in their pixels.

        Returns:
            "classes", logits [n, R, K + 1] with the background first; "boxes", deltas [n, R, 4] (`vision.boxes`),
            the same for all classes.
        """
        return self.judge(self.maps(pictures_nchw), regions_nr4)


def compress(net: FastRCNN, rank: int) -> FastRCNN:
    """A copy whose two fully connected layers are each two of inner width `rank`: a truncated singular value
    decomposition, which halves the time of many regions at a small loss (section 3.1 of the paper).

    A layer that has no more than `rank` singular values stays as it is.

    Raises:
        BadOption: `rank` is not positive.
    """  # noqa: D205
    if rank < 1:
        raise BadOption(f"rank={rank} of the fully connected layers must be at least 1.")
    smaller = copy.deepcopy(net)
    for name in ("first", "second"):
        layer = getattr(smaller, name)
        if isinstance(layer, nn.Linear) and rank < min(layer.weight.shape):
            setattr(smaller, name, _halves(layer, rank))
    return smaller


@torch.no_grad()
def _halves(layer: nn.Linear, rank: int) -> nn.Sequential:
    """U_t and S_t V_t' of the weight, the bias with the second."""
    left, values, right = torch.linalg.svd(layer.weight, full_matrices=False)
    narrow = nn.Linear(layer.in_features, rank, bias=False).to(layer.weight)
    wide = nn.Linear(rank, layer.out_features, bias=layer.bias is not None).to(layer.weight)
    narrow.weight.copy_(values[:rank, None] * right[:rank])
    wide.weight.copy_(left[:, :rank])
    if layer.bias is not None:
        wide.bias.copy_(layer.bias)
    return nn.Sequential(narrow, wide)
