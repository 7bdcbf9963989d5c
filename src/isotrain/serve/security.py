"""Who asks, and from where: every request is checked here before a route sees it.

Outside of a session only the page, its files, `/healthz` and the sign-in are answered. Against other sites that the
same browser has open: the cookie is SameSite=Strict, whatever changes something carries the session's CSRF token in a
header, and Origin and Sec-Fetch-Site have to be our own. Against a foreign name that was pointed at this machine (DNS
rebinding): the Host has to be one of ours. What a page of ours may load is said by the headers.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isotrain.errors import BadOption
from isotrain.serve.limits import Rates
from isotrain.serve.users import Sessions, csrf_of
from isotrain.serve.users import User as User

COOKIE = "isotrain_session"
CSRF = "X-CSRF-Token"
LOCAL = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine for itself."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
"""Of every answer, unless the route says otherwise: a report of a training has a policy of its own."""


def current_user(request: Request) -> User:
    """The signed-in user, as a dependency of a route.

    Raises:
        HTTPException: 401, nobody is signed in.
    """
    user = getattr(request.state, "user", None)
    if not isinstance(user, User):
        raise HTTPException(401, "sign in first: open the link that `isotrain serve` printed.")
    return user


@dataclass(frozen=True)
class Address:
    """Under which names the browser may ask.

    Attributes:
        hosts: without port, in small letters.
        https: whether the browser speaks TLS, to a proxy in front of us.
    """

    hosts: frozenset[str]
    https: bool = False

    @classmethod
    def of(cls, public: str | None = None, hosts: Iterable[str] = ()) -> Address:
        """The local names, those given, and that of the public address, like `https://photos.example`.

        Raises:
            BadOption: one of them can be no name of a host.
        """
        split = urlsplit(public or "")
        names = (*hosts, *([split.hostname] if split.hostname else []))
        return cls(frozenset({*LOCAL, *map(_asked, names)}), split.scheme == "https")

    def knows(self, host: str) -> bool:
        """Whether a Host header is ours.

        >>> Address.of("https://[2001:db8::1]:8443").knows("[2001:db8::1]:8443")
        True
        >>> Address.of("https://fotos.müller.example").knows("fotos.xn--mller-kva.example")
        True

        >>> ours = Address.of("https://photos.example")
        >>> [ours.knows(host) for host in ("127.0.0.1:8421", "[::1]:8421", "photos.example", "evil.example:8421", "")]
        [True, True, True, False, False]
        """
        name, colon, port = host.lower().rpartition(":")
        if not colon or not port.isdecimal():
            name = host.lower()
        return name in self.hosts

    def same(self, origin: str, host: str) -> bool:
        """Whether an Origin header is that of the page under this Host.

        >>> Address.of().same("http://127.0.0.1:8421", "127.0.0.1:8421"), Address.of().same("null", "127.0.0.1")
        (True, False)
        """
        return origin.lower() == f"{'https' if self.secure(host) else 'http'}://{host.lower()}"

    def secure(self, host: str) -> bool:
        """Whether the browser that asks this Host speaks TLS: to the proxy, and not to ourselves."""
        return self.https and not any(host.lower() == name or host.lower().startswith(f"{name}:") for name in LOCAL)


def _asked(host: str) -> str:
    """A host as a browser asks for it: in small letters, an address of IPv6 in brackets, no letters but those of ASCII.

    Raises:
        BadOption: it can be no name.
    """
    name = host.lower()
    if ":" in name and not name.startswith("["):
        return f"[{name}]"
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise BadOption(f"{host[:80]!r} is no name of a host: {error}.") from error


class Guard:
    """The check, as ASGI's middleware.

    Args:
        app: what is behind it.
        sessions: who is signed in.
        address: under which names we are asked.
        rates: how often one may ask.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, address: Address, rates: Rates) -> None:
        self._app, self._sessions, self._address, self._rates = app, sessions, address, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, and hand on the rest, with the security headers on every answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            return
        path: str = scope["path"]

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # On a machine that is shared, nothing stays in the browser after the sign-out; and a page never works
                # with the script of another version.
                ours = path.startswith("/api") or path == "/healthz"
                headers.setdefault("Cache-Control", "no-store" if ours else "no-cache")
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope), path)
        await (self._app if refusal is None else refusal)(scope, receive, sent)

    def _refusal(self, scope: Scope, headers: Headers, path: str) -> JSONResponse | None:
        host, method = headers.get("host", ""), scope["method"]
        if not self._address.knows(host):
            return refused(421, f"this server is not called {host[:80]!r}: use the address that it printed.")
        client = (scope.get("client") or ("",))[0]
        if not path.startswith("/api"):
            return self._paced(f"address {client}")
        changes = method not in ("GET", "HEAD", "OPTIONS")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return refused(403, "asked by another site: open the page itself.")
        if changes and "origin" in headers and not self._address.same(headers["origin"], host):
            return refused(403, "asked by another site: open the page itself.")
        if path == "/api/session" and method == "POST":
            return self._paced(f"address {client}")
        cookie = cookie_of(headers)
        user = self._sessions.user_of(cookie) if cookie else None
        if cookie is None or user is None:
            return self._paced(f"address {client}") or refused(
                401, "sign in first: open the link that `isotrain serve` printed, or `isotrain serve --link NAME`."
            )
        if changes and not hmac.compare_digest(headers.get(CSRF, "").encode(), csrf_of(cookie).encode()):
            return refused(403, f"the header {CSRF} is missing or not this session's: load the page again.")
        scope.setdefault("state", {})["user"] = user
        return self._paced(f"user {user.name}")

    def _paced(self, who: str) -> JSONResponse | None:
        wait = self._rates.wait(who)
        return refused(429, f"too many requests: again in {wait:.0f} s.", wait) if wait else None


def cookie_of(headers: Mapping[str, str]) -> str | None:
    """The session's cookie of a request."""
    # Not Python's SimpleCookie: one odd cookie of another program on the same host, and it finds none at all.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def refused(status: int, words: str, wait: float = 0.0) -> JSONResponse:
    """A refusal in one line."""
    headers: dict[str, Any] = {"Retry-After": f"{max(1, round(wait))}"} if wait else {}
    return JSONResponse({"error": words}, status, headers)


def set_cookie(response: Any, secret: str, seconds: int, https: bool) -> None:
    """Give the browser its session; scripts and other sites do not get at it."""
    response.set_cookie(COOKIE, secret, max_age=seconds, path="/", httponly=True, samesite="strict", secure=https)
