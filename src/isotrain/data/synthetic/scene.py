"""Scenes of shapes that overlap, with the boxes and masks of what is seen of them: twin of detection and of masks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.synthetic.draws import Part, Twin, drawn, generator
from isotrain.data.synthetic.shape import SHAPES, coverage, developed, ground, vary
from isotrain.data.synthetic.texture import Floats, colour_against, paint, pattern
from isotrain.errors import BadOption
from isotrain.progress import Tick

MOST = 6
"""Shapes in a scene, at most."""
SMALLEST, LARGEST = 0.07, 0.24
"""Radius of a shape, in sides of the picture."""
SEEN = 0.5
"""Part of a shape that is seen at least: not outside the picture, nor behind another."""
TRIES = 4
"""Places tried for a shape before it is left out."""
SMALLEST_SIZE = 32


def scenes(
    number: int, seed: int = 0, size: int = 128, part: Part = Part.TRAIN, tick: Tick | None = None
) -> list[Sample]:
    """Scenes of one to six shapes; the class is the shape, whatever its colour, texture, scale and rotation.

    A pixel belongs to the shape in front; boxes are tight around the masks; `labels` are the classes that occur.

    Args:
        number: of scenes.
        seed: of everything; 0 or more.
        size: height and width of a picture, 32 or more.
        part: of a dataset; parts are drawn apart.
        tick: called after every scene.

    Raises:
        BadOption: an option is outside its range.

    >>> first, second = scenes(2, seed=3)
    >>> bool((second.picture == scenes(5, seed=3)[1].picture).all())
    True
    """
    if size < SMALLEST_SIZE or number < 0:
        raise BadOption(f"{number} scenes of size {size}: the number is 0 or more, the size {SMALLEST_SIZE} or more.")
    return drawn(lambda place: _scene(place, seed, size, part), number, tick)


def scene_dataset(
    train: int = 400, held_out: int = 100, test: int = 100, seed: int = 0, size: int = 128, tick: Tick | None = None
) -> Dataset:
    """Scenes to learn from, to choose by and to test on; see `scenes`.

    Raises:
        BadOption: an option is outside its range.
    """
    learned, held, tested = (
        scenes(number, seed, size, part, tick) for part, number in zip(Part, (train, held_out, test), strict=True)
    )
    return Dataset(SHAPES, learned, held, tested, source="scenes", format="generated: scenes with boxes and masks")


def _scene(place: int, seed: int, size: int, part: Part) -> Sample:
    rng = generator(Twin.SCENES, seed, part, place)
    canvas = ground(rng, size)
    owners = np.full((size, size), -1, np.int8)  # which shape a pixel belongs to
    labels: list[int] = []
    areas: list[float] = []
    for _ in range(rng.integers(1, MOST + 1)):
        label = int(rng.integers(len(SHAPES)))
        for _ in range(TRIES):
            area = _put(rng, SHAPES[label], len(labels), areas, canvas, owners)
            if area > 0:
                labels.append(label)
                areas.append(area)
                break
    things = tuple(_thing(label, owners == shape) for shape, label in enumerate(labels))
    return Sample(developed(rng, canvas), tuple(sorted(set(labels))), things, f"{part.name.lower()}-{place}")


def _put(
    rng: np.random.Generator,
    shape: str,
    own: int,
    areas: list[float],
    canvas: Floats,
    owners: NDArray[np.int8],
) -> float:
    """Draw a shape in front of all others, in place; its whole area in pixels, or 0 where it would hide too much."""
    size = len(owners)
    radius = size * float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    x, y = rng.uniform(0.5 * radius, size - 0.5 * radius, 2)
    reach = int(radius * 1.25) + 1  # a triangle's corners are 1.2 radii out
    left, top = int(x) - reach, int(y) - reach
    cover = coverage(shape, radius, rng.uniform(0, 2 * np.pi), x - left, y - top, 2 * reach + 1, 2 * reach + 1)
    area = float((cover >= 0.5).sum())
    inside = (
        slice(max(0, -top), min(2 * reach + 1, size - top)),
        slice(max(0, -left), min(2 * reach + 1, size - left)),
    )
    window = (slice(top + inside[0].start, top + inside[0].stop), slice(left + inside[1].start, left + inside[1].stop))
    cover = cover[inside]
    solid = cover >= 0.5
    hidden = np.bincount(owners[window][solid] + 1, minlength=own + 1)[1:]
    seen = np.bincount(owners.ravel() + 1, minlength=own + 1)[1:]
    if solid.sum() < SEEN * area or any(seen[k] - hidden[k] < SEEN * areas[k] for k in range(own)):
        return 0.0
    colour = colour_against(rng, canvas[window][solid].mean(0))
    surface = paint(pattern(rng, *cover.shape), colour, vary(rng, colour))
    canvas[window] += cover[..., None] * (surface - canvas[window])
    owners[window][solid] = own
    return area


def _thing(label: int, mask: NDArray[np.bool_]) -> Thing:
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Thing(label, box, torch.from_numpy(mask))
