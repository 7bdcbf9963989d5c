"""The average face in three dimensions: a triangle mesh that knows its landmarks, and the frame it is shown in.

Model coordinates: x right, y down, z out of the picture towards the viewer; the unit is the distance between the outer
corners of the eyes, and their middle is the origin. Letters: V points, T triangles, n faces.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from isotrain.errors import BadData, BadOption
from isotrain.vision.camera import Fit, fit_cameras
from isotrain.vision.landmarks import CHIN, NOSE_TIP, NUMBER, OUTER_CORNERS, PARTS, checked
from isotrain.vision.similarity import similarity
from isotrain.vision.wavefront import Mesh, read_mesh, write_mesh

OURS = Path(__file__).parent.parent / "weights" / "face_model.obj"
"""The model that is shipped, made by `recipes/face_model.py`."""

FRAME_SIDE, FRAME_MIDDLE = 2.0, (0.0, 0.4)
"""The square that crops show, of the 2D and of the 3D alignment alike: its side and its middle, in inter-ocular
distances. The average face reaches from 7 % to 93 % of its width and its chin to 97 % of its height; the brows are at
18 %, so that some forehead is seen above them."""
USUAL_DEVIATION, USUAL_DEVIATION_OF_JAW = 0.05, 0.1
"""Errors of landmarks, in inter-ocular distances, of a model that says nothing of them."""


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A face looking ahead.

    Attributes:
        vertices: [V, 3] float64, model coordinates.
        triangles: [T, 3] int64.
        landmarks: [68] int64, which vertices they are.
        deviations: [68] float64, usual errors of landmarks: the camera weighs each by one over its square.
    """

    vertices: Tensor
    triangles: Tensor
    landmarks: Tensor
    deviations: Tensor

    @classmethod
    def load(cls, path: Path | str | None = None) -> FaceModel:
        """The model in an .obj file (`isotrain.vision.wavefront`), brought to model coordinates; ours without a path.

        Args:
            path: of any mesh of a face that looks along z, y up, whose landmarks are named.

        Raises:
            BadData: missing, malformed, or no face looking ahead.

        >>> FaceModel.load().template(100)[[36, 45]].tolist()
        [[25.0, 30.0], [75.0, 30.0]]
        """
        return _ours() if path is None else _loaded(Path(path))

    def save(self, path: Path, comments: Sequence[str] = ()) -> None:
        """Write the model as an .obj file; the comments stand at its head."""
        points = self.vertices * self.vertices.new_tensor([1, -1, 1])
        mesh = Mesh(points.tolist(), self.triangles.tolist(), self.landmarks.tolist(), self.deviations.tolist())
        write_mesh(path, mesh, comments)

    def weighed(self, deviations: Tensor) -> FaceModel:
        """The same face with other deviations [68]."""
        return replace(self, deviations=deviations)

    @property
    def points(self) -> Tensor:
        """The landmarks, [68, 3]."""
        return self.vertices[self.landmarks]

    def fit(self, points: Tensor, weights: Tensor | None = None) -> Fit:
        """The affine cameras that see the model as landmarks lie.

        Args:
            points: [n, 68, 2] pixels.
            weights: [68] or [n, 68], not negative, times those of the model (confidences of a detector).

        Raises:
            BadData: these are no landmarks, or no camera can be found for them.

        >>> model = FaceModel.load()
        >>> model.fit(100 * model.points[None, :, :2]).angles.abs().round().tolist()
        [[0.0, 0.0, 0.0]]
        """
        own = self.deviations.to(points.device).square().reciprocal()
        whole = own if weights is None else own * weights
        return fit_cameras(checked(points), self.points.to(points.device), whole)

    def template(self, size: int, grow: float = 1.0) -> Tensor:
        """Where the landmarks of the average face, seen from the front, lie in a crop: [68, 2] float32 pixels.

        Args:
            size: side of the crop.
            grow: the crop shows the frame (`FRAME_SIDE`) this many times as wide, about its middle.

        Raises:
            BadOption: a size or a factor that is not positive.
        """
        return to_crop(self.points[:, :2], size, grow).float()

    def upright(self, points: Tensor, size: int, grow: float = 1.0) -> Tensor:
        """The similarities of the 2D alignment, from the picture to the crop (`isotrain.vision.similarity.cut`).

        The jaw does not count: what is marked of it is its outline, which slides along a head that turns.

        Args:
            points: [..., 68, 2] pixels.
            size: side of the crop.
            grow: the crop shows the frame this many times as wide.

        Returns:
            [..., 2, 3].

        Raises:
            BadData: these are no landmarks.
            BadOption: a size or a factor that is not positive.

        >>> model = FaceModel.load()
        >>> model.upright(model.template(100)[None], size=100)[0].round(decimals=4).abs().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
        """
        inner = points.new_ones(NUMBER)
        inner[list(PARTS["jaw"])] = 0
        return similarity(checked(points), self.template(size, grow).to(points), inner)


def to_crop(places: Tensor, size: int, grow: float = 1.0) -> Tensor:
    """Places x, y of model coordinates [..., 2] as pixels of a crop of that size.

    Raises:
        BadOption: a size or a factor that is not positive.

    >>> to_crop(torch.tensor([[0.0, 0.4], [-1.0, -0.6]]), 100).tolist()
    [[50.0, 50.0], [0.0, 0.0]]
    """
    if size < 1 or not grow > 0:
        raise BadOption(f"a crop of {size} pixels, {grow} times the frame, does not exist: both have to be positive.")
    return (places - places.new_tensor(FRAME_MIDDLE)) * (size / (FRAME_SIDE * grow)) + size / 2


@functools.cache
def _ours() -> FaceModel:
    return _loaded(OURS)


def _loaded(path: Path) -> FaceModel:
    mesh = read_mesh(path)
    vertices = torch.tensor(mesh.points, dtype=torch.float64) * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    landmarks = torch.tensor(mesh.landmarks)
    points = vertices[landmarks]
    left, right = points[list(OUTER_CORNERS)]
    middle, across = (left + right) / 2, right[0] - left[0]
    for fits, what in (
        (across > 0, "landmark 36 (outer corner of the left eye) is not to the left of 45"),
        (points[CHIN, 1] > middle[1], "landmark 8 (chin) is not below the eyes"),
        (points[NOSE_TIP, 2] > middle[2], "landmark 30 (tip of the nose) is not in front of the eyes"),
    ):
        if not bool(fits):
            raise BadData(f"face model {path} does not look ahead: {what}. Turn it: x right, y up, z to the viewer.")
    usual = torch.full((NUMBER,), USUAL_DEVIATION, dtype=torch.float64)
    usual[list(PARTS["jaw"])] = USUAL_DEVIATION_OF_JAW
    deviations = torch.tensor(mesh.deviations, dtype=torch.float64) if mesh.deviations else usual
    return FaceModel((vertices - middle) / across, torch.tensor(mesh.triangles), landmarks, deviations)
