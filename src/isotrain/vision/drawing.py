"""Boxes, masks, heat maps and points drawn on pictures, and several pictures on one sheet.

Every function takes a picture and gives a new one. A class has the same colour in all pictures; lines and letters are
as large as the picture asks for.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isotrain.errors import BadData

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as Font

Colour = tuple[int, int, int]

# Turning the hue by the golden section keeps any number of first classes apart.
GOLDEN = 0.6180339887
HEAT_MAP = "inferno"


def colour_of(label: int) -> Colour:
    """The colour of a class: hues far apart, three depths by turns, all of them seen on photos.

    >>> len({colour_of(label) for label in range(90)})
    90
    """
    red, green, blue = colorsys.hsv_to_rgb(
        (0.02 + label * GOLDEN) % 1.0, (0.85, 0.6, 1.0)[label % 3], (1.0, 0.95, 0.8)[label % 3]
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def image_of(picture: Tensor) -> Image:
    """A picture, uint8 [1 or 3, H, W], as an RGB image.

    Raises:
        BadData: it is of another kind.

    >>> image_of(torch.zeros(1, 2, 3, dtype=torch.uint8)).size
    (3, 2)
    """
    from PIL import Image

    if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[0] not in (1, 3):
        raise BadData(f"a picture is uint8 [1 or 3, H, W], not {picture.dtype} {list(picture.shape)}.")
    return Image.fromarray(picture.cpu().expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())


def enlarged(image: Image, side: int = 320) -> Image:
    """The image, its longer side at least `side` by a whole factor, pixels left square: small ones can be drawn on."""
    from PIL import Image

    factor = max(1, -(-side // max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def draw_boxes(
    image: Image,
    boxes: Tensor | Sequence[Sequence[float]],
    labels: Sequence[int],
    names: Sequence[str] = (),
    scores: Sequence[float] = (),
    scale: float = 1.0,
) -> Image:
    """Boxes with class and score.

    Args:
        image: drawn on a copy.
        boxes: [R, 4].
        labels: class of each.
        names: of the classes; "" or none to draw no name.
        scores: of each in [0, 1]; none to draw no score.
        scale: that the boxes are multiplied by (of an image that was enlarged).
    """
    from PIL import ImageDraw

    drawn = image.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    width = _line(image)
    rows = boxes.tolist() if isinstance(boxes, Tensor) else boxes
    # The least certain first: what is sure lies on top.
    order = sorted(range(len(rows)), key=lambda row: scores[row] if scores else 0.0)
    for row in order:
        left, top, right, bottom = (scale * edge for edge in rows[row])
        # Right and bottom are excluded: the line's last pixel is the box's last.
        edges = (left, top, max(left, right - 1), max(top, bottom - 1))
        pen.rectangle(edges, outline=colour_of(labels[row]), width=width)
    for row in order:
        words = [names[labels[row]]] if names else []
        words += [f"{100 * scores[row]:.0f}%"] if scores else []
        if words:
            _tag(pen, " ".join(words), scale * rows[row][0], scale * rows[row][1], image, colour_of(labels[row]))
    return drawn


def draw_masks(image: Image, masks: Tensor, labels: Sequence[int], strength: float = 0.45) -> Image:
    """Masks as coats of colour that the picture shows through, each with a line around it.

    Args:
        image: drawn on a copy.
        masks: bool [R, h, w]; enlarged to the image where they are smaller.
        labels: class of each; masks of one class get shades of its colour.
        strength: of the coat, 0 to 1.
    """
    from PIL import Image
    from torchvision.utils import draw_segmentation_masks

    if not len(masks):
        return image.convert("RGB")
    picture = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    if masks.shape[1:] != picture.shape[1:]:
        masks = torch.nn.functional.interpolate(masks[None].float(), picture.shape[1:], mode="nearest")[0] > 0.5
    colours = [_shade(colour_of(label), list(labels[:row]).count(label)) for row, label in enumerate(labels)]
    drawn = draw_segmentation_masks(picture, masks, alpha=strength, colors=list(colours))
    reach = 2 * (_line(image) // 2) + 1
    pixels = masks[:, None].float()
    # A pixel of a mask is on its rim where one near it is not of the mask; outside of the picture nothing is.
    inner = -torch.nn.functional.max_pool2d(torch.nn.functional.pad(-pixels, [reach] * 4), 2 * reach + 1, 1)
    rims = (pixels > 0) & (inner == 0)
    for rim, colour in zip(rims[:, 0], colours, strict=True):
        drawn[:, rim] = torch.tensor(colour, dtype=torch.uint8)[:, None]
    return Image.fromarray(drawn.permute(1, 2, 0).contiguous().numpy())


def draw_heat(image: Image, heat: Tensor, strength: float = 0.6) -> Image:
    """A heat map over a grey copy of the image: dark is cold.

    Args:
        image: drawn on a copy.
        heat: [h, w] in [0, 1], enlarged to the image.
        strength: of the hottest place's colour, 0 to 1.
    """
    from matplotlib import colormaps
    from PIL import Image

    size = (image.height, image.width)
    fine = torch.nn.functional.interpolate(heat[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    level = fine.clamp(0, 1).cpu().numpy()[..., None]
    colours = 255 * colormaps[HEAT_MAP](level[..., 0])[..., :3]
    ground = np.asarray(image.convert("L").convert("RGB"), np.float32)
    mixed = ground + strength * level**0.5 * (colours - ground)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def draw_points(
    image: Image,
    points: Tensor | Sequence[Sequence[float]],
    labels: Sequence[int],
    names: Sequence[str] = (),
    scale: float = 1.0,
) -> Image:
    """Points as discs with a white and a black rim, with the names of their classes if there are any.

    Args:
        image: drawn on a copy.
        points: (x, y) of each, [R, 2].
        labels: class of each.
        names: of the classes.
        scale: that the points are multiplied by (of an image that was enlarged).
    """
    from PIL import ImageDraw

    drawn = image.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    radius = 2.0 * _line(image) + 1
    for (x, y), label in zip(points.tolist() if isinstance(points, Tensor) else points, labels, strict=True):
        x, y = scale * x, scale * y
        for reach, colour in ((2.0, (0, 0, 0)), (1.0, (255, 255, 255)), (0.0, colour_of(label))):
            far = radius + reach * max(1.0, _line(image) / 2)
            pen.ellipse((x - far, y - far, x + far, y + far), fill=colour)
        if names:
            _tag(pen, names[label], x + 2 * radius, y + radius, image, colour_of(label))
    return drawn


def sheet(images: Sequence[Image], columns: int = 4, titles: Sequence[str] = (), cell: int = 240) -> Image:
    """Images side by side, row by row, each fitted into a square cell, titles below.

    Args:
        images: of any sizes.
        columns: cells in a row.
        titles: one for each image, or none.
        cell: side of a cell in pixels.

    Raises:
        BadData: there are no images.
    """
    from PIL import Image, ImageDraw, ImageOps

    if not images:
        raise BadData("a sheet needs one image at least.")
    columns = min(columns, len(images))
    gap = max(4, cell // 40)
    letters = max(10, cell // 16)
    high = cell + gap + (round(1.5 * letters) if titles else 0)
    page = Image.new("RGB", (columns * (cell + gap) + gap, -(-len(images) // columns) * high + gap), (250, 250, 250))
    pen = ImageDraw.Draw(page)
    for place, image in enumerate(images):
        left, top = gap + place % columns * (cell + gap), gap + place // columns * high
        method = Image.Resampling.NEAREST if max(image.size) * 2 <= cell else Image.Resampling.LANCZOS
        fitted = ImageOps.contain(image.convert("RGB"), (cell, cell), method)
        page.paste(fitted, (left + (cell - fitted.width) // 2, top + (cell - fitted.height) // 2))
        if titles:
            title = _shortened(pen, titles[place], letters, cell)
            pen.text((left, top + cell + 2), title, fill=(20, 20, 20), font=_font(letters))
    return page


def _line(image: Image) -> int:
    """Width of a line."""
    return max(1, round(min(image.size) / 160))


def _font(size: float) -> FreeTypeFont | Font:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _tag(pen: ImageDraw, words: str, left: float, top: float, image: Image, colour: Colour) -> None:
    """Words on a ground of that colour, above a point, or below it at the upper edge; never outside the image."""
    font = _font(max(9, round(min(image.size) / 26)))
    x0, y0, x1, y1 = pen.textbbox((0, 0), words, font=font)
    margin = 2
    wide, high = x1 - x0 + 2 * margin, y1 - y0 + 2 * margin
    x = min(max(0.0, left), max(0.0, image.width - wide))
    y = top - high if top >= high else max(0.0, top)
    y = min(y, max(0.0, image.height - high))
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if light > 120 else (255, 255, 255)
    pen.text((x + margin - x0, y + margin - y0), words, fill=ink, font=font)


def _shortened(pen: ImageDraw, words: str, letters: int, width: int) -> str:
    """As much of the words as fits."""
    font = _font(letters)
    if pen.textlength(words, font=font) <= width:
        return words
    while words and pen.textlength(words + "…", font=font) > width:
        words = words[:-1]
    return words + "…"


def _shade(colour: Colour, turn: int) -> Colour:
    """The colour, darker or lighter for the next masks of a class."""
    by = (1.0, 0.72, 1.25, 0.55)[turn % 4]
    red, green, blue = (min(255, round(by * level)) for level in colour)
    return red, green, blue
