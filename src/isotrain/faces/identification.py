"""Identification from vectors of known people: some are enrolled, the others are strangers who come by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from isotrain.errors import BadData, BadOption
from isotrain.faces.similarity import Cosine, Similarity, finite
from isotrain.tasks.scores.identification import OpenSet, open_set, rank_k, ranked
from isotrain.tasks.scores.intervals import Rate


@dataclass(frozen=True)
class Identification:
    """What came out.

    Attributes:
        people: enrolled.
        pictures: enrolled.
        known: probes of them.
        strangers: probes of others.
        rank: share of the known probes whose person is among the k most similar, by k.
        dir: detection and identification rate by the share of strangers taken for somebody; None where there are too
            few strangers to say.
    """

    people: int
    pictures: int
    known: int
    strangers: int
    rank: dict[int, Rate]
    dir: dict[float, OpenSet | None]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "people": self.people,
            "pictures": self.pictures,
            "known probes": self.known,
            "strangers": self.strangers,
            "rank": {str(k): rate._asdict() for k, rate in self.rank.items()},
            "dir at far": {
                f"{far:g}": None if one is None else {"threshold": one.threshold, "far": one.far} | one.rate._asdict()
                for far, one in self.dir.items()
            },
        }


def identify(
    vectors_nd: ArrayLike,
    people_n: ArrayLike,
    similarity: Similarity | None = None,
    enrolled: float = 0.5,
    each: int = 1,
    seed: int = 0,
    ks: tuple[int, ...] = (1, 5, 10),
    fars: tuple[float, ...] = (1e-1, 1e-2, 1e-3),
) -> Identification:
    """Enroll some pictures of some people, and ask who is on all the other pictures.

    Enrolled are people with more than `each` pictures, a share of them at random, with `each` pictures at random; their
    other pictures are the known probes, all pictures of everybody else are strangers'.

    Args:
        vectors_nd: [n, D].
        people_n: number of each vector's person, [n].
        similarity: cosine if left out; it must not have learned from these people.
        enrolled: share of the people with enough pictures, in (0, 1].
        each: pictures enrolled of a person.
        seed: of the choice.
        ks: ranks to report.
        fars: shares of strangers to report.

    Raises:
        BadOption: an option is outside its range.
        BadData: nobody has enough pictures, or the sizes do not fit.
    """
    vectors, people = finite(vectors_nd), np.asarray(people_n)
    if not 0 < enrolled <= 1 or each < 1:
        raise BadOption(f"enrolled {enrolled}, each {each}: a share in (0, 1], one picture or more.")
    if len(vectors) != len(people):
        raise BadData(f"{len(vectors)} vectors of {len(people)} people's pictures: one each is needed.")
    names, counts = np.unique(people, return_counts=True)
    able = names[counts > each]
    if not len(able):
        raise BadData(
            f"none of {len(names)} people has more than {each} picture{'s' * (each > 1)}: nobody can be known again."
        )
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(able)[: max(1, round(enrolled * len(able)))]
    order = rng.permutation(len(people))
    # The place of each picture among those of its person, in that order: the first `each` are enrolled.
    by_person = order[np.argsort(people[order], kind="stable")]
    starts = np.searchsorted(people[by_person], people[by_person])
    place = np.empty(len(people), np.int64)
    place[by_person] = np.arange(len(people)) - starts
    inside = np.isin(people, chosen) & (place < each)
    measure = similarity if similarity is not None else Cosine()
    found = ranked(
        measure.matrix(vectors[~inside], vectors[inside]),
        _numbers(people[~inside], names),
        _numbers(people[inside], names),
    )
    known = int((found.rank > 0).sum())
    return Identification(
        len(chosen),
        int(inside.sum()),
        known,
        len(found.rank) - known,
        rank_k(found, tuple(k for k in ks if k <= found.people)),
        {far: open_set(found, far) for far in fars},
    )


def _numbers(people: np.ndarray[Any, Any], names: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.searchsorted(names, people)
