"""A server with a user signed in, pictures to send, and a real process of it that can be killed."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from torch import Tensor

from isotrain.look import Looker
from isotrain.serve.server import make_server

sys.path.insert(0, str(Path(__file__).parent.parent / "faces"))
from drawn_people import found_pictures

BASE = "http://127.0.0.1:8421"


@cache
def blind() -> Looker:
    """All parts left out: for what does not depend on them."""
    return Looker.of("none", "none", "none", "none")


@cache
def faces_only() -> Looker:
    return Looker.of("none", "none", "shipped", "none")


@contextmanager
def served(folder: Path, looker: Looker | None = None, user: str = "me", **options: Any) -> Iterator[TestClient]:
    """A client that is signed in; `client.app.state` is the server's."""
    app = make_server(folder, looker or blind(), **options)
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        sign_in(client, app.state.sessions.link(user))
        yield client


def sign_in(client: Any, token: str) -> None:
    answer = client.post("/api/session", json={"token": token})
    assert answer.status_code == 200, answer.text
    client.headers["X-CSRF-Token"] = answer.json()["csrf"]


def file_of(picture: Tensor | np.ndarray[Any, Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    if isinstance(picture, Tensor):
        picture = picture.permute(1, 2, 0).numpy()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def noise(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def send(client: Any, *files: bytes, names: tuple[str, ...] = ()) -> Any:
    called = names or tuple(f"{n}.png" for n in range(len(files)))
    return client.post("/api/photos", files=[("files", one) for one in zip(called, files, strict=True)])


def people(number: int = 3) -> list[list[bytes]]:
    """Two photos each of drawn people whose faces are found."""
    return [[file_of(picture) for picture in two] for two in found_pictures(6).values()][:number]


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


RUN = """
import sys
from pathlib import Path
from isotrain.app import serve_run
from isotrain.look import Looker
parts = dict(zip(("classify", "objects", "faces", "caption"), sys.argv[3].split(",")))
serve_run.run(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), ["me"], parts, False, None, False, False)
"""


class Process:
    """`isotrain serve` in a process of its own."""

    def __init__(self, folder: Path, port: int, faces: str = "none") -> None:
        words = [sys.executable, "-c", RUN, str(folder), str(port), f"none,none,{faces},none"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 240)
        line = self._process.stdout.readline().decode() if ready else ""
        if "#token=" not in line:
            self.kill()
            raise AssertionError(f"no link came: {line!r} {self.errors!r}")
        address, _, token = line.strip().partition("/#token=")
        self.client = httpx.Client(base_url=address, timeout=60)
        sign_in(self.client, token)

    def kill(self, how: int = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
        _, errors = self._process.communicate(timeout=30)
        self.errors = errors.decode()
        if hasattr(self, "client"):
            self.client.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        else:
            self._process.communicate()
            self.client.close()


def eventually(what: Any, seconds: float = 20) -> Any:
    """What comes true after a while."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return answer
