"""Shapes by their distance functions, and the twin of plain classification: one shape to a small picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isotrain.data.samples import Dataset, Sample
from isotrain.data.synthetic.draws import Part, Twin, drawn, generator
from isotrain.data.synthetic.texture import Floats, colour_against, paint, pattern
from isotrain.errors import BadOption
from isotrain.progress import Tick

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
"""Classes of the scenes and of the single shapes, in the order of their numbers."""
NOISE = 0.06
"""Largest spread of the noise on a pixel."""
_TIP, _NOTCH = 1.12, 0.45  # a star's outer and inner corners


def coverage(shape: str, radius: float, angle: float, x: float, y: float, height: int, width: int) -> Floats:
    """How much of each pixel of a height x width window a shape covers: [H, W] in [0, 1].

    Args:
        shape: one of `SHAPES`.
        radius: of about the circle around it, in pixels.
        angle: it is turned by, radians.
        x: of its centre, from the window's left edge.
        y: of its centre, from the window's top edge.
        height: of the window.
        width: of the window.

    >>> float(coverage("square", 10, 0.0, 20.5, 20.5, 40, 40).sum().round())  # side 17
    289.0
    """
    down, across = np.mgrid[:height, :width].astype(np.float32)
    across, down = (across + 0.5 - x) / radius, (down + 0.5 - y) / radius
    u = across * np.cos(angle) + down * np.sin(angle)
    v = down * np.cos(angle) - across * np.sin(angle)
    return np.asarray((0.5 - _distance(shape, u, v) * radius).clip(0, 1), np.float32)


def _distance(shape: str, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance from the outline in radii, negative inside; exact near the edges, which is where it matters."""
    if shape == "circle":
        distance = np.hypot(u, v) - 1
    elif shape == "ring":
        distance = np.abs(np.hypot(u, v) - 0.77) - 0.23
    elif shape == "square":
        distance = np.maximum(np.abs(u), np.abs(v)) - 0.85
    elif shape == "cross":
        long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
        distance = np.maximum(short - 0.3, long - 1)
    elif shape == "triangle":
        side = np.float32(np.sqrt(3) / 2)
        distance = np.maximum(np.maximum(side * u - v / 2, -side * u - v / 2), v) - 0.6
    elif shape == "star":
        # Folded into one tenth: the angle from the nearest tip, then the distance from the line tip - notch.
        r, turn = np.hypot(u, v), np.arctan2(v, u)
        fifth = 2 * np.pi / 5
        fold = np.abs((turn + fifth / 2) % fifth - fifth / 2)
        step = np.array([_NOTCH * np.cos(fifth / 2) - _TIP, _NOTCH * np.sin(fifth / 2)])
        outward = np.array([step[1], -step[0]]) / np.linalg.norm(step)
        distance = (r * np.cos(fold) - _TIP) * outward[0] + r * np.sin(fold) * outward[1]
    else:
        raise AssertionError(shape)
    return np.asarray(distance, np.float32)


def shapes_dataset(
    train: int = 600,
    held_out: int = 200,
    test: int = 200,
    seed: int = 0,
    size: int = 32,
    channels: int = 3,
    tick: Tick | None = None,
) -> Dataset:
    """One shape to a picture, its class the shape; colours, place, scale and rotation are random.

    Args:
        train: number of samples to learn from.
        held_out: number to choose by.
        test: number to test on.
        seed: of everything; 0 or more.
        size: height and width of a picture, 16 or more.
        channels: 3, or 1 for grey.
        tick: called after every sample.

    Raises:
        BadOption: an option is outside its range.

    >>> data = shapes_dataset(train=6, held_out=2, test=0)
    >>> [data.classes[sample.labels[0]] for sample in data.train]
    ['circle', 'square', 'triangle', 'star', 'ring', 'cross']
    """
    if size < 16 or channels not in (1, 3):
        raise BadOption(f"shapes of size {size}, channels {channels}: the size is 16 or more, the channels 1 or 3.")
    learned, held, tested = (
        drawn(lambda place, part=part: _single(place, seed, part, size, channels), number, tick)  # type: ignore[misc]
        for part, number in zip(Part, (train, held_out, test), strict=True)
    )
    return Dataset(SHAPES, learned, held, tested, source="shapes", format="generated: one shape to a picture")


def _single(place: int, seed: int, part: Part, size: int, channels: int) -> Sample:
    rng = generator(Twin.SHAPES, seed, part, place)
    label = place % len(SHAPES)  # as many of each
    radius = size * rng.uniform(0.2, 0.4)
    x, y = rng.uniform(radius, size - radius, 2)
    cover = coverage(SHAPES[label], radius, rng.uniform(0, 2 * np.pi), x, y, size, size)[..., None]
    canvas = ground(rng, size)
    colour = colour_against(rng, canvas.mean((0, 1)), 0.6)
    canvas += cover * (paint(pattern(rng, size, size), colour, vary(rng, colour)) - canvas)
    picture = developed(rng, canvas)
    if channels == 1:
        picture = picture.float().mean(0, keepdim=True).round().to(torch.uint8)
    return Sample(picture, (label,), name=f"{part.name.lower()}-{place}")


def ground(rng: np.random.Generator, size: int) -> Floats:
    """A background: [size, size, 3]."""
    colour = rng.random(3, np.float32)
    return paint(pattern(rng, size, size), colour, vary(rng, colour, 0.4))


def vary(rng: np.random.Generator, colour: Floats, by: float = 0.25) -> Floats:
    """A colour not far from this one: [3]."""
    return np.asarray((1 - by) * colour + by * rng.random(3, np.float32), np.float32)


def developed(rng: np.random.Generator, canvas: Floats) -> Tensor:
    """The canvas [H, W, 3] with noise on it, as uint8 [3, H, W]."""
    noise = rng.uniform(0, NOISE) * rng.standard_normal(canvas.shape, np.float32)
    levels = ((canvas + noise).clip(0, 1) * 255).round().astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))
