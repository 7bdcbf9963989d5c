"""Whom a face is like: the vectors of a gallery, held in memory and kept up to date, and answers as people."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadOption
from isotrain.gallery.database import Database, rows_of, setting
from isotrain.gallery.faces import Faces, checked_vectors
from isotrain.gallery.people import People
from isotrain.gallery.records import FaceTable, Hit
from isotrain.gallery.search import Matrix
from isotrain.gallery.vault import Vault

Of = Literal["people", "faces"]
FACES_A_PERSON = 4
"""How many faces are looked at first for each person that is wanted; more where that is not enough."""
LARGEST_BREADTH = 1000  # pgvector's limit of hnsw.ef_search


class Finder:
    """Searches a gallery. Nothing of it is written."""

    def __init__(self, database: Database, vault: Vault, people: People, faces: Faces) -> None:
        self._database, self._vault, self._people, self._faces = database, vault, people, faces
        self._matrix: Matrix | None = None
        self._changes: bytes | None = None
        self._lock = RLock()

    def search(self, vectors: ArrayLike, model: str, k: int, of: Of, exact: bool) -> list[list[Hit]]:
        """`Gallery.search`.

        Raises:
            BadOption: k below 1, or another `of`.
        """
        if k < 1 or of not in get_args(Of):
            raise BadOption(f"search takes k of 1 at least and of='people' or 'faces', not k={k}, of={of!r}.")
        queries = checked_vectors(vectors)
        with self._lock, self._database.reading():
            if self._faces.bind(model, queries.shape[1]) is None:
                return [[] for _ in queries]
            if not exact and self._database.approximate:
                return self._answers(queries, k, of, self._by_index, LARGEST_BREADTH)
            matrix = self._fresh(queries.shape[1])
            return self._answers(queries, k, of, matrix.nearest, matrix.count)

    def table(self) -> FaceTable:
        """`Gallery.table`."""
        with self._lock, self._database.reading():
            rows = self._database.rows("SELECT id, photo, coalesce(person, -1), put_by FROM faces ORDER BY id")
            kept = self._faces.model()
            vectors = self._fresh(kept[2]).vectors.copy() if kept else np.zeros((0, 0), np.float32)
        ids, photos, people = (np.array([row[column] for row in rows], np.int64) for column in range(3))
        return FaceTable(ids, photos, people, np.array([row[3] == "hand" for row in rows], np.bool_), vectors)

    def _fresh(self, dims: int) -> Matrix:
        """The vectors as they are now: read when first asked for, then only what was added by whomever."""
        changes = setting(self._database, "changes") or b"0"
        last = self._database.rows("SELECT max(face) FROM vectors")[0][0] or 0
        if self._matrix is None or changes != self._changes or self._matrix.dims != dims:
            self._matrix, self._changes = Matrix(dims), changes
        known = int(self._matrix.faces[-1]) if self._matrix.count else 0
        if last > known:
            self._matrix.add(*self._database.read_vectors(self._vault, known))
        return self._matrix

    def _by_index(self, queries: NDArray[np.float32], k: int) -> tuple[Any, Any]:
        found = [self._database.nearest(query, k) for query in queries]
        return [[face for face, _ in row] for row in found], [[value for _, value in row] for row in found]

    def _answers(
        self, queries: NDArray[np.float32], k: int, of: Of, nearest: Callable[..., tuple[Any, Any]], most: int
    ) -> list[list[Hit]]:
        """Of people, the search is widened until everybody wanted has shown up or all faces were looked at."""
        chosen: list[list[tuple[int, int | None, float]]] = [[] for _ in queries]
        open_rows, width = list(range(len(queries))), k if of == "faces" else k * FACES_A_PERSON
        while open_rows:
            faces, similarities = nearest(queries[open_rows], min(width, most))
            asked = sorted({int(face) for row in faces for face in row})
            whose = dict(rows_of(self._database, "SELECT id, person FROM faces WHERE id IN ({})", asked))
            for row, ids, values in zip(open_rows, faces, similarities, strict=True):
                found = [(int(face), whose[int(face)], float(value)) for face, value in zip(ids, values, strict=True)]
                chosen[row] = found[:k] if of == "faces" else _once(found, k)
            enough = of == "faces" or width >= most
            open_rows = [] if enough else [row for row in open_rows if len(chosen[row]) < k]
            width *= 8
        people = self._people.records(sorted({person for row in chosen for _, person, _ in row if person is not None}))
        return [
            [Hit(face, None if person is None else people[person], value) for face, person, value in row]
            for row in chosen
        ]


def _once(found: list[tuple[int, int | None, float]], k: int) -> list[tuple[int, int | None, float]]:
    """Everybody by their nearest face."""
    nearest: dict[int, tuple[int, int | None, float]] = {}
    for hit in found:
        if hit[1] is not None:
            nearest.setdefault(hit[1], hit)
    return list(nearest.values())[:k]
