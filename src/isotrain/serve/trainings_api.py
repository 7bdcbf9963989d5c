"""Trainings and their data over HTTP: sent, begun, watched, stopped, resumed, audited, taken away."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path as Place
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from isotrain.serve.api import Error
from isotrain.serve.datasets import Datasets, Refused
from isotrain.serve.datasets_unpacked import Room
from isotrain.serve.events import Hub
from isotrain.serve.limits import Limits
from isotrain.serve.security import cookie_of
from isotrain.serve.security_api import Signed
from isotrain.serve.trainings import Busy, Desk
from isotrain.serve.trainings_files import model_zip, onnx, report
from isotrain.serve.trainings_shown import (
    Audit,
    Begin,
    Dataset,
    DatasetList,
    Training,
    TrainingList,
    Unfit,
    pictures_of,
    shown,
    shown_audit,
    shown_dataset,
)
from isotrain.serve.trainings_work import REPORT, Work
from isotrain.serve.uploads import received
from isotrain.serve.users import User
from isotrain.tasks import TASKS
from isotrain.train.auditable import why_not
from isotrain.train.rundir import CARD, PICTURES

Id = Annotated[str, Path(max_length=40, description="Of a training or a dataset.")]
REFUSED: dict[int | str, dict[str, Any]] = {401: {"model": Error}, 404: {"model": Error}, 409: {"model": Error}}
UPLOADED: dict[int | str, dict[str, Any]] = {
    **{code: {"model": Error} for code in (401, 403, 408, 413, 415, 422, 429, 507)},
    400: {"model": Unfit},
}
PAGE: dict[str, Any] = {"text/html": {}}
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
"""Of reports: pages that are drawn, and do nothing."""
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files", "task"],
                    "properties": {
                        "task": {"type": "string", "enum": list(TASKS)},
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "One zip; pictures whose names carry their folders; or a text.",
                        },
                    },
                }
            }
        },
    }
}


def trainings_router(
    data: Place, limits: Limits, spool: Place, *, at_once: int = 1, threads: int | None = None
) -> APIRouter:
    """The routes. While the app lives, the router looks after the processes of trainings.

    Args:
        data: the server's folder; users have theirs in its folder "users".
        limits: of uploads.
        spool: a folder with room for what comes.
        at_once: trainings that are at work at the same time.
        threads: of each of them.
    """
    desk, hub = Desk(data, at_once, threads), Hub()
    room = Room(files=min(limits.dataset_files, Room.files), pixels=limits.pixels)
    shelves: dict[Place, Datasets] = {}
    checks = asyncio.Semaphore(2)

    def shelf(user: User) -> Datasets:
        return shelves.setdefault(user.folder, Datasets(user.folder, room))

    def found(user: User, id: str) -> Work:
        work = desk.find(user.folder, id)
        if work is None:
            raise HTTPException(404, f"there is no training {id!r}: GET /api/trainings has them all.")
        return work

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        for home in data.glob("users/*"):
            await asyncio.to_thread(Datasets(home).sweep)
        await asyncio.to_thread(desk.start)
        yield
        for one in shelves.values():
            one.close()
        await asyncio.to_thread(desk.close)

    router = APIRouter(lifespan=life)

    # Data ---------------------------------------------------------------------------------------------------------

    @router.post(
        "/api/datasets",
        tags=["datasets"],
        status_code=201,
        response_model=Dataset,
        responses=UPLOADED,
        openapi_extra=FORM,
    )
    async def send(user: Signed, request: Request) -> Any:
        """Send data for a task. It is unpacked, looked at by the data's doctor, kept if the task can learn from it."""
        if shutil.disk_usage(spool).free < limits.dataset_bytes:
            raise HTTPException(507, "the server's disk is nearly full: tell who runs it.")
        async with received(request, spool, limits.dataset_bytes, limits.dataset_files) as form:
            task = form.words.get("task", "")
            if task not in TASKS:
                raise HTTPException(422, f"field task: {task[:40]!r} is none of {', '.join(TASKS)}.")
            if form.refused:
                raise HTTPException(413, f"{form.refused[0][0][:80]}: {form.refused[0][1]}")
            async with checks:
                try:
                    with _room_on_disk():
                        return shown_dataset(await asyncio.to_thread(shelf(user).add, task, form.files))
                except Refused as error:
                    return JSONResponse({"error": str(error), "report": error.report}, 400)

    @router.get("/api/datasets", tags=["datasets"])
    def datasets(user: Signed) -> DatasetList:
        """All data that was sent."""
        return DatasetList(datasets=[shown_dataset(kept) for kept in shelf(user).all()])

    @router.delete("/api/datasets/{id}", tags=["datasets"], status_code=204, responses=REFUSED)
    def erase(user: Signed, id: Id) -> None:
        """Erase data, for good. Trainings that learned from it stay; they cannot go on."""
        kept = shelf(user).find(id)
        if kept is None:
            raise HTTPException(404, f"there is no data {id!r}: GET /api/datasets has it all.")
        if (user.folder, id) in desk:
            raise HTTPException(409, "a training learns from this data: stop it, or wait until it is done.")
        shelf(user).delete(kept)

    # Trainings ----------------------------------------------------------------------------------------------------

    @router.post("/api/trainings", tags=["trainings"], status_code=201, responses=REFUSED)
    def begin(user: Signed, asked: Begin) -> Training:
        """Begin a training: it waits for its turn, then runs in a process of its own."""
        if asked.task not in TASKS:
            raise HTTPException(422, f"task: {asked.task!r} is none of {', '.join(TASKS)}.")
        kept = None if asked.dataset is None else shelf(user).find(asked.dataset)
        if asked.dataset is not None and kept is None:
            raise HTTPException(404, f"there is no data {asked.dataset!r}: GET /api/datasets has it all.")
        if kept is not None and kept.task != asked.task:
            raise HTTPException(409, f"this data was checked for {kept.task}: send it for {asked.task}.")
        name = " ".join("".join(letter for letter in asked.name if letter.isprintable()).split()) or asked.task
        arguments = () if kept is None else kept.command()
        with _in_time():
            return shown(desk.begin(user.folder, asked.task, arguments, asked.dataset, asked.minutes, name))

    @router.get("/api/trainings", tags=["trainings"])
    def trainings(user: Signed) -> TrainingList:
        """All trainings."""
        return TrainingList(trainings=[shown(work) for work in desk.of(user.folder)])

    @router.get("/api/trainings/{id}", tags=["trainings"], responses=REFUSED)
    def training(user: Signed, id: Id) -> Training:
        """One training."""
        return shown(found(user, id))

    @router.get(
        "/api/trainings/{id}/events",
        tags=["trainings"],
        response_class=Response,
        responses=REFUSED | {200: {"content": {"text/event-stream": {}}}, 204: {"description": "It is over."}},
    )
    def events(
        user: Signed, request: Request, id: Id, last_event_id: Annotated[str | None, Header(max_length=100)] = None
    ) -> Response:
        """Server-sent events: `point` for each of its curve, from the beginning or after Last-Event-ID; `state`."""
        work = found(user, id)

        def now() -> dict[str, Any] | None:
            still = desk.find(user.folder, id)
            return None if still is None else shown(still).model_dump(mode="json")

        sessions, secret = request.app.state.sessions, cookie_of(request.headers) or ""
        stream = hub.watch(work.run, now, last_event_id, lambda: sessions.user_of(secret) == user)
        if stream is None:
            return Response(status_code=204)
        # Nothing between here and the browser is to keep events back.
        return StreamingResponse(
            stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        )

    @router.post("/api/trainings/{id}/stop", tags=["trainings"], responses=REFUSED)
    def stop(user: Signed, id: Id) -> Training:
        """Stop a training after its step. What it learned is kept, and it can go on."""
        with _in_time():
            return shown(desk.stop(found(user, id)))

    @router.post("/api/trainings/{id}/resume", tags=["trainings"], responses=REFUSED)
    def resume(user: Signed, id: Id) -> Training:
        """Let a training go on that was stopped or failed, from where it was."""
        work = found(user, id)
        if work.dataset is not None and shelf(user).find(work.dataset) is None:
            raise HTTPException(409, "its data was deleted: it cannot go on.")
        with _in_time():
            return shown(desk.resume(work))

    @router.delete("/api/trainings/{id}", tags=["trainings"], status_code=204, responses=REFUSED)
    def delete(user: Signed, id: Id) -> None:
        """End a training if it runs, and erase all that it left, for good."""
        desk.delete(found(user, id))

    # What it leaves -----------------------------------------------------------------------------------------------

    @router.get(
        "/api/trainings/{id}/pictures/{name}", tags=["trainings"], response_class=FileResponse,
        responses=REFUSED | {200: {"content": {"image/png": {}}}},
    )  # fmt: skip
    def picture(user: Signed, id: Id, name: Annotated[str, Path(max_length=200)]) -> FileResponse:
        """A picture that the training left: its curve, predictions."""
        work = found(user, id)
        if name not in pictures_of(work.run):
            raise HTTPException(404, f"the training has no picture {name[:80]!r}.")
        return FileResponse(work.run / PICTURES / name, media_type="image/png")

    @router.get(
        "/api/trainings/{id}/model", tags=["trainings"], response_class=Response,
        responses=REFUSED | {200: {"content": {"application/zip": {}, "application/octet-stream": {}}}},
    )  # fmt: skip
    async def model(
        user: Signed, id: Id, format: Annotated[Literal["isotrain", "onnx"], Query()] = "isotrain"
    ) -> Response:
        """The trained net: a zip of card, weights and scores; or for use without torch."""
        work = found(user, id)
        with _in_time(), _there(work):
            if format == "onnx":
                name, content = await asyncio.to_thread(onnx, work)
            else:
                name, content = f"isotrain-{work.task}-{work.id}.zip", await asyncio.to_thread(model_zip, work)
        kind = "application/zip" if name.endswith(".zip") else "application/octet-stream"
        return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})

    @router.get(
        "/api/trainings/{id}/report", tags=["trainings"], response_class=Response,
        responses=REFUSED | {200: {"content": PAGE}},
    )  # fmt: skip
    async def run_report(user: Signed, id: Id) -> Response:
        """One page about the training, all of it in one file."""
        work = found(user, id)
        if not (work.run / CARD).is_file():
            raise HTTPException(409, "the training has not begun yet: there is nothing to report.")
        with _there(work):
            return _page(await asyncio.to_thread(report, work))

    # Its audit ----------------------------------------------------------------------------------------------------

    @router.post("/api/trainings/{id}/audit", tags=["trainings"], status_code=202, responses=REFUSED)
    def begin_audit(user: Signed, id: Id) -> Audit:
        """Measure how much the training depends on the coordinates its net was written down in; takes some minutes."""
        work = found(user, id)
        why = why_not(work.task)
        if why is not None:
            raise HTTPException(409, why)
        with _in_time():
            return shown_audit(desk.audit(work))

    @router.get("/api/trainings/{id}/audit", tags=["trainings"], responses=REFUSED)
    def audit(user: Signed, id: Id) -> Audit:
        """What the audit found, or how far it is."""
        return shown_audit(desk.audit_of(found(user, id)))

    @router.get(
        "/api/trainings/{id}/audit/report", tags=["trainings"], response_class=Response,
        responses=REFUSED | {200: {"content": PAGE}},
    )  # fmt: skip
    def audit_report(user: Signed, id: Id) -> Response:
        """The audit's report."""
        work = desk.audit_of(found(user, id))
        if work is None or work.state != "done":
            raise HTTPException(409, f"the audit is {'not begun' if work is None else work.state}: there is no report.")
        return _page((work.folder / REPORT).read_bytes())

    return router


def _page(content: bytes) -> Response:
    return Response(content, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})


@contextmanager
def _in_time() -> Iterator[None]:
    """What does not go with a state is a conflict."""
    try:
        yield
    except Busy as error:
        raise HTTPException(409, str(error)) from error


@contextmanager
def _there(work: Work) -> Iterator[None]:
    """A training that is deleted while it is read is not there, whatever that broke."""
    try:
        yield
    except Exception as error:
        if work.folder.is_dir():
            raise
        raise HTTPException(404, "the training was deleted meanwhile.") from error


@contextmanager
def _room_on_disk() -> Iterator[None]:
    """A full disk is the server's fault, and said."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HTTPException(507, "the server's disk is full: tell who runs it.") from error
        raise
