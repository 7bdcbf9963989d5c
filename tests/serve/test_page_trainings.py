"""Trainings on the page: begun on own or generated data, watched, stopped, resumed, audited, taken along."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, Visitor
from playwright.sync_api import expect

from isotrain.data.synthetic import shapes_dataset, write_folders


def begun(visit: Visit, name: str, minutes: str) -> None:
    page = visit.page
    page.get_by_label("Minutes").fill(minutes)
    page.get_by_label("Name").fill(name)
    visit.press("Start the training")
    visit.heading(name)


def measured(page: Any, least: int = 1) -> int:
    """Wait for the curve, and give the step it has come to."""
    page.locator(".chart svg path.curve").wait_for(state="attached", timeout=180_000)  # of one point it has no size
    steps = page.get_by_role("region", name="The last steps").locator("tbody th").first
    if not steps.is_visible():
        page.get_by_text("The last steps as a table").click()
    steps.wait_for()
    for _ in range(1200):
        step = int(steps.inner_text().replace(",", ""))
        if step >= least:
            return step
        page.wait_for_timeout(100)
    raise AssertionError(f"no step {least}")


def test_on_data_of_ones_own(visitor: Visitor, newcomer: str, tmp_path: Path) -> None:
    """Uploaded, looked at by the doctor, learned from until it is done; what it leaves is downloaded and deleted."""
    visit = visitor(newcomer)
    page = visit.page
    write_folders(shapes_dataset(24, 8, 8, size=32), tmp_path / "shapes")
    visit.go("trainings", "Trainings")
    page.get_by_role("heading", name="No training yet").wait_for()
    page.get_by_role("link", name="New training").click()
    visit.heading("New training")
    page.get_by_label("Upload data").check()
    visit.press("Start the training")
    page.get_by_role("alert").filter(has_text="Upload the data first").wait_for()
    with page.expect_file_chooser() as chooser:
        visit.press("Choose a zip or text")
    visit.expected = {"400"}
    (tmp_path / "no.zip").write_bytes(b"no zip")
    chooser.value.set_files(str(tmp_path / "no.zip"))
    page.locator(".drop.small .wrong").filter(visible=True).wait_for()
    with page.expect_file_chooser() as chooser:
        visit.press("Choose a folder")
    chooser.value.set_files(str(tmp_path / "shapes"))
    page.get_by_role("heading", level=3).filter(has_text="is here").wait_for(timeout=180_000)
    page.locator(".drop.small .report, .drop.small .good").first.wait_for()  # the doctor's findings
    page.get_by_label("Minutes").fill("")
    visit.press("Start the training")
    expect(page.get_by_label("Minutes")).to_have_attribute("aria-invalid", "true")
    begun(visit, "My <b>shapes", "0.03")
    measured(page)
    page.locator(".chip-state.done").wait_for(timeout=180_000)

    page.get_by_role("region", name="Scores").locator("tbody tr").first.wait_for()
    pictures = page.locator(".pictures img")
    pictures.first.scroll_into_view_if_needed()
    for name, suffix in (("Model (zip)", ".zip"), ("Report (HTML)", ".html")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        content = Path(download.value.path())
        assert download.value.suggested_filename.endswith(suffix), download.value.suggested_filename
        if suffix == ".zip":
            assert any(entry.endswith("model.safetensors") for entry in zipfile.ZipFile(content).namelist())
    expect(page.get_by_role("link", name="Model (ONNX)")).to_have_attribute("href", re.compile(r"/model\?format=onnx$"))
    assert visit.accessible() >= 4.5
    visit.press("Start the audit")
    page.get_by_text("The audit").filter(has_text="runs").or_(page.get_by_text("The audit waits")).or_(
        page.locator(".verdict")
    ).first.wait_for()

    page.get_by_role("link", name="← All trainings").click()
    visit.heading("Trainings")
    expect(page.locator(".rows .title")).to_have_text("My <b>shapes")
    card = page.locator(".card")
    card.get_by_text("What the doctor found").click()
    card.get_by_role("link", name="Train on").click()
    visit.heading("New training")
    expect(page.locator("input[type=radio]:checked")).not_to_have_attribute("value", re.compile("^(generated|new)$"))
    page.get_by_role("link", name="← All trainings").click()
    page.locator(".rows a").click()
    visit.heading("My <b>shapes")
    visit.press("Delete")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep it").click()
    visit.press("Delete")
    dialog.get_by_role("button", name="Delete the training").click()
    visit.said_("The training was deleted.")
    visit.heading("Trainings")
    card.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete the data").click()
    visit.said_("The data was deleted.")
    page.get_by_text("None yet.").wait_for()


def test_live(visitor: Visitor, newcomer: str) -> None:
    """The curve grows while it is watched; stopped and resumed, it goes on; the drawing can be read in words."""
    visit = visitor(newcomer)
    page = visit.page
    visit.go("trainings", "Trainings")
    page.get_by_role("link", name="Try it").click()
    visit.heading("New training")
    expect(page.get_by_label("Generated data")).to_be_checked()
    expect(page.get_by_label("Minutes")).to_have_value("1")
    begun(visit, "Live", "5")
    first = measured(page)
    later = measured(page, first + 1)
    assert later > first
    picture = page.get_by_role("img", name="The curve.")
    expect(picture).to_have_attribute("aria-label", re.compile("The loss went from"))
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.get_by_text("loss ").filter(has_text="Step").first.wait_for()
    visit.press("Stop")
    page.locator(".chip-state.stopped").wait_for(timeout=180_000)
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
    visit.press("Resume")
    stopped = measured(page)
    assert measured(page, stopped + 1) > stopped
    page.reload()
    visit.heading("Live")
    assert measured(page) >= stopped  # a watcher who comes later sees all of it
    visit.press("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete the training").click()
    visit.heading("Trainings")


@pytest.mark.slow
def test_audited(visitor: Visitor, newcomer: str) -> None:
    """The audit of the run ends in a verdict, with its gaps and its report."""
    visit = visitor(newcomer)
    page = visit.page
    visit.go("trainings/new?task=classify", "New training")
    begun(visit, "Audited", "0.05")
    page.locator(".chip-state.done").wait_for(timeout=120_000)
    visit.press("Start the audit")
    page.locator(".verdict").wait_for(timeout=300_000)
    page.get_by_role("region", name="Gaps of the audit").locator("tbody tr").first.wait_for()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the audit’s report").click()
    opened.value.wait_for_load_state()
    expect(opened.value.locator("h1")).not_to_be_empty()
