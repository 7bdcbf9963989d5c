"""What is wrong with data: where, what, and how to mend it; noted as it is met, so that reading can go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from isotrain.data.samples import Box
from isotrain.errors import BadData

Severity = Literal["error", "warning"]
ROUNDING = 1.0
"""Pixels by which a box may stick out of its picture: programs round, and count edges, differently."""
OFTEN = 0.2
"""Share of boxes that must fail before all of them are suspected to be written another way."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong.

    Attributes:
        where: file:line, or file and key.
        what: is wrong, with the value.
        fix: what to do about it.
        severity: "error" if training on it is impossible or its scores would be false.
    """

    where: str
    what: str
    fix: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.fix}"


Told = Callable[[str, str, str], None]
"""What a reader does about a fault it meets: where, what, how to mend it."""


def refused(where: str, what: str, fix: str) -> None:
    """The first fault ends the reading: who learns from data gets it whole. A doctor notes it instead, and reads on.

    Raises:
        BadData: always.

    >>> refused("pairs.tsv:3", "one column", "Put a tab between the two")
    Traceback (most recent call last):
    isotrain.errors.BadData: pairs.tsv:3: one column. Put a tab between the two.
    """
    raise BadData(f"{where}: {what}. {fix}.")


class Boxes:
    """Looks at the boxes of one file, each as it is written and as the other of the two usual ways to write a box.

    Args:
        faults: where faults are noted.
        written: how the format writes a box.
        other: the way it is often mixed up with.

    >>> boxes = Boxes(faults := [], "x, y, width, height", "left, top, right, bottom")
    >>> boxes.look((1.0, 1.0, 1.0, 3.0), (1.0, 1.0, 0.0, 2.0), 9, 9, "a.json:4")
    >>> str(faults[0])
    'a.json:4: box 1, 1, 1, 3 is empty (width 0, height 2). Delete it or give it its true size.'
    """

    def __init__(self, faults: list[Fault], written: str, other: str) -> None:
        self.faults = faults
        self.written, self.other = written, other
        self._seen = self._failed = self._fit_otherwise = 0

    def look(self, box: Box, otherwise: Box, height: int, width: int, where: str) -> Box | None:
        """The part of a box inside of its picture; None, and a fault noted, if there is none."""
        self._seen += 1
        fits_otherwise = _fits(otherwise, height, width)
        self._fit_otherwise += fits_otherwise
        if _fits(box, height, width):
            return _clipped(box, height, width)
        self._failed += 1
        what, fix = _wrong(box, height, width)
        if fits_otherwise:
            fix = f"Read as {self.other} it would fit: write it as {self.written}."
        clipped = _clipped(box, height, width)
        inside = all(map(math.isfinite, box)) and clipped[2] > clipped[0] and clipped[3] > clipped[1]
        self.faults.append(Fault(where, what, fix, "warning" if inside else "error"))
        return clipped if inside else None

    def close(self, where: str) -> None:
        """After the last box: are they all written the other way?"""
        often = self._seen >= 3 and self._failed >= max(2, OFTEN * self._seen)
        if often and self._fit_otherwise == self._seen:
            self.faults.append(
                Fault(
                    where,
                    f"{self._failed} of {self._seen} boxes do not fit their pictures, and all would if they were "
                    f"{self.other}",
                    f"They seem to be mixed up: write them as {self.written}.",
                )
            )


def _fits(box: Box, height: int, width: int) -> bool:
    left, top, right, bottom = box
    inside = left >= -ROUNDING and top >= -ROUNDING and right <= width + ROUNDING and bottom <= height + ROUNDING
    clipped = _clipped(box, height, width)
    return inside and clipped[2] > clipped[0] and clipped[3] > clipped[1]


def _clipped(box: Box, height: int, width: int) -> Box:
    left, top, right, bottom = box
    return max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)


def _wrong(box: Box, height: int, width: int) -> tuple[str, str]:
    left, top, right, bottom = box
    text = f"box {', '.join(f'{value:.6g}' for value in box)}"
    picture = f"its picture of {width} x {height} (width x height)"
    if not all(map(math.isfinite, box)):
        return f"{text} holds no numbers", "Delete it or give it its true size."
    if right < left or bottom < top:
        turned = "right edge is left of its left one" if right < left else "bottom edge is above its top one"
        return f"{text} is inverted: its {turned}", "Exchange the two, or delete it."
    if right == left or bottom == top:
        size = f"width {right - left:.6g}, height {bottom - top:.6g}"
        return f"{text} is empty ({size})", "Delete it or give it its true size."
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        return f"{text} is outside of {picture}", "Delete it, or check that it belongs to this picture."
    return f"{text} sticks out of {picture}", "It is cut at the picture's edge: check that it belongs to this picture."
