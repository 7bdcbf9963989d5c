"""Heat maps, points and boxes drawn over a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

SMALLEST_DRAWING = 256
"""Pixels of a drawing's longer side at least: small pictures are enlarged by whole numbers."""
HOTTEST = 0.6
"""How much of a drawing's colour is the heat's where it is hottest."""
COLOURS = [(230, 60, 40), (40, 120, 230), (40, 170, 80), (240, 160, 20), (150, 70, 200), (20, 180, 190), (220, 80, 150)]
"""Of the classes by turns, red, green and blue."""


def drawn_heat(picture: Tensor, heat: Tensor, objects: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Image:
    """The picture with a colour for each class: its heat, its hottest point and its box.

    Args:
        picture: uint8 [3, H, W].
        heat: [classes, h, w] in [0, 1], over the whole picture.
        objects: each with its "class", "score", "point" and "box", the last two in pixels of the picture.
        classes: their names.
    """
    from torchvision.transforms.functional import to_pil_image
    from torchvision.utils import draw_bounding_boxes, draw_keypoints

    times = max(1, math.ceil(SMALLEST_DRAWING / max(picture.shape[1:])))
    canvas = picture.repeat_interleave(times, 1).repeat_interleave(times, 2).float()
    colours = [COLOURS[classes.index(one["class"]) % len(COLOURS)] for one in objects]
    for one, colour in zip(objects, colours, strict=True):
        own = heat[classes.index(one["class"])][None, None]
        warm = F.interpolate(own, canvas.shape[1:], mode="bilinear", align_corners=False)[0].clamp(0, 1) * HOTTEST
        canvas = canvas * (1 - warm) + torch.tensor(colour).view(3, 1, 1) * warm
    drawn = canvas.round().to(torch.uint8)
    for one, colour in zip(objects, colours, strict=True):
        box, point = torch.tensor([one["box"]]) * times, torch.tensor([[one["point"]]]) * times
        name = f"{one['class']} {one['score']:.2f}"
        drawn = draw_bounding_boxes(drawn, box, [name], colors=colour, width=2)
        drawn = draw_keypoints(drawn, point, colors=colour, radius=4)
    return cast(Image, to_pil_image(drawn))
