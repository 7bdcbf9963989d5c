"""Five points of a face, and where public face models want them in their crops.

Such models are trained on faces turned, scaled and shifted (a similarity) until five points lie where a template has
them. Here the five are taken from the 68 landmarks. Places are x, y in pixels, the first pixel between 0 and 1;
where a template's source counts the centres of pixels, its places are moved by `CENTRE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isotrain.errors import UnknownName
from isotrain.vision.landmarks import CENTRE, checked
from isotrain.vision.similarity import apply, inverse, sample, similarity


@dataclass(frozen=True)
class FivePoints:
    """Which five points, and where they lie in a square crop.

    Attributes:
        landmarks: of the 68, those whose mean is each of the five points.
        places: x, y of each of them, in pixels of a crop of side `size`.
        size: in pixels.
        source: where the places are from.
    """

    landmarks: tuple[tuple[int, ...], ...]
    places: tuple[tuple[float, float], ...]
    size: int
    source: str

    def of(self, points: Tensor) -> Tensor:
        """The five points [..., 5, 2] of 68 landmarks [..., 68, 2].

        Raises:
            BadData: not 68 landmarks, or not finite.

        >>> ARCFACE.of(torch.ones(3, 68, 2)).shape
        torch.Size([3, 5, 2])
        """
        points = checked(points)
        return torch.stack([points[..., list(few), :].mean(-2) for few in self.landmarks], -2)

    def at(self, size: int) -> Tensor:
        """Where they lie in a crop of side `size`: [5, 2] float32, pixels.

        >>> ARCFACE.at(112)[2].tolist()
        [56.525..., 72.236...]
        """
        return torch.tensor(self.places) * (size / self.size)

    def crops(self, picture: Tensor | Sequence[Tensor], points: Tensor, size: int) -> Tensor:
        """Crops of faces as these models were trained on them: interpolated linearly, not smoothed.

        Their own pipelines (OpenCV's warpAffine, dlib's pyramid) do not smooth a face that is made less than twice
        smaller; doing so cost one of them half a point of accuracy on LFW (`benchmarks/public_mobileface.py`). Beyond
        that whole factors are smoothed away first: faces of large photos would alias.

        Args:
            picture: [C, H, W], uint8 or floating in [0, 1], that shows all the faces; or n of them, one for each.
            points: [n, 68, 2] landmarks in pixels of the picture.
            size: side of the crops.

        Returns:
            [n, C, size, size], floating, in [0, 1].

        Raises:
            BadData: the points are no landmarks, or all at one place; not as many pictures as faces.

        >>> points = torch.zeros(1, 68, 2)
        >>> for few, place in zip(DLIB.landmarks, DLIB.at(150)):
        ...     points[:, list(few)] = place
        >>> picture = torch.rand(1, 150, 150)
        >>> torch.allclose(DLIB.crops(picture, points, 150)[0], picture, atol=1e-3)
        True
        """
        back = inverse(similarity(self.of(points), self.at(size).to(points)))
        centres = torch.arange(size, dtype=back.dtype, device=back.device) + 0.5
        down, across = torch.meshgrid(centres, centres, indexing="ij")
        places = apply(back, torch.stack([across, down], -1).view(1, -1, 2)).unflatten(1, (size, size))
        return sample(picture, places, back[:, :, :2].det().abs().sqrt().floor())


EYES_NOSE_MOUTH = (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,))
"""Eye centres, tip of the nose, corners of the mouth."""
ARCFACE = FivePoints(
    landmarks=EYES_NOSE_MOUTH,
    places=tuple(
        (x + CENTRE, y + CENTRE)
        for x, y in (
            (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041),
        )
    ),
    size=112,
    source="InsightFace's face_align.py, of Deng et al. 2019, 'ArcFace', section 3.1; the same in OpenCV's SFace",
)  # fmt: skip
"""What nearly all models with crops of 112 pixels are trained on."""

PADDING = 0.25
"""Of dlib's crops: what is added on each side of the face, in its sides."""
DLIB = FivePoints(
    landmarks=((45,), (42,), (36,), (39,), (33,)),  # the corners of the eyes, and where the nose ends below
    # Shares of the padded square, which is the whole crop from edge to edge: no half pixel to add (measured against
    # get_face_chip: any shift by a quarter of a pixel doubles the difference).
    places=tuple(
        (150 * (PADDING + x) / (1 + 2 * PADDING), 150 * (PADDING + y) / (1 + 2 * PADDING))
        for x, y in (
            (0.8595674595992, 0.2134981538014), (0.6460604764104, 0.2289674387677), (0.1205750620789, 0.2137274526848),
            (0.3340850613712, 0.2290642403242), (0.4901123135679, 0.6277975316475),
        )
    ),
    size=150,
    source="dlib's get_face_chip_details for 5 landmarks, as its model's compute_face_descriptor calls it",
)  # fmt: skip
"""What dlib's model with crops of 150 pixels is trained on."""

TEMPLATES = {"five": ARCFACE, "dlib": DLIB}
"""By the name of the alignment (`isotrain.faces.parts.Alignment`)."""


def template_named(name: str) -> FivePoints:
    """The template of an alignment.

    Raises:
        UnknownName: the alignment has none.

    >>> template_named("five").size
    112
    """
    if name not in TEMPLATES:
        raise UnknownName("template of five points", name, TEMPLATES)
    return TEMPLATES[name]
