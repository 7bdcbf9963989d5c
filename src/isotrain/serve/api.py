"""What the API takes and gives, as its description at /api/openapi.json has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Box = list[float]
"""Left, top, right, bottom in pixels of the photo."""


class Error(BaseModel):
    """Of every answer that refuses."""

    error: str = Field(description="One line: what is wrong, and the way out.")


class SignIn(BaseModel):
    """The secret of a link."""

    token: str = Field(max_length=200)


class SignedIn(BaseModel):
    """A session has begun."""

    user: str
    csrf: str = Field(description="For the header X-CSRF-Token of every request that changes something.")


class PhotoLimits(BaseModel):
    """What one upload of photos may be."""

    file_bytes: int
    files: int
    pixels: int


class Me(BaseModel):
    """Who is signed in."""

    user: str
    csrf: str
    version: str
    limits: PhotoLimits
    about: dict[str, Any] = Field(description="The parts: what each was trained on, and what it knows.")


class Heat(BaseModel):
    """Where the class was seen."""

    rows: int
    columns: int
    values: list[float] = Field(description="From 0 to 1, row by row; left out of lists.")
    box: Box


class Kind(BaseModel):
    """The class of a photo."""

    name: str | None
    probability: float | None
    known: bool
    why: str | None
    others: list[tuple[str, float]]
    heat: Heat | None


class Thing(BaseModel):
    """An object in a photo."""

    name: str
    score: float
    box: Box
    outline: list[list[float]] = Field(description="Polygons, x and y in turn; none where there is no mask.")


class SeenFace(BaseModel):
    """A face in a photo, with the name it has now."""

    face: int = Field(description="From the left, from 1 on.")
    box: Box
    score: float
    landmarks: list[tuple[float, float]] | None = Field(None, description="Left out of lists.")
    person: str | None
    person_id: int | None
    similarity: float | None
    probability: float | None


class Words(BaseModel):
    """A caption."""

    text: str | None
    known: bool
    why: str | None


class SightSeen(BaseModel):
    """What was seen in a photo; null for a part that is left out."""

    photo: str
    size: tuple[int, int] = Field(description="Height and width.")
    kind: Kind | None = Field(None, alias="class")
    objects: list[Thing] | None
    faces: list[SeenFace] | None
    caption: Words | None
    unknown: list[str]
    seconds: dict[str, float]


class PhotoSeen(BaseModel):
    """A photo."""

    id: str
    name: str
    width: int
    height: int
    added: str
    sight: SightSeen | None = Field(description="Null for a photo that still has to be looked at.")
    failed: bool = Field(False, description="Looking at it ended badly each time: it is kept, and not looked at again.")


class Refused(BaseModel):
    """A file that was not taken."""

    name: str
    error: str


class Added(BaseModel):
    """What became of an upload."""

    photos: list[PhotoSeen]
    refused: list[Refused]


class PhotoPage(BaseModel):
    """Some photos, the newest first."""

    photos: list[PhotoSeen]
    next: str | None = Field(description="For `after`, to go on; null at the end.")


class PhotoGone(BaseModel):
    """A photo was deleted."""

    id: str
    faces_kept: int = Field(description="Enrolled from it: they stay until their person is forgotten.")


class Agreed(BaseModel):
    """A consent."""

    basis: str
    by: str
    on: str
    until: str | None
    how: str


class FaceOf(BaseModel):
    """A face that is kept."""

    id: int
    photo: str | None = Field(description="Null where the photo was deleted.")
    box: Box


class PersonKept(BaseModel):
    """Somebody who consented."""

    id: int
    name: str
    faces: list[FaceOf]
    consent: Agreed | None
    also: list[str] = Field(description="Names of people who were merged into this one.")


class People(BaseModel):
    """Everybody who consented."""

    people: list[PersonKept]


Id = Annotated[int, Field(ge=1, le=2**53)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Consenting(BaseModel):
    """Who agreed that a name and faces are kept."""

    consent: bool = Field(False, description="Whether that person has agreed; nothing is kept without.")
    basis: Literal["given", "guardian", "household"] = "given"
    by: str | None = Field(None, max_length=200, description="Who agreed; left out, the person.")
    until: str | None = Field(None, max_length=10, description="The last day, as 2027-12-31.")


class Enrol(Consenting):
    """A name for a face."""

    photo: Annotated[str, Field(max_length=64)]
    face: Id
    name: Name


class Rename(BaseModel):
    """Another name."""

    name: Name


class Merge(BaseModel):
    """Who keeps the name."""

    into: Id


class Split(Consenting):
    """Some of a person's faces, and whose they are; a new name needs a consent."""

    faces: Annotated[list[Id], Field(min_length=1, max_length=10_000)]
    name: Name


class ForgottenPerson(BaseModel):
    """What was erased, in numbers: naming it would keep it."""

    faces: int
    vectors: int
    crops: int
    consents: int
    finished: bool = Field(description="Whether the bytes are gone from the files too; else they follow by themselves.")
    photos: list[str] = Field(description="Photos that still show the face: they stay until they are deleted.")


class ErasedFace(BaseModel):
    """A face is gone."""

    id: int
    finished: bool = Field(description="Whether the bytes are gone from the files too; else they follow by themselves.")


class TakenBack(BaseModel):
    """The step that was taken back."""

    undone: str
    faces: int
    people: int
