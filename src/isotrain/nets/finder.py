"""A small net that looks for faces at every place of a picture, at three scales at once.

A trunk of convolutions halves the picture five times. On its maps at strides 8, 16 and 32, joined from coarse to fine,
each cell says whether a face is centred near it, and where the face's box lies. A cell compares with one square of its
stride's size, so that what it says of a box are the deltas of `isotrain.vision.boxes`. Halving is by kernels of even
size, which keep the cells' centres in the middle of what they see.

Shapes: n pictures, c channels, h and w pixels, a cells of all three maps.

Sources: Tian et al. 2019, "FCOS: fully convolutional one-stage object detection" (cells instead of anchors, centre
sampling); Lin et al. 2017, "Feature pyramid networks for object detection" (coarse maps added to fine ones).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from isotrain.nets.standardize import Standardize

STRIDES = (8, 16, 32)
SQUARES = (24.0, 64.0, 170.0)
"""Side of the square that the cells of each stride compare with: about the middle of the faces they are to find."""
WIDTHS = (12, 24, 40, 48, 48)
"""Channels after each halving."""
JOINED = 32
"""Channels of the maps that are added up."""
PRIOR = -3.0
"""Logit of a face before anything is learned."""


class Layer(nn.Module):
    """Convolution, norm, relu; what comes in is added where it has the shape of what goes out.

    Args:
        taken: channels in.
        given: channels out.
        halve: both sides, by a kernel of 4 pixels instead of 3.
    """

    def __init__(self, taken: int, given: int, halve: bool = False) -> None:
        super().__init__()
        size, stride = (4, 2) if halve else (3, 1)
        self.conv: nn.Module = nn.Conv2d(taken, given, size, stride, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(given)
        self.added = taken == given and not halve

    def forward(self, x_nchw: Tensor) -> Tensor:
        """[n, c, h, w] to [n, c', h, w], or half of both sides."""
        y_nchw: Tensor = self.norm(self.conv(x_nchw))
        return F.relu(y_nchw + x_nchw if self.added else y_nchw)


class Finder(nn.Module):
    """Logits of faces and deltas of their boxes, for every cell of pictures in [0, 1].

    Args:
        mean: of grey pictures.
        spread: of grey pictures.
    """

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        a, b, c, d, e = WIDTHS
        self.standardize = Standardize([mean], [spread])
        self.stem = nn.Sequential(Layer(1, a, halve=True), Layer(a, b, halve=True), Layer(b, b))
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Layer(b, c, halve=True), Layer(c, c), Layer(c, c)),
                nn.Sequential(Layer(c, d, halve=True), Layer(d, d), Layer(d, d)),
                nn.Sequential(Layer(d, e, halve=True), Layer(e, e)),
            ]
        )
        self.sides = nn.ModuleList([nn.Conv2d(width, JOINED, 1) for width in (c, d, e)])
        self.views = nn.ModuleList([Layer(JOINED, JOINED) for _ in STRIDES])
        self.to_faces = nn.ModuleList([nn.Conv2d(JOINED, 1, 1) for _ in STRIDES])
        self.to_boxes = nn.ModuleList([nn.Conv2d(JOINED, 4, 1) for _ in STRIDES])
        for head in self.to_faces:
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            nn.init.constant_(head.bias, PRIOR)
        self.to(memory_format=torch.channels_last)  # on CPU a fifth quicker

    def forward(self, pictures_nchw: Tensor) -> dict[str, Tensor]:
        """Of pictures [n, 1 or 3, h, w]: "faces" [n, a] and "boxes" [n, a, 4]. Colours are averaged."""
        height, width = pictures_nchw.shape[2:]
        last = STRIDES[-1]
        grey = self.standardize(pictures_nchw.mean(1, keepdim=True))
        # What lies beyond the right and lower edge is the mean: 0 once standardised.
        x_nchw = self.stem(F.pad(grey, (0, -width % last, 0, -height % last)))
        maps = []
        for stage in self.stages:
            x_nchw = stage(x_nchw)
            maps.append(x_nchw)
        joined: Tensor | None = None
        faces, boxes = [], []
        for level in reversed(range(len(STRIDES))):
            side = self.sides[level](maps[level])
            joined = side if joined is None else side + F.interpolate(joined, scale_factor=2.0, mode="nearest")
            view = self.views[level](joined)
            faces.append(self.to_faces[level](view).flatten(1))
            boxes.append(self.to_boxes[level](view).flatten(2).transpose(1, 2))
        return {"faces": torch.cat(faces[::-1], 1), "boxes": torch.cat(boxes[::-1], 1)}

    def folded(self) -> Finder:
        """A copy whose norms are part of its convolutions: the same in evaluation, and quicker."""
        quick = copy.deepcopy(self).eval()
        for layer in quick.modules():
            if isinstance(layer, Layer):
                assert isinstance(layer.conv, nn.Conv2d) and isinstance(layer.norm, nn.BatchNorm2d)
                layer.conv, layer.norm = fuse_conv_bn_eval(layer.conv, layer.norm), nn.Identity()
        return quick.to(memory_format=torch.channels_last)


def squares_of(height: int, width: int) -> Tensor:
    """The squares that the cells of a picture compare with, [a, 4], in the order of the net's cells.

    >>> squares_of(32, 32).shape
    torch.Size([21, 4])
    >>> squares_of(20, 32)[0].tolist()
    [-8.0, -8.0, 16.0, 16.0]
    """
    last = STRIDES[-1]
    levels = []
    for stride, side in zip(STRIDES, SQUARES, strict=True):
        down = (torch.arange(-(-height // last) * last // stride) + 0.5) * stride
        across = (torch.arange(-(-width // last) * last // stride) + 0.5) * stride
        y, x = (grid.flatten() for grid in torch.meshgrid(down, across, indexing="ij"))
        levels.append(torch.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], 1))
    return torch.cat(levels)


def cells_of(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres [a, 2] of the cells and their strides [a].

    >>> centres, strides = cells_of(32, 32)
    >>> centres[-1].tolist(), strides[-1].item()
    ([16.0, 16.0], 32.0)
    """
    squares = squares_of(height, width)
    sides = squares[:, 2] - squares[:, 0]
    strides = sum(stride * (sides == side) for stride, side in zip(STRIDES, SQUARES, strict=True))
    assert isinstance(strides, Tensor)
    return (squares[:, :2] + squares[:, 2:]) / 2, strides.float()
