"""The mask head: a small mask for each region, from the same maps that say what it is.

What of the map lies in a region is pooled to 14 x 14; convolutions that keep the places, one that doubles them, and a
last one give 28 x 28 logits, one mask for a region or one for each class.

Letters: n picture, r region that a mask is wanted of, K class, m side of a mask.

Source: He et al. 2017, "Mask R-CNN", section 3 and figure 4.
"""

from __future__ import annotations

from itertools import pairwise

import torch  # noqa: F401 - of the examples below
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.nets.proposing import FasterRCNN

GRID = 14
"""Side of what a region is pooled to; a mask has twice as many."""
SIDE = 2 * GRID


class MaskHead(nn.Module):
    """Pooled features to logits.

    Args:
        channels: of the maps.
        masks: for each region: 1, or one for each class.
        width: channels inside.
        depth: convolutions before the places are doubled.

    >>> MaskHead(64, masks=3)(torch.zeros(5, 64, 14, 14)).shape
    torch.Size([5, 3, 28, 28])
    """

    def __init__(self, channels: int, masks: int = 1, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        widths = [channels, *[width] * depth]
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.doubling = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.last = nn.Conv2d(width, masks, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """[any, channels, 14, 14] to [any, masks, 28, 28]."""
        for convolution in self.convolutions:
            pooled = F.relu(convolution(pooled))
        logits: Tensor = self.last(F.relu(self.doubling(pooled)))
        return logits


class MaskRCNN(FasterRCNN):
    """A Faster R-CNN with a mask head.

    In training the regions whose masks are wanted are an input of their own, few and all on objects: the masks of the
    others would be made to be thrown away.

    Args:
        classes: how many, background not counted.
        channels: of the pictures.
        per_class: a mask for each class; else one for each region, whatever its class.
        options: of `FastRCNN`.

    >>> net = MaskRCNN(classes=3)
    >>> box = torch.tensor([0.0, 0.0, 16.0, 16.0])
    >>> net(torch.zeros(2, 3, 32, 32), box.expand(2, 5, 4), box.expand(2, 4, 4))["masks"].shape
    torch.Size([2, 4, 28, 28])
    """

    def __init__(self, classes: int, channels: int = 3, per_class: bool = False, **options: object) -> None:
        super().__init__(classes, channels, **options)
        self.per_class = per_class
        self.head = MaskHead(self.backbone.out_channels, classes if per_class else 1)

    def forward(  # type: ignore[override]  # one input more
        self, pictures_nchw: Tensor, regions_nr4: Tensor, masked_nr4: Tensor
    ) -> dict[str, Tensor]:
        """As of `FasterRCNN`, with "masks", logits [n, r, 28, 28], or [n, r, K, 28, 28] with one for each class."""
        maps = self.maps(pictures_nchw)
        objects, anchors = self.proposer([maps[level] for level in self.levels])
        out = self.judge(maps, regions_nr4) | {"objects": objects, "anchors": anchors}
        return out | {"masks": self.masks(maps, masked_nr4)}

    def masks(self, maps: list[Tensor], boxes_nr4: Tensor) -> Tensor:
        """Logits of the masks inside of boxes [n, r, 4] in pixels of the picture: [n, r, (K,) 28, 28]."""
        n, r = boxes_nr4.shape[:2]
        logits: Tensor = self.head(self.pooled(maps, boxes_nr4, GRID)).unflatten(0, (n, r))
        return logits if self.per_class else logits.squeeze(2)
