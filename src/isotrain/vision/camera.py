"""Affine cameras that see a rigid face as its landmarks lie: where each of its points is, how the head is turned.

A camera is [2, 4]: a place in the picture is `A X + t`. Model coordinates X: x right, y down, z out of the picture
towards the viewer, in inter-ocular distances. Letters: n faces, K points.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from isotrain.errors import BadData

LARGEST_TURN = 45.0
"""Degrees of yaw or pitch from which half of the face is not seen well enough to be shown from the front. Landmarks of
the side that is turned away are marked where its outline is, so that heads turned by about 60 degrees measure 45."""
LARGEST_ERROR = 0.12
"""Residual of the camera, in inter-ocular distances, from which the landmarks are no face's: the median of
ytfaces' 800 training frames is 0.035, 99 % lie below 0.07, open mouths reach 0.1, one with wrong landmarks has 0.27."""
LEAST_SQUEEZE = 0.6
"""Smaller over larger scale of a camera, below which it sees no face but a stripe (the least of those frames: 0.69)."""


class Fit(NamedTuple):
    """Cameras of n faces and how well they fit.

    Attributes:
        cameras: [n, 2, 4], pixels.
        rotations: [n, 3, 3], of the head, the third row its depth towards the viewer; the identity looks ahead.
        scales: [n], pixels of one inter-ocular distance seen from the front.
        angles: [n, 3] degrees: yaw (positive: the nose points to the right of the picture), pitch (positive: up), roll
            (positive: clockwise); the head nods first, then turns, then leans.
        residuals: [n, K, 2] pixels, landmarks less what the camera sees.
        errors: [n], root of the mean weighted squared length of the residuals, in inter-ocular distances.
    """

    cameras: Tensor
    rotations: Tensor
    scales: Tensor
    angles: Tensor
    residuals: Tensor
    errors: Tensor

    @property
    def doubtful(self) -> Tensor:
        """bool [n]: turned beyond `LARGEST_TURN`, squeezed, or no camera fits: a frontal view of it is guesswork."""
        turned = (self.angles[:, :2].abs() > LARGEST_TURN).any(1)
        return turned | (self.squeezes < LEAST_SQUEEZE) | ~(self.errors <= LARGEST_ERROR)

    @property
    def squeezes(self) -> Tensor:
        """[n], the smaller over the larger scale of each camera: 1 of a camera as they are built."""
        spread = (self.cameras[:, :, :3].square().sum((1, 2)) / 2 - self.scales.square()).clamp(min=0).sqrt()
        return (self.scales - spread) / (self.scales + spread)


def fit_cameras(points: Tensor, shape: Tensor, weights: Tensor) -> Fit:
    """The affine cameras of the least weighted squared residuals.

    Args:
        points: [n, K, 2] pixels.
        shape: [K, 3] of the model.
        weights: [K] or [n, K], not negative: one over the variance of each point's error makes them the generalised
            least squares of the source, with a diagonal covariance.

    Returns:
        The fit, in the type of the points; differentiable.

    Raises:
        BadData: the landmarks of a face all lie in one place, or the weights leave fewer than four points.

    Source: Taigman et al. 2014, "DeepFace", section 2.2.

    >>> cube = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> fit_cameras(10 * cube[None, :, :2] + 5, cube, torch.ones(4)).cameras[0].round().abs().tolist()
    [[10.0, 0.0, 0.0, 5.0], [0.0, 10.0, 0.0, 5.0]]
    """
    exact, shape = points.double(), shape.double()
    weights = weights.double().expand(points.shape[:2])
    # About the weighted means, or the shift of a face far from the corner would cost the rotation its digits.
    share = (weights / weights.sum(1, keepdim=True))[..., None]
    middle, mean = (share * exact).sum(1, keepdim=True), (share * shape).sum(1, keepdim=True)
    about, seen = shape - mean, exact - middle
    normal = about.mT @ (share * about)
    # The determinant over the cubed trace does not depend on units; that of a face is about 0.02.
    if not bool((normal.det() > 1e-9 * normal.diagonal(dim1=1, dim2=2).sum(1) ** 3).all()):
        raise BadData("a camera needs four landmarks with a weight that are not in one plane.")
    linear = torch.linalg.solve(normal, about.mT @ (share * seen)).mT
    if not bool(linear.square().sum((1, 2)).gt(0).all()):
        raise BadData("the landmarks of a face all lie in one place: there is no camera for it.")
    shifts = middle.mT - linear @ mean.mT
    residuals = seen - about @ linear.mT
    rotations, scales = nearest_turn(linear)
    errors = (share[..., 0] * residuals.square().sum(-1)).sum(1).sqrt() / scales
    fit = (torch.cat([linear, shifts], 2), rotations, scales, angles_of(rotations), residuals, errors)
    return Fit(*(part.to(points.dtype) for part in fit))


def nearest_turn(linear: Tensor) -> tuple[Tensor, Tensor]:
    """The rotations nearest to the linear parts [n, 2, 3] of cameras, [n, 3, 3], and their scales [n].

    The first two rows are the polar factor (A A')^(-1/2) A, whose 2 x 2 root is written out, so that its gradient is
    finite where both scales agree (that of a singular value decomposition is not).

    >>> nearest_turn(torch.tensor([[[3.0, 0, 0], [0, 3, 0]]]))[1].tolist()
    [3.0]
    """
    square = linear @ linear.mT
    trace = square.diagonal(dim1=1, dim2=2).sum(1)
    # A face seen as a line has determinant 0: held above, or it had no rotation at all (it is doubtful, but a number).
    root = square.det().clamp(min=0).sqrt().maximum(1e-9 * trace)
    total = (trace + 2 * root).sqrt()
    upright = torch.eye(2, dtype=linear.dtype, device=linear.device)
    half = (square + root[:, None, None] * upright) / total[:, None, None]
    first = torch.linalg.solve(half, linear)
    depth = torch.linalg.cross(first[:, :1], first[:, 1:])
    return torch.cat([first, depth], 1), total / 2


def angles_of(rotations: Tensor) -> Tensor:
    """Yaw, pitch and roll of rotations [n, 3, 3], degrees [n, 3]: `turn` of them are the rotations again.

    >>> angles_of(torch.eye(3)[None]).abs().tolist()
    [[0.0, 0.0, 0.0]]
    """
    yaw = -torch.asin(rotations[:, 2, 0].clamp(-1, 1))
    pitch = torch.atan2(rotations[:, 2, 1], rotations[:, 2, 2])
    roll = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], 1))


def turn(angles: Tensor) -> Tensor:
    """Rotations [n, 3, 3] of yaw, pitch and roll, degrees [n, 3]: R = roll yaw pitch.

    >>> turn(torch.tensor([[90.0, 0.0, 0.0]]))[0, :, 2].round().abs().tolist()
    [1.0, 0.0, 0.0]
    """
    (yaw_c, pitch_c, roll_c), (yaw_s, pitch_s, roll_s) = (
        f(torch.deg2rad(angles)).unbind(1) for f in (torch.cos, torch.sin)
    )
    one, nought = torch.ones_like(yaw_c), torch.zeros_like(yaw_c)
    lean = torch.stack([roll_c, -roll_s, nought, roll_s, roll_c, nought, nought, nought, one], 1)
    side = torch.stack([yaw_c, nought, yaw_s, nought, one, nought, -yaw_s, nought, yaw_c], 1)
    nod = torch.stack([one, nought, nought, nought, pitch_c, -pitch_s, nought, pitch_s, pitch_c], 1)
    return lean.view(-1, 3, 3) @ side.view(-1, 3, 3) @ nod.view(-1, 3, 3)
