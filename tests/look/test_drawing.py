"""Drawings: nothing covers a name, nothing runs out of the picture, whatever the picture's size."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from isotrain.errors import UnknownName
from isotrain.look.drawing import LARGEST, SMALLEST, colour_for, draw
from isotrain.look.lettering import Labels, Type, plain
from isotrain.look.sight import Sight


def seen(height: int, width: int, number: int = 3) -> Sight:
    """A sight with everything in it, some of it beyond the edges."""
    things = [
        {
            "name": ("cat", "a name that is far too long for any picture of a hundred pixels or so")[n % 2],
            "score": 0.9 - 0.1 * n, "box": [width * 0.2 * n, height * 0.1, width * (0.3 + 0.2 * n), height * 0.8],
            "outline": [[width * 0.2 * n, height * 0.1, width * 0.3, height * 0.5, width * 0.1, height * 0.8]],
        }
        for n in range(number)
    ]  # fmt: skip
    face = {
        "face": 1, "box": [-width * 0.1, -height * 0.1, width * 0.4, height * 0.5], "score": 0.9,
        "landmarks": [[width * 0.1, height * 0.1]] * 68, "person": "Ada \u0416\n\u202e<b>", "person_id": 1,
        "similarity": 0.6, "probability": 0.9,
    }  # fmt: skip
    heat = {"rows": 2, "columns": 2, "values": [0, 0.5, 1, 0], "box": [0.0, 0.0, float(width), float(height)]}
    kind = {"name": "cat", "probability": 0.93, "known": True, "why": None, "others": [], "heat": heat}
    caption = {"text": "a cat " * 40, "known": True, "why": None}
    unknown = ["objects: " + "w" * 300]
    return Sight("a.png", (height, width), kind, things, [face, {**face, "person": None}], caption, unknown)


@pytest.mark.parametrize("size", [(1, 1), (10, 2000), (75, 100), (480, 640), (2400, 3200), (2000, 10)])
@pytest.mark.parametrize("level", [0, 255])
def test_any_size_dark_or_light(size: tuple[int, int], level: int) -> None:
    height, width = size
    picture = torch.full((1, height, width), level, dtype=torch.uint8)
    ground = draw(picture, seen(height, width), ())
    assert max(ground.size) <= LARGEST or max(size) == 1
    assert max(ground.size) >= min(SMALLEST, max(size))
    full = draw(picture, seen(height, width))
    assert full.height > ground.height and full.width >= ground.width and full.mode == "RGB"
    if min(size) >= 75:
        for layer in ("heat", "objects", "faces"):
            one = draw(picture, seen(height, width), [layer])
            assert one.size == ground.size and (np.asarray(one) != np.asarray(ground)).mean() > 1e-4, layer


def test_nothing_seen_is_the_photo_itself() -> None:
    picture = torch.arange(3 * 700 * 800, dtype=torch.int64).remainder(251).to(torch.uint8).view(3, 700, 800)
    drawn = draw(picture, Sight("a.png", (700, 800)))
    assert (np.asarray(drawn) == picture.permute(1, 2, 0).numpy()).all()
    with pytest.raises(UnknownName, match="heat"):
        draw(picture, Sight("a.png", (700, 800)), ["warmth"])


@given(
    boxes=st.lists(
        st.tuples(st.floats(-50, 700), st.floats(-50, 500), st.floats(1, 400), st.floats(1, 400)), max_size=30
    ),
    words=st.text(max_size=60),
)
def test_names_do_not_cover_each_other(boxes: list[tuple[float, float, float, float]], words: str) -> None:
    image = Image.new("RGB", (640, 480))
    labels = Labels(image, ImageDraw.Draw(image), Type.for_image(image))
    for left, top, wide, high in boxes:
        labels.put(plain(words) or "?", (left, top, left + wide, top + high), (9, 9, 9))
    taken = labels.taken
    assert len(taken) >= min(len(boxes), 15)
    assert (taken[:, :2] >= 0).all() and (taken[:, 2] <= 640.01).all() and (taken[:, 3] <= 480.01).all()
    for one, other in combinations(taken, 2):
        over = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
        assert not (over > 1e-6).all()


def test_a_name_is_one_plain_line() -> None:
    assert plain("a\x1b[31m\u202eb\nc") == "a [31m b c"
    assert colour_for("cat") == colour_for("cat") and all(0 <= level <= 255 for level in colour_for("\u0416"))
