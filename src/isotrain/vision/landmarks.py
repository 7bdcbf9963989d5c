"""The 68 landmarks of a face, in iBUG's order: which is which, mirrored, measured and joined by lines.

Points are tensors [..., 68, 2], x and y in pixels; the first pixel lies between 0 and 1, so that its centre is at 0.5.
Files count the centres of pixels, ytfaces' csv from 0 and iBUG's `.pts` from 1: `CENTRE` is added to what the one says
and taken off what the other does (`isotrain.data.landmarkfiles`).
Left and right are those of the picture: the jaw begins at the left ear that is seen, and eye 36 to 41 is on the left.

Source: Sagonas et al. 2013, "300 Faces in-the-Wild Challenge", figure 1 (its numbers begin at 1, these at 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotrain.errors import BadData

NUMBER = 68
CENTRE = 0.5
"""What to add to the index of a pixel to get the place of its centre."""

PARTS: dict[str, tuple[int, ...]] = {
    "jaw": tuple(range(17)),
    "left brow": tuple(range(17, 22)),
    "right brow": tuple(range(22, 27)),
    "bridge": tuple(range(27, 31)),
    "nostrils": tuple(range(31, 36)),
    "left eye": tuple(range(36, 42)),
    "right eye": tuple(range(42, 48)),
    "outer lips": tuple(range(48, 60)),
    "inner lips": tuple(range(60, 68)),
}
"""The landmarks of each part, in the order in which a line joins them."""
CLOSED = frozenset(("left eye", "right eye", "outer lips", "inner lips"))
"""Parts whose last landmark is joined to the first."""
LINES: tuple[tuple[int, ...], ...] = tuple(
    (*places, places[0]) if name in CLOSED else places for name, places in PARTS.items()
)
"""The lines that draw a face: a landmark that is met twice closes its line."""

OUTER_CORNERS = (36, 45)
"""The outer corners of the eyes: the distance between them is the inter-ocular one of 300-W."""
NOSE_TIP, CHIN = 30, 8

MIRRORED: tuple[int, ...] = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46),
    *(39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *range(67, 64, -1),
)
"""Which landmark each of them becomes in a mirror: its own inverse."""


def checked(points: Tensor) -> Tensor:
    """The points, if they are landmarks.

    Raises:
        BadData: they are not floating [..., 68, 2], or not finite.

    >>> checked(torch.zeros(2, 68, 2)).shape
    torch.Size([2, 68, 2])
    """
    if not points.is_floating_point() or points.dim() < 2 or tuple(points.shape[-2:]) != (NUMBER, 2):
        raise BadData(f"landmarks are floating [..., 68, 2] in iBUG's order, not {points.dtype} {list(points.shape)}.")
    if not points.isfinite().all():
        raise BadData(
            f"{int((~points.isfinite()).sum())} of the landmarks' numbers are not finite: leave that face out."
        )
    return points


def mirrored(points: Tensor, width: float) -> Tensor:
    """The landmarks of the mirrored picture.

    Args:
        points: [..., 68, 2].
        width: of the picture, pixels; 0 mirrors about x = 0.

    >>> mirrored(mirrored(torch.arange(136.0).view(68, 2), 200), 200).equal(torch.arange(136.0).view(68, 2))
    True
    """
    other = points[..., list(MIRRORED), :]
    return torch.stack([width - other[..., 0], other[..., 1]], -1)


def eye_centres(points: Tensor) -> Tensor:
    """The middles of the left and of the right eye's six landmarks, [..., 2, 2] of [..., 68, 2]."""
    return torch.stack([points[..., list(PARTS[f"{side} eye"]), :].mean(-2) for side in ("left", "right")], -2)


def interocular(points: Tensor) -> Tensor:
    """Distance between the outer corners of the eyes (landmarks 36 and 45), pixels: [...] of [..., 68, 2].

    >>> points = torch.zeros(68, 2)
    >>> points[45] = torch.tensor([3.0, 4.0])
    >>> interocular(points).item()
    5.0
    """
    left, right = OUTER_CORNERS
    across = points[..., right, :] - points[..., left, :]
    return torch.hypot(across[..., 0], across[..., 1])


def mean_error(points: Tensor, truth: Tensor) -> Tensor:
    """Normalised mean error of each face: mean distance of the landmarks over the truth's inter-ocular distance.

    Args:
        points: [..., 68, 2].
        truth: [..., 68, 2].

    Returns:
        [...]; 0.05 is 5 %.

    Source: Sagonas et al. 2013, equation 1 (68 points, outer eye corners).

    >>> truth = torch.zeros(68, 2)
    >>> truth[45, 0] = 10.0
    >>> round(mean_error(truth + torch.tensor([0.0, 1.0]), truth).item(), 3)
    0.1
    """
    off = points - truth
    return torch.hypot(off[..., 0], off[..., 1]).mean(-1) / interocular(truth)


def box_around(points: Tensor, grow: float = 1.0) -> Tensor:
    """The box around landmarks, grown about its middle.

    Args:
        points: [..., K, 2].
        grow: factor of its width and of its height.

    Returns:
        [..., 4]: left, top, right, bottom.

    >>> box_around(torch.tensor([[1.0, 2.0], [3.0, 8.0]]), grow=2).tolist()
    [0.0, -1.0, 4.0, 11.0]
    """
    low, high = points.amin(-2), points.amax(-2)
    middle, half = (low + high) / 2, grow * (high - low) / 2
    return torch.cat([middle - half, middle + half], -1)
