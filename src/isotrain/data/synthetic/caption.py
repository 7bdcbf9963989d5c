"""What is in a generated scene, in words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isotrain.data.samples import Sample, Thing
from isotrain.data.synthetic.shape import SHAPES
from isotrain.errors import BadData

COLOURS = {
    "red": (0.8, 0.15, 0.15),
    "orange": (0.9, 0.55, 0.15),
    "yellow": (0.85, 0.85, 0.2),
    "green": (0.25, 0.7, 0.25),
    "turquoise": (0.25, 0.75, 0.75),
    "blue": (0.2, 0.3, 0.8),
    "purple": (0.55, 0.2, 0.7),
    "pink": (0.9, 0.45, 0.75),
    "brown": (0.45, 0.3, 0.15),
    "black": (0.1, 0.1, 0.1),
    "grey": (0.5, 0.5, 0.5),
    "white": (0.92, 0.92, 0.92),
}
"""Names of colours and what they are nearest to, red, green and blue in [0, 1]."""
SMALL, LARGE = 0.2, 0.36
"""Longer side of a box in sides of the picture, below and above which it is called so."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def caption_of(sample: Sample, classes: Sequence[str] = SHAPES) -> str:
    """A sentence about a scene: one shape, two and how they lie to each other, or all of them from left to right.

    Args:
        sample: with its picture in memory and masks that are Tensors, as `scenes` gives it.
        classes: names of its classes.

    Raises:
        BadData: the picture is a file, or a shape has no mask.

    >>> from isotrain.data.synthetic.scene import scenes
    >>> caption_of(scenes(7, seed=0)[6])
    'a small blue circle'
    """
    if not isinstance(sample.picture, Tensor):
        raise BadData(f"sample {sample.name!r} is a file: only scenes in memory are put into words.")
    if not sample.things:
        return "an empty picture"
    things = sorted(sample.things, key=lambda thing: thing.box[0] + thing.box[2])
    words = [_words(thing, sample.picture, sample.name, classes) for thing in things]
    if len(things) == 1:
        return words[0]
    if len(things) == 2:
        first, second = things[0].box, things[1].box
        right = (second[0] + second[2] - first[0] - first[2]) / 2
        down = (second[1] + second[3] - first[1] - first[3]) / 2
        relation = "to the left of" if right >= abs(down) else "above" if down > 0 else "below"
        return f"{words[0]} {relation} {words[1]}"
    number = NUMBERS[len(things)] if len(things) < len(NUMBERS) else str(len(things))
    return f"{number} shapes: {', '.join(words[:-1])} and {words[-1]}"


def _words(thing: Thing, picture: Tensor, name: str, classes: Sequence[str]) -> str:
    if not isinstance(thing.mask, Tensor):
        raise BadData(f"sample {name!r} has a {classes[thing.label]} without a mask in memory to take its colour from.")
    mean = picture[:, thing.mask].float().mean(1) / 255
    colour = list(COLOURS)[int((torch.tensor(list(COLOURS.values())) - mean).norm(dim=1).argmin())]
    left, top, right, bottom = thing.box
    side = max((right - left) / picture.shape[2], (bottom - top) / picture.shape[1])
    size = "small " if side < SMALL else "large " if side > LARGE else ""
    return phrase(size, colour, classes[thing.label])


def phrase(size: str, colour: str, shape: str) -> str:
    """One shape in words; `size` ends in a blank, or is "" where nothing is said of it.

    >>> phrase("", "orange", "ring"), phrase("small ", "orange", "ring")
    ('an orange ring', 'a small orange ring')
    """
    words = f"{size}{colour} {shape}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
