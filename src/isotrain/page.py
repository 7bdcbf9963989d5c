"""The page that carries a report: one file, no address in it, light and dark, from a phone's width up."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

STYLE = (files("isotrain") / "page.css").read_text(encoding="utf-8")


def page(title: str, sections: Sequence[str], version: str) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(s for s in sections if s)
        + f"\n<footer>Written by isotrain {escape(version)}. Everything on this page is in this file."
        + "</footer>\n</main>\n</body>\n</html>\n"
    )


def opening(title: str, lead: str, verdict: Sequence[str], facts: dict[str, str], extra: str = "") -> str:
    """Title, one sentence of what this is, what was found, and the facts."""
    found = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict)
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return (
        f'<header><div class="brand">isotrain</div><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(lead)}</p>{extra}'
        f'<div class="verdict" role="note" aria-label="verdict">{found}</div>'
        f'<dl class="facts">{rows}</dl></header>'
    )


def section(title: str, *parts: str, kind: str = "") -> str:
    """A heading and what stands under it."""
    return f"<section class='{kind}'><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str, soft: bool = True) -> str:
    """Words."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[str, str]]]], caption: str) -> str:
    """Rows of (name, cells), a cell being (text, class); it scrolls sideways on a narrow screen."""
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="{kind}">{escape(text)}</td>' for text, kind in cells)
        + "</tr>"
        for name, cells in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def reasons(pairs: dict[str, str]) -> str:
    """Names with an explanation each."""
    return (
        '<dl class="reasons">'
        + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items())
        + "</dl>"
    )


def picture(pixels: Sequence[Sequence[float]], caption: str) -> str:
    """A small grey picture, a square a pixel (0 black, 1 white)."""
    size = len(pixels)
    squares = "".join(
        f'<rect x="{c}" y="{r}" width="1.02" height="1.02" fill="rgb({g},{g},{g})"/>'
        for r, row in enumerate(pixels)
        for c, value in enumerate(row)
        for g in [round(255 * value)]
    )
    words = escape(caption)
    return f'<div><svg viewBox="0 0 {size} {size}" role="img" aria-label="{words}">{squares}</svg>{words}</div>'
