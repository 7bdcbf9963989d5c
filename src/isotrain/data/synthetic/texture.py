"""Surfaces for generated pictures: two colours mixed by a pattern. Arrays are float32 in [0, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def pattern(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Even, slope, stripes, squares or clouds, drawn at random: [H, W]."""
    kind = rng.integers(5)
    angle, period, phase = rng.uniform(0, np.pi), rng.uniform(0.06, 0.4) * max(height, width), rng.uniform(0, 2 * np.pi)
    if kind == 0:
        return np.full((height, width), 0.5, np.float32)
    if kind == 1:
        return clouds(rng, height, width)
    y, x = np.ogrid[:height, :width]
    along: NDArray[Any] = (x * np.cos(angle) + y * np.sin(angle)).astype(np.float32)
    if kind == 2:
        low, high = float(along.min()), float(along.max())
        return np.asarray((along - low) / max(high - low, 1.0), np.float32)
    waves = np.sin(along * (2 * np.pi / period) + phase)
    if kind == 3:
        return np.asarray(0.5 + 0.5 * waves, np.float32)
    across = (y * np.cos(angle) - x * np.sin(angle)).astype(np.float32)
    return np.asarray(waves * np.sin(across * (2 * np.pi / period)) > 0, np.float32)


def clouds(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Smooth noise: a few random values, enlarged: [H, W]."""
    from PIL import Image

    cells = int(rng.integers(3, 10))
    coarse = Image.fromarray(rng.random((cells, cells), np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def paint(mixture: Floats, first: Floats, second: Floats) -> Floats:
    """The two colours, [3] each, mixed as the pattern [H, W] says: [H, W, 3]."""
    return first + mixture[..., None] * (second - first)


def colour_against(rng: np.random.Generator, ground: Floats, least: float = 0.45) -> Floats:
    """A random colour, [3], at least that far from the ground's; after eight tries the farthest of them.

    What an object is must not show in its colour, but that it is there must.
    """
    tries = rng.random((8, 3), np.float32)
    apart = np.linalg.norm(tries - ground, axis=1)
    far = np.flatnonzero(apart >= least)
    chosen: Floats = tries[far[0] if len(far) else apart.argmax()]
    return chosen
