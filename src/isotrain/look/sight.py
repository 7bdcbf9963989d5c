"""What was seen in one photo."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from isotrain.faces.chain import Face

PARTS = ("class", "objects", "faces", "caption")
"""The parts of a look, in the order in which they are told."""


@dataclass(eq=False)
class Sight:
    """What each part says of one photo; boxes and outlines are in pixels of the photo as it was given.

    Attributes:
        photo: its name.
        size: height and width.
        kind: the class; None where that part is left out.
        objects: with boxes and outlines; None where that part is left out.
        faces: from left to right; None where that part is left out.
        caption: in words; None where that part is left out.
        unknown: what a part does not know, a sentence each.
        seconds: spent by each part on this photo (of photos looked at together, an equal share).
        found: the faces themselves, in the order of `faces`, for who enrolls one.
    """

    photo: str
    size: tuple[int, int]
    kind: dict[str, Any] | None = None
    objects: list[dict[str, Any]] | None = None
    faces: list[dict[str, Any]] | None = None
    caption: dict[str, Any] | None = None
    unknown: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    found: list[Face] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """All of it but the faces' vectors, as JSON can hold it.

        >>> Sight("a.jpg", (2, 3)).document()["size"]
        [2, 3]
        """
        return {
            "photo": self.photo, "size": list(self.size), "class": self.kind, "objects": self.objects,
            "faces": self.faces, "caption": self.caption, "unknown": list(self.unknown),
            "seconds": {name: round(spent, 4) for name, spent in self.seconds.items()},
        }  # fmt: skip

    @classmethod
    def of(cls, document: dict[str, Any]) -> Sight:
        """A sight as its document has it; the faces themselves are not in there.

        >>> Sight.of(Sight("a.jpg", (2, 3)).document()).size
        (2, 3)
        """
        height, width = document["size"]
        return cls(
            document["photo"], (int(height), int(width)), document["class"], document["objects"], document["faces"],
            document["caption"], list(document["unknown"]), dict(document["seconds"]),
        )  # fmt: skip
