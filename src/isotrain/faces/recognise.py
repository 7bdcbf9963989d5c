"""Who it is: the faces of a photo compared with the gallery's people, with room for strangers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from isotrain.aside import write_aside
from isotrain.errors import BadCheckpoint, BadOption
from isotrain.faces.calibration import Calibration
from isotrain.gallery import Gallery, Hit

FAR = 1e-3
"""Share of comparisons of two people that may be taken for one, unless another is chosen."""
LOOKED_AT = 5
"""People that each face is compared with in the end: who is in the photo already is passed over."""


@dataclass(frozen=True)
class Recognised:
    """What the gallery says of a face.

    Attributes:
        hit: the person, None for a stranger.
        nearest: the most similar person, whether similar enough or not; None in an empty gallery.
        probability: that the nearest is right, where half of all comparisons are; None without calibration.
    """

    hit: Hit | None
    nearest: Hit | None
    probability: float | None

    @property
    def name(self) -> str | None:
        """The person's name; None for a stranger, or for a cluster without a name."""
        return self.hit.person.name if self.hit and self.hit.person else None


def calibration_file(embedder: Path) -> Path:
    """Where an embedder's calibration is kept: in its run folder, or beside its ONNX file.

    >>> calibration_file(Path("sface.onnx")).name
    'sface.calibration.json'
    """
    return embedder.with_suffix(".calibration.json") if embedder.suffix == ".onnx" else embedder / "calibration.json"


def read_calibration(embedder: Path, model: str) -> Calibration | None:
    """The calibration of an embedder; None if there is none yet.

    Raises:
        BadCheckpoint: it is damaged, or of other weights.
    """
    path = calibration_file(embedder)
    if not path.is_file():
        return None
    try:
        saved = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise BadCheckpoint(f"{path} cannot be read ({error}): make it again with evaluate --pairs.") from error
    if saved.get("model") != model:
        raise BadCheckpoint(
            f"{path} is of model {saved.get('model')!r}, the embedder is {model!r}: make it again with "
            "`isotrain evaluate RUN --pairs pairs.txt PEOPLE/`."
        )
    return Calibration.from_dict(saved)


def write_calibration(embedder: Path, model: str, calibration: Calibration, source: str) -> Path:
    """Keep a calibration beside its embedder.

    Raises:
        OSError: the place cannot be written.
    """
    path = calibration_file(embedder)
    document = {"model": model, "source": source} | calibration.to_dict()
    write_aside(path, (json.dumps(document, indent=1) + "\n").encode())
    return path


def threshold_of(calibration: Calibration | None, threshold: float | None, far: float, embedder: str) -> float:
    """Similarity from which on two faces are one person's.

    Args:
        calibration: of the embedder.
        threshold: chosen by hand, before all else.
        far: share of strangers that may be let in.
        embedder: for messages.

    Raises:
        BadOption: the embedder has no calibration and no threshold is given, or one that is no similarity.
        BadData: the calibration's pairs were too few for that share.
    """
    if threshold is not None:
        if not -1 <= threshold <= 1:
            raise BadOption(f"--threshold {threshold:g} should be a similarity, from -1 to 1.")
        return threshold
    if calibration is None:
        raise BadOption(
            f"{embedder} has no calibration, so nobody knows from which similarity on two faces are one person's: make "
            "it with `isotrain evaluate RUN --pairs pairs.txt PEOPLE/`, or give --threshold."
        )
    return calibration.at(far).threshold


class Represented(Protocol):
    """A face as far as it takes to say whose it is."""

    @property
    def vector(self) -> Tensor:
        """Float32 [D] of length 1."""
        ...


def recognise(
    gallery: Gallery, faces: Sequence[Represented], model: str, threshold: float, calibration: Calibration | None = None
) -> list[Recognised]:
    """The people that the faces of one photo are. Nobody is in a photo twice: the likelier face is theirs.

    Whose consent has ended is nobody who is known, also before they are purged.

    Args:
        gallery: of people.
        faces: of one photo.
        model: the id of the embedder.
        threshold: from which similarity on a face is somebody's.
        calibration: for probabilities.

    Raises:
        BadData: the gallery's vectors are another model's.
    """
    if not faces:
        return []
    today = date.today()
    near = gallery.search(torch.stack([face.vector for face in faces]).numpy(), LOOKED_AT, model=model)
    hits = [[hit for hit in some if hit.person is None or hit.person.agrees(today)] for some in near]
    taken: set[int] = set()
    found: dict[int, Hit] = {}
    likely = sorted(
        ((place, hit) for place, some in enumerate(hits) for hit in some if hit.similarity >= threshold),
        key=lambda one: (-one[1].similarity, one[0]),
    )
    for place, hit in likely:
        assert hit.person is not None, "people were searched for"
        if place not in found and hit.person.id not in taken:
            found[place] = hit
            taken.add(hit.person.id)
    return [
        Recognised(
            found.get(place),
            some[0] if some else None,
            float(calibration.probability([some[0].similarity])[0]) if some and calibration else None,
        )
        for place, some in enumerate(hits)
    ]
