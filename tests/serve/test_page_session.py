"""In by a link that works once, out by a button; and what the page does while the server is not there."""

from __future__ import annotations

from browser import Served, Visitor
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
