"""What the shell is told when Tab is pressed: names and run folders. Nothing heavy is imported: Tab answers at once.

Where nothing is told, the shell completes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

from isotrain.tasks import TASKS

CARD = "card.json"
"""What makes a folder a run's (`isotrain.train.rundir`, which needs torch)."""
OPTIMIZERS = (
    "adagrad", "adam", "adamw", "diagonal-gauss-newton", "dmcnat", "dop", "kron", "momentum", "muon", "nadam",
    "prodigy", "qdbpm", "qdmcnat", "qdnat", "qdop", "riemannian", "rmsprop", "schedulefree", "sgd", "shampoo", "soap",
)  # fmt: skip
"""The names in `isotrain.train.optimizers`, which needs torch."""
MADE = ("classify", "localise", "detect", "masks", "finder", "faces", "caption", "characters", "translate")
"""Tasks whose data `isotrain data make` writes."""
SUITES = ("standard", "memory")
"""Of `compare`."""
MOST = 2000
"""Folders looked into, at most: Tab must not wait for a large disk."""


def tasks(incomplete: str) -> list[str]:
    """Names of tasks.

    >>> tasks("ca")
    ['caption']
    """
    return [name for name in TASKS if name.startswith(incomplete)]


def made(incomplete: str) -> list[str]:
    """Tasks that data can be made for."""
    return [name for name in MADE if name.startswith(incomplete)]


def suites(incomplete: str) -> list[str]:
    """Suites of `compare`."""
    return [name for name in SUITES if name.startswith(incomplete)]


def splits(incomplete: str) -> list[str]:
    """Parts of a run's data."""
    return [name for name in ("held-out", "test", "train") if name.startswith(incomplete)]


def formats(incomplete: str) -> list[str]:
    """What nets are exported to."""
    return [name for name in ("onnx",) if name.startswith(incomplete)]


def optimizers(incomplete: str) -> list[str]:
    """Names of optimizers, the last of several between commas.

    >>> optimizers("sgd,rie")
    ['sgd,riemannian']
    """
    before, comma, last = incomplete.rpartition(",")
    chosen = before.split(",")
    return [f"{before}{comma}{name}" for name in OPTIMIZERS if name.startswith(last) and name not in chosen]


def runs(incomplete: str) -> list[str]:
    """Run folders at or below the folder that is being typed."""
    home = os.path.dirname(incomplete)
    return sorted(place for place in islice(_folders(home), MOST) if place.startswith(incomplete) and _run(place))


def _run(place: str) -> bool:
    return os.path.isfile(os.path.join(place, CARD))


def _folders(home: str) -> Iterator[str]:
    """The folders in a folder and in these; hidden ones left out."""
    for place in _inside(home):
        yield place
        if not _run(place):
            yield from _inside(place)


def _inside(home: str) -> Iterator[str]:
    try:
        with os.scandir(home or ".") as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:  # what cannot be looked into cannot be completed, and the command will say why
        return
    yield from (os.path.join(home, name) for name in sorted(names))
