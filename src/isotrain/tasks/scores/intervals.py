"""How sure a measured figure is: standard error over folds, Wilson's interval of a share, resampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""


class Rate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, total: int, z: float = Z) -> Rate:
    """A share with Wilson's score interval, which is sound near 0 and 1 too.

    Raises:
        ValueError: none of none.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> wilson(0, 10).low, round(wilson(0, 10).high, 3)
    (0.0, 0.278)
    """
    if total <= 0 or not 0 <= hits <= total:
        raise ValueError(f"{hits} of {total} is no share.")
    share, weight = hits / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * float(np.sqrt(share * (1 - share) / total + weight / (4 * total)))
    return Rate(share, max(0.0, middle - half) if hits else 0.0, min(1.0, middle + half) if hits < total else 1.0)


def over_folds(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of the mean: the spread with n - 1, over the root of n, as LFW reports it.

    Raises:
        ValueError: fewer than two folds.

    Source: Huang et al. 2007, "Labeled Faces in the Wild" (estimated mean accuracy and its standard error).

    >>> mean, error = over_folds([0.8, 0.9])
    >>> round(mean, 3), round(error, 3)
    (0.85, 0.05)
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} fold has no spread: two or more are needed.")
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def resampled(
    statistic: Callable[[NDArray[np.float64], NDArray[np.bool_]], float],
    similarities_p: NDArray[np.float64],
    same_p: NDArray[np.bool_],
    times: int = 200,
    seed: int = 0,
) -> Rate:
    """A statistic of pairs with the 95 % interval of the percentile bootstrap, drawn within each of the two classes.

    Pairs that share a picture are not independent: the interval is then somewhat too narrow.

    Source: Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    rng = np.random.default_rng(seed)
    yes, no = similarities_p[same_p], similarities_p[~same_p]
    answer = np.concatenate([np.ones(len(yes), bool), np.zeros(len(no), bool)])
    drawn = [
        statistic(np.concatenate([rng.choice(yes, len(yes)), rng.choice(no, len(no))]), answer) for _ in range(times)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Rate(statistic(similarities_p, same_p), float(low), float(high))
