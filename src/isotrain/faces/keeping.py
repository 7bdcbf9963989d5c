"""Faces from photos into the gallery: chosen one a photo, with where they come from."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from isotrain.errors import BadData, BadOption
from isotrain.faces.chain import Chain, Face
from isotrain.gallery import NewFace, PhotoSource

SMALL = 24
"""Pixels of a face's side below which it is too small to know anybody by."""
TRUSTED = 0.5
"""Confidence of landmarks below which a face is not enrolled without being asked for."""


def png_of(crop: Tensor) -> bytes:
    """A crop uint8 [1 or 3, S, S] as a PNG file."""
    pixels = crop[0].numpy() if len(crop) == 1 else crop.permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def new_face(photo: Path | PhotoSource, picture: Tensor, face: Face, chain: Chain) -> NewFace:
    """A face with its provenance; `photo` is the file, or its source where that is known.

    Raises:
        BadData: the photo cannot be read any more.
    """
    made = {
        "detector": chain.cutter.detector.name, "landmarks": chain.cutter.landmarker.name,
        "alignment": "2d" if face.turned else chain.cutter.aligner.alignment,
    }  # fmt: skip
    if isinstance(photo, Path):
        photo = PhotoSource.of(photo, (picture.shape[1], picture.shape[2]))
    score = min(1.0, max(0.0, face.score))
    return NewFace(photo, face.box, score, face.vector.numpy(), face.points.numpy(), png_of(face.crop), made)


def the_face(path: Path, faces: Sequence[Face], number: int | None, tell: Callable[[str], None]) -> Face:
    """The one face of a photo that is meant.

    Args:
        path: of the photo, for messages.
        faces: found in it, from left to right.
        number: which, from 1 on; None where there is only one.
        tell: is called with what makes the face a poor one.

    Raises:
        BadData: none was found, or several and nobody said which; or it is too small, or hardly a face.
        BadOption: there is no such number.
    """
    if not faces:
        raise BadData(f"{path}: no face was found. Take another photo, or look closer: --longest 1280.")
    if number is not None:
        if not 1 <= number <= len(faces):
            raise BadOption(f"--face {number}: {path} shows {len(faces)}, numbered from the left from 1 on.")
        chosen = faces[number - 1]
    elif len(faces) > 1:
        where = ", ".join(f"{n}: {_where(face)}" for n, face in enumerate(faces[:6], 1))
        raise BadData(f"{path} shows {len(faces)} faces ({where}): say which is meant, --face N from the left.")
    else:
        chosen = faces[0]
        if chosen.confidence < TRUSTED:
            raise BadData(
                f"{path}: the only face found may be none (landmarks trusted to {chosen.confidence:.0%}): look at it "
                f"with `isotrain faces look`, and enroll it by --face 1 if it is one."
            )
    if chosen.side < SMALL:
        tell(f"{path}: the face is {chosen.side:.0f} pixels wide; below {SMALL} people are hardly told apart.")
    if chosen.turned:
        tell(f"{path}: the face is turned far; a frontal photo is known again more surely.")
    return chosen


def from_left(faces: Sequence[Face]) -> list[Face]:
    """Faces in the order of their middles, from left to right."""
    return sorted(faces, key=lambda face: face.box[0] + face.box[2])


def _where(face: Face) -> str:
    return f"x {(face.box[0] + face.box[2]) / 2:.0f}, {face.side:.0f} pixels"
