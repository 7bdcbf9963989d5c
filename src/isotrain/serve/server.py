"""The server put together: who may ask, what is answered, and in which order it begins and ends."""

from __future__ import annotations

import errno
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from isotrain.errors import IsotrainError, MissingExtra, UnknownName
from isotrain.look import Looker
from isotrain.serve.desks import Desks
from isotrain.serve.held import hold
from isotrain.serve.limits import Bodies, Limits, Rates
from isotrain.serve.people_api import people_router
from isotrain.serve.photos import Gone
from isotrain.serve.photos_api import photos_router
from isotrain.serve.queue import Queue
from isotrain.serve.security import HEADERS, Address, Guard
from isotrain.serve.security_api import session_router
from isotrain.serve.trainings_api import trainings_router
from isotrain.serve.users import Sessions
from isotrain.version import __version__

PAGE = Path(__file__).parent / "page"
"""The page's files."""
THREADS = 8
"""That answer requests at the same time."""
DISK_FULL = "the server's disk is full: tell who runs it."
LOG = logging.getLogger("isotrain.serve")


def make_server(
    folder: Path,
    looker: Looker,
    users: Iterable[str] = ("me",),
    *,
    limits: Limits | None = None,
    passphrase: str | None = None,
    address: Address | None = None,
) -> FastAPI:
    """A server of one data folder, to be run by uvicorn or by a test client.

    Args:
        folder: of the data, made if it is missing, readable by its owner only.
        looker: an `isotrain.look.Looker`.
        users: who may sign in.
        limits: of uploads and requests.
        passphrase: of the users' galleries, where they are encrypted.
        address: under which names it is asked; the local ones unless given.

    Raises:
        IsotrainError: the folder is in use, or holds something else; a user's name cannot be one.

    The app's state has what is shared: `sessions`, `limits`, `looker`, `folder`.
    """
    limits, address = limits or Limits(), address or Address.of()
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = hold(folder)
    try:
        spool = folder / "spool"
        spool.mkdir(mode=0o700, exist_ok=True)
        sessions = Sessions(folder, list(users))
        desks = Desks(sessions.users.values(), looker, passphrase)
    except BaseException:
        held.close()
        raise
    queue = Queue(desks.look, desks.catch_up)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        # Every thread has its own pool of memory, and large pictures in it.
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        queue.start()
        yield
        # Requests have ended by now, so that nothing is asked of what is closed.
        await anyio.to_thread.run_sync(queue.stop)
        desks.close()
        sessions.close()
        held.close()

    app = FastAPI(
        title="isotrain", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
        lifespan=life, separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.sessions, app.state.limits, app.state.looker, app.state.folder = sessions, limits, looker, folder
    app.state.desks, app.state.queue = desks, queue
    _answer_errors(app, folder)
    app.include_router(session_router(sessions, address, Rates(limits.attempts / 60, limits.attempts)))
    app.include_router(photos_router(desks, queue, limits, spool))
    app.include_router(people_router(queue))
    app.include_router(trainings_router(folder, limits, spool))
    _page(app)
    large = (("/api/photos", limits.upload_bytes), ("/api/datasets", limits.dataset_bytes))
    app.add_middleware(Bodies, limits=limits, allowed=large)
    app.add_middleware(Guard, sessions=sessions, address=address, rates=Rates(limits.rate, limits.burst))
    return app


def _page(app: FastAPI) -> None:
    """The page and its files, and the sign that we live."""

    @app.get("/healthz", tags=["health"])
    def healthz() -> dict[str, bool]:
        """We live."""
        return {"ok": True}

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        if not (PAGE / "index.html").is_file():
            raise HTTPException(404, "this isotrain was built without its page: install it again.")
        return FileResponse(PAGE / "index.html")

    if PAGE.is_dir():
        app.mount("/static", StaticFiles(directory=PAGE))


def _answer_errors(app: FastAPI, folder: Path) -> None:
    """Every error as {"error": one line}, which never names a place on this machine."""

    def plain(words: str) -> str:
        return " ".join(words.replace(f"{folder}/", "").replace(str(folder), "the data folder").split())

    def answer(status: int, words: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": plain(words)}, status, headers)

    @app.exception_handler(IsotrainError)
    async def users_fault(request: Request, error: IsotrainError) -> JSONResponse:
        if isinstance(error.__cause__, sqlite3.Error):  # no fault of the user's, whatever words it comes in
            LOG.error("%s", error)
            if getattr(error.__cause__, "sqlite_errorname", "") == "SQLITE_FULL":
                return answer(507, DISK_FULL)
        if isinstance(error, MissingExtra):
            return answer(501, str(error))
        return answer(404 if isinstance(error, Gone | UnknownName) else 400, str(error))

    @app.exception_handler(AnyHTTPException)
    async def refusal(request: Request, error: AnyHTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def misfit(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])[:80] or "the body"
        return answer(422, f"{place}: {first['msg']}. /api/openapi.json says what is asked for.")

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return answer(400, "the upload was broken off.")  # which nobody hears any more

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> JSONResponse:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return answer(507, DISK_FULL)
        return await our_fault(request, error)

    @app.exception_handler(Exception)
    async def our_fault(request: Request, error: Exception) -> JSONResponse:
        number = secrets.token_hex(4)
        LOG.error("error %s, in answer to %s %s", number, request.method, request.scope.get("route"), exc_info=error)
        # Answered outside of the guard, which puts the headers on every other answer.
        words = f"something went wrong here, which the server's log has as error {number}."
        return answer(500, words, {**HEADERS, "Cache-Control": "no-store"})
