"""The desks of all users, and how a route gets at the one of who is signed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, cast

from fastapi import Depends, Request
from torch import Tensor

from isotrain.look import Looker, Sight
from isotrain.serve.people import Desk
from isotrain.serve.security import User, current_user


class Desks:
    """One desk a user, open as long as the server runs.

    Args:
        users: of the server.
        looker: the parts.
        passphrase: of the galleries, where they are encrypted.

    Raises:
        IsotrainError: a desk cannot be opened.
    """

    def __init__(self, users: Iterable[User], looker: Looker, passphrase: str | None) -> None:
        self._looker = looker
        self._desks: dict[str, Desk] = {}
        try:
            for user in users:
                self._desks[user.name] = Desk(user, looker, passphrase)
        except BaseException:
            self.close()
            raise

    def of(self, user: User) -> Desk:
        """A user's desk."""
        return self._desks[user.name]

    def look(self, pictures: Sequence[Tensor]) -> list[Sight]:
        """What is seen in pictures; nobody is named yet, as they may be of several users."""
        return self._looker.look(pictures)

    def catch_up(self) -> bool:
        """Do one thing that was left, of whoever has one; whether there was any."""
        return any(desk.catch_up(self.look) for desk in self._desks.values())

    def close(self) -> None:
        """End all connections."""
        for desk in self._desks.values():
            desk.close()


async def _desk(request: Request) -> Desk:
    return cast(Desks, request.app.state.desks).of(current_user(request))


Mine = Annotated[Desk, Depends(_desk)]
"""The desk of who is signed in, as a parameter of a route."""
