"""The region proposal net: where objects may be, from the same maps that tell what they are.

At each place of each map lie a few anchors, boxes of fixed sizes and shapes; a small convolutional net says of each
whether it covers an object, and the way to the object's box. The best of them are the regions of `nets.regions`.

In training the regions are not this net's own but boxes drawn around the true ones (`tasks.sampling`): so every
output is a function of the inputs alone, both parts are trained in one pass, and the anchors' answers are [n, A] with
a fixed A.

Source: Ren et al. 2015, "Faster R-CNN", section 3.1; its joint training, with drawn regions in the place of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import batched_nms, clip_boxes_to_image

from isotrain.nets.regions import FastRCNN
from isotrain.vision.boxes import decode

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors."""


def anchor_sizes(strides: list[int]) -> tuple[tuple[int, ...], ...]:
    """Sides of the anchors on each map: 8 strides, as with torchvision's pyramids, or on a single map all sizes.

    >>> anchor_sizes([8]), anchor_sizes([4, 8])
    (((16, 32, 64, 128),), ((32,), (64,)))
    """
    if len(strides) == 1:
        return (tuple(strides[0] * times for times in (2, 4, 8, 16)),)
    return tuple((8 * stride,) for stride in strides)


def anchors_of(height: int, width: int, strides: list[int]) -> Tensor:
    """All anchors of a picture, [A, 4] in its pixels, in the order of `RegionProposalNet`'s answers.

    >>> anchors_of(16, 16, [8]).shape
    torch.Size([48, 4])
    """
    sizes = anchor_sizes(strides)
    generator = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
    grids = [[-(-height // stride), -(-width // stride)] for stride in strides]
    steps = [[torch.tensor(stride), torch.tensor(stride)] for stride in strides]
    # torchvision's anchors lie on the corners of the places; ours in their middles.
    return torch.cat(
        [anchors + stride / 2 for anchors, stride in zip(generator.grid_anchors(grids, steps), strides, strict=True)]
    )


class RegionProposalNet(nn.Module):
    """Answers for every anchor of every map.

    Args:
        channels: of the maps.
        strides: of the maps, in pixels of the picture.
    """

    def __init__(self, channels: int, strides: list[int]) -> None:
        super().__init__()
        shapes = len(anchor_sizes(strides)[0]) * len(RATIOS)
        self.around = nn.Conv2d(channels, channels, 3, 1, 1)
        self.to_objects = nn.Conv2d(channels, shapes, 1)
        self.to_boxes = nn.Conv2d(channels, 4 * shapes, 1)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [n, A] of "an object is here", and deltas [n, A, 4] to its box."""
        objects, boxes = [], []
        for one in maps:
            seen = F.relu(self.around(one))
            # [n, shapes * 4, h, w] to [n, h, w, shapes * 4]: anchors go by place first, then by shape.
            objects.append(self.to_objects(seen).permute(0, 2, 3, 1).flatten(1))
            boxes.append(self.to_boxes(seen).permute(0, 2, 3, 1).reshape(one.shape[0], -1, 4))
        return torch.cat(objects, 1), torch.cat(boxes, 1)


class FasterRCNN(FastRCNN):
    """A Fast R-CNN that finds its regions itself. Arguments are those of `FastRCNN`.

    >>> net = FasterRCNN(classes=3)
    >>> out = net(torch.zeros(2, 3, 32, 32), torch.tensor([0.0, 0.0, 32.0, 32.0]).expand(2, 5, 4))
    >>> {name: tuple(one.shape) for name, one in out.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'classes': (2, 5, 4), 'boxes': (2, 5, 4), 'objects': (2, 192), 'anchors': (2, 192, 4)}
    """

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.levels = list(self.backbone.proposing)
        self.strides = [self.backbone.strides[level] for level in self.levels]
        self.proposer = RegionProposalNet(self.backbone.out_channels, self.strides)

    def forward(self, pictures_nchw: Tensor, regions_nr4: Tensor) -> dict[str, Tensor]:
        """As of `FastRCNN`, with "objects", logits [n, A], and "anchors", deltas [n, A, 4]."""
        maps = self.maps(pictures_nchw)
        objects, anchors = self.proposer([maps[level] for level in self.levels])
        return self.judge(maps, regions_nr4) | {"objects": objects, "anchors": anchors}

    @torch.no_grad()
    def propose(self, maps: list[Tensor], height: int, width: int, count: int, overlap: float = 0.7) -> Tensor:
        """The best regions of one picture, [up to `count`, 4], the surest first.

        Args:
            maps: of one picture.
            height: of the picture.
            width: of the picture.
            count: of regions.
            overlap: from which on the less sure of two is left out.
        """
        objects, deltas = self.proposer([maps[level] for level in self.levels])
        anchors = anchors_of(height, width, self.strides).to(deltas)
        surest = objects[0].topk(min(4 * count, objects.shape[1])).indices
        boxes = clip_boxes_to_image(decode(deltas[0, surest], anchors[surest]), (height, width))
        large = ((boxes[:, 2:] - boxes[:, :2]) >= 2).all(1)
        boxes, scores = boxes[large], objects[0, surest][large]
        kept = batched_nms(boxes, scores, torch.zeros_like(scores, dtype=torch.long), overlap)[:count]
        best: Tensor = boxes[kept]
        return best
