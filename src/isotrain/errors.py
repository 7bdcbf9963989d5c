"""What can go wrong, by name. Every message names the thing, its value and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class IsotrainError(Exception):
    """Base of every error that is the user's to mend. On the command line: one line and exit code 2."""


class UnknownName(IsotrainError, ValueError):
    """A name that is not in the table it was looked up in."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = list(known)
        near = get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"{kind} {name!r} is not known.{hint} Known: {', '.join(known)}.")


class BadOption(IsotrainError, ValueError):
    """An option whose value is outside its range."""


class UnsupportedLayer(IsotrainError):
    """A parameter that belongs to no layer isotrain can observe."""


class UnsupportedOperation(IsotrainError):
    """An operation that a metric cannot be carried through."""


class NotObserved(IsotrainError):
    """A layer received a gradient but gave no statistics."""


class NoBackward(IsotrainError):
    """`step()` was called and no parameter has a gradient, or no forward pass of the model was seen."""


class NotFinite(IsotrainError, ArithmeticError):
    """A loss, a gradient, an activity or a metric is infinite or not a number."""


class LikelihoodMismatch(IsotrainError, ValueError):
    """The model's output is not what the likelihood describes."""


class WrongReduction(IsotrainError, ValueError):
    """The loss was summed where the likelihood declares a mean."""


class DegenerateMetric(IsotrainError, ArithmeticError):
    """A metric that cannot be formed: a single sample has no spread."""


class BadCheckpoint(IsotrainError, ValueError):
    """A saved state that belongs to another optimizer, version or composition."""


# --- the laboratory: audit, compare and the command line -------------------------------------------------------


class NotDeterministic(IsotrainError):
    """The same run, repeated, gives another curve: a comparison would measure chance."""


class CannotRewrite(IsotrainError):
    """A change of variables that this model cannot absorb exactly."""


class BadBuild(IsotrainError):
    """The user's `build` is missing, fails, or does not return a model."""


class BadData(IsotrainError):
    """Batches that are missing, empty, unreadable or of the wrong kind."""


class MissingExtra(IsotrainError):
    """An optional package that a chosen option needs."""
