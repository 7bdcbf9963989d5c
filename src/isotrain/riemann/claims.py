"""Claims: the changes of variables under which training is exactly the same run.

"Same" means the same function after every finite step, from mapped initial weights, on the same
minibatches, with the same draws. docs/claims.md explains each change and why it is kept or broken.
"""

from __future__ import annotations

from enum import StrEnum


class Change(StrEnum):
    """A function-preserving change of variables.

    >>> Change("sigmoid").value
    'sigmoid'
    """

    INPUT_INVERSION = "input-inversion"
    """x becomes 1 - x."""
    INPUT_SCALE = "input-scale"
    """Each feature is rescaled."""
    INPUT_AFFINE = "input-affine"
    """Each feature is rescaled and shifted."""
    INPUT_MIXING = "input-mixing"
    """All features are mixed by an invertible matrix and shifted."""
    SIGMOID = "sigmoid"
    """Every tanh becomes a sigmoid: a rescaling and a shift of every hidden activity."""
    SCALED_TANH = "scaled-tanh"
    """Every tanh becomes 1.7159 tanh(2x/3): a rescaling of every hidden activity."""
    UNIT_SCALE = "unit-scale"
    """Each hidden unit is rescaled."""
    UNIT_PERMUTATION = "unit-permutation"
    """Hidden units change places."""


_SCALINGS = frozenset({Change.INPUT_SCALE, Change.SCALED_TANH, Change.UNIT_SCALE, Change.UNIT_PERMUTATION})
_AFFINE = _SCALINGS | {Change.INPUT_INVERSION, Change.INPUT_AFFINE, Change.SIGMOID}

# What each shape keeps without damping, and with the damping of blocks.py, which is relative to each
# input's own reach: it follows an input's rescaling and shift, not a mixing of inputs.
_KEPT: dict[str, frozenset[Change]] = {
    "diagonal": _SCALINGS,
    "quasi-diagonal": _AFFINE,
    "unitwise": _AFFINE | {Change.INPUT_MIXING},
    "polar": _AFFINE,
    "kronecker": _AFFINE | {Change.INPUT_MIXING},
    "kronecker-full": _AFFINE | {Change.INPUT_MIXING},
}
_NEEDS_NO_DAMPING = frozenset({Change.INPUT_MIXING})


def claims(shape: str, damping: float, plain: bool) -> frozenset[Change]:
    """The changes a composition keeps exactly, wherever the change can be written (docs/claims.md).

    The metric does not matter: every weight of the family is multiplied by a constant when a unit is
    recoded. The step length does not either: it is made of scalars of the function. Parameters that
    are trained by a plain rule keep nothing but the order of units.

    >>> sorted(change.value for change in claims("diagonal", 0.0, False))
    ['input-scale', 'scaled-tanh', 'unit-permutation', 'unit-scale']
    """
    if plain:
        return frozenset({Change.UNIT_PERMUTATION})
    kept = _KEPT[shape]
    return kept - _NEEDS_NO_DAMPING if damping else kept
