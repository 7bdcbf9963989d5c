"""Pictures varied at random, a whole batch at once: shifted, mirrored, with a square cut out, in other colours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_PIXELS = 5
"""Of an object, and of what is around it, that can be told apart."""


def shifted(pictures_nchw: Tensor, most: tuple[int, int], mirror: bool, generator: torch.Generator) -> Tensor:
    """Each picture moved by up to `most` pixels down or up and right or left, and mirrored by even odds if `mirror`.

    What comes in at an edge repeats the edge: the same as padding and cropping, without a colour that the pictures do
    not have. The result lies in memory with its channels last.

    >>> pictures = torch.tensor([[[[1, 2, 3]]]])
    >>> generator = torch.Generator().manual_seed(0)
    >>> sorted({tuple(shifted(pictures, (0, 1), False, generator).flatten().tolist()) for _ in range(20)})
    [(1, 1, 2), (1, 2, 3), (2, 3, 3)]
    """
    n, _, height, width = pictures_nchw.shape
    rows_nh = _moved(n, height, most[0], generator)
    columns_nw = _moved(n, width, most[1], generator)
    if mirror:
        turn_n1 = torch.randint(0, 2, (n, 1), generator=generator, dtype=torch.bool)
        columns_nw = torch.where(turn_n1, columns_nw.flip(1), columns_nw)
    # Indices on both sides of the channels' slice: the channels come last, [n, h, w, c].
    picked = pictures_nchw[torch.arange(n)[:, None, None], :, rows_nh[:, :, None], columns_nw[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def cut_out(pictures_nchw: Tensor, side: int, fill_c: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture with a square of `side` pixels about a random pixel set to `fill_c`; it may hang over the edge.

    Source: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout", section 3.

    >>> pictures, generator = torch.ones(1, 1, 4, 4), torch.Generator().manual_seed(0)
    >>> bool((cut_out(pictures, 2, torch.zeros(1), generator) == 0).any())
    True
    """
    n, channels, height, width = pictures_nchw.shape
    rows_nh = _inside(n, height, side, generator)
    columns_nw = _inside(n, width, side, generator)
    gone_n1hw = (rows_nh[:, :, None] & columns_nw[:, None, :])[:, None]
    return torch.where(gone_n1hw, fill_c.to(pictures_nchw).view(1, channels, 1, 1), pictures_nchw)


def recoloured(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Windows [n, C, h, w] in [0, 1], in other brightness, contrast and bend, most of them greyer."""
    n, c = windows.shape[:2]
    gain = torch.exp2(0.6 * torch.rand(n, c, 1, 1, generator=generator) - 0.3)
    gain = gain * torch.exp2(0.6 * torch.rand(n, 1, 1, 1, generator=generator) - 0.3)
    shift = 0.1 * (2 * torch.rand(n, c, 1, 1, generator=generator) - 1)
    bend = torch.exp2(torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    if c > 1:
        # Towards grey, of a random mixture: in some scans one channel stands for all.
        mixture = -torch.rand(n, c, 1, 1, generator=generator).clamp_min(1e-6).log()
        grey = (windows * mixture).sum(1, keepdim=True) / mixture.sum(1, keepdim=True)
        share = (2 * torch.rand(n, 1, 1, 1, generator=generator) - 0.75).clamp_(0, 1)
        windows = torch.lerp(windows, grey.expand_as(windows), share)
    return (windows * gain + shift).clamp_(0, 1).pow_(bend)


def less_apart(windows: Tensor, masks: Tensor, generator: torch.Generator) -> Tensor:
    """Windows [n, C, h, w] in [0, 1], in half of which the object stands out less, or a little more.

    What is seen of few objects is soon taken for what they all are: bright, say. Here the difference of an object
    (bool [n, h, w]) to what is around it is added to it once more, or taken away up to 1.2 times.
    """
    inside = masks[:, None].to(windows.dtype)
    around = F.max_pool2d(inside, 9, 1, 4) - inside
    parts = [part.sum((2, 3), keepdim=True) for part in (inside, around)]
    known = (parts[0] >= LEAST_PIXELS) & (parts[1] >= LEAST_PIXELS)
    means = [
        (windows * part).sum((2, 3), keepdim=True) / number.clamp_min(1)
        for part, number in zip((inside, around), parts, strict=True)
    ]
    draws = torch.rand(2, len(windows), 1, 1, 1, generator=generator)
    share = torch.where(known & (draws[0] < 0.5), 0.2 - 1.4 * draws[1], 0.0)
    return (windows + share * (means[0] - means[1]) * F.avg_pool2d(inside, 5, 1, 2)).clamp_(0, 1)


def rescanned(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Windows [n, C, h, w] in [0, 1], h and w even, as another machine might show them: softer, sharper or noisy."""
    n = len(windows)
    soft = F.interpolate(F.avg_pool2d(windows, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    share = 2 * torch.rand(n, 1, 1, 1, generator=generator) - 1
    share = torch.where(share.abs() < 0.4, 0.0, share)  # below 0 it is sharper
    noise = 0.06 * (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1.4).clamp_min(0)
    return (torch.lerp(windows, soft, share) + noise * torch.randn(windows.shape, generator=generator)).clamp_(0, 1)


def covered(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """A third of the pictures [n, C, h, w] with a rectangle of one grey over them, as a hand would hide a part."""
    n, _, height, width = inputs.shape
    draws = torch.rand(6, n, generator=generator)
    across, down = torch.arange(width)[None], torch.arange(height)[None]
    left, top = (draws[0] * width)[:, None], (draws[1] * height)[:, None]
    in_x = (across >= left) & (across < left + (0.15 + 0.3 * draws[2])[:, None] * width)
    in_y = (down >= top) & (down < top + (0.15 + 0.3 * draws[3])[:, None] * height)
    hidden = (in_y[:, :, None] & in_x[:, None, :] & (draws[4] < 0.33)[:, None, None])[:, None]
    return torch.where(hidden, draws[5].view(n, 1, 1, 1), inputs)


def coarse(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """A fifth of the pictures [n, C, h, w] as they would look with half or a quarter of their pixels; h, w by 4."""
    draw = torch.rand(len(inputs), generator=generator)
    for step, low, high in ((2, 0.0, 0.1), (4, 0.1, 0.2)):
        rows = ((draw >= low) & (draw < high)).nonzero()[:, 0]
        if len(rows):
            small = F.avg_pool2d(inputs[rows], step)
            inputs[rows] = F.interpolate(small, size=inputs.shape[2:], mode="bilinear", align_corners=False)
    return inputs


def lit(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [n, C, h, w] in [0, 1], each brighter on one side than on the other, by up to a factor of 2.7."""
    n, _, height, width = inputs.shape
    across, down = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
    slopes = 0.7 * (2 * torch.rand(2, n, 1, 1, 1, generator=generator) - 1)
    slopes = slopes * slopes.abs()  # most of them little
    return (inputs * (slopes[0] * across + slopes[1] * down[:, None]).exp2()).clamp_(0, 1)


def _moved(n: int, side: int, most: int, generator: torch.Generator) -> Tensor:
    by_n1 = torch.randint(-most, most + 1, (n, 1), generator=generator)
    return (torch.arange(side) + by_n1).clamp_(0, side - 1)


def _inside(n: int, length: int, side: int, generator: torch.Generator) -> Tensor:
    start_n1 = torch.randint(0, length, (n, 1), generator=generator) - side // 2
    place = torch.arange(length)
    return (place >= start_n1) & (place < start_n1 + side)
