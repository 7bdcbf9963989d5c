"""What is put into a gallery and what comes out of it, as plain records.

Letters: D numbers of a vector, P landmarks. Boxes are left, top, right, bottom in pixels of the photo.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadData
from isotrain.gallery.consent import Consent

By = Literal["hand", "machine"]
"""Who put a face to a person. What a hand did, no machine changes."""


@dataclass(frozen=True)
class PhotoSource:
    """Where a face comes from: the file as it was, known again by its content.

    Attributes:
        path: as it was given; it may have moved since.
        sha256: of the file's bytes, 64 hexadecimal digits.
        size: height and width in pixels, where known.

    Raises:
        BadData: the digest is none.
    """

    path: str
    sha256: str
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise BadData(f"the sha256 of photo {self.path!r} is 64 small hexadecimal digits, not {self.sha256!r:.80}.")

    @classmethod
    def of(cls, path: Path | str, size: tuple[int, int] | None = None) -> PhotoSource:
        """The source of a file that is here to be read.

        Raises:
            BadData: the file cannot be read.
        """
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadData(f"photo {str(path)!r} cannot be read: {error.strerror}.") from error
        return cls(str(path), digest, size)


@dataclass(frozen=True)
class NewFace:
    """A face to be kept.

    Attributes:
        photo: the picture it was found in.
        box: left, top, right, bottom in pixels.
        score: the detector's, in [0, 1].
        vector: [D], of length 1.
        landmarks: [P, 2] in pixels of the photo.
        crop: the aligned face as a PNG file's bytes.
        made: provenance in words: which detector, landmarker and alignment.
    """

    photo: PhotoSource
    box: Sequence[float]
    score: float
    vector: ArrayLike
    landmarks: ArrayLike | None = None
    crop: bytes | None = None
    made: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Person:
    """Somebody with faces in the gallery.

    Attributes:
        id: never used again once the person is forgotten.
        name: None for a cluster that has no name yet.
        faces: how many.
        added: when, UTC, ISO 8601.
        consent: the one recorded last.
        also: names of people who were merged into this one.
    """

    id: int
    name: str | None
    faces: int
    added: str
    consent: Consent | None
    also: tuple[str, ...] = ()

    def agrees(self, day: date) -> bool:
        """Whether no consent of theirs has ended before a day."""
        return self.consent is None or self.consent.stands(day)


@dataclass(frozen=True)
class Face:
    """A face as it is kept; its crop and vector are asked for by id.

    Attributes:
        id: never used again.
        photo: its picture.
        photo_id: equal for faces of one photo.
        person: whose it is, by id; None while nobody's.
        by: who said so; "hand" for a face that is nobody's because a hand took it from somebody.
        box: left, top, right, bottom in pixels.
        score: the detector's.
        landmarks: [P, 2] float32.
        made: provenance in words.
        model: which model made the vector.
        added: when, UTC, ISO 8601.
    """

    id: int
    photo: PhotoSource
    photo_id: int
    person: int | None
    by: By | None
    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float32] | None
    made: Mapping[str, str]
    model: str
    added: str


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment did.

    Attributes:
        person: as they are now.
        added: ids of the faces that are new.
        known: ids of the faces that were here already: the same photo and box.
    """

    person: Person
    added: tuple[int, ...]
    known: tuple[int, ...]


@dataclass(frozen=True)
class Hit:
    """A face, or a person by their nearest face, that is like the one that was searched for.

    Attributes:
        face: its id.
        person: whose it is; None for a face that is nobody's yet.
        similarity: inner product of the two vectors, in [-1, 1].
    """

    face: int
    person: Person | None
    similarity: float


@dataclass(frozen=True)
class Group:
    """Faces to be put to one person.

    Attributes:
        faces: ids.
        person: id, name or record; None to make the faces nobody's.
        new: put them to a new person without a name instead.
    """

    faces: Sequence[int]
    person: Person | int | str | None = None
    new: bool = False


@dataclass(frozen=True)
class FaceTable:
    """Every face of the gallery in columns, for clustering.

    Attributes:
        faces: [n] ids, rising.
        photos: [n] ids: two faces of one photo are two people.
        people: [n] ids; -1 for a face that is nobody's.
        by_hand: [n]: two faces that a hand put to one person belong together; one that a hand took from everybody
            is not put to anybody by a machine.
        vectors: [n, D] float32, of length 1.
    """

    faces: NDArray[np.int64]
    photos: NDArray[np.int64]
    people: NDArray[np.int64]
    by_hand: NDArray[np.bool_]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Undone:
    """The step that was taken back.

    Attributes:
        what: its name: assign, rename, merge.
        faces: how many faces went back to where they were.
        people: how many people got back what they were called.
    """

    what: str
    faces: int
    people: int


@dataclass(frozen=True)
class Erased:
    """What was erased, in numbers: naming it would keep it.

    Attributes:
        people: with all their names.
        faces: with boxes, landmarks and provenance.
        vectors: of those faces.
        crops: of those faces.
        photos: records of pictures in which no other face is kept. Picture files are never touched.
        consents: records of who agreed.
        steps: of the journal, all of them: nothing before an erasure can be undone.
        shared: paths of photos that stay on record because a face of somebody else in them is kept.
        finished: whether the bytes are gone from the files too. False where another reader was in the way for too
            long, or the disk was full: the next opening finishes it.
    """

    people: int = 0
    faces: int = 0
    vectors: int = 0
    crops: int = 0
    photos: int = 0
    consents: int = 0
    steps: int = 0
    shared: tuple[str, ...] = ()
    finished: bool = True

    def __add__(self, other: Erased) -> Erased:
        sums: dict[str, Any] = {
            name.name: getattr(self, name.name) + getattr(other, name.name) for name in fields(self)
        }
        # Booleans do not add; a photo shared by two who are forgotten together is named once.
        shared = tuple(sorted({*self.shared, *other.shared}))
        return Erased(**{**sums, "shared": shared, "finished": self.finished and other.finished})
