"""A photo with all that was seen in it: heat, masks, boxes, faces, names, and what it shows in a strip below."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from torch import Tensor

from isotrain.errors import UnknownName
from isotrain.look.lettering import Labels, Type, plain, strip
from isotrain.look.sight import Sight
from isotrain.vision.drawing import HEAT_MAP, Colour, image_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

LAYERS = ("heat", "objects", "faces", "caption")
SMALLEST, LARGEST = 640, 1600
"""Longer side of a drawing in pixels: smaller photos are enlarged by a whole factor, larger ones shrunk."""
HOTTEST, COAT = 0.62, 0.38
"""Strength of the heat's colour where it is hottest, and of a mask's."""
KNOWN, STRANGER = (79, 199, 150), (236, 238, 241)
"""Frame of a face with a name, and of one without."""
MARKED = 90
"""Side of a face in pixels of the drawing from which on its landmarks are drawn."""


def draw(picture: Tensor, sight: Sight, layers: Sequence[str] = LAYERS) -> Image:
    """The photo with everything drawn.

    Args:
        picture: uint8 [C, H, W], the photo that was looked at.
        sight: of it.
        layers: some of "heat", "objects", "faces", and "caption", which is the strip below with the class.

    Returns:
        An RGB image, its longer side without the strip 640 to 1600 pixels as far as whole factors go.

    Raises:
        UnknownName: a layer is none of these.
    """
    for layer in layers:
        if layer not in LAYERS:
            raise UnknownName("layer", layer, LAYERS)
    image, scale = _ground(picture)
    if "heat" in layers and sight.kind and sight.kind["heat"]:
        image = _warm(image, sight.kind["heat"], scale)
    things = _scaled(sight.objects, scale) if "objects" in layers else []
    faces = _scaled(sight.faces, scale) if "faces" in layers else []
    # The largest first: what lies within it is drawn on top.
    things.sort(key=lambda thing: -_area(thing["box"]))
    image = _masked(image, things)
    _framed(image, things, faces)
    return strip(image, sight) if "caption" in layers else image


def colour_for(name: str) -> Colour:
    """A class's colour, the same in all photos.

    >>> colour_for("cat") == colour_for("cat"), colour_for("cat") == colour_for("dog")
    (True, False)
    """
    hue = crc32(name.encode()) / 2**32
    red, green, blue = colorsys.hls_to_rgb(hue, 0.6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ground(picture: Tensor) -> tuple[Image, float]:
    """The photo in the size it is drawn in, and pixels of the drawing a pixel of the photo."""
    from PIL import Image

    image = image_of(picture)
    longest = max(image.size)
    if longest < SMALLEST:
        factor = -(-SMALLEST // longest)
        # A photo that shows what its net sees keeps its pixels square; one that is nearly large enough is no mosaic.
        how = Image.Resampling.NEAREST if factor > 4 else Image.Resampling.BICUBIC
        return image.resize((image.width * factor, image.height * factor), how), float(factor)
    if longest > LARGEST:
        scale = LARGEST / longest
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.0), scale
    return image, 1.0


def _scaled(found: Sequence[dict[str, Any]] | None, scale: float) -> list[dict[str, Any]]:
    keys = ("box", "outline", "landmarks")
    return [{**one, **{key: _times(one[key], scale) for key in keys if key in one}} for one in found or []]


def _times(numbers: Any, scale: float) -> Any:
    if isinstance(numbers, list | tuple):
        return [_times(number, scale) for number in numbers]
    return numbers * scale


def _warm(image: Image, heat: dict[str, Any], scale: float) -> Image:
    """The image with the heat as a coat of colour, thicker where it is warmer."""
    from matplotlib import colormaps
    from PIL import Image

    left, top, right, bottom = (round(edge * scale) for edge in heat["box"])
    level = np.asarray(heat["values"], np.float32).reshape(heat["rows"], heat["columns"])
    size = (max(1, right - left), max(1, bottom - top))
    fine = Image.fromarray((255 * level).round().astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    palette = (255 * colormaps[HEAT_MAP](np.linspace(0.15, 1, 256))[:, :3]).round().astype(np.uint8)
    colours = fine.convert("P")
    colours.putpalette(palette.ravel().tolist())
    thickness = fine.point([round(255 * HOTTEST * (value / 255) ** 0.8) for value in range(256)])
    drawn = image.copy()
    drawn.paste(colours.convert("RGB"), (left, top), thickness)
    return drawn


def _masked(image: Image, things: Sequence[dict[str, Any]]) -> Image:
    """The image with a coat of colour on each mask."""
    from PIL import Image, ImageChops, ImageDraw

    drawn = image.copy()
    for thing in things:
        rings = [ring for ring in thing["outline"] if len(ring) >= 6]
        if not rings:
            continue
        xs, ys = [x for ring in rings for x in ring[::2]], [y for ring in rings for y in ring[1::2]]
        left, top = max(0, int(min(xs))), max(0, int(min(ys)))
        size = (min(image.width, int(max(xs)) + 2) - left, min(image.height, int(max(ys)) + 2) - top)
        if min(size) < 1:
            continue
        inside = Image.new("1", size)
        for ring in rings:  # even-odd: a ring within a ring is a hole
            own = Image.new("1", size)
            corners = [(x - left, y - top) for x, y in zip(ring[::2], ring[1::2], strict=True)]
            ImageDraw.Draw(own).polygon(corners, fill=1)
            inside = ImageChops.logical_xor(inside, own)
        coat = inside.convert("L").point(lambda value: round(COAT * value))
        drawn.paste(colour_for(thing["name"]), (left, top), coat)
    return drawn


def _framed(image: Image, things: Sequence[dict[str, Any]], faces: Sequence[dict[str, Any]]) -> None:
    """Outlines, frames and names on the image, in place."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    letters = Type.for_image(image)
    line = max(2, round(letters.size / 8))
    for thing in things:
        colour = colour_for(thing["name"])
        rings = [ring for ring in thing["outline"] if len(ring) >= 6]
        for ring in rings:
            pen.line([*ring, *ring[:4]], fill=colour, width=line, joint="curve")
        # Where the outline says where it is, the box is thin.
        _frame(pen, thing["box"], colour, max(1, line // 2) if rings else line, image)
    for face in faces:
        colour = KNOWN if face["person"] else STRANGER
        _frame(pen, face["box"], colour, line, image, radius=round(0.12 * (face["box"][2] - face["box"][0])))
        if face["box"][2] - face["box"][0] >= MARKED:
            dot = max(1.0, line / 3)
            for x, y in face["landmarks"]:
                pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)
    labels = Labels(image, pen, letters)
    for face in faces:
        if face["person"]:
            labels.put(plain(face["person"]), face["box"], KNOWN, below=True)
    for thing in sorted(things, key=lambda thing: -thing["score"]):
        labels.put(f"{plain(thing['name'])} {thing['score']:.0%}", thing["box"], colour_for(thing["name"]))


def _frame(
    pen: ImageDraw, box: Sequence[float], colour: Colour, line: int, image: Image, radius: int | None = None
) -> None:
    """A frame within a dark one, so that it is seen on light and on dark."""
    left, top, right, bottom = box
    left, top = max(0.0, left), max(0.0, top)
    right, bottom = max(left, min(image.width, right) - 1), max(top, min(image.height, bottom) - 1)
    reach = min(radius or 0, int((right - left) / 2), int((bottom - top) / 2))
    for outer, ink, width in ((1, (0, 0, 0), line + 2), (0, colour, line)):
        edges = (left - outer, top - outer, right + outer, bottom + outer)
        if reach > 0:
            pen.rounded_rectangle(edges, reach, outline=ink, width=width)
        else:
            pen.rectangle(edges, outline=ink, width=width)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
