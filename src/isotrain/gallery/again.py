"""A server that was lost in the middle of something: what was lost with it is done again, from its start.

A transaction that was cut off has left nothing, so that a method which is one transaction may simply be called again.
Whether a transaction was cut off before or after its end, `Postgres` finds out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from isotrain.errors import BadData

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=type)
TIMES = 5
"""How often something is begun again: a server that goes down each time is not mended by more."""


class ServerGone(BadData):
    """The server of a gallery cannot be reached, or went away; nothing of what was being done is kept."""


class TransactionLost(ServerGone):
    """The server went away in the middle of a transaction, and nothing of it is kept: it may be done again."""


def again(work: Callable[P, T]) -> Callable[P, T]:
    """A function of one transaction, that begins again when the server was lost meanwhile.

    >>> left = [TransactionLost("gone"), None]
    >>> @again
    ... def write():
    ...     if (fault := left.pop(0)) is not None:
    ...         raise fault
    ...     return "written"
    >>> write()
    'written'
    """

    @functools.wraps(work)
    def patient(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(TIMES):
            try:
                return work(*args, **kwargs)
            except TransactionLost:
                continue
        return work(*args, **kwargs)

    return patient


def all_again(kind: C) -> C:
    """A class whose public methods begin again when the server was lost; but those that write files as well."""
    for name, method in list(vars(kind).items()):
        if inspect.isfunction(method) and not name.startswith("_") and not getattr(method, "once", False):
            setattr(kind, name, again(method))
    return kind


def once(method: Callable[P, T]) -> Callable[P, T]:
    """Mark a method that is not begun again: what it did besides is done."""
    marked: Any = method
    marked.once = True
    return method
