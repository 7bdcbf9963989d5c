"""Faces in the gallery: photos, boxes, crops, vectors, and the model that all the vectors are of.

Letters: n faces, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadData
from isotrain.gallery.database import AT_ONCE, Database, rows_of, set_setting, setting
from isotrain.gallery.people import now
from isotrain.gallery.records import By, Face, NewFace, PhotoSource
from isotrain.gallery.vault import Vault

SAME_BOX = 0.5
"""Overlap (intersection over union) from which two boxes in one photo are one face."""
PNG = b"\x89PNG\r\n\x1a\n"
BOX = "f.x0, f.y0, f.x1, f.y1"


class Place(NamedTuple):
    """Where a face is kept, and whose it is."""

    id: int
    person: int | None
    by: By | None


def checked_vectors(vectors: ArrayLike) -> NDArray[np.float32]:
    """Vectors [n, D] (or one, [D]) as float32 [n, D].

    Raises:
        BadData: not numbers, not finite, or not of length 1.
    """
    try:
        rows = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise BadData(f"vectors of faces are [n, D] numbers: {error}.") from error
    if rows.ndim != 2 or not rows.shape[1]:
        raise BadData(f"vectors of faces are [n, D], these are {list(rows.shape)}.")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))
    if len(wrong):
        raise BadData(f"vector {wrong[0]} has length {lengths[wrong[0]]:.4g}: vectors of faces have length 1.")
    return np.ascontiguousarray(rows)


def checked_faces(faces: Sequence[NewFace]) -> NDArray[np.float32]:
    """Their vectors [n, D]; looks at everything that could be wrong before anything is written.

    Raises:
        BadData: a box, score, crop, set of landmarks or vector that is none.
    """
    for face in faces:
        where = f"the face at {[round(float(edge), 1) for edge in face.box]} in photo {face.photo.path!r}"
        box = np.asarray(face.box, np.float64)
        if box.shape != (4,) or not np.isfinite(box).all() or not (box[2:] > box[:2]).all():
            raise BadData(f"{where}: a box is left, top, right, bottom, finite and not empty.")
        if not 0 <= face.score <= 1:
            raise BadData(f"{where}: its score is {face.score}, scores are in [0, 1].")
        if face.crop is not None and not face.crop.startswith(PNG):
            raise BadData(f"{where}: its crop is no PNG file (it begins with {face.crop[:8]!r}).")
        if face.landmarks is not None:
            points = np.asarray(face.landmarks, np.float32)
            if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise BadData(f"{where}: its landmarks are {list(points.shape)}, or not finite: [P, 2] are kept.")
    widths = {np.shape(face.vector) for face in faces}
    if len(widths) > 1:
        raise BadData(f"the vectors of these faces differ in shape: {sorted(widths)}. One model makes one shape.")
    return checked_vectors([np.asarray(face.vector, np.float32) for face in faces])


class Faces:
    """The tables of photos, faces, crops, vectors and models. Whoever writes has begun a transaction."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    def model(self) -> tuple[int, str, int] | None:
        """Id, name and D of the model whose vectors are kept; None while there are none."""
        found = self._database.rows("SELECT id, name, dims FROM models")
        return found[0] if found else None

    def bind(self, model: str, dims: int, write: bool = False) -> int | None:
        """The id of the model, if its vectors are those that are kept.

        Raises:
            BadData: vectors of another model are kept, or of another D.
        """
        kept = self.model()
        if kept is None:
            if not write:
                return None
            made = self._database.rows("INSERT INTO models (name, dims) VALUES (?, ?) RETURNING id", (model, dims))
            self._database.index(dims)
            return int(made[0][0])
        if kept[1] != model:
            raise BadData(
                f"these vectors are of model {model!r}, gallery {self._database.where} keeps those of {kept[1]!r}, and "
                "the two cannot be compared. Use that model, or represent the gallery anew (Gallery.represent)."
            )
        if kept[2] != dims:
            raise BadData(f"these vectors have {dims} numbers, those of model {model!r} in the gallery {kept[2]}.")
        return kept[0]

    def photo(self, source: PhotoSource) -> int:
        """The id of a photo, which is new or known by its content."""
        lookup = self._vault.digest("photo", bytes.fromhex(source.sha256))
        found = self._database.rows("SELECT id FROM photos WHERE lookup = ?", (lookup,))
        if found:
            return int(found[0][0])
        about = {"path": source.path, "sha256": source.sha256, "size": source.size}
        made = self._database.rows(
            "INSERT INTO photos (lookup, about, added) VALUES (?, ?, ?) RETURNING id",
            (lookup, self._vault.seal_words("photo", about), now()),
        )
        return int(made[0][0])

    def at(self, photo: int, box: Sequence[float]) -> Place | None:
        """The face that is known at a box of a photo, the best overlap of those beyond `SAME_BOX`."""
        rows = self._database.rows(f"SELECT {BOX}, f.id, f.person, f.put_by FROM faces f WHERE f.photo = ?", (photo,))
        if not rows:
            return None
        boxes, box_4 = np.array([row[:4] for row in rows]), np.asarray(box, np.float64)
        inner = np.minimum(boxes[:, 2:], box_4[2:]) - np.maximum(boxes[:, :2], box_4[:2])
        common = inner.clip(0).prod(1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box_4[2:] - box_4[:2]).prod()
        overlaps = common / (areas - common)
        best = int(overlaps.argmax())
        return Place(*rows[best][4:]) if overlaps[best] >= SAME_BOX else None

    def insert(self, photo: int, face: NewFace, person: int | None, by: By | None) -> int:
        """A new face without its vector; its id."""
        x0, y0, x1, y1 = (float(edge) for edge in face.box)
        landmarks = None
        if face.landmarks is not None:
            landmarks = self._vault.seal("landmarks", np.asarray(face.landmarks, "<f4").tobytes())
        made = self._database.rows(
            "INSERT INTO faces (photo, person, put_by, x0, y0, x1, y1, score, about, landmarks, added) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(photo, person, by, x0, y0, x1, y1, float(face.score)),
                *(self._vault.seal_words("face", dict(face.made)), landmarks, now()),
            ),
        )
        if face.crop is not None:
            sealed = self._vault.seal("crop", face.crop)
            self._database.rows("INSERT INTO crops (face, png) VALUES (?, ?)", (made[0][0], sealed))
        return int(made[0][0])

    def keep(self, faces: Sequence[NewFace], model: str, whose: Callable[[int, NewFace], Place | int]) -> list[int]:
        """Insert faces and their vectors; `whose` is asked for each, and answers with a face that is known already.

        Returns:
            Ids of the new ones.
        """
        vectors = checked_faces(faces)
        model_id = self.bind(model, vectors.shape[1], write=True)
        assert model_id is not None
        new = []
        for row, face in enumerate(faces):
            answer = whose(self.photo(face.photo), face)
            if not isinstance(answer, Place):
                new.append((answer, row))
        ids = [face_id for face_id, _ in new]
        if ids:
            self._database.keep_vectors(self._vault, model_id, ids, vectors[[row for _, row in new]])
        return ids

    def records(self, where: str, values: Sequence[Any]) -> list[Face]:
        """Faces by id; `where` is a condition with IN ({}) on f, the table of faces."""
        kept = self.model()
        rows = rows_of(
            self._database,
            f"SELECT f.id, p.about, p.id, f.person, f.put_by, {BOX}, f.score, f.landmarks, f.about, f.added "
            f"FROM faces f JOIN photos p ON p.id = f.photo WHERE {where}",
            values,
        )
        return [self._record(row, kept[1] if kept else "") for row in sorted(rows, key=lambda row: int(row[0]))]

    def _record(self, row: tuple[Any, ...], model: str) -> Face:
        face, photo_about, photo, person, by, x0, y0, x1, y1, score, landmarks, made, added = row
        points = None
        if landmarks is not None:
            plain = self._vault.unseal("landmarks", landmarks)
            points = np.frombuffer(plain, "<f4").astype(np.float32).reshape(-1, 2)
        words = self._vault.unseal_words("photo", photo_about)
        size = words["size"]
        source = PhotoSource(words["path"], words["sha256"], None if size is None else (size[0], size[1]))
        return Face(
            *(face, source, photo, person, by, (x0, y0, x1, y1), score, points),
            self._vault.unseal_words("face", made),
            model,
            added,
        )

    def crop(self, face: int) -> bytes | None:
        """The crop of a face as a PNG file's bytes."""
        found = self._database.rows("SELECT png FROM crops WHERE face = ?", (face,))
        return self._vault.unseal("crop", found[0][0]) if found else None

    def vectors(self, faces: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Vectors [D] of some faces."""
        found: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(faces), AT_ONCE):
            ids, rows = self._database.read_vectors(self._vault, faces[start : start + AT_ONCE])
            found.update(zip(ids.tolist(), rows, strict=True))
        return found

    def places(self, faces: Sequence[int]) -> dict[int, Place]:
        """Where faces are now.

        Raises:
            BadData: a face is not there, or no longer.
        """
        found = {
            row[0]: Place(*row)
            for row in rows_of(self._database, "SELECT id, person, put_by FROM faces WHERE id IN ({})", list(faces))
        }
        missing = [face for face in faces if face not in found]
        if missing:
            raise BadData(f"gallery {self._database.where} has no face {missing[0]}: erased, or never there.")
        return found

    def represent(self, model: str, vectors: Mapping[int, ArrayLike]) -> None:
        """Replace every vector by that of another model.

        Raises:
            BadData: a face is missing, or one that is not here is given.
        """
        ids = sorted(vectors)
        here = {row[0] for row in self._database.rows("SELECT face FROM vectors")}
        if here != set(ids):
            odd = sorted(here ^ set(ids))[0]
            raise BadData(f"every face needs a vector of model {model!r}, and face {odd} is missing or unknown.")
        rows = checked_vectors([np.asarray(vectors[face], np.float32) for face in ids])
        self._database.clear_vectors()
        self._database.rows("DELETE FROM models")
        model_id = self.bind(model, rows.shape[1], write=True)
        assert model_id is not None
        self._database.keep_vectors(self._vault, model_id, ids, rows)
        changed(self._database)


def changed(database: Database) -> None:
    """Vectors went or became others: whoever holds them in memory has to read them again."""
    set_setting(database, "changes", str(int(setting(database, "changes") or b"0") + 1).encode())
