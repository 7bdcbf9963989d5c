"""Consent: who agreed that a person's faces are kept, how, since when, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

from isotrain.errors import BadOption

Basis = Literal["given", "guardian", "household"]
"""The person agreed; a parent or guardian agreed; nobody was asked, the gallery serves a household only.

Source: Regulation (EU) 2016/679 (GDPR), articles 9(2)(a), 8 and 2(2)(c).
"""
BASES: tuple[Basis, ...] = get_args(Basis)


@dataclass(frozen=True)
class Consent:
    """One agreement. A person may have several; the one recorded last is the one that counts.

    Attributes:
        basis: on what ground the faces are kept.
        by: who agreed, by name.
        on: the day of the agreement.
        until: the last day on which the faces may be kept; without it, until they are asked to be forgotten.
        how: in free words: "signed form", "said so at the door".

    Raises:
        BadOption: an unknown basis, nobody named, or an end before the beginning.

    >>> Consent("given", by="Ada", on=date(2024, 1, 1), until=date(2025, 1, 1)).stands(date(2025, 1, 2))
    False
    """

    basis: Basis
    by: str
    on: date
    until: date | None = None
    how: str = ""

    def __post_init__(self) -> None:
        if self.basis not in BASES:
            raise BadOption(f"consent basis {self.basis!r} is not known: choose one of {', '.join(BASES)}.")
        if not self.by.strip():
            raise BadOption("a consent names who agreed: by=''. Give a name.")
        if self.until is not None and self.until < self.on:
            raise BadOption(f"a consent of {self.on} cannot end before it, on {self.until}: give a later `until`.")

    @classmethod
    def of(cls, name: str, basis: str, by: str | None = None, until: str | None = None, how: str = "") -> Consent:
        """Today's consent in the words in which somebody typed or sent it.

        Args:
            name: whose faces are kept.
            basis: one of `BASES`.
            by: who agreed; left out, the person; with "household" nobody was asked.
            until: a day, as 2027-12-31.
            how: in free words.

        Raises:
            BadOption: a basis that is none, a guardian without a name, or a day that is none.

        >>> Consent.of("Ada", "given").by
        'Ada'
        """
        try:
            end = None if until is None else date.fromisoformat(until)
        except ValueError as error:
            raise BadOption(f"until {until!r:.40} should be a day, as 2027-12-31.") from error
        who = by or {"household": "the household", "guardian": ""}.get(basis, name)
        if not who:
            raise BadOption(f"consent guardian: who agreed for {name!r:.80}? Name them (by).")
        return cls(basis, who, date.today(), end, how)  # type: ignore[arg-type]  # it refuses others

    def document(self) -> dict[str, str | None]:
        """As JSON can hold it."""
        until = None if self.until is None else self.until.isoformat()
        return {"basis": self.basis, "by": self.by, "on": self.on.isoformat(), "until": until, "how": self.how}

    def stands(self, today: date) -> bool:
        """Whether the faces may be kept on a day: the last day of the agreement counts."""
        return self.until is None or today <= self.until
