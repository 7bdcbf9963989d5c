"""Everything that is kept about a person, in files that they can read (GDPR, article 15).

No file is named after anything that came from outside: names and paths only stand inside the JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isotrain.aside import write_aside
from isotrain.errors import BadOption
from isotrain.gallery.database import Database, rows_of
from isotrain.gallery.faces import Faces
from isotrain.gallery.people import People
from isotrain.gallery.records import Person


def export(database: Database, people: People, faces: Faces, person: Person, folder: Path) -> Path:
    """Write person.json and the crops into a new or empty folder, readable by its owner only.

    Raises:
        BadOption: the folder holds something already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadOption(f"folder {folder} holds something already: export into a new one.")
        folder.chmod(0o700)
        told, crops = _told(database, people, faces, person)
        for name, crop in crops.items():
            write_aside(folder / name, crop)
        path = folder / "person.json"
        # Last: a folder with it is complete.
        write_aside(path, json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise BadOption(f"folder {folder} cannot be written: {error.strerror}.") from error
    return path


def _told(database: Database, people: People, faces: Faces, person: Person) -> tuple[dict[str, Any], dict[str, bytes]]:
    crops: dict[str, bytes] = {}
    ids = people.all_ids(person.id)
    listed = []
    vectors = faces.vectors(
        [row[0] for row in rows_of(database, "SELECT id FROM faces WHERE person IN ({}) ORDER BY id", ids)]
    )
    for face in faces.records("f.person IN ({})", ids):
        crop = faces.crop(face.id)
        name = f"face-{face.id}.png"
        if crop is not None:
            crops[name] = crop
        listed.append(
            {
                "id": face.id,
                "photo": {"path": _text(face.photo.path), "sha256": face.photo.sha256, "size": face.photo.size},
                "box": face.box,
                "score": face.score,
                "put by": face.by,
                "made by": dict(face.made),
                "landmarks": None if face.landmarks is None else face.landmarks.tolist(),
                "crop": None if crop is None else name,
                "model": face.model,
                "vector": vectors[face.id].tolist(),
                "added": face.added,
            }
        )
    steps = rows_of(
        database,
        "SELECT j.id, j.what, j.made FROM journal j WHERE j.id IN (SELECT s.step FROM journal_faces s JOIN faces f "
        "ON f.id = s.face WHERE f.person IN ({})) ORDER BY j.id",
        ids,
    )
    told = {
        "name": person.name,
        "also called": list(person.also),
        "added": person.added,
        "consents": [_plain(asdict(consent)) for consent in people.consents([person.id]).get(person.id, [])],
        "faces": listed,
        "steps of the journal": [{"what": what, "when": when} for _, what, when in steps],
    }
    return told, crops


def _plain(words: dict[str, Any]) -> dict[str, Any]:
    return {name: value if value is None or isinstance(value, str) else str(value) for name, value in words.items()}


def _text(path: str) -> str:
    """File names need not be Unicode; JSON has to be."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
