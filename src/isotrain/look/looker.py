"""The look: all parts, one after another, over some photos."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isotrain.data.pictures import read_picture
from isotrain.errors import BadData
from isotrain.gallery import Gallery
from isotrain.look.choosing import caption_part, class_part, objects_part
from isotrain.look.parts import NONE, SHIPPED, Part, Tell
from isotrain.look.people import People
from isotrain.look.sight import PARTS, Sight

Choice = str | Path
"""Of a part: "shipped", "none", a run folder, or an ONNX file (of captions the folder of two)."""


@dataclass(frozen=True)
class Looker:
    """The parts that look at photos.

    Attributes:
        parts: class, objects and caption, as far as they are not left out.
        people: finds faces and names people; None where that is left out.
    """

    parts: tuple[Part, ...]
    people: People | None

    @classmethod
    def of(
        cls,
        classify: Choice = SHIPPED,
        objects: Choice = SHIPPED,
        faces: Choice = SHIPPED,
        caption: Choice = SHIPPED,
        tell: Tell | None = None,
    ) -> Looker:
        """A looker by the names of its parts.

        Args:
            classify: "shipped", "none", a run folder of `classify` or `localise`, or an ONNX classifier.
            objects: "shipped", "none", a run folder of `masks` or `detect`, or an ONNX detector.
            faces: "shipped", "none", a run folder of `faces`, or an ONNX model of faces.
            caption: "shipped", "none", a run folder of `caption`, or the folder of encoder.onnx and decoder.onnx.
            tell: is called with what a user should know.

        Raises:
            IsotrainError: a part is not there, is of another task, or is damaged; the message names it.
        """
        say: Tell = tell if tell is not None else lambda _: None
        made = [class_part(str(classify), say), objects_part(str(objects), say), caption_part(str(caption), say)]
        people = None if str(faces) == NONE else People.of(None if str(faces) == SHIPPED else Path(faces), say)
        return cls(tuple(part for part in made if part is not None), people)

    @property
    def identity(self) -> str:
        """Two lookers of one identity say the same of a photo, people apart."""
        own = [f"{part.name}={part.identity}" for part in self.parts]
        own.append(f"faces={self.people.identity if self.people else None}")
        return hashlib.sha256("\n".join(own).encode()).hexdigest()[:16]

    def about(self) -> dict[str, Any]:
        """What each part knows and what it learned from, plain JSON; None for one that is left out."""
        told: dict[str, Any] = {part.name: part.about for part in self.parts}
        if self.people is not None:
            told["faces"] = self.people.about
        return json.loads(json.dumps({name: told.get(name) for name in PARTS}))  # type: ignore[no-any-return]

    @torch.no_grad()
    def look(
        self,
        pictures: Sequence[Tensor],
        names: Sequence[str] | None = None,
        gallery: Gallery | None = None,
        threshold: float | None = None,
    ) -> list[Sight]:
        """What is seen in photos.

        Args:
            pictures: uint8 [C, H, W] each, of any sizes.
            names: of the photos; None for their places.
            gallery: of people who consented; None: nobody is named.
            threshold: similarity from which on a face is somebody's; None: calibrated.

        Raises:
            BadData: a picture is none, or there are as many names as not; or the gallery's faces are another model's.
            BadOption: a gallery is given, and there is neither a threshold nor a calibration.
        """
        if names is not None and len(names) != len(pictures):
            raise BadData(f"{len(pictures)} pictures have {len(names)} names.")
        seen = [read_picture(picture) for picture in pictures]
        called = [str(place) for place in range(len(seen))] if names is None else list(names)
        sights = [Sight(name, (int(one.shape[1]), int(one.shape[2]))) for name, one in zip(called, seen, strict=True)]
        if not seen:
            return []
        for part in self.parts:
            began = time.perf_counter()
            told = part.look(seen)
            spent = (time.perf_counter() - began) / len(seen)
            for sight, one in zip(sights, told, strict=True):
                setattr(sight, "kind" if part.name == "class" else part.name, one.says)
                sight.unknown += one.unknown
                sight.seconds[part.name] = spent
        if self.people is not None:
            self.people.look(seen, sights, gallery, threshold)
        return sights
