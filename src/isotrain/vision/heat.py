"""From maps of scores at several scales to one heat map and its peak; from a score's gradient to a box.

A map of cells lies on a scaled picture: cell (i, j) covers `stride` x `stride` of its pixels, from (stride i, stride j)
on. The last cells may hang over the edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def laid_over(maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], stride: int, height: int, width: int) -> Tensor:
    """The highest score of any scale at each pixel of the picture, each map interpolated between its cells' middles.

    Args:
        maps: [n, K, h, w] of each scale.
        sizes: height and width of the scaled picture of each.
        stride: pixels of it that a cell is wide.
        height: of the picture.
        width: of the picture.

    Returns:
        [n, K, height, width].

    >>> laid_over([torch.tensor([[[[0.0, 1.0]]]])], [(2, 4)], 2, 2, 4)[0, 0, 0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    highest: Tensor | None = None
    for scores, (high, wide) in zip(maps, sizes, strict=True):
        # In parts of the whole map, which may be larger than the scaled picture by the overhang of its last cells.
        down = _middles(height, scores) * (2 * high / (stride * scores.shape[2])) - 1
        across = _middles(width, scores) * (2 * wide / (stride * scores.shape[3])) - 1
        grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1).expand(len(scores), -1, -1, -1)
        finer = F.grid_sample(scores, grid, align_corners=False, padding_mode="border")
        highest = finer if highest is None else torch.maximum(highest, finer)
    assert highest is not None, "a net has a scale at least"
    return highest


def stretched(heat: Tensor) -> Tensor:
    """Each map [..., H, W] from its lowest to its highest score brought to 0 to 1; a flat one is 0.

    >>> stretched(torch.tensor([[-1.0, 3.0], [1.0, 1.0]])).tolist()
    [[0.0, 1.0], [0.5, 0.5]]
    """
    low, high = heat.amin((-2, -1), keepdim=True), heat.amax((-2, -1), keepdim=True)
    return (heat - low) / (high - low).clamp_min(torch.finfo(heat.dtype).tiny)


def peaks(heat_phw: Tensor) -> Tensor:
    """Middle (x, y) of the highest pixel of each map, [p, H, W] to [p, 2]; the first of several.

    >>> peaks(torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])).tolist()
    [[2.5, 0.5]]
    """
    width = heat_phw.shape[2]
    place = heat_phw.flatten(1).argmax(1)
    return torch.stack([place % width, place // width], 1) + 0.5


CONTRAST, SMOOTH = 1 / 8, 1 / 16
"""Standard deviations of the surroundings a pixel is compared with and of the smoothing, in windows of the net."""


def evidence_for(pictures_pchw: Tensor, gradient_pchw: Tensor, windows_p: Tensor) -> Tensor:
    """How much each place of a picture speaks for a score: [p, H, W], 0 or more.

    That is the gradient times how a pixel stands out from its surroundings, where the two agree, smoothed: what the
    score would lose to first order if the picture were blurred there. A cell of a heat map is as wide as its window
    lets it be; this follows the object's own edges.

    Args:
        pictures_pchw: the pictures.
        gradient_pchw: of a score, by the pictures.
        windows_p: side of the window the score has seen, in pixels of the picture.

    >>> flat = torch.ones(1, 1, 8, 8)
    >>> float(evidence_for(flat, torch.randn(1, 1, 8, 8), torch.tensor([4.0])).abs().max()) < 1e-6
    True
    """
    evidence = pictures_pchw.new_zeros(len(pictures_pchw), *pictures_pchw.shape[2:])
    for side in windows_p.unique().tolist():  # as many as the net has scales
        own = windows_p == side
        contrast = pictures_pchw[own] - _smoothed(pictures_pchw[own], CONTRAST * side)
        positive = (gradient_pchw[own] * contrast).sum(1, keepdim=True).clamp_min(0)
        evidence[own] = _smoothed(positive, SMOOTH * side)[:, 0]
    return evidence


def boxes_of(evidence_phw: Tensor, share: float) -> Tensor:
    """Box around the places that have at least `share` of the greatest evidence: [p, 4]; all of a map of zeros.

    >>> boxes_of(torch.tensor([[[0.0, 0.2, 1.0, 0.4], [0.0, 0.0, 0.0, 0.0]]]), 0.3).tolist()
    [[2.0, 0.0, 4.0, 1.0]]
    """
    warm = evidence_phw >= share * evidence_phw.amax((1, 2), keepdim=True)
    edges = []
    for dim in (1, 2):
        along = warm.any(dim).byte()
        # argmax finds the first of equal ones.
        edges.append((along.argmax(1), along.shape[1] - along.flip(1).argmax(1)))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], 1).float()


def regions_of(heat_hw: Tensor, shares: Sequence[float]) -> Tensor:
    """Boxes around the connected warm places of a heat map, at several shares of its greatest heat: [P, 4].

    Args:
        heat_hw: [H, W] in [0, 1].
        shares: what counts as warm.

    >>> regions_of(torch.tensor([[1.0, 0.4, 0.0, 0.8]]), [0.3, 0.5]).tolist()
    [[0.0, 0.0, 2.0, 1.0], [3.0, 0.0, 4.0, 1.0], [0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0]]
    """
    from scipy import ndimage

    boxes = []
    heat = heat_hw.numpy()
    for share in shares:
        places, _ = ndimage.label(heat >= max(share * heat.max(), 1e-6))
        boxes += [[across.start, down.start, across.stop, down.stop] for down, across in ndimage.find_objects(places)]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _smoothed(pictures: Tensor, deviation: float) -> Tensor:
    from torchvision.transforms.v2.functional import gaussian_blur

    # It mirrors the picture at its edges, once at most.
    reach = min(math.ceil(3 * deviation), min(pictures.shape[-2:]) - 1)
    blurred: Tensor = gaussian_blur(pictures, [2 * reach + 1] * 2, [deviation] * 2)
    return blurred


def _middles(count: int, like: Tensor) -> Tensor:
    """Middles of pixels in parts of their whole, [count]."""
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count
