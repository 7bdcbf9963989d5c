"""Signing in by a link, signing out, and who one is."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from isotrain.serve.api import Error, Me, PhotoLimits, SignedIn, SignIn
from isotrain.serve.limits import Rates
from isotrain.serve.security import Address, User, cookie_of, current_user, set_cookie
from isotrain.serve.users import SESSION_SECONDS, Sessions, csrf_of
from isotrain.version import __version__

Signed = Annotated[User, Depends(current_user)]


def session_router(sessions: Sessions, address: Address, attempts: Rates) -> APIRouter:
    """The routes; `attempts` slows down who tries links that are none."""
    router = APIRouter(tags=["session"])

    @router.post("/api/session", responses={401: {"model": Error}, 429: {"model": Error}})
    def sign_in(asked: SignIn, request: Request, response: Response) -> SignedIn:
        """Open a link: its token, which works once, becomes a session."""
        signed = sessions.sign_in(asked.token)
        if signed is None:
            # Whoever has a true link gets in all the same: nobody can lock others out.
            wait = attempts.wait(request.client.host if request.client else "")
            if wait:
                raise HTTPException(
                    429, f"too many links that are none: again in {wait:.0f} s.", {"Retry-After": f"{wait:.0f}"}
                )
            raise HTTPException(
                401, "this link was used already, or has ended: `isotrain serve --link NAME` gives a new one."
            )
        secret, user = signed
        set_cookie(response, secret, SESSION_SECONDS, address.secure(request.headers.get("host", "")))
        return SignedIn(user=user.name, csrf=csrf_of(secret))

    @router.delete("/api/session", status_code=204)
    def sign_out(user: Signed, request: Request, response: Response) -> None:
        """End this session."""
        secret = cookie_of(request.headers)
        if secret is not None:
            sessions.sign_out(secret)
        response.delete_cookie("isotrain_session", path="/")

    @router.get("/api/me")
    def me(user: Signed, request: Request) -> Me:
        """Who is signed in, what may be sent, and what the parts know."""
        limits = request.app.state.limits
        about = request.app.state.looker.about()
        for part in about.values():
            if part is not None:  # where a run lies on this machine is nobody's business
                part["from"] = PurePath(str(part["from"])).name
        return Me(
            user=user.name,
            csrf=csrf_of(cookie_of(request.headers) or ""),
            version=__version__,
            limits=PhotoLimits(file_bytes=limits.file_bytes, files=limits.files, pixels=limits.pixels),
            about=about,
        )

    return router
