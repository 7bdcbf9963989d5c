"""In by a link that works once, out by a button; and what the page does while the server is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from browser import USERS, Served, Visitor, scene
from playwright.sync_api import expect

LEAVE = """async () => {
  const me = await (await fetch("/api/me")).json();
  await fetch("/api/session", { method: "DELETE", headers: { "X-CSRF-Token": me.csrf } });
}"""


def test_in_and_out(visitor: Visitor, served: Served, newcomer: str) -> None:
    """No link, a wrong one, a pasted one; signed out, here and elsewhere."""
    visit = visitor(None)
    page = visit.page
    visit.expected = {"401"}
    page.goto(served.address)
    visit.heading("Open the link that isotrain serve printed")
    expect(page.get_by_role("navigation")).to_have_count(0)
    expect(page.locator("[role=alert]:visible")).to_have_count(0)
    visit.press("Sign in")
    expect(page.locator("main")).to_contain_text("Paste the link")
    page.get_by_label("Or paste the link here").fill("nonsense")
    visit.press("Sign in")
    page.get_by_text("this link was used already").wait_for()
    page.get_by_label("Or paste the link here").fill(served.link(newcomer))
    visit.press("Sign in")
    visit.heading("Photos")
    expect(page.locator("#user")).to_have_text(newcomer)
    assert "token" not in page.url and page.evaluate("history.length") <= 3

    visit.press("Sign out")
    visit.heading("Open the link that isotrain serve printed")
    link = served.link(newcomer)
    page.goto(link)  # into the page that is open
    visit.heading("Photos")
    page.reload()
    visit.heading("Photos")
    page.evaluate(LEAVE)
    page.get_by_role("link", name="People", exact=True).click()
    visit.heading("Open the link that isotrain serve printed")
    page.get_by_text("The session has ended.").wait_for()
    page.goto("about:blank")
    page.goto(link)
    page.get_by_text("this link was used already").wait_for()


def test_what_is_on_its_way_goes_with_its_user(visitor: Visitor, served: Served, newcomer: str, tmp_path: Path) -> None:
    """Signed out, or followed by another user's link in the same page: nothing of it comes to whoever is next."""
    visit = visitor(newcomer)
    page = visit.page
    files = [scene(tmp_path / f"{n}.png", seed=n) for n in range(4)]
    held: list[Any] = []
    visit.send(files[0])
    page.get_by_role("link", name="← All photos").click()
    visit.heading("Photos")
    page.get_by_label("Search your photos").fill("0.png")
    page.wait_for_url("**q=0.png")
    page.route(
        "**/api/photos", lambda route: held.append(route) if route.request.method == "POST" else route.fallback()
    )
    for other in (USERS[-1], newcomer):
        held.clear()
        visit.send(*files[1:])
        expect(page.locator(".queue li")).to_have_count(3)
        page.wait_for_timeout(100)
        assert len(held) == 2
        if other != newcomer:
            visit.press("Sign out")
            visit.said_("Signed out. 3 photos were not sent.")
            assert "0.png" not in page.url
        page.goto(served.link(other))
        expect(page.locator("#user")).to_have_text(other)
        visit.heading("Photos")
        expect(page.locator(".queue li")).to_have_count(0)
        page.wait_for_timeout(1000)
        assert len(held) == 2
        photos = page.evaluate("fetch('/api/photos').then((answer) => answer.json())")["photos"]
        assert [photo["name"] for photo in photos] == (["0.png"] if other == newcomer else [])


def test_what_is_not_there(visitor: Visitor, newcomer: str) -> None:
    """Errors are shown as the server says them, with a way on; a server that is gone comes back by itself."""
    visit = visitor(newcomer)
    page = visit.page
    visit.expected = {"404", "ERR_INTERNET_DISCONNECTED"}
    visit.go("photos/none%2F..", "This cannot be shown")
    expect(page.locator(".trouble")).not_to_be_empty()
    visit.press("Try again")
    page.get_by_role("link", name="To the photos").click()
    visit.heading("Photos")
    page.context.set_offline(True)
    page.get_by_role("link", name="People", exact=True).click()
    page.get_by_role("alert").filter(has_text="The server does not answer. Nothing is lost").wait_for()
    page.context.set_offline(False)
    visit.said_("The server is back.")
    visit.heading("People")
    expect(page.locator("#gone")).to_be_hidden()
