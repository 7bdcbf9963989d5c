"""How well clusters are people: B-cubed precision and recall. Letters: n things."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadData


class BCubed(NamedTuple):
    """Means over all things.

    Attributes:
        precision: share of a thing's cluster that is of its own person.
        recall: share of a thing's person that is in its own cluster.
        f: their harmonic mean.
    """

    precision: float
    recall: float
    f: float


def b_cubed(cluster_n: ArrayLike, person_n: ArrayLike) -> BCubed:
    """B-cubed scores of clusters; a thing in cluster -1 is alone in a cluster of its own.

    Raises:
        BadData: the sizes do not fit, or there is nothing.

    Source: Bagga & Baldwin 1998, "Entity-based cross-document coreferencing using the vector space model"; Amigo et al.
    2009, "A comparison of extrinsic clustering evaluation metrics".

    >>> b_cubed([0, 0, 1, 1], ["a", "a", "a", "a"])
    BCubed(precision=1.0, recall=0.5, f=0.6666666666666666)
    """
    clusters, people = np.asarray(cluster_n, np.int64), np.unique(np.asarray(person_n), return_inverse=True)[1]
    if clusters.shape != people.shape or clusters.ndim != 1 or not len(clusters):
        raise BadData(f"clusters {clusters.shape} and people {people.shape} are not those of the same things.")
    alone = clusters < 0
    clusters = np.where(alone, clusters.max() + 1 + np.arange(len(clusters)), clusters)
    shared = _sizes(np.unique(clusters, return_inverse=True)[1] * (people.max() + 1) + people)
    precision = float((shared / _sizes(clusters)).mean())
    recall = float((shared / _sizes(people)).mean())
    return BCubed(precision, recall, 2 * precision * recall / (precision + recall))


def _sizes(group_n: NDArray[np.int64]) -> NDArray[np.int64]:
    """The size of each thing's group."""
    _, place, count = np.unique(group_n, return_inverse=True, return_counts=True)
    return np.asarray(count[place])
