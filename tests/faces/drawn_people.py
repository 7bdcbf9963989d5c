"""Photos of drawn people whose faces the shipped detector finds: what the tests of the chain are made on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from isotrain.data.synthetic.faces import face_picture
from isotrain.faces.detectors import detector_named


@cache
def found_pictures(people: int = 6, each: int = 2, size: int = 160) -> dict[int, list[Tensor]]:
    """Pictures of drawn people, of each at least `each` in which exactly one face is found."""
    detector = detector_named("shipped")
    found: dict[int, list[Tensor]] = {}
    for person in range(60):
        pictures = [face_picture(person, place, size=size, frame=2.2).picture for place in range(2 * each + 2)]
        ones = [p for p, f in zip(pictures, detector.find(pictures), strict=True) if len(f.boxes) == 1]
        if len(ones) >= each:
            found[person] = ones[:each]
        if len(found) == people:
            return found
    raise AssertionError("the detector finds hardly any drawn face: the twin or the detector has changed")


def save(picture: Tensor, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    return path


def side_by_side(*pictures: Tensor) -> Tensor:
    return torch.cat(pictures, 2)
