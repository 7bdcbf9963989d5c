"""Pace: how boldly to step, learned from whether each step should have been longer.

The next minibatch's gradient, along the step just made, tells: while it still points downhill a longer step would
have gained more; where it points back the step went past what minibatches agree on. Its average over steps, relative
to its average size, moves a factor of the divergence the step may cause. Noise turns the sign once there is nothing
left to gain at that length, so a run slows down by itself, as under a schedule.

A gradient along a displacement is a number of the function alone, the same in all coordinates. Source: stochastic
meta-descent goes back to Schraudolph 1999; Baydin et al. 2018 (hypergradient descent).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MEMORY = 0.9
"""What the averages keep at a step."""
RATE = 0.05
"""Largest change of the factor at a step, in its logarithm."""
SLOWEST, FASTEST = 1 / 16, 16.0
"""Between these the factor stays."""


@dataclass(frozen=True)
class Pace:
    """A factor of the divergence a step may cause, and what moves it.

    Attributes:
        factor: the factor.
        mean: moving average of the gains.
        size: moving average of their absolute values.

    >>> pace = Pace()
    >>> for _ in range(20):
    ...     pace = pace.after(0.3)
    >>> round(pace.factor, 3), pace.after(-0.3).factor < pace.factor * 1.05
    (2.718, True)
    """

    factor: float = 1.0
    mean: float = 0.0
    size: float = 0.0

    def after(self, gain: float, steady: bool = False) -> Pace:
        """Once it is known how much further the loss would have fallen along the last step (0: nothing is known)."""
        if not gain:
            return self
        mean = MEMORY * self.mean + (1 - MEMORY) * gain
        size = MEMORY * self.size + (1 - MEMORY) * abs(gain)
        if steady or not size > 0:
            return Pace(self.factor, mean, size)
        return Pace(min(FASTEST, max(SLOWEST, self.factor * math.exp(RATE * mean / size))), mean, size)
