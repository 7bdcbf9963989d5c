"""The part that finds faces, and names those of people who consented."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from torch import Tensor

from isotrain.faces.calibration import Calibration
from isotrain.faces.chain import EMBEDDER, Chain, Face
from isotrain.faces.keeping import from_left
from isotrain.faces.recognise import Recognised, read_calibration, recognise, threshold_of
from isotrain.gallery import Gallery
from isotrain.look.parts import Tell
from isotrain.look.sight import Sight

FAR = 1e-3
"""Share of strangers that may be taken for somebody."""


@dataclass(frozen=True)
class People:
    """Finds faces, and asks a gallery whose they are.

    Attributes:
        chain: from pictures to faces.
        embedder: the folder or file of what represents faces.
        calibration: of its similarities; None if there is none.
    """

    chain: Chain
    embedder: Path
    calibration: Calibration | None

    @classmethod
    def of(cls, embedder: Path | None, tell: Tell) -> People:
        """The chain that comes with isotrain, or with another representation.

        Raises:
            IsotrainError: it is not there, or not what it should be.
        """
        chain = Chain.of(embedder=embedder, tell=tell)
        place = embedder or EMBEDDER
        return cls(chain, place, read_calibration(place, chain.embedder.id))

    @property
    def identity(self) -> str:
        """Two of one identity find the same faces and represent them alike."""
        return f"{self.chain.cutter.detector.name}+{self.chain.cutter.landmarker.name}+{self.chain.embedder.id}"

    @property
    def about(self) -> dict[str, Any]:
        """What it is, plain JSON."""
        shipped = self.embedder == EMBEDDER
        return {
            "part": "faces", "from": "shipped" if shipped else str(self.embedder), "model": self.chain.embedder.id,
            "learned from": "faces in photos (docs/faces.md)" if shipped else "",
            "classes": [], "names": "people whose consent is in the gallery, and nobody else",
        }  # fmt: skip

    def look(
        self, pictures: Sequence[Tensor], sights: Sequence[Sight], gallery: Gallery | None, threshold: float | None
    ) -> None:
        """Put the faces of photos into their sights.

        Raises:
            BadData: the gallery's vectors are another model's.
            BadOption: a gallery with people in it, and neither a threshold nor a calibration.
        """
        began = time.perf_counter()
        found = [from_left(faces) for faces in self.chain.look(pictures)]
        known = gallery is not None and gallery.model is not None
        least = threshold_of(self.calibration, threshold, FAR, str(self.embedder)) if known else None
        for sight, faces in zip(sights, found, strict=True):
            if known and gallery is not None and least is not None:
                who = recognise(gallery, faces, self.chain.embedder.id, least, self.calibration)
            else:
                who = [Recognised(None, None, None)] * len(faces)
            sight.found = faces
            sight.faces = [_record(n, face, one) for n, (face, one) in enumerate(zip(faces, who, strict=True), 1)]
        spent = (time.perf_counter() - began) / len(sights)
        for sight in sights:
            sight.seconds["faces"] = spent


def _record(number: int, face: Face, one: Recognised) -> dict[str, Any]:
    """A face as JSON. A cluster without a name is nobody, nor is somebody whose consent is missing or has ended."""
    person = None if one.hit is None else one.hit.person
    agreed = person is not None and person.consent is not None and person.consent.stands(date.today())
    hit = one.hit if agreed and one.name is not None else None
    return {
        "face": number, "box": [round(edge, 1) for edge in face.box], "score": round(face.score, 4),
        "landmarks": [[round(x, 1), round(y, 1)] for x, y in face.points.tolist()],
        "person": None if hit is None else one.name,
        "person_id": None if hit is None or hit.person is None else hit.person.id,
        "similarity": None if hit is None else round(hit.similarity, 4),
        "probability": None if hit is None or one.probability is None else round(one.probability, 4),
    }  # fmt: skip
