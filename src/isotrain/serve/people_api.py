"""People: named with consent, renamed, merged, split, forgotten, and the last step taken back."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Response

from isotrain.errors import BadData
from isotrain.gallery import Consent, Person
from isotrain.serve.api import (
    Agreed,
    Consenting,
    Enrol,
    ErasedFace,
    Error,
    FaceOf,
    ForgottenPerson,
    Merge,
    People,
    PersonKept,
    Rename,
    Split,
    TakenBack,
)  # fmt: skip
from isotrain.serve.desks import Mine
from isotrain.serve.people import Desk
from isotrain.serve.photos import Gone
from isotrain.serve.queue import Queue
from isotrain.serve.security_api import Signed

Id = Annotated[int, Path(ge=1, le=2**53)]


def _somebody(id: Id, desk: Mine) -> int:
    """A number that is somebody's.

    Raises:
        Gone: it is nobody's, or no longer.
    """
    try:
        return desk.gallery.person(id).id
    except BadData as error:
        raise Gone(f"nobody here has the number {id}: forgotten, or never there.") from error


Somebody = Annotated[int, Depends(_somebody)]


def people_router(queue: Queue) -> APIRouter:
    """The routes; nets run in the queue's thread."""
    router = APIRouter(tags=["people"], responses={code: {"model": Error} for code in (400, 401, 404)})

    @router.get("/api/people")
    def people(desk: Mine) -> People:
        """Everybody who consented."""
        return People(people=[_told(desk, person) for person in desk.people()])

    @router.post("/api/people")
    async def enroll(asked: Enrol, desk: Mine, user: Signed) -> PersonKept:
        """Put a face of a photo to a name, new or known."""
        consent = _consent(asked, asked.name, user.name)
        if consent is None:
            raise HTTPException(400, "faces are kept with consent alone: ask, and send consent: true.")
        photo = desk.photos.get(asked.photo)
        person = await asyncio.wrap_future(queue.call(lambda: desk.enroll(photo, asked.face, asked.name, consent)))
        queue.wake()
        return _told(desk, person)

    @router.patch("/api/people/{id}")
    def rename(id: Somebody, asked: Rename, desk: Mine) -> PersonKept:
        """Call somebody otherwise."""
        return _told(desk, desk.gallery.rename(id, asked.name))

    @router.post("/api/people/{id}/merge")
    def merge(id: Somebody, asked: Merge, desk: Mine) -> PersonKept:
        """This one is the same as another, who keeps the name."""
        person = desk.merge(id, asked.into)
        queue.wake()
        return _told(desk, person)

    @router.post("/api/people/{id}/split")
    def split(id: Somebody, asked: Split, desk: Mine, user: Signed) -> PersonKept:
        """Some of the faces are somebody else's."""
        person = desk.split(id, asked.faces, asked.name, _consent(asked, asked.name, user.name))
        queue.wake()
        return _told(desk, person)

    @router.delete("/api/people/{id}")
    def forget(id: Somebody, desk: Mine) -> ForgottenPerson:
        """Erase somebody for good: name, consent, faces, crops and vectors. Photos stay until they are deleted."""
        erased, photos = desk.forget(id)
        queue.wake()
        return ForgottenPerson(
            faces=erased.faces, vectors=erased.vectors, crops=erased.crops, consents=erased.consents,
            finished=erased.finished, photos=photos,
        )  # fmt: skip

    @router.get("/api/faces/{id}/crop", responses=_PNG, response_class=Response)
    def crop(id: Id, desk: Mine) -> Response:
        """A face that is kept, aligned."""
        content = desk.gallery.crop(id)
        if content is None:
            raise HTTPException(404, f"face {id} has no crop: erased, or never there.")
        return Response(content, media_type="image/png")

    @router.delete("/api/faces/{id}")
    def erase(id: Id, desk: Mine) -> ErasedFace:
        """Erase one face for good."""
        erased = desk.erase(id)
        queue.wake()
        return ErasedFace(id=id, finished=erased.finished)

    @router.post("/api/undo")
    def undo(desk: Mine) -> TakenBack:
        """Take back the last step: a rename, a merge, a split. Nothing before an erasure can be taken back."""
        done = desk.undo()
        queue.wake()
        return TakenBack(undone=done.what, faces=done.faces, people=done.people)

    return router


_PNG: Any = {200: {"content": {"image/png": {}}, "description": "The crop."}}


def _consent(asked: Consenting, name: str, user: str) -> Consent | None:
    if not asked.consent:
        return None
    return Consent.of(name, asked.basis, asked.by, asked.until, f"said on the page by {user}")


def _told(desk: Desk, person: Person) -> PersonKept:
    consent = person.consent
    return PersonKept(
        id=person.id,
        name=person.name or "",
        faces=[FaceOf(id=face.id, photo=photo, box=list(face.box)) for face, photo in desk.faces(person)],
        consent=None if consent is None else Agreed.model_validate(consent.document()),
        also=list(person.also),
    )
