"""Exact search in memory: the most similar of many vectors, found in a quarter of the bytes and proved.

Letters: n vectors, D numbers of each, q queries, k wanted.

Reading every float of 200,000 vectors takes as long as memory takes to give them. So each vector is also kept as
whole numbers of 7 bits, a quarter of the bytes, and compared by them first. By Cauchy and Schwarz such a similarity
is wrong by no more than the lengths of the two rounding errors, which are known. Whatever could still be among the k
best by that bound, usually some dozens, is compared by its floats. The answer is that of comparing all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# 7 bits, not 8: processors without VNNI add two products in 16 bits, and 8 bits would overflow there.
LARGEST = 63
QUERIES_AT_ONCE = 8
BLOCK = 1024  # vectors that fit a processor's cache while they are rounded
# What float32 sums of D products may be off by; D is some hundreds.
ROUNDING = 1e-4


def code(vectors: NDArray[np.float32], numbers: NDArray[np.int8], scales: NDArray[np.float32]) -> float:
    """Write vectors [n, D] as whole numbers in [-63, 63], of which `scales` times are nearly the vector.

    Args:
        vectors: [n, D].
        numbers: [n, D], written.
        scales: [n], written.

    Returns:
        The length of the largest difference.

    >>> numbers, scales = np.zeros((1, 2), np.int8), np.zeros(1, np.float32)
    >>> error = code(np.array([[1.0, -0.25]], np.float32), numbers, scales)
    >>> numbers.tolist(), round(error, 4)
    ([[63, -16]], 0.004)
    """
    largest = 0.0
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        scaled = vectors[block]
        scale = np.maximum(scaled.max(1), -scaled.min(1)) / np.float32(LARGEST)
        scale[scale == 0] = 1
        scaled = scaled / scale[:, None]
        rounded = np.rint(scaled)
        numbers[block], scales[block] = rounded, scale
        scaled -= rounded
        largest = max(largest, float((np.einsum("nd,nd->n", scaled, scaled) * np.square(scale)).max()))
    return float(np.sqrt(largest))


class Matrix:
    """Vectors of length 1 that are searched, and that grow.

    >>> matrix = Matrix(2)
    >>> matrix.add(np.array([10, 11]), np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))
    >>> faces, similarities = matrix.nearest(np.array([[0.6, 0.8]], np.float32), k=1)
    >>> faces.tolist(), similarities.round(3).tolist()
    ([[11]], [[0.800000011920929]])
    """

    def __init__(self, dims: int) -> None:
        self.count, self.dims = 0, dims
        self._faces = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, dims), np.float32)
        self._numbers = np.zeros((0, dims), np.int8)
        self._scales = np.zeros(0, np.float32)
        self._error = 0.0

    @property
    def faces(self) -> NDArray[np.int64]:
        """[n] ids."""
        return self._faces[: self.count]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[n, D]."""
        return self._vectors[: self.count]

    def add(self, faces: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Take in vectors [n, D] of faces [n]; they are not copied if they are the first."""
        start, self.count = self.count, self.count + len(faces)
        if start == 0:
            self._faces, self._vectors = faces, vectors
            self._numbers, self._scales = np.empty(vectors.shape, np.int8), np.empty(len(faces), np.float32)
        elif self.count > len(self._faces):
            # A fifth more than is needed, so that faces that come one by one do not copy everything each time.
            room = self.count + self.count // 5
            for name in ("_faces", "_vectors", "_numbers", "_scales"):
                old = getattr(self, name)
                larger = np.empty((room, *old.shape[1:]), old.dtype)
                larger[:start] = old[:start]
                setattr(self, name, larger)
        new = slice(start, self.count)
        if start:
            self._faces[new], self._vectors[new] = faces, vectors
        self._error = max(self._error, code(vectors, self._numbers[new], self._scales[new]))

    def nearest(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k most similar faces of each query, most similar first; the older face where two are equal.

        Args:
            queries: [q, D], of length 1.
            k: more than there are means all of them.

        Returns:
            Faces and similarities, [q, min(k, n)].
        """
        import torch

        k = min(k, self.count)
        faces, similarities = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        if not k:
            return faces, similarities
        numbers = torch.from_numpy(self._numbers[: self.count])
        scales = torch.from_numpy(self._scales[: self.count])
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            some = queries[start : start + QUERIES_AT_ONCE]
            asked, scale = np.empty(some.shape, np.int8), np.empty(len(some), np.float32)
            error = code(some, asked, scale)
            products = torch._int_mm(torch.from_numpy(asked), numbers.T)
            for row in range(len(some)):
                rough = products[row] * scales * float(scale[row])
                # |<v,q> - <v',q'>| <= |v - v'| |q| + |v'| |q - q'|, and |v'| <= 1 + |v - v'|.
                bound = self._error + (1 + self._error) * error + ROUNDING
                least = torch.topk(rough, k, sorted=False).values.min() - 2 * bound
                possible = torch.nonzero(rough >= least)[:, 0].numpy()
                exact = self._vectors[possible] @ some[row]
                best = np.lexsort((possible, -exact))[:k]
                faces[start + row], similarities[start + row] = self._faces[possible[best]], exact[best]
        return faces, similarities
