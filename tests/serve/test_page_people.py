"""People on the page: nothing is kept without consent, and what is kept can be changed, taken back and erased."""

from __future__ import annotations

from pathlib import Path

from browser import Visitor, astronaut
from playwright.sync_api import expect


def test_a_life_among_the_people(visitor: Visitor, newcomer: str, tmp_path: Path) -> None:
    """Asked, named, recognised, renamed, split, merged, taken back, one face erased, forgotten."""
    visit = visitor(newcomer)
    page = visit.page
    visit.send(astronaut(tmp_path / "one.jpg"))
    visit.heading("one.jpg")
    page.get_by_role("button", name="Name the person of face 1").click()
    dialog = page.get_by_role("dialog", name="Who is this?")
    name, agreed = dialog.get_by_label("Name", exact=True), dialog.get_by_label("This person has agreed")
    keep = dialog.get_by_role("button", name="Keep this face under the name")
    for words in ("on this machine only", "to name the same person", "People, then Forget"):
        expect(dialog).to_contain_text(words)
    keep.click()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(dialog).to_contain_text("Type a name.")
    name.fill("Eileen <i>")
    keep.click()
    expect(dialog).to_contain_text("Without this consent nothing is kept.")
    expect(agreed).to_be_focused()
    assert page.evaluate("fetch('/api/people').then(answer => answer.json())") == {"people": []}
    dialog.get_by_role("button", name="Keep nothing").click()
    expect(dialog).to_have_count(0)

    page.locator("button.tag.face").click()  # the face itself asks too
    name.fill("Eileen <i>")
    agreed.check()
    dialog.get_by_text("For a child, or for a limited time").click()
    dialog.get_by_label("Parent or guardian who agreed").fill("Olle")
    dialog.get_by_label("Keep until").fill("2099-12-31")
    keep.click()
    visit.said_("Kept under the name Eileen <i>.")
    page.get_by_role("button", name="Face 1 is not Eileen <i>? Name it").wait_for()
    expect(page.locator("button.tag.known")).to_have_text("Eileen <i>")
    page.get_by_role("button", name="Show face 1, Eileen <i>, large").click()

    visit.go("photos", "Photos")
    visit.send(astronaut(tmp_path / "two.jpg", left=100, top=5, side=250))
    visit.heading("two.jpg")
    page.get_by_text("Eileen <i>", exact=True).first.wait_for()  # known again
    page.get_by_role("button", name="Face 1 is not Eileen <i>? Name it").click()
    name.fill("Eileen <i>")
    agreed.check()
    keep.click()
    visit.said_("Kept under the name Eileen <i>.")

    visit.go("people", "People")
    card = page.locator(".card")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("2 faces. Consent: a parent or guardian agreed (Olle)")
    expect(card).to_contain_text("2099-12-31")
    expect(card.locator("img")).to_have_count(2)
    for picture in card.locator("img").all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("one => one.naturalWidth") > 0  # a picture that could not be had is complete, too
    visit.press("Rename Eileen <i>")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("")
    dialog.get_by_role("button", name="Rename").click()
    expect(dialog).to_contain_text("Type a name.")
    dialog.get_by_label("Name").fill("Eileen")
    page.keyboard.press("Enter")
    visit.said_("Eileen <i> is now called Eileen.")

    visit.press("Split Eileen into two people")
    split = dialog.get_by_role("button", name="Split")
    split.click()
    expect(dialog).to_contain_text("Tick the faces that are somebody else’s.")
    for n in (1, 2):
        dialog.get_by_label(f"Face {n} of 2").check()
    split.click()
    expect(dialog).to_contain_text("At least one face stays")
    dialog.get_by_label("Face 1 of 2").uncheck()
    split.click()
    dialog.get_by_label("The other person’s name").fill("Helen")
    split.click()
    expect(dialog).to_contain_text("Without this consent the faces stay where they are.")
    dialog.get_by_label("The other person has agreed too").check()
    split.click()
    visit.said_("One became two people.")
    page.get_by_role("button", name="Forget Helen").wait_for()
    expect(card).to_have_count(2)

    visit.press("Merge Helen with another person")
    dialog.get_by_label("Who keeps the name").select_option("Eileen")
    dialog.get_by_role("button", name="Merge").click()
    visit.said_("Two became one person.")
    page.get_by_role("button", name="Forget Helen").wait_for(state="detached")
    visit.press("Undo the last step")
    visit.said_("Taken back")
    page.get_by_role("button", name="Forget Helen").wait_for()

    visit.press("Merge Helen with another person")
    dialog.get_by_label("Who keeps the name").select_option("Eileen")
    dialog.get_by_role("button", name="Merge").click()
    page.get_by_role("button", name="Forget Helen").wait_for(state="detached")
    visit.press("Erase faces of Eileen")
    erasing = dialog.get_by_role("button", name="Erase for good")
    expect(dialog.get_by_role("button", name="Keep all")).to_be_focused()
    erasing.click()
    expect(dialog).to_contain_text("Tick the faces to erase.")
    for n in (1, 2):
        dialog.get_by_label(f"Face {n} of 2").check()
    erasing.click()
    expect(dialog).to_contain_text("These are all of them: Forget erases the name too.")
    dialog.get_by_label("Face 2 of 2").uncheck()
    kept, gone = (picture.get_attribute("src") for picture in reversed(card.locator("img").all()))
    erasing.click()
    visit.said_("1 face of Eileen is erased.")
    expect(card.locator("img")).to_have_count(1)
    expect(card.locator("img")).to_have_attribute("src", str(kept))
    answered = "path => fetch(path).then(answer => answer.status)"
    visit.expected = {"404"}
    assert page.evaluate(answered, gone) == 404 and page.evaluate(answered, kept) == 200
    expect(page.get_by_role("button", name="Erase faces of Eileen")).to_have_count(0)  # the last one goes with the name

    visit.press("Forget Eileen")
    expect(dialog.get_by_role("button", name="Keep")).to_be_focused()
    dialog.get_by_role("button", name="Keep").click()
    expect(card).to_have_count(1)
    visit.press("Forget Eileen")
    dialog.get_by_role("button", name="Forget for good").click()
    visit.said_("Eileen is forgotten.")
    page.get_by_role("heading", name="Nobody is named yet").wait_for()
    visit.expected = {"400", "404"}
    visit.press("Undo the last step")
    visit.said_("nothing to undo")
    page.get_by_role("link", name="To the photos").click()
    visit.heading("Photos")
    expect(page.get_by_text("Eileen")).to_have_count(0)
