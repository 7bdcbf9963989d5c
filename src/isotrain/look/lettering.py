"""Words on a drawing: names that neither cover each other nor run out of the picture, and the strip below it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isotrain.look.sight import Sight

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

LEAST, MOST = 13, 26
"""Height of letters in pixels of a drawing."""
LONGEST_NAME = 40
PAPER, INK, SOFT, BAR, GROUND = (250, 250, 248), (28, 30, 33), (93, 99, 110), (15, 123, 85), (226, 228, 224)
NARROW = 320
"""Width in pixels below which a strip is as wide as this all the same, to hold words."""


def plain(words: str, most: int = LONGEST_NAME) -> str:
    """Words on one line, without marks that steer a terminal or a printer, shortened.

    >>> plain("a" * 50)[-2:], plain("Ada" + chr(10) + "L.")
    ('a…', 'Ada L.')
    """
    kept = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in words)
    kept = " ".join(kept.split())
    return kept if len(kept) <= most else kept[: most - 1] + "…"


@dataclass(frozen=True)
class Type:
    """Letters of one height in pixels."""

    size: int

    @classmethod
    def for_image(cls, image: Image) -> Type:
        """As large as an image asks for."""
        return cls(int(min(MOST, max(LEAST, round(max(image.size) / 58)))))

    def font(self, bold: bool = False) -> FreeTypeFont:
        """The font."""
        return _font(self.size, bold)


@lru_cache(maxsize=16)
def _font(size: int, bold: bool) -> FreeTypeFont:
    from PIL import ImageFont

    # The letters that matplotlib brings know Latin, Greek, Cyrillic and more; Pillow's own know Latin alone.
    spec = find_spec("matplotlib")
    assert spec is not None and spec.submodule_search_locations, "matplotlib is a dependency"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / name, size)


class Labels:
    """Puts names at boxes, each where it covers no other.

    Args:
        image: that is drawn on.
        pen: of it.
        letters: the names are written in.
    """

    def __init__(self, image: Image, pen: ImageDraw, letters: Type) -> None:
        self.pen, self.font = pen, letters.font()
        self.width, self.height = image.width, image.height
        self.margin = max(2, round(letters.size / 5))
        ascent, descent = self.font.getmetrics()
        self.high = ascent + descent + self.margin
        self.taken = np.zeros((0, 4))

    def put(self, words: str, box: Sequence[float], ground: tuple[int, int, int], below: bool = False) -> None:
        """Write words at a box; where there is no room left at all, nothing is written."""
        wide = self.pen.textlength(words, font=self.font) + 2 * self.margin
        while wide > self.width and len(words) > 2:
            words = words[:-2] + "…"
            wide = self.pen.textlength(words, font=self.font) + 2 * self.margin
        place = self._free(box, wide, below)
        if place is None:
            return
        left, top = place
        self.taken = np.vstack([self.taken, [left, top, left + wide, top + self.high]])
        self.pen.rectangle((left, top, left + wide - 1, top + self.high - 1), fill=ground)
        light = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
        ink = (0, 0, 0) if light > 120 else (255, 255, 255)
        self.pen.text((left + self.margin, top + self.margin / 2), words, fill=ink, font=self.font)

    def _free(self, box: Sequence[float], wide: float, below: bool) -> tuple[float, float] | None:
        """Left and top of a place for a label: the first that is free, the nearest to where it belongs."""
        left, top, right, bottom = box
        first = (left, bottom) if below else (left, top - self.high)
        usual = [
            first, (left, top - self.high), (left, top), (right - wide, top - self.high), (right - wide, top),
            (left, bottom), (right - wide, bottom), (left, bottom - self.high), (right - wide, bottom - self.high),
        ]  # fmt: skip
        rows, columns = np.arange(0, self.height, self.high), np.linspace(left - 2 * wide, right + wide, 9)
        grid = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
        grid = grid[np.hypot(grid[:, 0] - first[0], grid[:, 1] - first[1]).argsort()]
        places = np.vstack([usual, grid])
        places = places.clip(0, [max(0.0, self.width - wide), max(0.0, self.height - self.high)])
        edges = np.hstack([places, places + np.array([wide, self.high])])
        over = np.minimum(edges[:, None, 2:], self.taken[None, :, 2:]) - np.maximum(
            edges[:, None, :2], self.taken[None, :, :2]
        )
        free = ~(over > 0).all(2).any(1)
        if not free.any():
            return None
        x, y = places[int(free.argmax())]
        return float(x), float(y)


def strip(image: Image, sight: Sight) -> Image:
    """The image with a strip of paper below: what it shows, in words, and what is not known."""
    from PIL import Image, ImageDraw

    letters = Type.for_image(image)
    small = Type(max(LEAST - 1, round(letters.size * 0.8)))
    margin = round(0.7 * letters.size)
    width = max(NARROW, image.width)
    pen = ImageDraw.Draw(image)
    room = width - 2 * margin
    lines: list[tuple[str, Type, bool, tuple[int, int, int]]] = []
    caption = (sight.caption or {}).get("text")
    if caption:
        lines += [(line, letters, False, INK) for line in _wrapped(pen, plain(caption, 400), letters, room)]
    told = [words for words in sight.unknown if not (sight.kind or {}).get("name") or "cannot tell" not in words]
    for words in told:
        lines += [(line, small, False, SOFT) for line in _wrapped(pen, plain(words, 300), small, room)]
    named = (sight.kind or {}).get("name")
    heights = [round(1.4 * kind.size) for _, kind, _, _ in lines]
    bar = round(1.7 * letters.size) if named else 0
    if not lines and not named:
        return image
    page = Image.new("RGB", (width, image.height + 2 * margin + bar + sum(heights)), PAPER)
    page.paste(image, ((width - image.width) // 2, 0))
    pen = ImageDraw.Draw(page)
    top = image.height + margin
    if named and sight.kind:
        _class_line(pen, plain(named), float(sight.kind["probability"]), (margin, top, width - margin), letters)
        top += bar
    for (words, kind, bold, ink), high in zip(lines, heights, strict=True):
        pen.text((margin, top), words, fill=ink, font=kind.font(bold))
        top += high
    return page


def _class_line(pen: ImageDraw, name: str, sure: float, at: tuple[int, int, int], letters: Type) -> None:
    """The class, and how likely it is as a bar."""
    left, top, right = at
    pen.text((left, top), name, fill=INK, font=letters.font(bold=True))
    share = f"{sure:.0%}"
    end = right - pen.textlength(share, font=letters.font())
    pen.text((end, top), share, fill=INK, font=letters.font())
    start = left + pen.textlength(name, font=letters.font(bold=True)) + letters.size
    stop = end - letters.size
    if stop - start >= 2 * letters.size:
        middle, half = top + 0.62 * letters.size, max(2, letters.size // 6)
        pen.rounded_rectangle((start, middle - half, stop, middle + half), half, fill=GROUND)
        filled = max(start + 2 * half, start + sure * (stop - start))
        pen.rounded_rectangle((start, middle - half, filled, middle + half), half, fill=BAR)


def _wrapped(pen: ImageDraw, words: str, letters: Type, room: int) -> list[str]:
    """Lines that fit; a word that is too long is broken."""
    lines: list[str] = []
    line = ""
    for word in words.split():
        longer = f"{line} {word}".strip()
        if pen.textlength(longer, font=letters.font()) <= room:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while pen.textlength(line, font=letters.font()) > room and len(line) > 1:
            cut = len(line) - 1
            while cut > 1 and pen.textlength(line[:cut], font=letters.font()) > room:
                cut -= 1
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines
