"""A server of its own in another process, and chromium in front of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

expect.set_options(timeout=60_000)  # what a page comes to is waited for: two cores may have others to serve
CHROMIUM = "/usr/bin/chromium"
CHECKS = (Path(__file__).parent / "browser_checks.js").read_text(encoding="utf-8")
USERS = ("ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hanna", "ida", "jo", "kim", "lea", "max", "nora")
SERVE = """
import asyncio, sys
from pathlib import Path
import torch, uvicorn
from isotrain.look import Looker
from isotrain.serve.server import make_server

torch.set_num_threads(1)
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)

async def serve():
    app = make_server(Path(sys.argv[1]), Looker.of(), sys.argv[2].split(","))
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=2))
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends with the test, however that ends
    ended.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve()

asyncio.run(serve())
"""
CONTROLS = (
    "button link textbox searchbox checkbox radio combobox spinbutton meter progressbar progressIndicator "
    "dialog navigation group image img table"
)
QUIET = re.compile(r"^Failed to load resource: .*?(?:status of (\d+)|net::(\w+))")


def chromium() -> str:
    """Where the browser is; without one the test is skipped, but not where all tests have to run."""
    found = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
    if found is None:
        why = f"no browser: `make browser` installs {CHROMIUM}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return found


@dataclass
class Served:
    """A server that runs.

    Attributes:
        address: without a path.
        folder: its data.
    """

    address: str
    folder: Path

    def link(self, user: str) -> str:
        """A link that signs a user in once."""
        from isotrain.serve.users import Sessions

        sessions = Sessions(self.folder, USERS)
        try:
            return f"{self.address}/#token={sessions.link(user)}"
        finally:
            sessions.close()


@dataclass
class Visit:
    """A page of one user, and what its console said.

    Attributes:
        page: playwright's.
        expected: what a test provokes: status codes, or the network's names of errors.
    """

    page: Any
    served: Served
    expected: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def heading(self, words: str) -> Any:
        """Wait until a view is there."""
        found = self.page.get_by_role("heading", level=1, name=words, exact=True)
        found.wait_for()
        self.page.locator("main:not([aria-busy])").wait_for()
        return found

    def go(self, view: str, heading: str) -> None:
        """Open a view by its address."""
        self.page.evaluate("view => { location.hash = view }", f"#/{view}")
        self.heading(heading)

    def press(self, name: str, **more: Any) -> None:
        """Press a button by its name."""
        self.page.get_by_role("button", name=name, exact=True, **more).click()

    def said_(self, words: str) -> None:
        """Wait for words of the status line."""
        self.page.locator("#status", has_text=words).wait_for()

    def send(self, *files: Path) -> None:
        """Choose photos."""
        self.page.set_input_files("input[type=file][multiple]", [str(file) for file in files])

    def accessible(self) -> float:
        """Measure the page as it is; its least contrast."""
        found = self.page.evaluate(CHECKS)
        assert found["faults"] == [], f"{self.page.url}: {found['faults']}"
        self.named()
        return float(found["least"])

    def named(self) -> None:
        """Every control has a name, as the browser works it out for screen readers."""
        tree = self.page.context.new_cdp_session(self.page).send("Accessibility.getFullAXTree")["nodes"]
        controls = set(CONTROLS.split())
        seen = [node for node in tree if not node.get("ignored") and node.get("role", {}).get("value") in controls]
        bare = [
            node["role"]["value"] for node in seen
            if not node.get("name", {}).get("value") and node["role"]["value"] not in {"group", "table"}
        ]  # fmt: skip
        assert seen and not bare, f"{self.page.url}: without a name: {bare}"

    def quiet(self) -> None:
        """Nothing is on the console but what was provoked."""
        left = [words for words in self.said if not self._provoked(words)]
        assert left == [], left

    def _provoked(self, words: str) -> bool:
        found = QUIET.match(words)
        return found is not None and bool(self.expected & {found.group(1), found.group(2)})


def serve(folder: Path) -> Iterator[Served]:
    """A server until the tests end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    with (folder / "server.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder / "data"), ",".join(USERS)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
        )  # fmt: skip
        try:
            assert process.stdout is not None and process.stdin is not None
            port = process.stdout.readline().strip()
            log.seek(0)
            assert port, log.read()
            yield Served(f"http://127.0.0.1:{port}", folder / "data")
            log.seek(0)
            assert "Traceback" not in (told := log.read()), told
        finally:
            process.stdin.close()
            process.stdout.close()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


Visitor = Callable[..., Visit]


def astronaut(path: Path, left: int = 120, top: int = 0, side: int = 240) -> Path:
    """The face of scikit-image's astronaut, a real one that may be used (NASA, public domain)."""
    from skimage.data import astronaut as picture

    Image.fromarray(picture()[top : top + side, left : left + side]).save(path, quality=92)
    return path


def scene(path: Path, seed: int = 3) -> Path:
    """A drawn scene of coloured shapes, as the shipped nets know them."""
    from isotrain.data.synthetic import scenes

    picture = next(iter(scenes(1, seed=seed))).picture
    Image.fromarray(np.asarray(picture).transpose(1, 2, 0)).save(path)
    return path
