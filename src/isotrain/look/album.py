"""The album of a folder: one page that finds photos by names, classes, objects, captions and people.

It needs no server and holds no address: pictures lie beside it, named by digests. What was seen is data in the page,
put into it by the page's own script as text alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Any

from isotrain.page import STYLE
from isotrain.version import __version__

OWN = files("isotrain.look")
SCRIPT = (OWN / "album.js").read_text(encoding="utf-8")
ALBUM_STYLE = STYLE + (OWN / "album.css").read_text(encoding="utf-8")


def album(title: str, photos: Iterable[tuple[str, dict[str, Any]]], skipped: int = 0) -> str:
    """The whole page.

    Args:
        title: of the album.
        photos: name as it is shown, and record: a sight's document with "drawn" and "thumbnail", paths beside the page.
        skipped: photos that could not be read.

    >>> "<h1>a&lt;b</h1>" in album("a<b", [])
    True
    """
    rows = [_row(name, record) for name, record in photos]
    # Within a script element only "</" and "<!--" mean anything: no "<" is left.
    data = json.dumps(rows, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    unread = f" {skipped:,} could not be read." if skipped else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(_shown(title))}</title>\n<style>{ALBUM_STYLE}</style>\n</head>\n<body>\n<main class='album'>\n"
        f'<header><div class="brand">isotrain</div><h1>{escape(_shown(title))}</h1>'
        f'<p class="soft">{len(rows):,} photo{"s" * (len(rows) != 1)}.{unread} '
        "Everything is in this folder; nothing was sent anywhere.</p></header>\n"
        '<form role="search" class="find"><label for="q">Find photos</label>'
        '<input id="q" type="search" autocomplete="off" spellcheck="false" '
        'placeholder="a name, a class, an object, a word of a caption">'
        '<p id="count" class="soft" role="status" aria-live="polite"></p></form>\n'
        '<div id="chips" aria-label="Filters"></div>\n'
        '<ul id="grid" class="grid" aria-label="Photos"></ul>\n<div id="more" aria-hidden="true"></div>\n'
        "<noscript><p>This page needs JavaScript to search; the photos are in the folder drawn.</p></noscript>\n"
        '<dialog id="one" aria-labelledby="one-name"><div class="bar"><h2 id="one-name"></h2>'
        '<button type="button" id="before" aria-label="Photo before" title="Photo before (left arrow)">&#8592;</button>'
        '<button type="button" id="after" aria-label="Next photo" title="Next photo (right arrow)">&#8594;</button>'
        '<button type="button" id="close" aria-label="Close" title="Close (Esc)">&#10005;</button></div>'
        '<div class="both"><img id="one-picture" alt=""><dl id="one-facts"></dl></div></dialog>\n'
        f"<footer>Written by isotrain {escape(__version__)}. What a net is not sure of, or does not know, it does not "
        "name.</footer>\n</main>\n"
        f'<script type="application/json" id="data">{data}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def _row(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """What the page needs to know of a photo; what is empty is left out, as there may be ten thousand."""
    height, width = record["size"]
    faces = record["faces"] or []
    counted: dict[str, int] = {}
    for thing in record["objects"] or []:
        counted[thing["name"]] = counted.get(thing["name"], 0) + 1
    row = {
        "n": _shown(name), "t": record["thumbnail"], "d": record["drawn"], "s": [width, height],
        "k": (record["class"] or {}).get("name"), "x": (record["class"] or {}).get("probability"),
        "o": [[thing, number] for thing, number in counted.items()],
        "p": sorted({face["person"] for face in faces if face["person"]}), "f": len(faces),
        "c": (record["caption"] or {}).get("text"), "u": record["unknown"],
    }  # fmt: skip
    return {key: value for key, value in row.items() if value}


def _shown(name: str) -> str:
    """A name whose bytes are no text, made fit to be shown."""
    return name.encode("utf-8", "replace").decode()
