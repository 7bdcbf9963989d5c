"""What a set of labelled pictures or texts is made of, whatever format it was read from.

Boxes are (left, top, right, bottom) in pixels of the picture as it is looked at (after its EXIF rotation), the right
and bottom edges excluded: a box over the whole of a picture of 4 x 3 pixels is (0, 0, 4, 3). Classes are numbered from
0 in the order of `Dataset.classes`. Pictures are uint8 [C, H, W] with one channel (grey) or three (RGB).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from isotrain.data.outlines import Outline

Box = tuple[float, float, float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Thing:
    """One labelled object in a picture.

    Attributes:
        label: its class.
        box: around it.
        mask: which pixels are its own; None where only boxes are known.
        crowd: many of a kind marked as one: neither learned from nor scored (COCO's iscrowd, VOC's difficult).
        points: its landmarks, x and y in pixels, in the order of their kind; empty where none are known.
        where: file and line (or key) it was read from, for messages.
    """

    label: int
    box: Box
    mask: Outline | None = None
    crowd: bool = False
    where: str = ""
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One picture or text with what is known of it.

    Attributes:
        picture: a file, or uint8 [C, H, W]; an empty Path where there is none.
        labels: classes of the picture as a whole (one of them for plain classification).
        things: labelled objects.
        name: short, unique in its set, for messages and tables.
        group: what must not be torn apart when samples are held out (a patient, a film); "" for none.
        where: file and line its label was read from, for messages.
        text: what is read instead of a picture: a stretch of a text, a sentence to translate.
        said: what is to be said of it: the captions of a picture, the translation of a sentence.
    """

    picture: Path | Tensor = Path()
    labels: tuple[int, ...] = ()
    things: tuple[Thing, ...] = ()
    name: str = ""
    group: str = ""
    where: str = ""
    text: str = ""
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Samples to learn from, to choose by and to test on.

    Attributes:
        classes: their names, in the order of their numbers.
        train: learned from.
        held_out: never learned from; the weights that are kept are chosen by them.
        test: neither learned from nor chosen by; empty where the source has none.
        source: the folder or name it was read from.
        format: what it was found to be, in words.
        notes: what was left out of it, and what else a person should know of, a sentence each.
    """

    classes: tuple[str, ...]
    train: list[Sample]
    held_out: list[Sample] = field(default_factory=list)
    test: list[Sample] = field(default_factory=list)
    source: str = ""
    format: str = ""
    notes: tuple[str, ...] = ()


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, at even distances.

    >>> evenly("abcdef", 3)
    ['a', 'c', 'e']
    """
    number = min(len(things), most)
    return [things[place * len(things) // number] for place in range(number)]
