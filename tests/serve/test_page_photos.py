"""Photos on the page: from their arrival to their end, with every button on the way."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

from browser import Visitor, astronaut, scene
from PIL import Image
from playwright.sync_api import expect

GLOW = """() => {
  const glow = document.querySelector("canvas.glow");
  return glow && Math.max(...glow.getContext("2d").getImageData(0, 0, glow.width, glow.height).data);
}"""
CARRY = """
([event, target, files]) => {
  const carried = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const place = document.querySelector(target);
  if (event === "paste") place.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
  else for (const name of ["dragenter", "dragover", "drop"]) {
    place.dispatchEvent(new DragEvent(name, { dataTransfer: carried, bubbles: true, cancelable: true }));
  }
}
"""


def test_arrive_are_seen_and_go(visitor: Visitor, newcomer: str, tmp_path: Path) -> None:
    """Chosen, refused, searched, walked by arrows, drawn by layers, enlarged, saved and deleted."""
    visit = visitor(newcomer)
    page = visit.page
    page.get_by_role("heading", name="No photos yet").wait_for()
    visit.expected = {"400"}
    broken = tmp_path / "broken <b>.png"
    broken.write_bytes(b"no picture")
    visit.send(scene(tmp_path / "shapes.png"), astronaut(tmp_path / "astronaut.jpg"), broken)
    visit.said_("2 photos were looked at. 1 refused")
    row = page.locator(".queue .refused")
    expect(row).to_contain_text("broken <b>.png")
    expect(row.locator(".why")).not_to_be_empty()
    page.get_by_role("button", name="Try broken <b>.png again").click()
    page.get_by_role("button", name="Dismiss broken <b>.png").click()
    expect(row).to_have_count(0)

    links = page.locator(".grid a")
    expect(links).to_have_count(2)
    links.first.focus()
    page.keyboard.press("ArrowRight")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("Home")
    expect(links.first).to_be_focused()
    expect(links.first).to_have_js_property("tabIndex", 0)
    search = page.get_by_role("searchbox", name="Search your photos")
    search.fill("astronaut")
    page.get_by_text("1 photo with “astronaut”").wait_for()
    search.fill("<zebra>")
    page.get_by_text("No photo has “<zebra>”").wait_for()
    search.fill("")
    page.get_by_text("2 photos", exact=True).wait_for()

    links.filter(has_text="shapes.png").click()
    visit.heading("shapes.png")
    seen = page.evaluate("id => fetch(`/api/photos/${id}`).then(answer => answer.json())", page.url.rsplit("/", 1)[1])[
        "sight"
    ]
    assert seen["objects"], "the shipped nets know drawn shapes"
    for name, layer in (("Heat map", ".glow"), ("Objects", ".marks g"), ("Caption", ".subtitle")):
        box = page.get_by_label(name)
        if box.is_disabled():
            continue
        for on in (False, True):
            box.set_checked(on)
            expect(page.locator(layer).first, name).to_be_visible(visible=on)
    heat = page.evaluate(GLOW)
    assert heat is None or heat > 0

    def wide() -> float:
        return float(page.locator(".sheet").bounding_box()["width"])

    whole = wide()
    visit.press("Enlarge")
    assert abs(wide() / whole - 1.5) < 0.01
    visit.press("Reduce")
    page.locator(".view").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    assert wide() > whole
    page.keyboard.press("0")
    assert abs(wide() - whole) < 1
    page.get_by_role("button", name="large").first.click()
    assert wide() >= whole
    page.mouse.move(*middle(page))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.get_by_label("Size").filter(has_text=re.compile("^(1[5-9]|[2-9]).. %")).wait_for()
    assert wide() > whole * 1.5
    page.mouse.down()
    page.mouse.move(middle(page)[0] + 30, middle(page)[1])
    page.mouse.up()
    visit.press("Fit the photo")
    page.locator(".view").dblclick(position={"x": 5, "y": 5})
    visit.press("Fit the photo")

    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the drawing").click()
    assert saved.value.suggested_filename == "shapes-seen.png"
    assert Image.open(io.BytesIO(Path(saved.value.path()).read_bytes())).format == "PNG"

    step = "Previous" if page.get_by_role("link", name="Previous").count() else "Next"
    page.get_by_role("link", name=step).click()
    visit.heading("astronaut.jpg")
    page.get_by_role("link", name="← All photos").click()
    visit.heading("Photos")
    page.locator(".grid a").filter(has_text="shapes.png").click()
    visit.heading("shapes.png")
    visit.press("Delete the photo")
    dialog = page.get_by_role("dialog", name="Delete this photo?")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete the photo")).to_be_focused()
    visit.press("Delete the photo")
    dialog.get_by_role("button", name="Delete the photo").click()
    visit.said_("The photo was deleted.")
    visit.heading("Photos")
    expect(links).to_have_count(1)


def test_dropped_and_pasted_anywhere(visitor: Visitor, newcomer: str, tmp_path: Path) -> None:
    """On whatever view; one photo is shown at once, and what is no photo is not sent."""
    visit = visitor(newcomer)
    page = visit.page
    picture = base64.b64encode(scene(tmp_path / "a.png").read_bytes()).decode()
    page.evaluate(CARRY, ["drop", ".drop", [["dropped.png", picture]]])
    visit.heading("dropped.png")
    visit.go("people", "People")
    page.evaluate(CARRY, ["paste", "body", [["pasted.png", picture]]])
    visit.heading("pasted.png")
    visit.go("photos", "Photos")
    note = tmp_path / "note.txt"
    note.write_text("no photo", encoding="utf-8")
    visit.send(note)
    visit.said_("These are no photos")
    expect(page.locator(".grid a")).to_have_count(2)


def middle(page: Any) -> tuple[float, float]:
    box = page.locator(".view").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
