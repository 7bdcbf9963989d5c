"""What can be exchanged in the chain: what finds faces, what finds their landmarks, what represents them.

Letters: n faces, D numbers of a vector. Pictures are uint8 [C, H, W] with C = 1 or 3; places are x, y in pixels with
the first pixel between 0 and 1, so that its centre is at 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

Alignment = Literal["3d", "2d", "none", "five", "dlib"]
"""How a face is brought into its crop: warped to the frontal average face, turned and scaled alone, or only cut out;
"five" and "dlib" turn and scale it to the five points of public models (`isotrain.vision.fivepoints`)."""
ALIGNMENTS: tuple[Alignment, ...] = ("3d", "2d", "none")
"""Those that isotrain's own representations are trained with."""


class Found(NamedTuple):
    """Faces found in one picture, the surest first.

    Attributes:
        boxes: [n, 4] float32, left, top, right, bottom in pixels; they may reach beyond the picture.
        scores: [n] in [0, 1].
    """

    boxes: Tensor
    scores: Tensor


class Detector(Protocol):
    """Finds faces."""

    name: str

    def find(self, pictures: Sequence[Tensor]) -> list[Found]:
        """The faces of each picture; pictures may differ in size."""
        ...


class Marked(NamedTuple):
    """Landmarks of faces.

    Attributes:
        points: [n, 68, 2] float32, in the order of iBUG's 68 (`isotrain.vision.landmarks`).
        confidence: [n] in [0, 1]: how much the landmarks are to be trusted.
    """

    points: Tensor
    confidence: Tensor


class Landmarker(Protocol):
    """Finds the 68 landmarks of faces whose boxes are known."""

    name: str

    def mark(self, picture: Tensor | Sequence[Tensor], boxes: Tensor) -> Marked:
        """The landmarks of the faces in boxes [n, 4] of a picture, or of n pictures, one for each."""
        ...


class Embedder(Protocol):
    """Represents aligned faces by vectors of length 1, whose inner product says how alike two faces are.

    Attributes:
        id: binds every vector to the model that made it: name and a digest of the weights.
        dims: D.
        size: side in pixels of the crops it takes.
        channels: 1 or 3.
        alignment: how its crops have to be aligned.
        enlarge: what its crops show beyond the usual: side of the crop in sides of the face's box for "none", and a
            factor of the frontal average face's square for "2d" and "3d"; None for what is usual there.
    """

    id: str
    dims: int
    size: int
    channels: int
    alignment: Alignment
    enlarge: float | None

    def embed(self, crops: Tensor) -> Tensor:
        """Vectors float32 [n, D], each of length 1, of crops [n, channels, size, size] with values in [0, 1]."""
        ...
