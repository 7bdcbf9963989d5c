"""How alike two faces are, from their vectors: cosine, the weighted chi-square of DeepFace, a linear discriminant.

Letters: p pairs, n and m faces, D numbers of a vector. A larger similarity means more alike. A similarity that learns
is given pairs (`fitted`) or vectors of people (`Discriminant.of_people`) and comes back as another, fitted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadCheckpoint, BadData, BadOption, UnknownName

Floats = NDArray[np.float64]
SMALL = 1e-12


class Similarity(Protocol):
    """Compares vectors."""

    @property
    def name(self) -> str:
        """What it is, in words."""
        ...

    def fitted(self, first_pd: ArrayLike, second_pd: ArrayLike, same_p: ArrayLike) -> Similarity:
        """One that has learned from these pairs; itself if there is nothing to learn from pairs."""
        ...

    def pairs(self, first_pd: ArrayLike, second_pd: ArrayLike) -> Floats:
        """Of each pair: [p]."""
        ...

    def matrix(self, one_nd: ArrayLike, other_md: ArrayLike) -> Floats:
        """Of every face with every other: [n, m]."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What `similarity_from` makes it from again, as JSON can hold it."""
        ...


def finite(vectors_nd: ArrayLike) -> Floats:
    """Vectors as float64 [n, D].

    Raises:
        BadData: of another shape, or a number is infinite or not a number.
    """
    vectors = np.asarray(vectors_nd, np.float64)
    if vectors.ndim != 2:
        raise BadData(f"vectors {vectors.shape} are not [faces, numbers].")
    if not np.isfinite(vectors).all():
        place = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
        raise BadData(f"the vector of face {place} holds an infinite number or none: the model that made it is broken.")
    return vectors


@dataclass(frozen=True)
class Cosine:
    """The cosine of the angle between two vectors, in [-1, 1]; a vector of zeros is at right angles to all.

    >>> Cosine().pairs([[1.0, 0.0]], [[3.0, 4.0]])
    array([0.6])
    """

    @property
    def name(self) -> str:
        """What it is."""
        return "cosine"

    def fitted(self, first_pd: ArrayLike, second_pd: ArrayLike, same_p: ArrayLike) -> Cosine:
        """Itself."""
        return self

    def pairs(self, first_pd: ArrayLike, second_pd: ArrayLike) -> Floats:
        """Of each pair: [p]."""
        return np.asarray((_unit(finite(first_pd)) * _unit(finite(second_pd))).sum(1))

    def matrix(self, one_nd: ArrayLike, other_md: ArrayLike) -> Floats:
        """Of every face with every other: [n, m]."""
        return np.asarray(_unit(finite(one_nd)) @ _unit(finite(other_md)).T)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "cosine"}


@dataclass(frozen=True)
class ChiSquare:
    """DeepFace's weighted chi-square: offset + sum_i w_i (f_i - g_i)^2 / (f_i + g_i), the weights by a linear SVM.

    The features must not be negative, as those behind a rectifier are. Before they are compared each is divided by
    the largest value it had, and the vector brought to length 1 (section 3 of the paper). Not fitted, all weights are
    -1 / D and nothing is divided.

    Args:
        halves: split each number into its positive and its negative part first, for vectors that are not rectified.
        penalty: C of the SVM.
        largest: of each feature, [D]; learned.
        weights: w, [D]; learned.
        offset: learned.

    Source: Taigman et al. 2014, "DeepFace", sections 3 (normalization) and 4.1 (the similarity).
    """

    halves: bool = False
    penalty: float = 1.0
    largest: Floats | None = None
    weights: Floats | None = None
    offset: float = 0.0

    @property
    def name(self) -> str:
        """What it is."""
        kind = "weighted chi-square" if self.weights is not None else "chi-square"
        return f"{kind} of positive and negative parts" if self.halves else kind

    def fitted(self, first_pd: ArrayLike, second_pd: ArrayLike, same_p: ArrayLike) -> ChiSquare:
        """Learn the weights from pairs.

        Raises:
            BadOption: the penalty is not positive.
            BadData: a number is negative, or one kind of pairs is missing.
        """
        from sklearn.svm import LinearSVC

        if not self.penalty > 0:
            raise BadOption(f"penalty is {self.penalty}: it must be positive.")
        same = np.asarray(same_p, bool)
        if same.all() or not same.any():
            raise BadData("chi-square's weights are learned from pairs of one person and of two: one kind is missing.")
        largest = self._features(np.concatenate([finite(first_pd), finite(second_pd)])).max(0)
        scaled = ChiSquare(self.halves, self.penalty, largest)
        terms_pd = scaled._terms(scaled._normalized(first_pd), scaled._normalized(second_pd))
        machine = LinearSVC(C=self.penalty, dual=False, max_iter=10_000)  # a primal solver: no random order
        machine.fit(terms_pd, same)
        return ChiSquare(self.halves, self.penalty, largest, machine.coef_[0], float(machine.intercept_[0]))

    def pairs(self, first_pd: ArrayLike, second_pd: ArrayLike) -> Floats:
        """Of each pair: [p].

        Raises:
            BadData: a number is negative, or the vectors are longer or shorter than those it learned from.
        """
        terms_pd = self._terms(self._normalized(first_pd), self._normalized(second_pd))
        return np.asarray(terms_pd @ self._weights(terms_pd.shape[1]) + self.offset)

    def matrix(self, one_nd: ArrayLike, other_md: ArrayLike) -> Floats:
        """Of every face with every other, [n, m]; a row at a time, so that only m x D numbers are held.

        Raises:
            BadData: as `pairs`.
        """
        one_nd, other_md = self._normalized(one_nd), self._normalized(other_md)
        weights_d = self._weights(one_nd.shape[1])
        rows = [self._terms(row[None], other_md) @ weights_d + self.offset for row in one_nd]
        return np.stack(rows) if rows else np.zeros((0, len(other_md)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        learned = {
            "largest": None if self.largest is None else self.largest.tolist(),
            "weights": None if self.weights is None else self.weights.tolist(),
            "offset": self.offset,
        }
        return {"kind": "chi-square", "halves": self.halves, "penalty": self.penalty} | learned

    def _features(self, vectors_nd: Floats) -> Floats:
        if self.halves:
            return np.concatenate([vectors_nd.clip(min=0), (-vectors_nd).clip(min=0)], 1)
        if (vectors_nd < 0).any():
            raise BadData(
                f"chi-square compares numbers that are not negative, {(vectors_nd < 0).mean():.0%} of these are. "
                "Compare by cosine, or split them: ChiSquare(halves=True)."
            )
        return vectors_nd

    def _normalized(self, vectors_nd: ArrayLike) -> Floats:
        features_nd = self._features(finite(vectors_nd))
        if self.largest is not None:
            if features_nd.shape[1] != len(self.largest):
                raise BadData(
                    f"vectors give {features_nd.shape[1]} features, the similarity learned from {len(self.largest)}: "
                    "they are of another model."
                )
            features_nd = features_nd / np.maximum(self.largest, SMALL)
        return _unit(features_nd)

    def _terms(self, first_pd: Floats, second_pd: Floats) -> Floats:
        """The elements of chi-square, times D so that they are about 1 whatever D is: [p, D]."""
        terms_pd = np.square(first_pd - second_pd) / np.maximum(first_pd + second_pd, SMALL)
        return np.asarray(terms_pd * first_pd.shape[1])

    def _weights(self, features: int) -> Floats:
        return np.full(features, -1.0 / features) if self.weights is None else self.weights


@dataclass(frozen=True)
class Discriminant:
    """How much likelier two vectors are of one person than of two, where people and their pictures are normal.

    A vector is mean + person + picture, the person drawn from N(0, B) and the picture from N(0, W). In coordinates
    where W is the identity and B diagonal (its entries b), with u and v the two vectors, the logarithm of the ratio is
    the sum over coordinates of

        b u v / (1 + 2 b) - (u^2 + v^2) b^2 / (2 (1 + b) (1 + 2 b)) - log(1 + 2 b) / 2 + log(1 + b).

    Attributes:
        mean: [D].
        basis: to the coordinates, [D, k].
        between: b, falling, [k].

    Source: two-covariance model of Brummer & de Villiers 2010, "The speaker partitioning problem"; Chen et al. 2012,
    "Bayesian face revisited", fits the same by EM where this takes the moments.
    """

    mean: Floats
    basis: Floats
    between: Floats

    @property
    def name(self) -> str:
        """What it is."""
        return f"linear discriminant, {len(self.between)} directions"

    @classmethod
    def of_people(
        cls, vectors_nd: ArrayLike, people_n: ArrayLike, directions: int | None = None, shrink: float = 0.1
    ) -> Discriminant:
        """Learn B and W from vectors of known people, by their moments.

        Args:
            vectors_nd: [n, D], brought to length 1 first.
            people_n: number of each vector's person, [n].
            directions: how many of the best are kept; all if left out.
            shrink: share of W that is replaced by the same spread in every direction.

        Raises:
            BadOption: an option is outside its range.
            BadData: fewer than two people, or none with two pictures.
        """
        vectors, people = _unit(finite(vectors_nd)), np.asarray(people_n)
        dims = vectors.shape[1]
        if not 0 <= shrink <= 1 or not (directions is None or 1 <= directions <= dims):
            raise BadOption(f"shrink {shrink}, directions {directions}: shares in [0, 1], 1 to {dims} directions.")
        _, place_n, counts_c = np.unique(people, return_inverse=True, return_counts=True)
        if len(counts_c) < 2 or counts_c.max() < 2:
            raise BadData(
                f"{len(vectors)} vectors of {len(counts_c)} people: two people are needed, one with two pictures."
            )
        sums_cd = np.zeros((len(counts_c), dims))
        np.add.at(sums_cd, place_n, vectors)
        means_cd = sums_cd / counts_c[:, None]
        apart_nd = vectors - means_cd[place_n]
        within_dd = apart_nd.T @ apart_nd / (len(vectors) - len(counts_c))
        within_dd = (1 - shrink) * within_dd + shrink * np.trace(within_dd) / dims * np.eye(dims)
        mean = means_cd.mean(0)
        # The means of few pictures are spread by the pictures too.
        between_dd = np.cov(means_cd.T, ddof=1).reshape(dims, dims) - within_dd * (1 / counts_c).mean()
        spread, turn = np.linalg.eigh(within_dd)
        white_dd = turn / np.sqrt(np.maximum(spread, SMALL))
        between, axes = np.linalg.eigh(white_dd.T @ between_dd @ white_dd)
        kept = np.argsort(-between, kind="stable")[:directions]
        return cls(mean, white_dd @ axes[:, kept], between[kept].clip(min=0))

    def fitted(self, first_pd: ArrayLike, second_pd: ArrayLike, same_p: ArrayLike) -> Discriminant:
        """Itself: it learns from people, not from pairs."""
        return self

    def pairs(self, first_pd: ArrayLike, second_pd: ArrayLike) -> Floats:
        """Of each pair: [p].

        Raises:
            BadData: the vectors are longer or shorter than those it learned from.
        """
        first_pk, second_pk = self._in_basis(first_pd), self._in_basis(second_pd)
        cross_k, square_k, constant = self._form()
        return np.asarray((first_pk * second_pk) @ cross_k - (first_pk**2 + second_pk**2) @ square_k + constant)

    def matrix(self, one_nd: ArrayLike, other_md: ArrayLike) -> Floats:
        """Of every face with every other: [n, m].

        Raises:
            BadData: as `pairs`.
        """
        one_nk, other_mk = self._in_basis(one_nd), self._in_basis(other_md)
        cross_k, square_k, constant = self._form()
        own, others = one_nk**2 @ square_k, other_mk**2 @ square_k
        return np.asarray((one_nk * cross_k) @ other_mk.T - own[:, None] - others + constant)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        learned = {"mean": self.mean.tolist(), "basis": self.basis.tolist(), "between": self.between.tolist()}
        return {"kind": "discriminant"} | learned

    def _in_basis(self, vectors_nd: ArrayLike) -> Floats:
        vectors = _unit(finite(vectors_nd))
        if vectors.shape[1] != len(self.mean):
            raise BadData(
                f"vectors of {vectors.shape[1]} numbers, the similarity learned from {len(self.mean)}: "
                "they are of another model."
            )
        return np.asarray((vectors - self.mean) @ self.basis)

    def _form(self) -> tuple[Floats, Floats, float]:
        b = self.between
        return b / (1 + 2 * b), b**2 / (2 * (1 + b) * (1 + 2 * b)), float((np.log1p(b) - np.log1p(2 * b) / 2).sum())


def similarity_from(saved: dict[str, Any]) -> Similarity:
    """The similarity that `to_dict` told.

    Raises:
        UnknownName: of a kind that is not known.
        BadCheckpoint: something is missing.

    >>> similarity_from({"kind": "cosine"})
    Cosine()
    """
    kinds = ("cosine", "chi-square", "discriminant")
    if saved.get("kind") not in kinds:
        raise UnknownName("similarity", saved.get("kind"), kinds)
    if saved["kind"] == "cosine":
        return Cosine()
    try:
        if saved["kind"] == "discriminant":
            return Discriminant(*(np.asarray(saved[name], np.float64) for name in ("mean", "basis", "between")))
        largest, weights = (
            None if saved[name] is None else np.asarray(saved[name], np.float64) for name in ("largest", "weights")
        )
        return ChiSquare(bool(saved["halves"]), float(saved["penalty"]), largest, weights, float(saved["offset"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"a saved {saved['kind']} similarity is not whole: {error}.") from error


def _unit(vectors_nd: Floats) -> Floats:
    return np.asarray(vectors_nd / np.maximum(np.linalg.norm(vectors_nd, axis=1, keepdims=True), SMALL))
