"""Photos of people who do not exist, the faces boxed, and photos of nobody: twin of finding faces."""

from __future__ import annotations

import torch

from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.synthetic.draws import Part, Twin, drawn, generator
from isotrain.data.synthetic.faces import face_photo
from isotrain.data.synthetic.shape import developed, ground
from isotrain.errors import BadOption
from isotrain.progress import Tick

MOST = 6
"""People in a photo, at most."""
SMALLEST = 26.4
"""Pixels along and across that a person takes, at least: `face_photo` draws no face below 12."""
EMPTY = 5
"""One photo in so many shows nobody."""
SMALLEST_SIZE = 64


def crowd_dataset(
    train: int = 200, held_out: int = 40, test: int = 40, seed: int = 0, size: int = 128, tick: Tick | None = None
) -> Dataset:
    """Photos of one to six people, every fifth of nobody; nobody is in two photos.

    Args:
        train: number of photos to learn from.
        held_out: number to choose by.
        test: number to test on.
        seed: of everything; 0 or more.
        size: height and width of a photo, 64 or more.
        tick: called after every photo.

    Raises:
        BadOption: an option is outside its range.

    >>> data = crowd_dataset(train=5, held_out=1, test=0, size=64)
    >>> data.classes, [bool(sample.things) for sample in data.train]
    (('face',), [True, True, True, True, False])
    """
    if size < SMALLEST_SIZE or min(train, held_out, test) < 0:
        raise BadOption(f"{train} photos of size {size}: the number is 0 or more, the size {SMALLEST_SIZE} or more.")
    starts = (0, train, train + held_out)
    learned, held, tested = (
        drawn(lambda place, start=start: _photo(start + place, seed, size), number, tick)  # type: ignore[misc]
        for start, number in zip(starts, (train, held_out, test), strict=True)
    )
    form = "generated: photos of people, the faces boxed"
    return Dataset(("face",), learned, held, tested, source="crowd", format=form)


def _photo(place: int, seed: int, size: int) -> Sample:
    rng = generator(Twin.FACES, seed, Part.HELD_OUT, place)
    if place % EMPTY == EMPTY - 1:
        return Sample(developed(rng, ground(rng, size)), name=f"photo-{place}")
    room = int(size / SMALLEST) ** 2
    people = [MOST * place + turn for turn in range(int(rng.integers(1, min(MOST, room) + 1)))]
    photo = face_photo(people, seed, size, place)
    things = tuple(_thing(box) for box in photo.boxes)
    return Sample(photo.picture, (), things, f"photo-{place}")


def _thing(box: torch.Tensor) -> Thing:
    left, top, right, bottom = box.tolist()
    return Thing(0, (left, top, right, bottom))
