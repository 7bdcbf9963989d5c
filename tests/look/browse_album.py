"""An album in Debian's chromium, in a process of its own: what a person does, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright


def browse(page_file: Path) -> dict[str, object]:
    """Search, filter, open, leaf through, close; what was there each time."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 380, "height": 700})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append("a dialog: " + dialog.message))
        page.goto(page_file.as_uri())
        told: dict[str, object] = {"all": page.locator(".tile").count()}
        page.keyboard.press("/")
        page.keyboard.type("DEEPER")
        expect(page.locator(".tile")).to_have_count(1)
        told["searched"] = page.locator(".tile").count()
        told["count"] = page.locator("#count").inner_text()
        page.fill("#q", "")
        expect(page.locator(".tile")).to_have_count(5)
        page.locator(".chip", has_text="dog").focus()
        page.keyboard.press("Enter")
        told["filtered"] = page.locator(".tile").count()
        page.locator(".tile").first.focus()
        page.keyboard.press("Enter")
        told["opened"] = page.locator("dialog").is_visible()
        first = page.locator("#one-name").inner_text()
        page.keyboard.press("ArrowRight")
        told["second"] = page.locator("#one-name").inner_text() != first
        page.keyboard.press("Escape")
        told["closed"] = not page.locator("dialog").is_visible()
        told["focus"] = bool(page.evaluate("document.activeElement.className === 'tile'"))
        told["wide"] = bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
        told["said"] = said
        browser.close()
    return told


if __name__ == "__main__":
    print(json.dumps(browse(Path(sys.argv[1]))))
