"""One server and one browser for all tests of the page; each test is another user, with an empty album."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browser import USERS, Served, Visit, Visitor, chromium, serve


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the nets that isotrain comes with."""
    yield from serve(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--lang=en"])
        yield opened
        opened.close()


@pytest.fixture
def visitor(browser: Any, served: Served) -> Iterator[Visitor]:
    """Opens the page for a user, who is signed in unless `user` is None; at the end its console has to be quiet."""
    visits: list[Visit] = []

    def visit(user: str | None, **options: Any) -> Visit:
        assert user is None or user in USERS
        context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 860}} | options)
        page = context.new_page()
        page.set_default_timeout(60_000)  # two cores may have others to serve
        one = Visit(page, served)
        visits.append(one)
        page.on("console", lambda message: one.said.append(message.text) if message.type != "info" else None)
        page.on("pageerror", lambda error: one.said.append(f"error: {error}"))
        if user is not None:
            page.goto(served.link(user))
            one.heading("Photos")
        return one

    yield visit
    for one in visits:
        one.page.context.close()
    for one in visits:
        one.quiet()


@pytest.fixture
def newcomer(request: pytest.FixtureRequest) -> Iterator[str]:
    """A user whom no other test is."""
    taken = request.config.stash.setdefault(_TAKEN, count())
    yield USERS[next(taken)]


_TAKEN: pytest.StashKey[Any] = pytest.StashKey()
