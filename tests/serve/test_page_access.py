"""The page for everybody: by keyboard alone, on a phone, in both schemes, for screen readers; small, and soon there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import CHECKS, Visitor, astronaut, scene
from playwright.sync_api import expect

import isotrain.serve

PAGE = Path(isotrain.serve.__file__).parent / "page"
VIEWS = {
    "people": "People", "trainings": "Trainings", "trainings/new": "New training", "about": "What the parts know",
    "photos": "Photos",
}  # fmt: skip


def test_in_every_size_and_scheme(visitor: Visitor, newcomer: str, tmp_path: Path) -> None:
    """Names, headings, ids, targets, contrast and width, of every view and dialog, as far as they can be measured."""
    visit = visitor(newcomer, color_scheme="light", reduced_motion="reduce")
    page = visit.page
    visit.accessible()  # without photos
    visit.send(
        scene(tmp_path / "a name that is far too long for a phone and has no end.png"), astronaut(tmp_path / "face.jpg")
    )
    visit.said_("2 photos were looked at.")
    page.locator(".grid a").filter(has_text="face.jpg").click()
    visit.heading("face.jpg")
    photo = page.url.split("#/")[1]
    page.get_by_role("button", name="Name the person of face 1").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("Eileen")
    dialog.get_by_label("This person has agreed").check()
    dialog.get_by_role("button", name="Keep this face").click()
    visit.said_("Kept under the name")
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 740})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for view, heading in {photo: "face.jpg", **VIEWS}.items():
                visit.go(view, heading)
                for details in page.locator("main details").all():
                    details.evaluate("node => { node.open = true }")
                assert visit.accessible() >= 4.5
                if view == "trainings/new":
                    page.get_by_label("Upload data").check()
                    visit.accessible()
                if view == photo:
                    page.get_by_role("button", name=re.compile("is not Eileen")).click()
                    page.get_by_role("dialog").get_by_role("button", name="Keep this face").click()
                    visit.accessible()
                    page.keyboard.press("Escape")
                if view == "people":
                    for button in ("Forget Eileen", "Rename Eileen"):
                        visit.press(button)
                        visit.accessible()
                        page.keyboard.press("Escape")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.chip-state') || document.body).animationName")
        == "none"
    )


FOCUSED = """() => {
  const { activeElement: node } = document;
  return node.getAttribute("aria-label") || node.textContent.trim() || node.id;
}"""
RING = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}"""
SPOILED = """
const spoil = (tag, words, ...classes) => {
  const node = document.createElement(tag);
  node.textContent = words;
  node.classList.add(...classes);
  document.querySelector("main").append(node);
  return node;
};
spoil("h4", "far too deep");
spoil("p", "too pale").style.color = "rgb(200, 200, 200)";
spoil("button", "x", "plain");
spoil("p", "twice").id = spoil("p", "twice").id = "twice";
spoil("img", "");
spoil("div", "wide").style.width = "2000px";
spoil("label", "nowhere").htmlFor = "nothing";
"""


def test_the_measures_can_fail(visitor: Visitor, newcomer: str) -> None:
    """A page that was spoiled on purpose is not let through."""
    visit = visitor(newcomer)
    visit.page.evaluate(SPOILED)
    faults = " ".join(visit.page.evaluate(CHECKS)["faults"])
    for word in (
        "h4 follows",
        "contrast 1.",
        "target",
        "stands twice",
        "without alt",
        "wider than",
        "leads nowhere",
        "style of color",
    ):
        assert word in faults, word
    visit.page.evaluate("document.querySelector('main button').replaceChildren()")
    with pytest.raises(AssertionError, match="without a name"):
        visit.named()


def test_by_keyboard_alone(visitor: Visitor, newcomer: str, tmp_path: Path) -> None:
    """From the link to a face with a name, and out; where the focus is can be seen, and it is never lost."""
    visit = visitor(newcomer)
    page = visit.page

    def focused() -> str:
        return str(page.evaluate(FOCUSED))

    def tab_to(name: str, key: str = "Tab", most: int = 40) -> None:
        for _ in range(most):
            page.keyboard.press(key)
            ring = page.evaluate(RING)
            assert ring or page.evaluate("document.activeElement === document.body"), f"no ring around {focused()}"
            if focused().startswith(name):
                return
        raise AssertionError(f"{name} is not reached")

    page.keyboard.press("Tab")
    assert focused() == "Skip to the content"
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        tab_to("Choose photos")
        page.keyboard.press("Enter")
    chooser.value.set_files(str(astronaut(tmp_path / "face.jpg")))
    heading = visit.heading("face.jpg")
    expect(heading).to_be_focused()  # a new view is read from its heading
    tab_to("Name the person of face 1")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.type("Eileen")
    page.keyboard.press("Tab")
    expect(page.get_by_role("dialog").get_by_label("This person has agreed")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    visit.said_("Kept under the name Eileen")
    page.get_by_role("button", name="Face 1 is not Eileen? Name it").wait_for()
    tab_to("Trainings")
    page.keyboard.press("Enter")
    visit.heading("Trainings")
    tab_to("New training")
    page.keyboard.press("Enter")
    visit.heading("New training")
    tab_to("Sign out", "Shift+Tab")
    page.keyboard.press("Enter")
    visit.heading("Open the link that isotrain serve printed")


def test_soon_there(visitor: Visitor, newcomer: str) -> None:
    """At most 300 kB, all of it from this server, and usable within a second."""
    visit = visitor(newcomer)
    page = visit.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    times = []
    for _ in range(3):
        page.reload()
        visit.heading("Photos")
        times.append(page.evaluate("performance.getEntriesByName('usable')[0].startTime"))
    assert all(url.startswith(visit.served.address) for url in asked)
    assert sorted(times)[0] < 1000, times
    weight = sum(path.stat().st_size for path in PAGE.iterdir())
    assert weight < 300_000


def test_nothing_that_the_policy_forbids() -> None:
    """No markup is made of text, no script or style stands in the page, and no address leads outside."""
    assert {path.suffix for path in PAGE.iterdir()} == {".html", ".css", ".js", ".svg"}
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "javascript:",
        ):
            assert forbidden not in text, f"{path.name}: {forbidden}"
        outside = [
            url for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text) if "www.w3.org/2000/svg" not in url
        ]
        assert not outside, f"{path.name}: {outside}"
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
    used = set(re.findall(r'(?:href|src)="/static/([\w.]+)"', html))
    scripts = "".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js"))
    imported = set(re.findall(r'"\./([\w.]+)"', scripts))
    assert used | imported | {"index.html"} == {path.name for path in PAGE.iterdir()}


@pytest.mark.parametrize("name", sorted(path.name for path in PAGE.glob("*.js")))
def test_a_file_is_one_idea(name: str) -> None:
    """The house's rule of Python files, for scripts too: short, and said at the top what it is for."""
    text = (PAGE / name).read_text(encoding="utf-8")
    assert text.startswith("/* ") and text.count("\n") <= 350
