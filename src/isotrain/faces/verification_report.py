"""Verification written down: a page, a picture, or JSON; with advice on the threshold, and the hardest pairs shown."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isotrain.aside import write_aside
from isotrain.errors import BadData, BadOption
from isotrain.faces.calibration import FARS, Calibration
from isotrain.faces.identification import Identification
from isotrain.faces.protocol import Verification
from isotrain.faces.verification_plots import verification_png, verification_svgs
from isotrain.page import opening, page, paragraph, section, table
from isotrain.version import __version__

SIDE = 96
"""Pixels of a thumbnail's longer side on the page."""
FACTS = ("two people taken for one", "one person taken for two")


@dataclass(frozen=True)
class ShownPair:
    """A pair to be looked at.

    Attributes:
        first: uint8 [H, W] or [H, W, 3].
        second: the same of the other picture.
        similarity: of the two.
        same: whether they are of one person.
        names: what to write under them.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    similarity: float
    same: bool
    names: tuple[str, str] = ("", "")


def hardest(found: Verification, most: int = 6) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the most alike pairs of two people, and of the least alike pairs of one, the hardest first.

    >>> from types import SimpleNamespace
    >>> found = SimpleNamespace(similarities=np.array([0.9, 0.1, 0.8, 0.2]), same=np.array([True, True, False, False]))
    >>> [places.tolist() for places in hardest(found, 1)]
    [[2], [1]]
    """
    others, own = np.flatnonzero(~found.same), np.flatnonzero(found.same)
    alike = others[np.argsort(-found.similarities[others], kind="stable")]
    unlike = own[np.argsort(found.similarities[own], kind="stable")]
    return alike[:most], unlike[:most]


def advice(calibration: Calibration) -> list[str]:
    """What each threshold does, in words.

    >>> from isotrain.faces.calibration import Level
    >>> for line in advice(Calibration(0.31, 0.94, {1e-3: Level(0.43, 0.0009, 0.94)}, 1.0, 0.0, 3000, 3000)):
    ...     print(line)
    At 0.43 one stranger in 1,000 is let in and 6 % of true pairs are refused.
    At 0.31 most pairs are answered right, 94.0 %: for sorting an album, not for opening a door.
    Each is for one comparison: of 100 people in a gallery, any can be taken for the stranger, up to 100 times as often.
    """
    said = [
        f"At {level.threshold:.3g} one stranger in {1 / far:,.0f} is let in and {_percent(1 - level.tar)} of true "
        "pairs are refused."
        for far, level in sorted(calibration.levels.items())
    ]
    right = f"{100 * calibration.accuracy:.1f} %"
    said.append(
        f"At {calibration.threshold:.3g} most pairs are answered right, {right}: for sorting an album, not for opening "
        "a door."
    )
    missing = [far for far in FARS if far not in calibration.levels]
    if missing and calibration.different * missing[0] < 1:
        said.append(
            f"{calibration.different:,} pairs of two people are too few to tell what lets in one stranger in "
            f"{1 / missing[0]:,.0f}: about {10 / missing[0]:,.0f} are needed."
        )
    said.append(
        "Each is for one comparison: of 100 people in a gallery, any can be taken for the stranger, up to 100 times as "
        "often."
    )
    return said


def save_verification(
    found: Verification,
    path: Path,
    identification: Identification | None = None,
    shown: Sequence[ShownPair] = (),
    title: str = "Is it the same person?",
) -> Path:
    """Write what came out as the name says: `.html`, `.png` or `.json`; a reader never sees half a file.

    Args:
        found: by `isotrain.faces.protocol.verify`.
        path: of the file.
        identification: to be reported beside it.
        shown: pairs to show on the page, as those of `hardest`.
        title: of the page.

    Raises:
        BadOption: the name ends in something else, or the place cannot be written.
        BadData: a picture to be shown is none.
    """
    writers: dict[str, Callable[[], bytes]] = {
        ".html": lambda: verification_page(found, identification, shown, title).encode(),
        ".png": lambda: verification_png(found),
        ".json": lambda: json.dumps(_document(found, identification), indent=1).encode(),
    }
    if path.suffix not in writers:
        raise BadOption(f"{path.name} should end in {', '.join(writers)}: the ending says what is written.")
    content = writers[path.suffix]()
    try:
        write_aside(path, content)
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def verification_page(
    found: Verification,
    identification: Identification | None = None,
    shown: Sequence[ShownPair] = (),
    title: str = "Is it the same person?",
) -> str:
    """The page: one file, no address in it, no scripts.

    Raises:
        BadData: a picture to be shown is none.
    """
    facts = {
        "protocol": found.protocol,
        "similarity": found.similarity,
        "pairs": f"{int(found.same.sum()):,} of one person, {int((~found.same).sum()):,} of two",
        "folds": str(len(found.folds)),
    } | {f"learned from ({number})": line for number, line in enumerate(found.training, 1)}
    counsel = advice(found.calibration) if found.calibration is not None else [f"No threshold: {found.uncalibrated}"]
    verdict = [f"{100 * found.accuracy:.2f} ± {100 * found.error:.2f} % of the pairs are answered right.", *counsel[:1]]
    figures = "".join(
        f"<figure><figcaption><strong>{escape(name)}</strong></figcaption>{svg}</figure>"
        for name, svg in verification_svgs(found)
    )
    spread = "" if len(found.folds) < 2 else " The band lies between the least and the greatest of the folds."
    parts = [
        opening(title, found.protocol + ".", verdict, facts),
        section("Which threshold?", *(paragraph(line, soft=False) for line in counsel)),
        section(
            "How well they are told apart",
            paragraph(
                f"First: true pairs accepted over strangers let in, at every threshold.{spread} Second: the same where "
                "few strangers are let in, with 95 % intervals. Third: the similarities of both kinds of pairs."
            ),
            f'<div class="panels">{figures}</div>',
        ),
        section("The figures", _figures(found, identification)),
        section("Fold by fold", _folds(found)) if len(found.folds) > 1 else "",
        section("The hardest pairs", *_shown(shown)) if shown else "",
    ]
    return page(f"isotrain: {title}", parts, __version__)


def _document(found: Verification, identification: Identification | None) -> dict[str, Any]:
    document = {"kind": "verification", "isotrain": __version__} | found.to_dict()
    return document if identification is None else document | {"identification": identification.to_dict()}


def _percent(share: float) -> str:
    """A share in per cent, two figures where it is small.

    >>> _percent(0.06), _percent(0.004), _percent(0.5)
    ('6 %', '0.4 %', '50 %')
    """
    digits = 0 if share >= 0.0995 or round(100 * share, 1) == round(100 * share) else 1
    return f"{100 * share:.{digits}f} %"


Cells = list[tuple[str, str]]


def _figures(found: Verification, identification: Identification | None) -> str:
    rows: list[tuple[str, Cells]] = [
        ("accuracy", _row(found.accuracy, found.accuracy - 1.96 * found.error, found.accuracy + 1.96 * found.error)),
        ("area under the ROC curve", _row(*found.auc)),
        ("equal error rate", _row(*found.eer)),
    ]
    for far, operating in found.tar.items():
        name = f"true pairs accepted, one stranger in {1 / far:,.0f} let in"
        cells = _none("too few pairs to say") if operating is None else _row(*operating.tar, operating.threshold)
        rows.append((name, cells))
    if identification is not None:
        for k, rate in identification.rank.items():
            place = "the most similar" if k == 1 else f"among the {k} most similar"
            rows.append((f"{place} of {identification.people:,} people", _row(*rate)))
        for far, dir in identification.dir.items():
            name = f"known and named, one stranger in {1 / far:,.0f} taken for somebody"
            rows.append((name, _none("too few strangers to say") if dir is None else _row(*dir.rate, dir.threshold)))
    return table(["", "share", "95 % interval", "threshold"], rows, "figures")


def _row(value: float, low: float, high: float, threshold: float | None = None) -> Cells:
    interval = f"{100 * max(low, 0):.2f} to {100 * min(high, 1):.2f} %"
    return [(f"{100 * value:.2f} %", "strong"), (interval, ""), ("" if threshold is None else f"{threshold:.3f}", "")]


def _none(why: str) -> Cells:
    return [(why, ""), ("", ""), ("", "")]


def _folds(found: Verification) -> str:
    rows = [
        (f"fold {number}", [(f"{100 * fold.accuracy:.2f} %", "strong"), (f"{fold.threshold:.3f}", "")])
        for number, fold in enumerate(found.folds, 1)
    ]
    return table(["", "answered right", "threshold of the others"], rows, "folds")


def _shown(shown: Sequence[ShownPair]) -> list[str]:
    parts = []
    for same, words in ((False, FACTS[0]), (True, FACTS[1])):
        some = [pair for pair in shown if pair.same == same]
        if some:
            pictures = "".join(
                f"<div>{_thumbnail(pair.first, pair.names[0])} {_thumbnail(pair.second, pair.names[1])}"
                f"<br>{escape(' / '.join(filter(None, pair.names)))}<br>{pair.similarity:.3f}</div>"
                for pair in some
            )
            parts += [paragraph(f"Most easily {words}:"), f'<div class="pictures">{pictures}</div>']
    return parts


def _thumbnail(pixels: NDArray[np.uint8], name: str) -> str:
    from PIL import Image

    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not fits or not pixels.size:
        kind = f"{pixels.dtype} {list(pixels.shape)}"
        raise BadData(f"a picture to show is uint8 [H, W] or [H, W, 3], this one is {kind}.")
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((2 * SIDE, 2 * SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(name)}" height="{SIDE}">'
