"""A picture with what it is taken for under it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image
from torch import Tensor

SHORTEST = 256
"""Pixels of a drawing's width at least: smaller pictures are enlarged by whole numbers, so that pixels stay pixels."""
LARGEST = 1024
"""Pixels of its longer side at most."""
LINE, MARGIN = 22, 6
INK, BAR, PAPER = (30, 33, 38), (150, 190, 235), (255, 255, 255)


def captioned(picture: Tensor, found: Sequence[tuple[str, float]]) -> Image:
    """A picture, uint8 [C, H, W], above a line for each class: its name, its probability and a bar as long.

    >>> import torch
    >>> captioned(torch.zeros(1, 8, 8, dtype=torch.uint8), [("one", 0.9), ("two", 0.1)]).size
    (256, 312)
    """
    from PIL import Image as pillow
    from PIL import ImageDraw, ImageFont
    from torchvision.transforms.v2.functional import to_pil_image

    image: Image = to_pil_image(picture).convert("RGB")
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST))
    times = -(-SHORTEST // max(image.size))
    image = image.resize((image.width * times, image.height * times), pillow.Resampling.NEAREST)
    width = max(SHORTEST, image.width)
    page = pillow.new("RGB", (width, image.height + LINE * len(found) + 2 * MARGIN), PAPER)
    page.paste(image, ((width - image.width) // 2, 0))
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=14)
    for line, (name, probability) in enumerate(found):
        top = image.height + MARGIN + LINE * line
        length = round(probability * (width - 2 * MARGIN))
        if length:
            pen.rectangle((MARGIN, top + 1, MARGIN + length, top + LINE - 2), fill=BAR)
        share = f"{100 * probability:.1f} %"
        room = width - 4 * MARGIN - pen.textlength(share, font=font)
        while pen.textlength(name, font=font) > room and len(name) > 1:
            name = name[:-2] + "…"
        pen.text((2 * MARGIN, top + LINE / 2), name, fill=INK, font=font, anchor="lm")
        pen.text((width - 2 * MARGIN, top + LINE / 2), share, fill=INK, font=font, anchor="rm")
    return page
