"""Pictures of one shape or two and a sentence that says what is seen: twin of captions.

There is one right sentence to a picture, and it can be told from the picture: shapes do not overlap; colours, sizes and
directions are far from what they could be taken for; of two shapes the larger is named first.
"""

from __future__ import annotations

import math

import numpy as np

from isotrain.data.samples import Dataset, Sample
from isotrain.data.synthetic.caption import COLOURS, phrase
from isotrain.data.synthetic.draws import Part, Twin, drawn, generator
from isotrain.data.synthetic.shape import SHAPES, coverage, developed, vary
from isotrain.data.synthetic.texture import Floats, paint, pattern
from isotrain.errors import BadOption
from isotrain.progress import Tick

PLAIN = ("red", "yellow", "green", "blue", "purple", "black", "white")
"""Colours that no one takes for one another, or for the ground."""
SIZES = {"small ": (0.09, 0.1), "": (0.15, 0.16), "large ": (0.24, 0.255)}
"""Radii, in sides of the picture: the smallest square of a size is larger than the largest star of the one before."""
RELATIONS = ("to the left of", "to the right of", "above", "below")
TURN = 0.3
"""Radians by which a shape is turned at most: a square on its corner is a diamond."""
ASIDE = 0.3
"""How far beside the one direction the second shape lies at most, in distances along it."""
SINGLE = 1 / 3
"""Share of the pictures with one shape."""
SMALLEST_SIZE = 48


def captioned_dataset(
    train: int = 2000, held_out: int = 200, test: int = 200, seed: int = 0, size: int = 64, tick: Tick | None = None
) -> Dataset:
    """Pictures with one sentence each: a shape, or a larger one and how it lies to a smaller one.

    A shape is small, large or, where nothing is said, between the two.

    Args:
        train: number of pictures to learn from.
        held_out: number to choose by.
        test: number to test on.
        seed: of everything; 0 or more.
        size: height and width of a picture, 48 or more.
        tick: called after every picture.

    Raises:
        BadOption: an option is outside its range.

    >>> captioned_dataset(train=1, held_out=0, test=0).train[0].said
    ('a large purple circle above a small green ring',)
    """
    if size < SMALLEST_SIZE or min(train, held_out, test) < 0:
        raise BadOption(f"{train} pictures of size {size}: the number is 0 or more, the size {SMALLEST_SIZE} or more.")
    learned, held, tested = (
        drawn(lambda place, part=part: _captioned(place, seed, part, size), number, tick)  # type: ignore[misc]
        for part, number in zip(Part, (train, held_out, test), strict=True)
    )
    form = "generated: pictures of one shape or two, a sentence each"
    return Dataset((), learned, held, tested, source="captioned", format=form)


def _captioned(place: int, seed: int, part: Part, size: int) -> Sample:
    rng = generator(Twin.CAPTIONED, seed, part, place)
    number = 1 if rng.random() < SINGLE else 2
    canvas = _ground(rng, size)
    words: list[str] = []
    covers: list[Floats] = []
    surfaces: list[Floats] = []
    for which in sorted(rng.choice(len(SIZES), number, replace=False), reverse=True):
        name, radii = list(SIZES.items())[which]
        colour, shape = PLAIN[rng.integers(len(PLAIN))], SHAPES[rng.integers(len(SHAPES))]
        words.append(phrase(name, colour, shape))
        covers.append(_cover(rng, shape, size * rng.uniform(*radii)))
        level = vary(rng, np.array(COLOURS[colour], np.float32), 0.07)
        surfaces.append(paint(pattern(rng, *covers[-1].shape), level, vary(rng, level, 0.1)))
    if number == 1:
        sentence = words[0]
        places = [(_between(rng, 0, size - covers[0].shape[0]), _between(rng, 0, size - covers[0].shape[1]))]
    else:
        relation = int(rng.integers(len(RELATIONS)))
        sentence = f"{words[0]} {RELATIONS[relation]} {words[1]}"
        places = _apart(rng, covers, relation, size)
    for cover, surface, (top, left) in zip(covers, surfaces, places, strict=True):
        window = canvas[top : top + cover.shape[0], left : left + cover.shape[1]]
        window += cover[..., None] * (surface - window)
    return Sample(developed(rng, canvas), name=f"{part.name.lower()}-{place}", said=(sentence,))


def _ground(rng: np.random.Generator, size: int) -> Floats:
    """Grey and hardly tinted, so that black, white and every colour stand out: [size, size, 3]."""
    grey = np.float32(rng.uniform(0.42, 0.58)) + rng.uniform(-0.05, 0.05, 3).astype(np.float32)
    return paint(pattern(rng, size, size), grey, vary(rng, grey, 0.12))


def _cover(rng: np.random.Generator, shape: str, radius: float) -> Floats:
    """A shape, turned a little, in a window that just holds it: [h, w]."""
    side = 2 * int(1.25 * radius) + 3  # a triangle's corners are 1.2 radii out
    x, y = side / 2 + rng.uniform(-0.5, 0.5, 2)
    cover = coverage(shape, radius, rng.uniform(-TURN, TURN), x, y, side, side)
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    return cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _between(rng: np.random.Generator, least: float, most: float) -> int:
    """A whole number between the two; the least one where there is none."""
    low = math.ceil(least)
    return int(rng.integers(low, max(low, math.floor(most)) + 1))


def _apart(rng: np.random.Generator, covers: list[Floats], relation: int, size: int) -> list[tuple[int, int]]:
    """Top and left of two shapes that lie to each other as the relation says, with a gap between them."""
    axis = 0 if relation >= 2 else 1
    long, wide = [cover.shape[axis] for cover in covers], [cover.shape[1 - axis] for cover in covers]
    gap = size // 32
    before, after = (0, 1) if relation % 2 == 0 else (1, 0)
    along, across = [0, 0], [0, 0]
    along[before] = _between(rng, 0, size - sum(long) - gap)
    along[after] = _between(rng, along[before] + long[before] + gap, size - long[after])
    # The larger one lies anywhere, the smaller one about beside its middle: there is always room for that.
    across[0] = _between(rng, 0, size - wide[0])
    level = across[0] + (wide[0] - wide[1]) / 2
    reach = ASIDE * abs(along[0] + long[0] / 2 - along[1] - long[1] / 2)
    across[1] = _between(rng, max(0, level - reach), min(size - wide[1], level + reach))
    return [(a, b) if axis == 0 else (b, a) for a, b in zip(along, across, strict=True)]
