"""One convolutional net slid over a picture at several scales: a map of scores for each class at each of them.

Shapes: n pictures, C classes, h and w cells of a map. A cell is the place of `STRIDE` x `STRIDE` pixels of the scaled
picture: cell (i, j) covers the pixels from (STRIDE i, STRIDE j) on, exactly, because only 2 x 2 poolings shrink. An
object far from the net's own size is seen well at one of the scales; the pooling picks that place, so that labels of
whole pictures are enough to learn where things are.

Source: Oquab et al. 2015, "Is object localization for free?", sections 3 and 4 (maximum over places, sliding over
scales); Durand et al. 2016, "WELDON", section 3 (the k highest and the k lowest instances).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isotrain.errors import BadOption, UnknownName
from isotrain.nets.standardize import Standardize

STRIDE = 4
"""Pixels of the scaled picture that a cell of a map is wide."""
SCALES = (1.0, 0.7, 0.5, 0.35)
"""Half octaves downwards: what is larger than the net's window fits into it at one of them, and none costs more than
the first. An object smaller than the window is inside it already."""
SMALLEST_SIDE = 2 * STRIDE
"""A picture is never scaled below this: two cells, so that a batch of one still has a spread."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the channels change; same size."""

    def __init__(self, before: int, after: int, norm: bool) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *_convolution(before, after, 3, norm), nn.ReLU(inplace=True), *_convolution(after, after, 3, norm)
        )
        self.shortcut = nn.Identity() if before == after else nn.Sequential(*_convolution(before, after, 1, norm))

    def forward(self, x_nchw: Tensor) -> Tensor:
        """[n, before, h, w] to [n, after, h, w]."""
        return F.relu(self.inner(x_nchw) + self.shortcut(x_nchw))


class Multiscale(nn.Module):
    """Scores of classes, [n, C], pooled from maps of the same convolutions at several scales.

    With `scales=(1.0,)` it is the single-scale net of the same weights; with `pooling="mean"` besides, the plain
    classifier that averages over all places and learns nothing of where things are.

    Args:
        mean: of each channel of the pictures, in [0, 1].
        spread: of each channel.
        classes: how many.
        widths: channels at half the picture's size and at a quarter of it.
        depth: residual blocks at each of the two sizes.
        scales: factors of the pictures' sides.
        pooling: "max"; "instances": mean of the `top` highest plus mean of the `bottom` lowest cells of all scales;
            or "mean" of all cells.
        top: how many highest cells.
        bottom: how many lowest cells, 0 for none.
        norm: batch normalization after each convolution; without, they have biases.

    Raises:
        BadOption: no scale, a scale that is not positive, or a number of cells that is none.
        UnknownName: the pooling is not known.

    >>> net = Multiscale([0.5], [0.25], classes=3, scales=(1.0, 0.5))
    >>> [tuple(scores.shape) for scores in net.maps(torch.zeros(2, 1, 32, 24))]
    [(2, 3, 8, 6), (2, 3, 4, 3)]
    >>> net(torch.zeros(2, 1, 32, 24)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        mean: Sequence[float],
        spread: Sequence[float],
        classes: int,
        widths: tuple[int, int] = (16, 32),
        depth: int = 1,
        scales: Sequence[float] = SCALES,
        pooling: str = "max",
        top: int = 3,
        bottom: int = 3,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise BadOption(f"scales={tuple(scales)!r}: give one or more factors above 0, such as 1.0, 0.7, 0.5.")
        if top < 1 or bottom < 0:
            raise BadOption(f"top={top!r} must be at least 1 and bottom={bottom!r} at least 0.")
        if pooling not in POOLINGS:
            raise UnknownName("pooling", pooling, POOLINGS)
        self.scales, self.pooling, self.top, self.bottom, self.depth = tuple(scales), pooling, top, bottom, depth
        self.standardize = Standardize(mean, spread)
        half, quarter = widths
        self.features = nn.Sequential(
            *_convolution(len(mean), half, 5, norm),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, ceil_mode=True),
            *(Residual(half, half, norm) for _ in range(depth)),
            nn.MaxPool2d(2, ceil_mode=True),
            *(Residual(half if block == 0 else quarter, quarter, norm) for block in range(depth)),
        )
        self.head = nn.Conv2d(quarter, classes, 1)

    def maps(self, pictures_nchw: Tensor) -> list[Tensor]:
        """Score maps [n, C, h, w] of pictures in [0, 1], one for each scale, in the order of `scales`."""
        standard = self.standardize(pictures_nchw)
        return [self.head(self.features(scaled(standard, scale))) for scale in self.scales]

    def pooled(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits [n, C] of score maps."""
        cells_ncp = torch.cat([scores.flatten(2) for scores in maps], 2)
        return POOLINGS[self.pooling](cells_ncp, self.top, self.bottom)

    def forward(self, pictures_nchw: Tensor) -> Tensor:
        """[n, channels, H, W] to logits [n, C]."""
        return self.pooled(self.maps(pictures_nchw))

    def evidence(self, pictures_pchw: Tensor, classes_p: Tensor) -> tuple[Tensor, Tensor]:
        """What the highest score of a class in each picture hangs on, in evaluation mode.

        Args:
            pictures_pchw: pictures in [0, 1].
            classes_p: a class for each.

        Returns:
            The gradient of that one cell's score by the picture, [p, channels, H, W], which is 0 outside of the cell's
            window; and the side of that window in pixels of the picture, [p].

        Source: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.
        """
        with torch.enable_grad():
            pictures = pictures_pchw.detach().requires_grad_()
            rows = torch.arange(len(classes_p), device=classes_p.device)
            best_ps = torch.stack([scores.flatten(2).amax(2)[rows, classes_p] for scores in self.maps(pictures)], 1)
            best_p, which_p = best_ps.max(1)
            (gradient,) = torch.autograd.grad(best_p.sum(), pictures)
        return gradient, window(self.depth) / gradient.new_tensor(self.scales)[which_p]

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of a picture at each of the scales."""
        return [scaled_size(height, width, scale) for scale in self.scales]


def window(depth: int) -> int:
    """Pixels along the side of what a cell sees.

    >>> window(depth=1)
    32
    """
    # The first convolution and pooling see 6, the second pooling adds 2; a block adds two pixels twice, times its step.
    return 8 + depth * (4 * 2 + 4 * STRIDE)


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Sides times `scale`, to the nearest whole pixel, none below `SMALLEST_SIDE`.

    >>> scaled_size(100, 10, 0.35)
    (35, 8)
    """
    return max(SMALLEST_SIDE, round(height * scale)), max(SMALLEST_SIDE, round(width * scale))


def scaled(pictures_nchw: Tensor, scale: float) -> Tensor:
    """Pictures with their sides times `scale`, to the nearest whole pixel; smoothed first where they shrink.

    >>> scaled(torch.ones(1, 1, 30, 20), 0.5).shape
    torch.Size([1, 1, 15, 10])
    """
    high, wide = pictures_nchw.shape[-2:]
    to = scaled_size(high, wide, scale)
    if to == (high, wide):
        return pictures_nchw
    # Antialiasing leaves enlargement as it is, and is no slower there.
    return F.interpolate(pictures_nchw, to, mode="bilinear", align_corners=False, antialias=scale < 1)


def instances(cells_ncp: Tensor, top: int, bottom: int) -> Tensor:
    """Mean of the `top` highest plus mean of the `bottom` lowest of the cells, [n, C, p] to [n, C].

    Where there are fewer cells than asked for, all of them.

    >>> instances(torch.tensor([[[1.0, 5.0, 3.0, -4.0]]]), top=2, bottom=1)
    tensor([[0.]])
    """
    count = cells_ncp.shape[2]
    score = cells_ncp.topk(min(top, count), 2).values.mean(2)
    if bottom:
        score = score + cells_ncp.topk(min(bottom, count), 2, largest=False).values.mean(2)
    return score


POOLINGS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "max": lambda cells_ncp, top, bottom: cells_ncp.amax(2),
    "instances": instances,
    "mean": lambda cells_ncp, top, bottom: cells_ncp.mean(2),
}


def _convolution(before: int, after: int, side: int, norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, side, padding=side // 2, bias=not norm)
    return [convolution, nn.BatchNorm2d(after)] if norm else [convolution]
