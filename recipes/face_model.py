"""The 3D average face that isotrain ships, from the landmarks of video frames. Nothing is drawn by chance.

Needs the training frames' landmarks of the "ytfaces" set (`training_frames_keypoints.csv`: 68 points a frame in iBUG's
order, taken from the YouTube Faces set, Wolf et al. 2011). Ten seconds on one core:

    python recipes/face_model.py ../shared/data/ytfaces/training_frames_keypoints.csv

1. Every frame and its mirror image, about their means, are the rows of one matrix. Under affine cameras it has rank 3
   (Tomasi and Kanade 1992); cameras of one scale in both directions give the metric.
2. Cameras (rotation, scale, shift) and the shape are fitted by turns, each point weighed by Cauchy's weight of its
   residual, so that open mouths and misplaced points count little. The half of the jaw that is turned away does not
   count: what is marked there is the outline of the cheek, another place on the head at every angle.
3. The shape is turned so that its mirror plane is upright and the frames look up and down equally often.
4. Landmarks leave out forehead and cheeks. Added points lie on the ellipsoid that fits brows, jaw and the corners of
   eyes and mouth; above the brows it is mirrored, as foreheads recede. A frame of points at the depth of the ears
   stands for what is behind the face.
5. Delaunay's triangles of one half, in the frontal view, and their mirror image.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from scipy.spatial import Delaunay
from torch import Tensor

from isotrain.vision.facemodel import OURS, FaceModel
from isotrain.vision.landmarks import CENTRE, MIRRORED, NOSE_TIP, OUTER_CORNERS, PARTS, mirrored

FAR = 20.0
"""Degrees of yaw from which the jaw that is turned away does not count."""
ROUNDS = 200
CHEEKS = ((41, 48), (36, 3), (48, 3))
"""Points of the left cheek: in the middle between two landmarks each."""
FOREHEAD = ((0.0, -0.75), (-0.35, -0.75), (-0.68, -0.7), (-0.85, -0.35))
BEHIND = ((-1.3, -0.9), (-0.5, -0.9), (0.0, -0.9), (-1.3, 0.0), (-1.3, 0.8), (-1.3, 1.7), (-0.5, 1.7), (0.0, 1.7))
"""Places x, y of added points in inter-ocular distances, the middle between the eyes' outer corners at 0, y down."""


def read(path: Path) -> Tensor:
    """Landmarks [frames, 68, 2], the first pixel between 0 and 1."""
    with path.open(newline="") as file:
        rows = [[float(value) for value in row[1:]] for row in list(csv.reader(file))[1:]]
    return torch.tensor(rows, dtype=torch.float64).view(-1, 68, 2) + CENTRE


def factorised(points: Tensor) -> Tensor:
    """The shape [68, 3] that affine cameras see best, up to a rotation and a reflection in depth."""
    rows = points.mT.reshape(-1, points.shape[1])
    left, sizes, right = torch.linalg.svd(rows, full_matrices=False)
    cameras, shape = (left[:, :3] * sizes[:3]).view(-1, 2, 3), right[:3]
    first, second = cameras.unbind(1)

    def forms(a: Tensor, b: Tensor) -> Tensor:
        """Coefficients of a' Q b in the six numbers of a symmetric Q."""
        pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
        return torch.stack([(a[:, i] * b[:, j] + a[:, j] * b[:, i]) / 2 * (1 if i == j else 2) for i, j in pairs], 1)

    wanted = torch.cat([forms(first, first) - forms(second, second), 2 * forms(first, second)])
    q = torch.linalg.svd(wanted, full_matrices=False).Vh[-1]
    metric = torch.stack([q[[0, 3, 4]], q[[3, 1, 5]], q[[4, 5, 2]]])
    metric = metric * metric.trace().sign()
    solved: Tensor = torch.linalg.solve(torch.linalg.cholesky(metric), shape).mT
    return solved


def turned(cameras: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest rotations [n, 2, 3] of affine cameras, and their scales [n]."""
    left, sizes, right = torch.linalg.svd(cameras, full_matrices=False)
    return left @ right, sizes.mean(-1)


def refined(points: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Shape [68, 3] and rotations [n, 2, 3] that leave the least robust residual."""
    weights = points.new_ones(points.shape[:2])
    jaw = list(PARTS["jaw"])
    for _ in range(ROUNDS):
        share = weights / weights.sum(1, keepdim=True)
        means = torch.einsum("nk,nkd->nd", share, points)[:, None]
        about = shape - torch.einsum("nk,kd->nd", share, shape)[:, None]
        normal = torch.einsum("nk,nki,nkj->nij", share, about, about)
        seen = torch.einsum("nk,nki,nkd->nid", share, about, points - means)
        rotations, scales = turned(torch.linalg.solve(normal, seen).mT)
        cameras = rotations * scales[:, None, None]
        shifts = means[:, 0] - torch.einsum("ndi,nk,ki->nd", cameras, share, shape)
        off = points - shifts[:, None] - shape @ cameras.mT
        far = off.norm(dim=-1)
        weights = 1 / (1 + (far / (1.5 * far.median())).square())
        weights[:, jaw] *= near_jaw(shape, rotations)
        normal = torch.einsum("nk,ndi,ndj->kij", weights, cameras, cameras)
        seen = torch.einsum("nk,ndi,nkd->ki", weights, cameras, points - shifts[:, None])
        shape = torch.linalg.solve(normal, seen[..., None])[..., 0]
        shape = shape - shape.mean(0)
        shape = shape / shape.square().sum(-1).mean().sqrt()
    return shape, rotations


def near_jaw(shape: Tensor, rotations: Tensor) -> Tensor:
    """Weights [n, 17] of the jaw, 0 on the half that is turned away."""
    across = shape[OUTER_CORNERS[1]] - shape[OUTER_CORNERS[0]]
    forward = shape[NOSE_TIP] - shape[list(OUTER_CORNERS)].mean(0)
    depth = torch.linalg.cross(rotations[:, 0], rotations[:, 1])
    depth = depth * (depth @ forward).sign()[:, None]
    yaw = torch.rad2deg(torch.asin((-(depth @ across) / across.norm()).clamp(-1, 1)))
    side = torch.arange(17) - 8
    return 1 - ((yaw[:, None] * side > 0) & (yaw.abs()[:, None] > FAR)).double()


def frontal(shape: Tensor, rotations: Tensor) -> Tensor:
    """The shape, symmetric, looking ahead: x right, y down, z out of the picture, in inter-ocular distances."""
    mirror = torch.linalg.lstsq(shape, shape[list(MIRRORED)]).solution
    sizes, axes = torch.linalg.eigh((mirror + mirror.mT) / 2)
    right = axes[:, sizes.argmin()]
    right = right * ((shape[OUTER_CORNERS[1]] - shape[OUTER_CORNERS[0]]) @ right).sign()
    down = rotations[:, 1].mean(0)
    down = down - (down @ right) * right
    down = down / down.norm()
    out = torch.linalg.cross(right, down)
    points = shape @ torch.stack([right, down, out], 1)
    points = (points + points[list(MIRRORED)] * points.new_tensor([-1, 1, 1])) / 2
    # Landmarks alone cannot tell a face from its hollow mask: noses point out.
    points[:, 2] *= (points[NOSE_TIP, 2] - points[0, 2]).sign()
    left, other = points[list(OUTER_CORNERS)]
    placed: Tensor = (points - (left + other) / 2) / (other[0] - left[0])
    return placed


def ellipsoid(points: Tensor) -> Tensor:
    """Coefficients of x^2 + b y^2 + c z^2 + d y + e z + f = 0 through brows, jaw, corners of eyes and mouth."""
    places = [*PARTS["jaw"], *PARTS["left brow"], *PARTS["right brow"], *OUTER_CORNERS, 48, 54]
    x, y, z = points[places].unbind(1)
    terms = torch.stack([y * y, z * z, y, z, torch.ones_like(x)], 1)
    solution: Tensor = torch.linalg.lstsq(terms, -(x * x)[:, None]).solution[:, 0]
    return solution


def added(points: Tensor) -> Tensor:
    """Points of the left half and of the middle, [E, 3]: cheek, forehead, what is behind."""
    b, c, d, e, f = ellipsoid(points).tolist()
    brow = float(points[list(PARTS["left brow"]), 1].mean())
    rows = []
    cheeks = [((points[one, :2] + points[two, :2]) / 2).tolist() for one, two in CHEEKS]
    for x, y in [*cheeks, *FOREHEAD]:
        level = max(y, 2 * brow - y)
        rest = f + x * x + b * level * level + d * level
        rows.append((x, y, (-e + (e * e - 4 * c * rest) ** 0.5) / (2 * c)))
    rows += [(x, y, float(points[0, 2])) for x, y in BEHIND]
    return points.new_tensor(rows)


def mesh(points: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3], the landmarks first, and triangles [T, 3], both symmetric."""
    half = added(points)
    sides = half[half[:, 0] < 0]
    vertices = torch.cat([points, half, sides * points.new_tensor([-1, 1, 1])])
    # Which vertex each becomes in a mirror: the landmarks' own, points of the middle stay, sides change places.
    mirror = [*MIRRORED, *range(len(points), len(vertices))]
    places = [len(points) + place for place in range(len(half)) if half[place, 0] < 0]
    for number, place in enumerate(places):
        other = len(points) + len(half) + number
        mirror[place], mirror[other] = other, place
    left = [place for place in range(len(vertices)) if vertices[place, 0] < 1e-9]
    corners = np.asarray(left)[Delaunay(vertices[left, :2].numpy()).simplices]
    # Triangles of points on one line have no area: the middle line bounds the half.
    a, b, c = (vertices[corners[:, place], :2] for place in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    corners = corners[area.abs().numpy() > 1e-9]
    area = area[area.abs() > 1e-9]
    # Counted counter-clockwise as seen from the front, with y up, as is the custom of .obj files.
    corners = np.where(area.numpy()[:, None] > 0, corners[:, ::-1], corners)
    other = np.asarray(mirror)[corners][:, ::-1]
    return vertices, torch.from_numpy(np.concatenate([corners, other]).copy())


def deviations(model: FaceModel, points: Tensor) -> Tensor:
    """Usual distance [68] of landmarks from where the affine camera puts them, standard deviation, symmetric."""
    fit = model.fit(points)
    # Half of the distances of a round Gaussian lie within 1.1774 standard deviations.
    usual = (fit.residuals.norm(dim=-1) / fit.scales[:, None]).median(0).values / 1.1774
    symmetric: Tensor = (usual + usual[list(MIRRORED)]) / 2
    return symmetric


def main(
    landmarks: Annotated[Path, typer.Argument(help="training_frames_keypoints.csv")],
    out: Annotated[Path, typer.Option(help="where the model is written")] = OURS,
) -> None:
    """Make the average face. Example: python recipes/face_model.py training_frames_keypoints.csv --out face.obj."""
    frames = read(landmarks)
    both = torch.cat([frames, mirrored(frames, 0)])
    both = both - both.mean(1, keepdim=True)
    both = both / both.square().sum(-1).mean(-1).sqrt()[:, None, None]
    points = frontal(*refined(both, factorised(both)))
    vertices, triangles = mesh(points.round(decimals=4))
    model = FaceModel(vertices, triangles, torch.arange(68), torch.ones(68, dtype=torch.float64))
    for _ in range(3):  # the weights of the fit come from the deviations, and these from the fit
        model = model.weighed(deviations(model, frames).round(decimals=4))
    model.save(
        out, [f"3D average face of isotrain, version 1: recipes/face_model.py, {len(frames)} frames of ytfaces."]
    )
    typer.echo(f"{out}: {len(vertices)} points, {len(triangles)} triangles")


if __name__ == "__main__":
    typer.run(main)
