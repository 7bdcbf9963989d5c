"""Photos: sent, searched, shown and deleted."""

from __future__ import annotations

import asyncio
import io
import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse

from isotrain.errors import BadData, BadOption
from isotrain.look import Sight, draw
from isotrain.serve.api import Added, Error, PhotoGone, PhotoPage, PhotoSeen
from isotrain.serve.desks import Desks, Mine
from isotrain.serve.limits import MB, Limits
from isotrain.serve.people import Desk
from isotrain.serve.photos import Photo
from isotrain.serve.queue import Job, Queue
from isotrain.serve.security_api import Signed
from isotrain.serve.uploads import Upload, received, shown_name
from isotrain.serve.uploads_pictures import Decoder

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}
"""How files are sent, for the description: they are read while they come, not by FastAPI."""
LOG = logging.getLogger("isotrain.serve")
ROOM = 500 * MB
"""Bytes that stay free on the disk."""
JPEG: Any = {200: {"content": {"image/jpeg": {}}, "description": "The picture."}, 404: {"model": Error}}
PNG: Any = {200: {"content": {"image/png": {}}, "description": "The picture."}, 404: {"model": Error}}
LAYERS = "heat,objects,faces,caption"


def photos_router(desks: Desks, queue: Queue, limits: Limits, spool: Path) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["photos"], responses={401: {"model": Error}, 404: {"model": Error}})
    decoder, uploading = Decoder(limits), Counter[str]()

    @router.post(
        "/api/photos", openapi_extra=FORM, responses={code: {"model": Error} for code in (400, 413, 415, 429, 507)}
    )
    async def add(request: Request, user: Signed) -> Added:
        """Send photos, and be answered when all were looked at. Some may be refused, and the others taken."""
        desk = desks.of(user)
        if queue.waiting(user.name) >= limits.waiting:
            raise HTTPException(429, f"{limits.waiting} photos wait already: again in a while.", {"Retry-After": "10"})
        if await anyio.to_thread.run_sync(desk.photos.count) >= limits.photos:
            raise HTTPException(507, f"{limits.photos:,} photos are kept already, and no more: delete some.")
        if shutil.disk_usage(spool).free < ROOM:
            raise HTTPException(507, "the server's disk is nearly full: tell who runs it.")
        with _counted(uploading, user.name, limits.uploads):
            async with received(request, spool, limits.file_bytes, limits.files) as form:
                refused = [{"name": shown_name(name), "error": why} for name, why in form.refused]
                waiting = []
                for upload in form.files:
                    try:
                        photo = await anyio.to_thread.run_sync(_stored, desk, decoder, upload)
                    except BadData as error:
                        if isinstance(error.__cause__, sqlite3.Error):  # no fault of the file's
                            raise
                        refused.append({"name": shown_name(upload.name), "error": str(error)})
                        continue
                    waiting.append((photo, queue.put(_job(desk, photo))))
            if not waiting:
                why = refused[0]["error"] if refused else "there is no file in the form: send photos in `files`."
                raise HTTPException(400, why)
            taken = []
            for photo, done in waiting:
                try:
                    await asyncio.wrap_future(done)
                except BadData as error:
                    refused.append({"name": photo.name, "error": str(error)})
                    continue
                except Exception as error:
                    # It is kept all the same, is tried again in the idle time, and says so where it is shown.
                    LOG.exception("a photo could not be looked at", exc_info=error)
                    queue.wake()
                taken.append(photo.id)
        return Added.model_validate({"photos": await anyio.to_thread.run_sync(_told, desk, taken), "refused": refused})

    @router.get("/api/photos", responses={400: {"model": Error}})
    def photos(
        desk: Mine,
        q: Annotated[str, Query(max_length=500, description="Words that all have to be there.")] = "",
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> PhotoPage:
        """Photos by class, objects, caption, file name and people, the newest first."""
        words = q.split()[:20]
        place = None if after is None else desk.photos.get(after).place
        found = desk.photos.found(words, [desk.named_like(word) for word in words], place, limit + 1)
        shown = [_seen(photo, sight) for photo, sight in zip(found, desk.documents(found, short=True), strict=True)]
        return PhotoPage(photos=shown[:limit], next=found[limit - 1].id if len(found) > limit else None)

    @router.get("/api/photos/{id}")
    def photo(id: str, desk: Mine) -> PhotoSeen:
        """One photo with all that was seen in it."""
        one = desk.photos.get(id)
        return _seen(one, desk.documents([one])[0])

    @router.delete("/api/photos/{id}")
    def delete(id: str, desk: Mine) -> PhotoGone:
        """Delete a photo and all that was seen in it, for good."""
        return PhotoGone(id=id, faces_kept=desk.delete(desk.photos.get(id)))

    @router.get("/api/photos/{id}/picture", responses=JPEG, response_class=Response)
    def picture(id: str, desk: Mine) -> Response:
        """The photo, encoded anew, without metadata."""
        return _jpeg(desk, id)

    @router.get("/api/photos/{id}/thumbnail", responses=JPEG, response_class=Response)
    def thumbnail(id: str, desk: Mine) -> Response:
        """The photo, small."""
        return _jpeg(desk, id, small=True)

    @router.get("/api/photos/{id}/drawn", responses=PNG | {400: {"model": Error}}, response_class=Response)
    def drawn(id: str, desk: Mine, layers: Annotated[str, Query(max_length=100)] = LAYERS) -> Response:
        """The photo with what was seen drawn on it."""
        one = desk.photos.get(id)
        if one.sight is None:
            raise BadOption("this photo was not looked at yet: again in a while.")
        known = LAYERS.split(",")
        asked = [layer for layer in layers.split(",") if layer]
        if unknown := [layer for layer in asked if layer not in known]:
            raise BadOption(f"layer {unknown[0]!r} is not known: {LAYERS}.")
        content = io.BytesIO()
        document = desk.documents([one])[0]
        assert document is not None, "it was looked at"
        image = draw(desk.picture(one), Sight.of(document), asked)
        image.save(content, format="PNG", compress_level=1)
        return Response(content.getvalue(), media_type="image/png")

    return router


def _jpeg(desk: Desk, id: str, small: bool = False) -> Response:
    path = desk.photos.file(desk.photos.get(id).id, small)
    if not path.is_file():
        raise HTTPException(404, "the picture's file is gone from the server's folder: delete the photo.")
    return FileResponse(path, media_type="image/jpeg")


def _job(desk: Desk, photo: Photo) -> Job:
    def picture() -> Any:
        desk.photos.begin(photo.place)
        return desk.picture(photo)

    return Job(desk.user.name, photo.width * photo.height, picture, lambda sight: desk.keep(photo, sight))


def _stored(desk: Desk, decoder: Decoder, upload: Upload) -> Photo:
    with upload.open() as file:
        encoded = decoder.encode(file, upload.name)
    return desk.photos.add(encoded, shown_name(upload.name))


def _told(desk: Desk, ids: list[str]) -> list[PhotoSeen]:
    kept = desk.photos.here(ids)  # one may have been deleted since
    photos = [desk.photos.get(id) for id in ids if id in kept]
    return [_seen(photo, sight) for photo, sight in zip(photos, desk.documents(photos), strict=True)]


def _seen(photo: Photo, sight: dict[str, Any] | None) -> PhotoSeen:
    return PhotoSeen.model_validate(
        {
            "id": photo.id, "name": photo.name, "width": photo.width, "height": photo.height, "added": photo.added,
            "sight": sight, "failed": photo.failed,
        }
    )  # fmt: skip


@contextmanager
def _counted(counter: Counter[str], who: str, most: int) -> Iterator[None]:
    if counter[who] >= most:
        raise HTTPException(429, f"{most} uploads are under way already: one after another.", {"Retry-After": "2"})
    counter[who] += 1
    try:
        yield
    finally:
        counter[who] -= 1
