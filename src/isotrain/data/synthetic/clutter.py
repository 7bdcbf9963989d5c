"""Digits at a random place and scale among fragments of other digits: twin of localising from labels alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.synthetic.draws import Part, Twin, drawn, generator
from isotrain.data.synthetic.texture import Floats
from isotrain.errors import BadData, BadOption
from isotrain.progress import Tick

INK = 0.15
"""Above it a pixel of a digit in [0, 1] is ink; boxes are tight around the ink."""
FRAGMENTS = (6, 14)
"""Fewest and most fragments in a picture."""
INSIDE = 0.15
"""Part of a fragment that may lie in the digit's box."""
NARROW = 0.5
"""Width over height below which a digit gives no fragments: half of a one is a one."""
TRIES = 6
"""Places tried for a fragment before it is left out."""
SMALLEST_SIZE = 24


def clutter_digits(
    pictures: Tensor | NDArray[np.generic],
    labels: Tensor | NDArray[np.generic],
    number: int,
    seed: int = 0,
    size: int = 64,
    scales: tuple[float, float] = (0.25, 0.6),
    part: Part = Part.TRAIN,
    tick: Tick | None = None,
) -> list[Sample]:
    """Grey pictures with one whole digit each, which is the label, and pieces of others.

    The digit's box is kept in `things`, to score by: nothing should learn from it.

    Args:
        pictures: of digits, light on dark, [N, H, W]; of any scale: the largest value is taken as white.
        labels: of them, [N], from 0.
        number: of samples.
        seed: of everything; 0 or more.
        size: height and width of a picture, 24 or more.
        scales: least and greatest height of the digit, in heights of the picture.
        part: of a dataset; parts are drawn apart.
        tick: called after every sample.

    Raises:
        BadData: the pictures and labels do not fit together, or a picture is empty.
        BadOption: an option is outside its range.

    Source: after the cluttered digits of Mnih et al. 2014, "Recurrent Models of Visual Attention", section 4.1.
    """
    digits, answers = np.asarray(pictures), np.asarray(labels)
    if digits.ndim != 3 or len(digits) != len(answers) or not len(digits):
        raise BadData(f"pictures {digits.shape} and labels {answers.shape} are not digits [N, H, W] with labels [N].")
    if size < SMALLEST_SIZE or number < 0 or not 4 / size <= scales[0] <= scales[1] <= 1:
        raise BadOption(
            f"{number} samples of size {size}, scales {scales}: the size is {SMALLEST_SIZE} or more, a scale between "
            f"4 pixels and the whole picture, the smaller first."
        )
    white = float(digits.max())

    def make(place: int) -> Sample:
        rng = generator(Twin.CLUTTER, seed, part, place)
        return _cluttered(digits, answers, white, rng, size, scales, place, part)

    return drawn(make, number, tick)


def clutter_dataset(
    train: int = 2000,
    held_out: int = 400,
    test: int = 400,
    seed: int = 0,
    size: int = 64,
    scales: tuple[float, float] = (0.25, 0.6),
    mnist: str | Path | None = None,
    tick: Tick | None = None,
) -> Dataset:
    """The twin with scikit-learn's digits, or MNIST's from a folder; each part is made of digits of its own.

    Raises:
        BadData: the folder does not hold MNIST.
        BadOption: an option is outside its range.
    """
    if mnist is None:
        from isotrain.data.digits import digits

        (x, y), (test_x, test_y) = digits(seed)
    else:
        from isotrain.data import idx

        (x, y), (test_x, test_y) = idx.mnist(Path(mnist))
    side = math.isqrt(x.shape[1])
    cut = len(x) * 4 // 5
    sources = [(x[:cut], y[:cut], train), (x[cut:], y[cut:], held_out), (test_x, test_y, test)]
    learned, held, tested = (
        clutter_digits(pictures.view(-1, side, side), labels, number, seed, size, scales, part, tick)
        for part, (pictures, labels, number) in zip(Part, sources, strict=True)
    )
    form = "generated: a digit among fragments of others"
    return Dataset(tuple("0123456789"), learned, held, tested, source="clutter", format=form)


def _cluttered(
    digits: NDArray[np.generic],
    answers: NDArray[np.generic],
    white: float,
    rng: np.random.Generator,
    size: int,
    scales: tuple[float, float],
    place: int,
    part: Part,
) -> Sample:
    chosen = int(rng.integers(len(digits)))
    digit = _scaled(rng, digits[chosen], white, size, scales, f"digit {chosen}")
    high, wide = digit.shape
    left, top = int(rng.integers(size - wide + 1)), int(rng.integers(size - high + 1))
    canvas = np.zeros((size, size), np.float32)
    canvas[top : top + high, left : left + wide] = digit
    box = (left, top, left + wide, top + high)
    for _ in range(rng.integers(FRAGMENTS[0], FRAGMENTS[1] + 1)):
        other = int(rng.integers(len(digits)))
        whole = _scaled(rng, digits[other], white, size, scales, f"digit {other}")
        if whole.shape[1] < NARROW * whole.shape[0]:
            continue
        piece = _fragment(rng, whole)
        high, wide = piece.shape
        for _ in range(TRIES):
            x, y = int(rng.integers(size - wide + 1)), int(rng.integers(size - high + 1))
            across = max(0, min(x + wide, box[2]) - max(x, box[0]))
            down = max(0, min(y + high, box[3]) - max(y, box[1]))
            if across * down <= INSIDE * high * wide:
                spot = canvas[y : y + high, x : x + wide]
                np.maximum(spot, piece, out=spot)
                break
    label = int(answers[chosen])
    return Sample(
        torch.from_numpy((canvas * 255).round().astype(np.uint8))[None],
        (label,),
        (Thing(label, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))),),
        f"{part.name.lower()}-{place}",
    )


def _scaled(
    rng: np.random.Generator,
    digit: NDArray[np.generic],
    white: float,
    size: int,
    scales: tuple[float, float],
    name: str,
) -> Floats:
    """The digit's ink, enlarged or reduced to a random height: [h, w] in [0, 1], tight."""
    from PIL import Image

    tight = _tight(np.asarray(digit, np.float32) / max(white, 1e-12), name)
    height = size * float(np.exp(rng.uniform(np.log(scales[0]), np.log(scales[1]))))
    # A one that is a bar of one column, or a dash: neither side leaves the picture or vanishes.
    factor = min(height / tight.shape[0], (size - 1) / tight.shape[1])
    to = (max(1, round(tight.shape[1] * factor)), max(1, round(tight.shape[0] * factor)))
    return _tight(np.asarray(Image.fromarray(tight).resize(to, Image.Resampling.BICUBIC)).clip(0, 1), name)


def _tight(digit: Floats, name: str) -> Floats:
    ink = digit > INK
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        raise BadData(f"{name} is empty: no pixel is above {INK} of the brightest of all.")
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fragment(rng: np.random.Generator, digit: Floats) -> Floats:
    """A corner, edge or middle of a digit, half as high and wide as it."""
    high, wide = max(1, digit.shape[0] // 2), max(1, digit.shape[1] // 2)
    y, x = int(rng.integers(digit.shape[0] - high + 1)), int(rng.integers(digit.shape[1] - wide + 1))
    return digit[y : y + high, x : x + wide]
