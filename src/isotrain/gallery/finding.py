"""Whom a face is like: the vectors of a gallery, held in memory and kept up to date, and answers as people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Literal, get_args

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
LARGEST_BREADTH = 1000  # of an index; pgvector looks at no more
Found = tuple[int, int | None, float]
"""A face, whose it is, and how similar."""


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
        with self._lock:
            if not exact and self._database.approximate:
                # One statement each: what the server does meanwhile does not tear a single answer.
                if self._faces.bind(model, queries.shape[1]) is None:
                    return [[] for _ in queries]
                return self._answers(queries, k, of, self._by_index, LARGEST_BREADTH)
            with self._database.reading():
                if self._faces.bind(model, queries.shape[1]) is None:
                    return [[] for _ in queries]
                matrix = self._fresh(queries.shape[1])
                return self._answers(queries, k, of, partial(self._in_memory, matrix), matrix.count)

    def table(self) -> FaceTable:
        """`Gallery.table`."""
        with self._lock, self._database.reading():
            rows = self._database.rows("SELECT id, photo, coalesce(person, -1), put_by FROM faces ORDER BY id")
            kept = self._faces.model()
            vectors = self._fresh(kept[2]).vectors.copy() if kept else np.zeros((0, 0), np.float32)
        ids, photos, people = (np.array([row[column] for row in rows], np.int64) for column in range(3))
        return FaceTable(ids, photos, people, np.array([row[3] == "hand" for row in rows], np.bool_), vectors)

    def drop(self) -> None:
        """Let go of the vectors in memory."""
        with self._lock:
            self._matrix = None

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

    def _by_index(self, queries: NDArray[np.float32], k: int) -> list[list[Found]]:
        return [self._database.nearest(query, k) for query in queries]

    def _in_memory(self, matrix: Matrix, queries: NDArray[np.float32], k: int) -> list[list[Found]]:
        faces, similarities = matrix.nearest(queries, k)
        asked = np.unique(faces).tolist()
        whose = dict(rows_of(self._database, "SELECT id, person FROM faces WHERE id IN ({})", asked))
        return [
            [(face, whose[face], value) for face, value in zip(ids, values, strict=True)]
            for ids, values in zip(faces.tolist(), similarities.tolist(), strict=True)
        ]

    def _answers(
        self,
        queries: NDArray[np.float32],
        k: int,
        of: Of,
        nearest: Callable[[NDArray[np.float32], int], list[list[Found]]],
        most: int,
    ) -> list[list[Hit]]:
        """Of people, the search is widened until everybody wanted has shown up or all faces were looked at."""
        chosen: list[list[Found]] = [[] for _ in queries]
        left, width = list(range(len(queries))), k if of == "faces" else k * FACES_A_PERSON
        while left:
            for row, found in zip(left, nearest(queries[left], min(width, most)), strict=True):
                chosen[row] = found if of == "faces" else _once(found, k)
            enough = of == "faces" or width >= most
            left = [] if enough else [row for row in left if len(chosen[row]) < k]
            width *= 8
        hit = sorted({person for row in chosen for _, person, _ in row if person is not None})
        people = self._people.records(hit) if hit else {}
        # By the index alone: who was forgotten between the two statements is no answer.
        return [
            [
                Hit(face, None if person is None else people[person], value)
                for face, person, value in row
                if person is None or person in people
            ]
            for row in chosen
        ]


def _once(found: list[Found], k: int) -> list[Found]:
    """Everybody by their nearest face."""
    nearest: dict[int, Found] = {}
    for hit in found:
        if hit[1] is not None:
            nearest.setdefault(hit[1], hit)
    return list(nearest.values())[:k]
