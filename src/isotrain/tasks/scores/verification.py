"""One person or two? Scores of similarities of p pairs. A pair is accepted if its similarity is at least the threshold.

FAR, the false accept rate, is the share of pairs of two people that are accepted; TAR, the true accept rate, that of
pairs of one person.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadData
from isotrain.tasks.scores.intervals import Rate, Z, resampled

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Roc(NamedTuple):
    """The exact receiver operating characteristic: a point for each similarity that occurs.

    Attributes:
        thresholds: falling, the first above all similarities, [t + 1].
        far: rising from 0 to 1, [t + 1].
        tar: rising from 0 to 1, [t + 1].
    """

    thresholds: Floats
    far: Floats
    tar: Floats


class Operating(NamedTuple):
    """What a threshold that lets in at most a share of strangers does.

    Attributes:
        threshold: the lowest that keeps to it.
        far: of these pairs at it.
        tar: at it, with its 95 % interval.
    """

    threshold: float
    far: float
    tar: Rate


def checked(similarities_p: ArrayLike, same_p: ArrayLike, both: bool = True) -> tuple[Floats, Bools]:
    """Similarities and answers of p pairs as arrays.

    Raises:
        BadData: they differ in number, there is none, a similarity is not finite, or (with `both`) one of the two
            kinds of pairs is missing.
    """
    similarities, same = np.asarray(similarities_p, np.float64), np.asarray(same_p)
    if similarities.ndim != 1 or similarities.shape != same.shape or not similarities.size:
        raise BadData(f"similarities {similarities.shape} and answers {same.shape} are not those of the same pairs.")
    if not np.isfinite(similarities).all():
        place = int(np.flatnonzero(~np.isfinite(similarities))[0])
        raise BadData(f"the similarity of pair {place} is {similarities[place]}: a vector is broken.")
    same = same.astype(bool)
    if both and (same.all() or not same.any()):
        kind = "two people" if same.all() else "one person"
        raise BadData(f"none of the {len(same)} pairs is of {kind}: both kinds are needed to score.")
    return similarities, same


def accuracy_at(similarities_p: ArrayLike, same_p: ArrayLike, threshold: float) -> float:
    """Share of pairs that are answered right.

    Raises:
        BadData: see `checked`; one kind of pairs is enough.

    >>> accuracy_at([0.9, 0.5, 0.1], [True, False, False], 0.5)
    0.6666666666666666
    """
    similarities, same = checked(similarities_p, same_p, both=False)
    return float(((similarities >= threshold) == same).mean())


def best_threshold(similarities_p: ArrayLike, same_p: ArrayLike) -> tuple[float, float]:
    """The threshold with the highest accuracy on these pairs, and that accuracy.

    It lies half way between two similarities; of equally good ones the middle one is taken.

    Raises:
        BadData: see `checked`; one kind of pairs is enough.

    >>> best_threshold([0.9, 0.7, 0.3], [True, True, False])
    (0.5, 1.0)
    """
    similarities, same = checked(similarities_p, same_p, both=False)
    values, accepted_same, accepted_other = _counts(similarities, same)
    right = accepted_same + (~same).sum() - accepted_other
    best = np.flatnonzero(right == right.max())
    place = int(best[len(best) // 2])
    return _between(values, place), float(right[place] / len(same))


def roc(similarities_p: ArrayLike, same_p: ArrayLike) -> Roc:
    """The exact curve, equal similarities together.

    Raises:
        BadData: see `checked`.

    >>> roc([0.9, 0.5, 0.5], [True, True, False]).tar.tolist()
    [0.0, 0.5, 1.0]
    """
    similarities, same = checked(similarities_p, same_p)
    values, accepted_same, accepted_other = _counts(similarities, same)
    thresholds = np.concatenate([[np.nextafter(values[0], np.inf)], values])
    return Roc(thresholds, accepted_other / (~same).sum(), accepted_same / same.sum())


def auc(curve: Roc) -> float:
    """Area under the curve: how often a pair of one person is more alike than a pair of two; equal ones count half.

    >>> auc(roc([0.9, 0.5, 0.5, 0.1], [True, True, False, False]))
    0.875
    """
    return float((np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1])).sum() / 2)


def auc_interval(similarities_p: ArrayLike, same_p: ArrayLike) -> Rate:
    """The area with its 95 % interval by the variance of its structural components, O(p log p).

    Where no pair is out of order that variance is 0, and the interval says nothing.

    Raises:
        BadData: see `checked`.

    Source: DeLong et al. 1988, "Comparing the areas under two or more correlated receiver operating characteristic
    curves"; by ranks as in Sun & Xu 2014, "Fast implementation of DeLong's algorithm".
    """
    from scipy.stats import rankdata

    similarities, same = checked(similarities_p, same_p)
    yes, no = similarities[same], similarities[~same]
    ranks, m, n = rankdata(similarities), len(yes), len(no)
    above_yes = (ranks[same] - rankdata(yes)) / n  # share of the others each lies above
    below_no = 1 - (ranks[~same] - rankdata(no)) / m
    area = float(above_yes.mean())
    variance = (above_yes.var(ddof=1) / m if m > 1 else 0.0) + (below_no.var(ddof=1) / n if n > 1 else 0.0)
    half = Z * float(np.sqrt(variance))
    return Rate(area, max(0.0, area - half), min(1.0, area + half))


def equal_error(curve: Roc) -> float:
    """The error rate where FAR and 1 - TAR are equal, on the straight lines between the curve's points.

    >>> equal_error(roc([0.9, 0.4, 0.6, 0.1], [True, True, False, False]))
    0.5
    """
    gap = curve.far - (1 - curve.tar)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def equal_error_interval(similarities_p: ArrayLike, same_p: ArrayLike, times: int = 200, seed: int = 0) -> Rate:
    """The equal error rate with the 95 % interval of the bootstrap.

    Raises:
        BadData: see `checked`.
    """
    similarities, same = checked(similarities_p, same_p)
    return resampled(lambda some, answers: equal_error(roc(some, answers)), similarities, same, times, seed)


def tar_at_far(
    similarities_p: ArrayLike, same_p: ArrayLike, far: float, times: int = 200, seed: int = 0
) -> Operating | None:
    """True accepts where at most a share `far` of strangers is let in.

    None where there are fewer than 1 / far pairs of two people: they cannot tell so small a share. With not many more,
    the interval says how little is known.

    Args:
        similarities_p: [p].
        same_p: [p].
        far: in (0, 1).
        times: the bootstrap is drawn; 0 for no interval (it is then the value itself).
        seed: of the bootstrap.

    Raises:
        BadData: see `checked`.

    >>> tar_at_far([0.9, 0.6, 0.5, 0.1], [True, True, False, False], 0.5).threshold
    0.5
    >>> tar_at_far([0.9, 0.6, 0.5, 0.1], [True, True, False, False], 0.1) is None
    True
    """
    similarities, same = checked(similarities_p, same_p)
    if round((~same).sum() * far, 9) < 1:
        return None
    curve = roc(similarities, same)
    place = _last_within(curve, far)

    def tar(some: Floats, answers: Bools) -> float:
        again = roc(some, answers)
        return float(again.tar[_last_within(again, far)])

    value = float(curve.tar[place])
    rate = resampled(tar, similarities, same, times, seed) if times else Rate(value, value, value)
    return Operating(float(curve.thresholds[place]), float(curve.far[place]), rate)


def _counts(similarities: Floats, same: Bools) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct similarities, falling, [t]; pairs of one person and of two at or above none, one, ..., all of them."""
    order = np.argsort(-similarities, kind="stable")
    values, answers = similarities[order], same[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    hits = np.cumsum(answers)[last]
    return values[last], np.append(0, hits), np.append(0, last + 1 - hits)


def _between(values: Floats, accepted: int) -> float:
    """A threshold that accepts just the first so many of the falling values."""
    if accepted == 0:
        return float(np.nextafter(values[0], np.inf))
    if accepted == len(values):
        return float(values[-1])
    lower, upper = values[accepted], values[accepted - 1]
    middle = lower + (upper - lower) / 2
    return float(middle if middle > lower else upper)


def _last_within(curve: Roc, far: float) -> int:
    return int(np.searchsorted(curve.far, far * (1 + 1e-12), side="right")) - 1
