"""Where the twins' random numbers come from: a generator for each sample."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np

from isotrain.data.samples import Sample
from isotrain.errors import BadOption
from isotrain.progress import Tick


class Part(IntEnum):
    """Of a dataset; samples of different parts are drawn apart."""

    TRAIN = 0
    HELD_OUT = 1
    TEST = 2


class Twin(IntEnum):
    """What is drawn, so that two twins of the same seed have nothing in common."""

    SCENES = 0
    SHAPES = 1
    CLUTTER = 2
    PEOPLE = 3
    FACES = 4
    CAPTIONED = 5
    GRAMMAR = 6
    LANGUAGE = 7


def generator(twin: Twin, seed: int, part: Part, place: int) -> np.random.Generator:
    """The generator of one sample.

    Raises:
        BadOption: the seed is negative.

    >>> float(generator(Twin.SCENES, 0, Part.TRAIN, 3).random()) == float(
    ...     generator(Twin.SCENES, 0, Part.TRAIN, 3).random()
    ... )
    True
    """
    if seed < 0:
        raise BadOption(f"seed is {seed}: it must be 0 or more.")
    return np.random.default_rng((int(twin), seed, int(part), place))


def drawn(make: Callable[[int], Sample], number: int, tick: Tick | None) -> list[Sample]:
    """Samples 0 to `number` - 1, each made by its place."""
    samples = []
    for place in range(number):
        samples.append(make(place))
        if tick is not None:
            tick(1)
    return samples
