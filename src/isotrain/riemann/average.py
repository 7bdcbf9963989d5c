"""When to look, and how much a new look counts."""

from __future__ import annotations

EAGER_STEPS = 20
"""At the start the metric changes fast: the first steps each take a look."""


def due(step: int, refresh: int) -> bool:
    """Whether the step of that number (from 0) refreshes the metric.

    >>> [due(step, 10) for step in (0, 19, 20, 21, 30)]
    [True, True, True, False, True]
    """
    return step < EAGER_STEPS or step % refresh == 0


def share_of_new(looks: int, decay: float) -> float:
    """The weight of a new look after `looks` earlier ones: the first is taken whole, then a running mean.

    >>> [share_of_new(looks, 0.75) for looks in (0, 1, 2, 9)]
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """
    return max(1.0 / (looks + 1), 1.0 - decay)
