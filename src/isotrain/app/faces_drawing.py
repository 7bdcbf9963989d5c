"""Photos with their faces boxed and named, and sheets of aligned crops, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from isotrain.faces.chain import Cropped
from isotrain.vision.drawing import draw_boxes, image_of, sheet
from isotrain.vision.facemodel import FaceModel
from isotrain.vision.facesteps import steps

SIDE = 1600
"""Pixels of a drawing's longer side, at most."""
COLUMNS, CELL = 8, 160
LIKENESS = 12
"""Crops of a cluster that are shown."""


def png(image: Image) -> bytes:
    """As a file."""
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def drawn(picture: Tensor, faces: Sequence[Cropped], names: Sequence[str]) -> bytes:
    """A photo with a box around each face and the name on it; strangers have a question mark."""
    image = image_of(picture)
    scale = min(1.0, SIDE / max(image.size))
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    if not faces:
        return png(image)
    boxes = torch.tensor([face.box for face in faces]) * scale
    known = sorted({name for name in names if name != "?"})
    labels = [known.index(name) + 1 if name in known else 0 for name in names]
    return png(draw_boxes(image, boxes, labels, ["?", *known]))


def sheet_of(faces: Sequence[Cropped], names: Sequence[str]) -> bytes:
    """Aligned crops side by side."""
    titles = [f"{number}  {name}" for number, name in enumerate(names, 1)]
    return png(sheet([image_of(face.crop) for face in faces], min(COLUMNS, len(faces)), titles, CELL))


def steps_of(picture: Tensor, face: Cropped, model: FaceModel) -> bytes:
    """Every step of a face's alignment in 3D."""
    return png(steps(picture, torch.tensor(face.box), face.points, model))


def clusters_of(rows: Sequence[tuple[str, Sequence[bytes]]]) -> bytes:
    """A row for each cluster: its name, and some of its crops (PNG files)."""
    from PIL import Image as Pillow

    cells: list[Image] = []
    titles: list[str] = []
    for name, crops in rows:
        for place in range(LIKENESS):
            there = place < len(crops)
            cells.append(Pillow.open(io.BytesIO(crops[place])) if there else Pillow.new("RGB", (8, 8), "white"))
            titles.append(name if place == 0 else "")
    return png(sheet(cells, LIKENESS, titles, CELL // 2))
