"""What was seen in a photo, as it is told: the sight that is kept, and the names that people have now."""

from __future__ import annotations

from typing import Any

from isotrain.serve.photos import Likeness, Photo


def with_names(
    photo: Photo, likenesses: dict[int, Likeness], names: dict[int, str | None], short: bool
) -> dict[str, Any]:
    """A sight as JSON, people with the names they have now.

    Args:
        photo: that was looked at.
        likenesses: of its faces, by number.
        names: of people, by number; whoever is not there is nobody.
        short: without what only the page of a single photo draws.
    """
    document = dict(photo.sight or {})
    document["photo"] = photo.name
    faces = [dict(face) for face in document["faces"] or []]
    for face in faces:
        like = likenesses.get(face["face"])
        if like is not None and like.person in names:
            face |= {
                "person": names[like.person], "person_id": like.person, "similarity": like.similarity,
                "probability": like.probability,
            }  # fmt: skip
        if short:
            face.pop("landmarks", None)
    if document["faces"] is not None:
        document["faces"] = faces
    heat = (document["class"] or {}).get("heat")
    if short and heat:
        document["class"] = document["class"] | {"heat": {**heat, "values": []}}
    return document
