"""The page that carries a report: one file, no address in it, light and dark, from a phone's width up."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from isotrain.lab.plots import INK, Line, Panel, svgs

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #1c1e21; --soft: #5d636e; --rule: #e4e4df;
  --accent: #0f7b55; --same: #d9f2e4; --close: #fdf0c8; --differs: #fbdcd5; --same-ink: #0b5a3d; --close-ink: #6b5000;
  --differs-ink: #8c2814; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1c1f25; --ink: #e9eaec; --soft: #a0a7b3;
  --rule: #31353d; --accent: #4fc796; --same: #143c2c; --close: #41360f; --differs: #4a211a; --same-ink: #8fe3bd;
  --close-ink: #f0d582; --differs-ink: #ffb3a2; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
.brand { font-weight: 650; letter-spacing: .01em; color: var(--accent); font-size: .95rem; }
h1 { font-size: clamp(1.7rem, 4.2vw, 2.7rem); line-height: 1.15; margin: .4rem 0 1rem; letter-spacing: -.02em;
  max-width: 24em; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 3rem 0 .4rem; letter-spacing: -.01em; }
p, ul { max-width: 44rem; margin: .5rem 0; }
.lead { font-size: 1.13rem; }
.soft { color: var(--soft); }
.verdict { border-left: 4px solid var(--accent); padding: .2rem 0 .2rem 1.1rem; margin: 1.4rem 0; }
.verdict p { margin: .35rem 0; font-size: 1.06rem; max-width: 50rem; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin: 1.2rem 0 0; padding: 0; color: var(--soft); font-size: .92rem; }
.facts div { display: flex; gap: .45rem; } .facts dt { font-weight: 400; } .facts dd { margin: 0; color: var(--ink); }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1.1rem; margin: 1.2rem 0; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .9rem 1rem .6rem; }
figure.ours { border: 2px solid var(--accent); }
figcaption strong { display: block; font-size: 1.05rem; line-height: 1.3; }
figcaption span { color: var(--soft); font-size: .9rem; }
figure svg { display: block; width: 100%; height: auto; margin-top: .5rem; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.3rem; list-style: none; padding: 0; margin: 1rem 0 0; font-size: .92rem;
  max-width: none; }
.legend svg { width: 2.1rem; height: .7rem; vertical-align: middle; margin-right: .45rem; }
.scroll { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--rule); border-radius: 10px; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .8rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
tr:last-child > * { border-bottom: 0; }
thead th { font-weight: 600; color: var(--soft); font-size: .85rem; vertical-align: bottom; white-space: normal; min-width: 5.2rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); min-width: 0; }
tbody th { font-weight: 600; }
td.same { background: var(--same); color: var(--same-ink); } td.close { background: var(--close); color: var(--close-ink); }
td.differs, td.diverged { background: var(--differs); color: var(--differs-ink); }
td.strong { font-weight: 650; }
.pictures { display: flex; gap: 1.2rem; margin: 1.4rem 0; flex-wrap: wrap; font-size: .88rem; color: var(--soft); }
.pictures svg { width: 5.6rem; height: 5.6rem; display: block; border: 1px solid var(--rule); margin-bottom: .3rem; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; background: var(--card);
  border: 1px solid var(--rule); border-radius: 4px; padding: .05em .35em; overflow-wrap: anywhere; }
dl.reasons { max-width: 52rem; } dl.reasons dt { font-weight: 600; margin-top: .7rem; } dl.reasons dd { margin: 0; color: var(--soft); }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: .88rem; }
@media (max-width: 34rem) { main { padding: 1.6rem 1rem 3rem; } th, td { padding: .45rem .6rem; } h2 { margin-top: 2.2rem; } }
@media print { figure, .scroll { break-inside: avoid; } }
"""


def page(title: str, sections: Sequence[str], version: str) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(s for s in sections if s)
        + f"\n<footer>Written by isotrain {escape(version)}. Everything on this page is in this file.</footer>\n"
        + "</main>\n</body>\n</html>\n"
    )


def opening(title: str, lead: str, verdict: Sequence[str], facts: dict[str, str], extra: str = "") -> str:
    """Title, one sentence of what this is, what was found, and the facts."""
    found = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict)
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return (
        f'<header><div class="brand">isotrain</div><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(lead)}</p>{extra}'
        f'<div class="verdict" role="note" aria-label="verdict">{found}</div><dl class="facts">{rows}</dl></header>'
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str, soft: bool = True) -> str:
    """Words."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def curves(panels: Sequence[Panel], ours: Sequence[str] = ()) -> str:
    """A legend, then one figure a panel; the panels named in `ours` are framed."""
    lines = {line.label: line for panel in panels for line in panel.lines}
    legend = "".join(f"<li>{_swatch(line)}{escape(label)}</li>" for label, line in lines.items())
    figures = "".join(
        f'<figure class="{"ours" if panel.title in ours else ""}"><figcaption><strong>{escape(panel.title)}</strong>'
        f"<span>{escape(panel.note)}</span></figcaption>{svg}</figure>"
        for panel, svg in zip(panels, svgs(panels), strict=True)
    )
    return f'<ul class="legend">{legend}</ul><div class="panels">{figures}</div>'


def _swatch(line: Line) -> str:
    dash = ' stroke-dasharray="6 4"' if line.dashed else ""
    color = "currentColor" if line.color == INK else line.color
    return (
        f'<svg viewBox="0 0 34 10" aria-hidden="true"><line x1="1" x2="33" y1="5" y2="5" stroke="{color}" '
        f'stroke-width="3"{dash}/></svg>'
    )


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
    return f'<div><svg viewBox="0 0 {size} {size}" role="img" aria-label="{escape(caption)}">{squares}</svg>{escape(caption)}</div>'
