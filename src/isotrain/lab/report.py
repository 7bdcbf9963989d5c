"""A result written down: one HTML page, a PNG, or JSON. The pages are made from what the JSON holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from isotrain.aside import write_aside
from isotrain.errors import BadOption
from isotrain.figures import INK
from isotrain.lab.curves import curves
from isotrain.lab.plots import PALETTE, Line, Panel, png, window_for
from isotrain.lab.suite.memory_report import memory_markdown, memory_page, memory_panels
from isotrain.lab.suite.pages import contest_markdown, contest_page
from isotrain.lab.suite.pages import panels as contest_panels
from isotrain.page import opening, page, paragraph, picture, reasons, section, table
from isotrain.version import __version__

Document = dict[str, Any]
OURS = ("riemannian", "isotrain", "qd", "dop", "dmcnat", "diagonal-gauss-newton")
WORDS = {"same": "=", "close": "≈", "differs": "≠", "diverged": "†"}


class Result(Protocol):
    """Anything that can be told as JSON."""

    def to_dict(self) -> Document:
        """Everything, as JSON can hold it."""


def save(result: Result, path: str | Path) -> Path:
    """Write a result as the name says; a reader never sees half a file.

    Raises:
        BadOption: the name ends in something else, or the place cannot be written.
    """
    path, document = Path(path), result.to_dict()
    require_ending(path, document["kind"] in TABLES)
    try:
        write_aside(path, WRITERS[path.suffix](document))
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def require_ending(path: Path, tables: bool = False) -> None:
    """Refuse a name whose ending says nothing, before what takes long; where there are `tables`, .md does.

    Raises:
        BadOption: the name ends in something else.
    """
    endings = [ending for ending in WRITERS if ending != ".md" or tables]
    if path.suffix not in endings:
        raise BadOption(f"{path.name} should end in {', '.join(endings)}: the ending says what is written.")


def html(document: Document) -> str:
    """The page of an audit, a comparison or a demonstration."""
    return PAGES[document["kind"]](document)


def panels(document: Document) -> list[Panel]:
    """The curves of an audit, a comparison or a demonstration."""
    return PANELS[document["kind"]](document)


def _ours(panels: Sequence[Panel]) -> list[str]:
    return [p.title for p in panels if p.title.startswith(OURS)]


def number(value: float | None) -> str:
    """A figure short enough for a table.

    >>> number(0.01234), number(3e-13), number(None)
    ('0.0123', '3.0e-13', 'diverged')
    """
    if value is None or not math.isfinite(value):
        return "diverged"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def _smoothing(steps: int) -> str:
    window = window_for(steps)
    mean = f"The curves show means over {window} steps; the figures are of the raw losses. " if window > 1 else ""
    return f"{mean}All panels share their axes; the loss is on a logarithmic scale."


# -- audit ---------------------------------------------------------------------------------------------------


def _audit_panels(document: Document) -> list[Panel]:
    found = []
    for optimizer, row in document["curves"].items():
        changes = [c for c in row if c != "original"]
        # The curve of the original is the widest, so that those on top of it leave it visible on both sides.
        lines = [Line("original", row["original"], INK, width=4.2)]
        lines += [
            Line(c, row[c], PALETTE[i % len(PALETTE)], dashed=i % 2 == 1, width=1.6) for i, c in enumerate(changes)
        ]
        gaps = document["gaps"][optimizer]
        felt = sum(word != "same" for word in document["readings"][optimizer].values())
        worst = max(gaps.values(), key=lambda g: math.inf if g is None else g)
        note = f"feels {felt} of {len(gaps)} changes; largest gap {number(worst)}"
        found.append(Panel(optimizer, note, lines))
    return found


def _audit_page(document: Document) -> str:
    facts = document["facts"]
    shown = {
        "model": f"{facts['model']}, {facts['parameters']:,} parameters",
        "likelihood": facts["likelihood"],
        "steps": f"{facts['steps']} of {facts['batch']} samples",
        "arithmetic": facts["dtype"],
        "seed": str(facts["seed"]),
    }
    changes = list(document["details"])
    rows = []
    for optimizer, gaps in document["gaps"].items():
        words = document["readings"][optimizer]
        claims = set(document["claims"].get(optimizer, ()))
        cells = [
            (
                f"{WORDS[words[c]]} {number(gaps[c])}{' *' if set(c.split('+')) <= claims else ''}",
                words[c],
            )
            for c in changes
        ]
        rows.append((optimizer, cells))
    drawn = panels(document)
    return page(
        "isotrain audit",
        [
            opening(
                "How much does this training depend on how the network was written down?",
                "Every version below is the same function at the start, sees the same minibatches in the "
                "same order, "
                "and differs only in its coordinates. A trainer that does not feel them gives one curve.",
                _sentences(document["verdict"]),
                shown,
            ),
            section("Curve by curve", paragraph(_smoothing(facts["steps"])), curves(drawn, _ours(drawn))),
            section(
                "Gap by gap",
                paragraph(
                    "The largest difference between the loss of the rewritten model and that of the "
                    "original, over "
                    "all steps, in units of the loss. = the same but for rounding, ≈ within a hundredth "
                    "of the first "
                    "loss, ≠ another curve, † one diverged. A * marks what the trainer itself claims not "
                    "to feel."
                ),
                table(["", *changes], rows, "gaps"),
            ),
            section("What was changed", reasons(document["details"]), kind="short"),
            section(
                "What this model cannot absorb",
                paragraph("These changes were left out, because no rewriting of the weights undoes them exactly."),
                reasons(document["refused"]),
            )
            if document["refused"]
            else "",
        ],
        __version__,
    )


def _sentences(verdict: str) -> list[str]:
    return [s if s.endswith(".") else f"{s}." for s in verdict.split(". ") if s]


# -- compare -------------------------------------------------------------------------------------------------


def _compare_panels(document: Document) -> list[Panel]:
    by_step, by_second = [], []
    for i, (name, row) in enumerate(document["rows"].items()):
        color, width = PALETTE[i % len(PALETTE)], 2.6 if name.startswith(OURS) else 1.6
        by_step.append(Line(name, row["losses"], color, dashed=i >= len(PALETTE), width=width))
        by_second.append(Line(name, row["losses"], color, dashed=i >= len(PALETTE), width=width, x=row["seconds"]))
    return [
        Panel("By step", "what a step is worth", by_step),
        Panel("By second", "what it costs, on this machine", by_second, xlabel="second"),
    ]


def _compare_page(document: Document) -> str:
    facts, rows = document["facts"], []
    for name, row in document["rows"].items():
        steps, seconds = len(row["seconds"]), row["seconds"][-1]
        share = "–" if row["accuracy"] is None else f"{100 * row['accuracy']:.1f} %"
        held = "–" if row["held_out_loss"] is None else number(row["held_out_loss"])
        cells = [
            (number(row["train_loss"]), "strong" if row["train_loss"] is not None else "diverged"),
            (held, ""),
            (share, ""),
            (f"{1e3 * seconds / steps:.2f} ms", ""),
            (f"{seconds:.1f} s", ""),
            (f"{row['state_bytes'] / facts['parameter_bytes']:.2f}", ""),
            (facts["rates"][name], "soft"),
        ]
        rows.append((name, cells))
    shown = {
        "model": f"{facts['model']}, {facts['parameters']:,} parameters",
        "steps": f"{facts['steps']} of {facts['batch']} samples",
        "arithmetic": facts["dtype"],
        "threads": str(facts["threads"]),
        "seed": str(facts["seed"]),
    }
    head = [
        "",
        "train loss",
        "held-out loss",
        "accuracy",
        "a step",
        "in all",
        "memory / parameters",
        "rate from",
    ]
    return page(
        "isotrain compare",
        [
            opening(
                "Trainers side by side",
                "The same model from the same start, on the same minibatches in the same order.",
                _sentences(document["verdict"]),
                shown,
            ),
            section("Curves", paragraph(_smoothing(facts["steps"])), curves(panels(document))),
            section("Where they ended", table(head, rows, "final scores")),
        ],
        __version__,
    )


# -- demo ----------------------------------------------------------------------------------------------------


def _demo_panels(document: Document) -> list[Panel]:
    settings = document["settings"]
    activations = list(dict.fromkeys(s["activation"] for s in settings.values()))
    found = []
    for optimizer, row in document["curves"].items():
        # Wide lines under narrow ones: where six curves are one, all six can still be seen.
        lines = [
            Line(
                name,
                row[name],
                PALETTE[activations.index(s["activation"])],
                dashed=s["inverted"],
                width=1.5 if s["inverted"] else 4.4 - 1.3 * activations.index(s["activation"]),
            )
            for name, s in sorted(settings.items(), key=lambda item: item[1]["inverted"])
        ]
        found.append(Panel(optimizer, document["notes"][optimizer], lines, wide=optimizer == "isotrain"))
    return sorted(found, key=lambda panel: not panel.wide)


def _demo_page(document: Document) -> str:
    facts, settings = document["facts"], list(document["settings"])
    rows = []
    for optimizer, finals in document["finals"].items():
        cells = [(number(finals[s]), "diverged" if finals[s] is None else "") for s in settings]
        cells.append((number(document["spreads"][optimizer]), document["readings"][optimizer] + " strong"))
        rows.append((optimizer, cells))
    upright = document["picture"]
    inverted = [[1 - v for v in row] for row in upright]
    pictures = (
        '<div class="pictures">'
        + picture(upright, "white on black: x")
        + picture(inverted, "black on white: 1 − x")
        + "</div>"
    )
    drawn = panels(document)
    shown = {
        "data": facts["data"],
        "network": facts["network"],
        "steps": f"{facts['steps']} of {facts['batch']} pictures",
        "arithmetic": facts["dtype"],
        "took": f"{facts['seconds']:.0f} s",
    }
    return page(
        "isotrain demo",
        [
            opening(
                "One network, written down six ways",
                "Exchange black and white, or replace tanh by a sigmoid: with the weights rewritten to "
                "match, the "
                "network computes exactly what it did before. All six start as the same function. "
                "Should training them not give the same result?",
                document["verdict"],
                shown,
                pictures,
            ),
            section("Six curves each", paragraph(_smoothing(facts["steps"])), curves(drawn, _ours(drawn))),
            section(
                "Where they ended",
                paragraph(
                    "Loss over all training pictures after the last step. Spread: the largest less the smallest."
                ),
                table(["", *settings, "spread"], rows, "final training loss"),
            ),
            section(
                "How it was done",
                paragraph(
                    "Each rival runs at one rate: the best, on the first setting, of a small grid. "
                    "isotrain has no "
                    "rate to choose. All runs see the same minibatches in the same order."
                ),
                reasons(document["rates"]),
            ),
        ],
        __version__,
    )


def _png(document: Document) -> bytes:
    titles = {
        "audit": "isotrain audit: the same function in other coordinates",
        "compare": "isotrain compare: one model, one start, one order of data",
        "demo": "One network, written down six ways",
        "suite": "isotrain compare --suite standard: training loss",
        "memory": "isotrain compare --suite memory: steps until solved, and the loss held out",
    }
    return png(panels(document), titles[document["kind"]])


PANELS: dict[str, Callable[[Document], list[Panel]]] = {
    "audit": _audit_panels,
    "compare": _compare_panels,
    "demo": _demo_panels,
    "suite": contest_panels,
    "memory": memory_panels,
}
PAGES: dict[str, Callable[[Document], str]] = {
    "audit": _audit_page, "compare": _compare_page, "demo": _demo_page, "suite": contest_page, "memory": memory_page
}  # fmt: skip
TABLES: dict[str, Callable[[Document], str]] = {"suite": contest_markdown, "memory": memory_markdown}
WRITERS: dict[str, Callable[[Document], bytes]] = {
    ".html": lambda document: html(document).encode(),
    ".json": lambda document: (json.dumps(document, indent=1, allow_nan=False) + "\n").encode(),
    ".png": _png,
    ".md": lambda document: TABLES[document["kind"]](document).encode(),
}
