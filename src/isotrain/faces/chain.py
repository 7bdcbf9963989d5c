"""The chain: pictures in, faces out, each found, marked, aligned and represented.

    chain = Chain.of()                       # the nets that come with isotrain
    (faces,) = chain.look([read_picture("photo.jpg")])
    faces[0].box, faces[0].vector

Source: Taigman et al. 2014, "DeepFace": detect, align, represent; who it is, is asked of the gallery.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from isotrain.faces.aligning import Aligner
from isotrain.faces.detectors import detector_named
from isotrain.faces.embedders import embedder_named
from isotrain.faces.landmarkers import landmarker_named
from isotrain.faces.parts import Detector, Embedder, Found, Landmarker
from isotrain.vision.facemodel import FaceModel

EMBEDDER = Path(__file__).parent.parent / "weights" / "faces"
"""The representation that comes with isotrain."""
STAGES = ("detect", "landmarks", "align", "represent")


@dataclass(frozen=True, eq=False)
class Cropped:
    """A face in a picture, aligned.

    Attributes:
        box: left, top, right, bottom in pixels; it may reach beyond the picture.
        score: of the detector, in [0, 1].
        points: [68, 2] landmarks in pixels.
        confidence: of the landmarks, in [0, 1].
        turned: turned too far for the 3D alignment, and aligned in 2D.
        crop: uint8 [C, S, S].
    """

    box: tuple[float, float, float, float]
    score: float
    points: Tensor
    confidence: float
    turned: bool
    crop: Tensor

    @property
    def side(self) -> float:
        """Of its box, in pixels."""
        return (self.box[2] - self.box[0] + self.box[3] - self.box[1]) / 2


@dataclass(frozen=True, eq=False)
class Face(Cropped):
    """A face in a picture, represented.

    Attributes:
        vector: float32 [D] of length 1.
    """

    vector: Tensor


Choose = Callable[[Tensor, Found], Tensor]
"""Which of the faces found [n] in a picture are gone on with: their places."""


@dataclass
class Cutter:
    """The first three stages: from pictures to aligned crops.

    Attributes:
        detector: finds faces.
        landmarker: finds their landmarks.
        aligner: makes their crops.
        seconds: spent in each stage since it was made, or since they were cleared.
    """

    detector: Detector
    landmarker: Landmarker
    aligner: Aligner
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def cut(self, pictures: Sequence[Tensor], choose: Choose | None = None) -> list[list[Cropped]]:
        """The faces of pictures uint8 [C, H, W], the surest first.

        Args:
            pictures: of any sizes; those of one size are looked through together.
            choose: which faces to go on with; None for all.
        """
        with self._timed("detect"):
            found = self.detector.find(pictures)
        if choose is not None:
            places = [choose(picture, one) for picture, one in zip(pictures, found, strict=True)]
            found = [Found(one.boxes[at], one.scores[at]) for one, at in zip(found, places, strict=True)]
        counts = [len(one.boxes) for one in found]
        if not sum(counts):
            return [[] for _ in pictures]
        boxes, scores = torch.cat([one.boxes for one in found]), torch.cat([one.scores for one in found])
        grounds = [picture for picture, count in zip(pictures, counts, strict=True) for _ in range(count)]
        with self._timed("landmarks"):
            marked = self.landmarker.mark(grounds, boxes)
        with self._timed("align"):
            aligned = self.aligner.crops(grounds, boxes, marked)
            crops = aligned.crops.mul(255).round_().to(torch.uint8)
        faces = iter(
            [
                Cropped(tuple(box), score, points, trust, turned, crop)
                for box, score, points, trust, turned, crop in zip(
                    boxes.tolist(), scores.tolist(), marked.points, marked.confidence.tolist(),
                    aligned.turned.tolist(), crops, strict=True,
                )
            ]
        )  # fmt: skip
        return [[next(faces) for _ in range(count)] for count in counts]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - began


@dataclass
class Chain:
    """All four stages.

    Attributes:
        cutter: the first three.
        embedder: represents faces.
    """

    cutter: Cutter
    embedder: Embedder

    @classmethod
    def of(
        cls,
        detector: str = "shipped",
        landmarks: str = "shipped",
        embedder: str | Path | None = None,
        face_model: str | Path | None = None,
        longest: int | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Chain:
        """A chain by names.

        Args:
            detector: see `isotrain.faces.detectors.detector_named`.
            landmarks: see `isotrain.faces.landmarkers.landmarker_named`.
            embedder: a run folder of the task faces, or an ONNX model; None for the one that comes with isotrain.
            face_model: an .obj file with another 3D face.
            longest: pixels of the longer side that the detector looks at; smaller faces need more.
            tell: is called with what a user should know.

        Raises:
            IsotrainError: one of them is not there, or not what it should be.
        """
        chosen = embedder_named(EMBEDDER if embedder is None else embedder, **({} if tell is None else {"tell": tell}))
        enlarge = getattr(chosen, "enlarge", None)
        model = FaceModel.load(face_model)
        aligner = Aligner(chosen.alignment, chosen.size, chosen.channels, model, enlarge)
        return cls(cutter_of(aligner, detector, landmarks, longest), chosen)

    @property
    def seconds(self) -> dict[str, float]:
        """Spent in each stage."""
        return self.cutter.seconds

    def look(self, pictures: Sequence[Tensor], choose: Choose | None = None) -> list[list[Face]]:
        """The faces of pictures uint8 [C, H, W], the surest first; see `Cutter.cut`."""
        cropped = self.cutter.cut(pictures, choose)
        crops = [face.crop for faces in cropped for face in faces]
        if not crops:
            return [[] for _ in pictures]
        with self.cutter._timed("represent"):
            vectors = iter(self.embedder.embed(torch.stack(crops).float() / 255))
        return [[Face(**vars(face), vector=next(vectors)) for face in faces] for faces in cropped]


def cutter_of(
    aligner: Aligner, detector: str = "shipped", landmarks: str = "shipped", longest: int | None = None
) -> Cutter:
    """The first three stages by names; see `Chain.of`.

    Raises:
        IsotrainError: one of them is not there, or not what it should be.
    """
    return Cutter(
        detector_named(detector, **({} if longest is None else {"longest": longest})),
        landmarker_named(landmarks),
        aligner,
    )


def central(picture: Tensor, found: Found) -> Tensor:
    """The one face that a picture is of, if there is any: large and near the middle. For `Cutter.cut`.

    >>> found = Found(torch.tensor([[0.0, 0.0, 20.0, 20.0], [40.0, 40.0, 60.0, 60.0]]), torch.ones(2))
    >>> central(torch.zeros(1, 100, 100, dtype=torch.uint8), found).tolist()
    [1]
    """
    if not len(found.boxes):
        return torch.zeros(0, dtype=torch.long)
    height, width = picture.shape[1:]
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    off = (middle - torch.tensor([width / 2, height / 2])).norm(dim=1) / min(height, width)
    side = (found.boxes[:, 2:] - found.boxes[:, :2]).mean(1)
    best: Tensor = (side * (1 - off).clamp_min(0.05)).argmax()
    return best[None]
