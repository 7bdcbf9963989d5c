"""`isotrain serve`: what is checked before the nets are loaded, and the server run."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from isotrain.app.telling import say
from isotrain.aside import write_aside
from isotrain.errors import BadData, BadOption, MissingExtra

RUNNING = "serving.json"
"""In the data folder while a server runs on it: where it is, and who its users are."""
CONNECTIONS = 256
"""At the same time; more are answered 503."""
HEAD_BYTES = 32_768
"""Of a request's head."""


def run(
    folder: Path | None,
    host: str,
    port: int,
    users: list[str],
    parts: dict[str, str],
    ask: bool,
    address: str | None,
    without_tls: bool,
    open_page: bool,
) -> None:
    """Serve until Ctrl-C.

    Raises:
        BadOption: a host that needs TLS, a port that is taken, a user's name that cannot be one, a passphrase.
        BadData: the folder is served already, or holds something else.
        MissingExtra: FastAPI or uvicorn is not installed.
    """
    try:
        import uvicorn

        from isotrain.serve.limits_heads import Patient
        from isotrain.serve.security import Address
    except ImportError as error:
        raise MissingExtra(
            f"a server needs FastAPI, uvicorn and python-multipart ({error.name}): pip install 'isotrain[web]'."
        ) from error
    from isotrain.serve.allocation import keep_memory

    keep_memory()
    public, hosts = public_address(host, port, address, without_tls)
    data = data_folder(folder)
    with _listening(host, port) as listening:
        passphrase = os.environ.get("ISOTRAIN_PASSPHRASE")
        if ask:
            import typer

            passphrase = typer.prompt("Passphrase", hide_input=True, err=True)
        from isotrain.look import Looker
        from isotrain.serve.server import make_server

        looker = Looker.of(**parts, tell=say)
        app = make_server(data, looker, users, passphrase=passphrase, address=Address.of(public, hosts))
        config = uvicorn.Config(
            app, http=Patient, ws="none", lifespan="on", log_level="warning", access_log=False, server_header=False,
            timeout_keep_alive=30, timeout_graceful_shutdown=5, limit_concurrency=CONNECTIONS,
            h11_max_incomplete_event_size=HEAD_BYTES,
            # Only a proxy that we were told of may say for whom it asks.
            proxy_headers=urlsplit(public).scheme == "https", forwarded_allow_ips="127.0.0.1",
        )  # fmt: skip
        running = data / RUNNING
        write_aside(running, json.dumps({"address": public, "users": users}).encode(), 0o600)
        links = {name: f"{public}/#token={app.state.sessions.link(name)}" for name in users}
        for name, link in links.items():
            print(f"{name}: {link}" if len(links) > 1 else link, flush=True)
        say("each link signs in once; `isotrain serve --link NAME` makes another. Ctrl-C stops the server.")
        if open_page:
            import webbrowser

            webbrowser.open(links[users[0]])

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: Any = None) -> None:
                app.state.queue.end()  # who waits for photos is answered, before connections are cut
                await super().shutdown(sockets)

        try:
            Server(config).run(sockets=[listening])
        except KeyboardInterrupt:  # uvicorn has ended in order, and passes it on
            say("stopped.")
        finally:
            running.unlink(missing_ok=True)


def new_link(folder: Path | None, name: str) -> str:
    """Another link for a user of the server that runs.

    Raises:
        BadOption: no server runs on the folder, or it has no such user.
        MissingExtra: FastAPI is not installed.
    """
    data = data_folder(folder)
    try:
        from isotrain.serve.held import hold
        from isotrain.serve.users import Sessions
    except ImportError as error:
        raise MissingExtra("a server needs FastAPI: pip install 'isotrain[web]'.") from error
    try:
        hold(data).close()
    except BadData:  # held by the server, as it should be
        running = json.loads((data / RUNNING).read_text(encoding="utf-8"))
        sessions = Sessions(data, running["users"])
        try:
            return f"{running['address']}/#token={sessions.link(name)}"
        finally:
            sessions.close()
    raise BadOption(f"no server runs on {data}: start it, `isotrain serve`, and it prints links; or name its --folder.")


def data_folder(folder: Path | None) -> Path:
    """Where a server's things are: as it was typed, or in the user's data folder; made if it is missing.

    Raises:
        BadOption: it cannot be made.
    """
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    data = (Path(home) / "isotrain" / "serve" if folder is None else folder).resolve()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(f"--folder {data} cannot be made: {error.strerror}.") from error
    return data


def public_address(host: str, port: int, address: str | None, without_tls: bool) -> tuple[str, list[str]]:
    """Under which address browsers see the server, and under which further hosts.

    Raises:
        BadOption: a network would be listened to without TLS, or nobody knows under which name; or no address.

    >>> public_address("127.0.0.1", 8421, None, False)
    ('http://127.0.0.1:8421', [])
    >>> public_address("0.0.0.0", 8421, None, False)
    Traceback (most recent call last):
    isotrain.errors.BadOption: --host 0.0.0.0 is no local address, ...
    """
    split = urlsplit(address or "")
    if address is not None and (split.scheme not in ("http", "https") or not split.hostname or split.path.strip("/")):
        raise BadOption(f"--address {address} should be like https://photos.example.")
    shown = f"[{host}]" if ":" in host else host
    public = f"{split.scheme}://{split.netloc}" if address else f"http://{shown}:{port}"
    if _local(host):
        return public, []
    if not without_tls:
        raise BadOption(
            f"--host {host} is no local address, and this server speaks no TLS: photos, names and sessions would cross "
            "the network readable by all. Put a proxy with TLS in front of --host 127.0.0.1 (docs/serve.md), or say "
            "--without-tls if the network is yours alone."
        )
    if address is None and host in ("0.0.0.0", "::"):
        raise BadOption(f"--host {host} is every address: say by --address which one browsers use, http://NAME:{port}.")
    return public, [shown]


def _local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address, before anything that takes long.

    Raises:
        BadOption: it is taken, not allowed, or none of this machine's.
    """
    made: Any = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(128)
    except OSError as error:
        if made is not None:
            made.close()
        if error.errno == errno.EADDRINUSE:
            raise BadOption(f"port {port} of {host} is taken: choose another, --port {port % 65535 + 1}.") from error
        raise BadOption(f"{host}:{port} cannot be listened on: {error.strerror or error}.") from error
    return made  # type: ignore[no-any-return]
