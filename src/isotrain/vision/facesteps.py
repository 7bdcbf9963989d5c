"""Every step of a face's alignment on one sheet: found, marked, modelled, turned to the front, filled up.

For people who want to see why a face is not recognised; `frontal` is what computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isotrain.vision.drawing import image_of, sheet
from isotrain.vision.facemodel import FaceModel, to_crop
from isotrain.vision.frontal import filled, frontal, maps_of, replaced, visible
from isotrain.vision.landmarks import LINES
from isotrain.vision.similarity import apply, cut, inverse, square

if TYPE_CHECKING:
    from PIL.Image import Image

BOX, POINTS, LINE_OF_MESH = (255, 196, 0), (0, 220, 255), (255, 255, 255, 200)
KEPT, REPLACED = (60, 200, 120), (240, 60, 60)
CELL = 360
FINE = 2
"""Lines are drawn this many times as large and then made smaller, so that they are smooth."""


def steps(picture: Tensor, box: Tensor, landmarks: Tensor, model: FaceModel, size: int = 152) -> Image:
    """The sheet: photo, landmarks, mesh, triangles seen; the 2D crop, the frontal one, what is seen, the filled one.

    Args:
        picture: uint8 [1 or 3, H, W].
        box: [4] left, top, right, bottom.
        landmarks: [68, 2].
        model: of the face.
        size: of the crops.

    Raises:
        BadData: the picture is of another kind, or these are no landmarks.
    """
    from PIL import Image

    fit = model.fit(landmarks[None])
    # The photo around the face: what the frame shows, seen by a similarity, and as much again.
    upright = model.upright(landmarks, size)
    around = apply(inverse(upright), torch.tensor([[0.0, 0.0], [size, size]], dtype=landmarks.dtype))
    middle = around.mean(0)
    reach = (around[1] - around[0]).norm() / 2**0.5
    region = torch.cat([middle - 0.8 * reach, middle + 0.8 * reach])
    view = square(region, CELL * FINE)
    photo = _bytes(cut(picture, view[None], CELL * FINE)[0])
    points = apply(view, landmarks)
    mesh = apply(view, model.vertices.to(landmarks.dtype) @ fit.cameras[0, :, :3].mT + fit.cameras[0, :, 3])
    raw = frontal(picture, landmarks[None], model, size, fill=False, fit=fit)
    shares = replaced(model, fit, size)
    yaw, pitch, roll = fit.angles[0].tolist()
    words = f"doubtful: error {100 * fit.errors[0].item():.0f} %" if fit.doubtful[0] else "frontal, as seen"
    panels = {
        "photo and box": _boxed(photo, apply(view, box.view(2, 2))),
        "68 landmarks": _marked(photo, points),
        f"yaw {yaw:.0f}, pitch {pitch:.0f}, roll {roll:.0f}": _meshed(photo, mesh, model, None),
        "kept, and replaced by the mirror": _meshed(photo, mesh, model, _share_of_triangles(shares[0], model, size)),
        "2D: turned and scaled": image_of(_bytes(cut(picture, upright[None], size)[0])),
        f"3D: {words}": image_of(_bytes(raw[0])),
        "how well it is seen": image_of(_bytes(visible(model, fit))),
        "3D: filled from the mirror": image_of(_bytes(filled(raw, shares)[0])),
    }
    images = [panel.resize((CELL, CELL), Image.Resampling.LANCZOS) for panel in panels.values()]
    return sheet(images, 4, list(panels), CELL)


def _bytes(pixels: Tensor) -> Tensor:
    return (255 * pixels.detach()).round().clamp(0, 255).to(torch.uint8)


def _boxed(photo: Tensor, corners: Tensor) -> Image:
    from PIL import ImageDraw

    drawn = image_of(photo)
    (left, top), (right, bottom) = corners.tolist()
    ImageDraw.Draw(drawn).rectangle((left, top, right, bottom), outline=BOX, width=3 * FINE)
    return drawn


def _marked(photo: Tensor, points: Tensor) -> Image:
    from PIL import ImageDraw

    drawn = image_of(photo)
    pen = ImageDraw.Draw(drawn)
    for line in LINES:
        pen.line([tuple(points[place].tolist()) for place in line], fill=POINTS, width=FINE)
    for x, y in points.tolist():
        far = 2.2 * FINE
        pen.ellipse((x - far, y - far, x + far, y + far), fill=(255, 255, 255), outline=(0, 60, 80), width=1)
    return drawn


def _meshed(photo: Tensor, mesh: Tensor, model: FaceModel, shares: Tensor | None) -> Image:
    """The triangles [T, 3] of the mesh [V, 2] over the photo, coats of colour on them where `shares` [T] are given."""
    from PIL import Image, ImageDraw

    ground = image_of(photo)
    over = Image.new("RGBA", ground.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(over)
    # The frame and a rim: what stands for the background behind the face is left out.
    inside = (to_crop(model.vertices[:, :2], 1, grow=1.2) - 0.5).abs().amax(1) <= 0.5
    for number, corners in enumerate(model.triangles.tolist()):
        if not bool(inside[corners].all()):
            continue
        place = [tuple(mesh[corner].tolist()) for corner in corners]
        coat = (0, 0, 0, 0) if shares is None else _coat(shares[number].item())
        pen.polygon(place, fill=coat, outline=LINE_OF_MESH, width=1)
    return Image.alpha_composite(ground.convert("RGBA"), over).convert("RGB")


def _share_of_triangles(share: Tensor, model: FaceModel, size: int) -> Tensor:
    """The mean share [T] of the pixels [size, size] of each triangle; 0 where it has none."""
    triangle = maps_of(model, size).triangle.view(-1)
    there = triangle >= 0
    total, count = (share.new_zeros(len(model.triangles)) for _ in range(2))
    total.index_add_(0, triangle[there], share.reshape(-1)[there])
    count.index_add_(0, triangle[there], torch.ones_like(share.reshape(-1)[there]))
    return total / count.clamp(min=1)


def _coat(share: float) -> tuple[int, int, int, int]:
    red, green, blue = (round(kept + share * (taken - kept)) for kept, taken in zip(KEPT, REPLACED, strict=True))
    return red, green, blue, 110
