"""Faces turned to the front: each pixel of the crop shows a place of the average face's mesh, seen by its camera.

The triangle of each pixel and its barycentric coordinates do not depend on the face; they are found once for each
model and size. An affine camera keeps barycentric coordinates, so that the warp is affine in each triangle.
Letters: n faces, C channels, V points and T triangles of the model, h and w of the crop.

DeepFace moves the points of its frontal template by the residuals of each face, so that the warp keeps what is the
face's own. The same is reached here, to first order, by sampling each face where the camera sees the unmoved model:
the maps then serve all faces. `own=0` samples at the landmarks instead, and gives every face the average's shape.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from isotrain.errors import BadOption
from isotrain.vision.camera import Fit
from isotrain.vision.facemodel import FRAME_SIDE, FaceModel, to_crop
from isotrain.vision.similarity import sample

WORSE, MUCH_WORSE = 0.28, 0.55
"""The mirror image begins to be blended in where it is seen better by the first, and stands alone from the second; both
are differences of `visible`. A head turned by less than 8 degrees keeps both halves."""
CELL, THICK = 0.06, 0.12
"""Depths are compared in cells of this side; what lies this much behind the nearest is hidden (inter-ocular distances).
The cell is larger than the distance between the points compared, so that a surface has no holes."""
COARSE = 64
"""Points along the crop at which what is hidden is decided, whatever the crop's size: its boundary is soft anyway."""
REACH = 2
"""Of these points, to each side: how far the boundary is blurred, twice."""


class Maps(NamedTuple):
    """What the pixels of a crop show.

    Attributes:
        triangle: [h, w] int64, -1 where the model has no point.
        barycentric: [h, w, 3] of that triangle's corners.
        surface: [h, w, 3], model coordinates.
    """

    triangle: Tensor
    barycentric: Tensor
    surface: Tensor


def frontal(
    picture: Tensor | Sequence[Tensor],
    landmarks: Tensor,
    model: FaceModel,
    size: int = 152,
    grow: float = 1.0,
    own: float = 1.0,
    fill: bool = True,
    fit: Fit | None = None,
) -> Tensor:
    """Frontal views of faces. Look at `model.fit(landmarks).doubtful` first: what it names is guesswork.

    Args:
        picture: [C, H, W], uint8 or floating in [0, 1], that holds all faces; or n pictures, one for each face.
        landmarks: [n, 68, 2] pixels.
        model: of the face.
        size: side of the crops.
        grow: the crop shows the frame (`isotrain.vision.facemodel.FRAME_SIDE`) this many times as wide.
        own: share of the face's own shape that is kept; 0 brings every landmark to the average's place.
        fill: show hidden triangles as their mirror images.
        fit: the cameras, where they have been fitted before.

    Returns:
        [n, C, size, size] in [0, 1], black where the model has no point; differentiable in a floating picture and in
        the landmarks.

    Raises:
        BadData: these are no landmarks, or not as many pictures as faces.
        BadOption: a size, share or factor out of range.

    Source: Taigman et al. 2014, "DeepFace", section 2.2.

    >>> model = FaceModel.load()
    >>> frontal(torch.ones(3, 90, 90), model.template(90)[None], model, size=32).shape
    torch.Size([1, 3, 32, 32])
    """
    if not 0 <= own <= 1:
        raise BadOption(f"own is a share from 0 to 1, not {own}.")
    maps = maps_of(model, size, grow)
    fit = model.fit(landmarks) if fit is None else fit
    if not len(landmarks):
        return sample(picture, landmarks.new_zeros(0, size, size, 2), landmarks.new_zeros(0))
    surface = maps.surface.to(landmarks).view(-1, 3)
    places = surface @ fit.cameras[:, :, :3].mT + fit.cameras[:, None, :, 3]
    if own < 1:
        moved = spread_of(model).to(landmarks) @ fit.residuals  # [n, V, 2]
        corners = moved[:, model.triangles[maps.triangle.clamp(min=0).view(-1)]]
        shifts = (maps.barycentric.to(landmarks).view(-1, 3, 1) * corners).sum(-2)
        places = places + (1 - own) * shifts
    seen = sample(picture, places.unflatten(1, (size, size)), fit.scales * (FRAME_SIDE * grow / size))
    if bool((maps.triangle < 0).any()):
        seen = seen * (maps.triangle >= 0).to(seen)
    return filled(seen, replaced(model, fit, size, grow)) if fill else seen


def filled(crops: Tensor, shares: Tensor) -> Tensor:
    """Crops [n, C, h, w] with shares [n, h, w] of their mirror images blended in.

    >>> filled(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), torch.tensor([[[0.0, 0.0, 0.0, 1.0]]])).tolist()
    [[[[1.0, 2.0, 3.0, 1.0]]]]
    """
    return crops + shares[:, None] * (crops.flip(-1) - crops)


def replaced(model: FaceModel, fit: Fit, size: int, grow: float = 1.0) -> Tensor:
    """The share of each pixel that is taken from its mirror image, [n, size, size]: 1 where only that is seen."""
    level = visible(model, fit, grow)
    better = ((level.flip(-1) - level - WORSE) / (MUCH_WORSE - WORSE)).clamp(0, 1)
    share = _blurred(_blurred(better.square() * (3 - 2 * better)))
    return functional.interpolate(share[:, None], (size, size), mode="bilinear", antialias=size < COARSE)[:, 0]


def visible(model: FaceModel, fit: Fit, grow: float = 1.0) -> Tensor:
    """How well the camera sees what the crop shows, [n, 64, 64] from 0 (hidden) to 1, at `COARSE` points each way.

    It is the cosine of the angle between surface and view, the share of its area that is left in the picture. A
    place is hidden where its triangle is turned away, or where another part of the face, as the nose, is before it.
    """
    maps = maps_of(model, COARSE, grow)
    rotations = fit.rotations
    towards = facing_of(model, rotations)[:, maps.triangle.clamp(min=0).view(-1)].clamp(min=0)
    there = (maps.triangle >= 0).view(-1).to(rotations.device)
    seen = there & ~covered(maps.surface.to(rotations).view(-1, 3), rotations.detach())
    level = (towards * seen).unflatten(1, (COARSE, COARSE))
    # Slits narrower than three points are not worth a mirror image; what else is hidden grows by about the blur's
    # reach, so that little of it is left in the soft boundary.
    level = functional.max_pool2d(level, 3, 1, 1)
    level = -functional.max_pool2d(-level, 2 * REACH + 3, 1, REACH + 1)
    return _blurred(level)


def _blurred(level: Tensor) -> Tensor:
    """Means over squares, [n, h, w]."""
    padded = functional.pad(level[:, None], [REACH] * 4, "replicate")
    return functional.avg_pool2d(padded, 2 * REACH + 1, 1)[:, 0]


def facing_of(model: FaceModel, rotations: Tensor) -> Tensor:
    """Cosines of the angles between the triangles' normals and the view, [n, T]: negative where turned away.

    Normals point to the front, in whichever order a file names the corners.

    >>> bool((facing_of(FaceModel.load(), torch.eye(3)[None]) > 0).all())
    True
    """
    one, two, three = model.vertices[model.triangles].to(rotations).unbind(1)
    normals = torch.linalg.cross(two - one, three - one)
    normals = functional.normalize(normals * torch.where(normals[:, 2:] < 0, -1.0, 1.0), dim=1)
    facing: Tensor = rotations[:, 2] @ normals.mT
    return facing


def covered(surface: Tensor, rotations: Tensor) -> Tensor:
    """Which points of a surface [P, 3] have another of them before them in the view, bool [n, P]: a depth buffer."""
    turned = surface @ rotations.mT
    # Rounded about the origin, so that a mirrored face has mirrored cells.
    place = (turned[..., :2] / CELL).round().long()
    column, row = (place - place.amin((0, 1))).unbind(-1)
    cell = row * (int(column.max()) + 1) + column
    nearest = turned.new_full((len(turned), int(cell.max()) + 1), -torch.inf)
    nearest = nearest.scatter_reduce(1, cell, turned[..., 2], "amax")
    return turned[..., 2] < nearest.gather(1, cell) - THICK


@functools.lru_cache(maxsize=16)
def maps_of(model: FaceModel, size: int, grow: float = 1.0) -> Maps:
    """Which point of the model each pixel of a frontal crop shows: the foremost at the pixel's centre.

    Raises:
        BadOption: a size or a factor that is not positive.
    """
    flat = to_crop(model.vertices[:, :2], size, grow)
    triangle = torch.full((size, size), -1)
    barycentric = flat.new_zeros(size, size, 3)
    depth = flat.new_full((size, size), -torch.inf)
    for number, corners in enumerate(model.triangles.tolist()):
        one, two, three = flat[corners]
        edges = torch.stack([two - one, three - one], 1)
        if abs(edges.det().item()) < 1e-12:
            continue
        low = (flat[corners].amin(0) - 0.5).ceil().clamp(0, size).long().tolist()
        high = ((flat[corners].amax(0) - 0.5).floor() + 1).clamp(0, size).long().tolist()
        if low[0] >= high[0] or low[1] >= high[1]:
            continue
        here = (slice(low[1], high[1]), slice(low[0], high[0]))
        rows, columns = (torch.arange(low[axis], high[axis], dtype=flat.dtype) + 0.5 for axis in (1, 0))
        down, across = torch.meshgrid(rows, columns, indexing="ij")
        shares = (torch.stack([across, down], -1) - one) @ torch.linalg.inv(edges).mT
        shares = torch.cat([1 - shares.sum(-1, keepdim=True), shares], -1)
        near = shares @ model.vertices[corners, 2]
        # A pixel on an edge belongs to both triangles, whichever comes first: rounding must not leave it to none.
        taken = (shares >= -1e-9).all(-1) & (near > depth[here])
        triangle[here][taken] = number
        barycentric[here][taken] = shares[taken]
        depth[here][taken] = near[taken]
    corners = model.vertices[model.triangles[triangle.clamp(min=0)]]
    return Maps(triangle, barycentric, (barycentric[..., None] * corners).sum(-2))


@functools.lru_cache(maxsize=4)
def spread_of(model: FaceModel) -> Tensor:
    """How the landmarks' shifts pass to all vertices, [V, 68], rows of sum 1: Shepard's inverse fourth powers."""
    across = torch.cdist(model.vertices[:, :2], model.points[:, :2])
    weights = across.clamp(min=1e-6) ** -4
    weights = weights / weights.sum(1, keepdim=True)
    weights[model.landmarks] = torch.eye(len(model.landmarks), dtype=weights.dtype)
    return weights
