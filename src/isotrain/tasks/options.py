"""Options of a task as a table: what each may be, checked in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isotrain.errors import BadOption, UnknownName


class Allowed(ABC):
    """What an option may be."""

    @abstractmethod
    def checked(self, name: str, value: Any) -> Any:
        """The value, if it may be that.

        Raises:
            BadOption: it may not.
        """


class Choice(Allowed):
    """One of several values.

    >>> Choice("a", "b").checked("letter", "b")
    'b'
    """

    def __init__(self, *values: Any) -> None:
        self.values = values

    def checked(self, name: str, value: Any) -> Any:
        """The value, if it is one of them.

        Raises:
            BadOption: it is not.
        """
        if not any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.values):
            raise BadOption(f"{name}={value!r} is none of {', '.join(map(str, self.values))}.")
        return value


@dataclass(frozen=True)
class Range(Allowed):
    """A number between two others, both included.

    >>> Range(1, 9, whole=True).checked("layers", 2)
    2
    """

    least: float
    most: float
    whole: bool = False

    def checked(self, name: str, value: Any) -> Any:
        """The value, if it is a number within the range.

        Raises:
            BadOption: it is not.
        """
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.least <= value <= self.most or (self.whole and value != int(value)):
            what = "a whole number" if self.whole else "a number"
            raise BadOption(f"{name}={value!r} should be {what} from {self.least:g} to {self.most:g}.")
        return int(value) if self.whole else float(value)


class Text(Allowed):
    """A name or a path."""

    def checked(self, name: str, value: Any) -> str:
        """The value, if it is a word.

        Raises:
            BadOption: it is not.
        """
        if not isinstance(value, str) or not value:
            raise BadOption(f"{name}={value!r} should be a name or a path.")
        return value


def settled(
    task: str, known: Mapping[str, Allowed], usual: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The usual values with those that were chosen instead.

    Args:
        task: its name, for messages.
        known: what each option may be.
        usual: a value for each of them; what the task does not know of them is kept as it is.
        options: chosen.

    Raises:
        UnknownName: an option is not known.
        BadOption: a value is outside its range.

    >>> settled("characters", {"layers": Range(1, 9, whole=True)}, {"layers": 1}, {"layers": 2})
    {'layers': 2}
    """
    for name in options:
        if name not in known:
            raise UnknownName(f"option of {task}", name, known)
    return {**usual, **{name: known[name].checked(name, value) for name, value in options.items()}}
