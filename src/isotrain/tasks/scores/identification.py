"""Who is it? Scores of similarities between q probes and g pictures of a gallery.

A person is as similar to a probe as the most similar of its pictures. Known probes are of people in the gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadData
from isotrain.tasks.scores.intervals import Rate, wilson


class Ranked(NamedTuple):
    """Where each probe's own person stands among the people of the gallery.

    Attributes:
        rank: of the own person, 1 for the most similar; 0 where it is not in the gallery, [q].
        best: similarity of the most similar person, [q].
        people: in the gallery.
    """

    rank: NDArray[np.int64]
    best: NDArray[np.float64]
    people: int


class OpenSet(NamedTuple):
    """Detection and identification where at most a share of unknown probes is taken for somebody.

    Attributes:
        threshold: the lowest that keeps to it.
        far: share of the unknown probes that are taken for somebody at it.
        rate: share of the known probes that are accepted and given their own name, with its 95 % interval.
    """

    threshold: float
    far: float
    rate: Rate


def ranked(similarities_qg: ArrayLike, probe_q: ArrayLike, gallery_g: ArrayLike) -> Ranked:
    """Rank the people of a gallery for each probe. Somebody who is equally similar stands before the own person.

    Args:
        similarities_qg: [q, g].
        probe_q: number of the person of each probe, [q].
        gallery_g: number of the person of each picture, [g].

    Raises:
        BadData: the sizes do not fit, there is no picture, or a similarity is not finite.

    >>> ranked([[0.9, 0.2, 0.5], [0.1, 0.3, 0.4]], [7, 7], [7, 8, 8]).rank.tolist()
    [1, 2]
    """
    similarities = np.asarray(similarities_qg, np.float64)
    probe, gallery = np.asarray(probe_q, np.int64), np.asarray(gallery_g, np.int64)
    if similarities.shape != (len(probe), len(gallery)) or not len(gallery):
        raise BadData(f"similarities {similarities.shape} are not of {len(probe)} probes and {len(gallery)} pictures.")
    if not np.isfinite(similarities).all():
        raise BadData(f"similarities of {(~np.isfinite(similarities)).sum()} pairs are not finite: a vector is broken.")
    people, place_g = np.unique(gallery, return_inverse=True)
    order = np.argsort(place_g, kind="stable")
    starts = np.searchsorted(place_g[order], np.arange(len(people)))
    of_people = np.maximum.reduceat(similarities[:, order], starts, axis=1)  # [q, people]
    own = np.searchsorted(people, probe).clip(max=len(people) - 1)
    known = people[own] == probe
    mine = np.take_along_axis(of_people, own[:, None], 1)
    rank = np.where(known, (of_people >= mine).sum(1), 0)
    return Ranked(rank, of_people.max(1), len(people))


def rank_k(found: Ranked, ks: Sequence[int] = (1, 5, 10)) -> dict[int, Rate]:
    """Share of the known probes whose own person is among the k most similar, with Wilson's interval.

    Raises:
        BadData: no probe is known.

    >>> rank_k(ranked([[0.9, 0.2], [0.1, 0.3]], [7, 7], [7, 8]), (1, 2))[1].value
    0.5
    """
    rank = found.rank[found.rank > 0]
    if not len(rank):
        raise BadData(f"none of the {len(found.rank)} probes is of a person in the gallery.")
    return {k: wilson(int((rank <= k).sum()), len(rank)) for k in ks}


def open_set(found: Ranked, far: float) -> OpenSet | None:
    """Detection and identification rate at a false alarm rate; None with fewer than 1 / far unknown probes.

    Raises:
        BadData: no probe is known.

    Source: Phillips et al. 2011, "Evaluation methods in face recognition" (Handbook of Face Recognition, chapter 21).

    >>> seen = ranked([[0.9, 0.2], [0.1, 0.3], [0.4, 0.1]], [7, 8, 9], [7, 8])
    >>> open_set(seen, 0.5) is None, open_set(seen, 1.0).rate.value
    (True, 1.0)
    """
    known = found.rank > 0
    if not known.any():
        raise BadData(f"none of the {len(found.rank)} probes is of a person in the gallery.")
    alarms = np.sort(found.best[~known])[::-1]
    allowed = int(np.floor(round(len(alarms) * far, 9)))
    if allowed < 1:
        return None
    right = found.rank == 1
    candidates = found.best[known & right]
    # Above the first alarm too many; with every alarm allowed, nobody need be refused.
    floor = float(alarms[allowed]) if allowed < len(alarms) else -np.inf
    above = found.best[found.best > floor]
    threshold = float(above.min()) if len(above) else float(np.nextafter(floor, np.inf))
    hits = int((candidates >= threshold).sum())
    return OpenSet(threshold, float((alarms >= threshold).mean()), wilson(hits, int(known.sum())))
