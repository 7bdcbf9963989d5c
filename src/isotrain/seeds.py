"""What random numbers may begin with."""

from __future__ import annotations

from isotrain.errors import BadOption

MOST = 2**64 - 1
"""The greatest that torch's generators take."""


def checked_seed(seed: int, name: str = "seed=") -> int:
    """The seed, if a generator can begin with it.

    Args:
        seed: a whole number.
        name: what a message calls it.

    Raises:
        BadOption: it cannot.

    >>> checked_seed(7)
    7
    """
    if not 0 <= seed <= MOST:
        raise BadOption(f"{name}{seed} should be 0 to {MOST:,}.")
    return seed
