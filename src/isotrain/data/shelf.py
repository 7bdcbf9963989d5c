"""Samples read once and kept, as many as the memory set aside for them holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path  # noqa: F401 - of the example below
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.utils._pytree import tree_leaves

from isotrain.data.samples import Sample

T = TypeVar("T")
LIMIT = 4 << 30
"""Bytes of tensors kept by default; samples beyond are read again each time."""


class Shelf(Generic[T]):
    """Samples as `load` gives them, in the order they are asked for.

    Args:
        samples: to take from.
        load: reads one; called from several threads, and again for samples that found no room.
        limit: bytes of tensors to keep.
        threads: that read at a time.

    >>> shelf = Shelf([Sample(Path("a"), name="a"), Sample(Path("b"), name="b")], lambda sample: sample.name)
    >>> shelf.take([1, 0, 1])
    ['b', 'a', 'b']
    """

    def __init__(
        self, samples: Sequence[Sample], load: Callable[[Sample], T], limit: int = LIMIT, threads: int = 2
    ) -> None:
        self.samples = samples
        self.limit = limit
        self._load = load
        self._kept: dict[int, T] = {}
        self._bytes = 0
        self._threads = threads

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, places: Iterable[int]) -> list[T]:
        """The samples at these places.

        Raises:
            BadData: one cannot be read.
        """
        wanted = list(places)
        missing = list(dict.fromkeys(place for place in wanted if place not in self._kept))
        if len(missing) > 1 and self._threads > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                read = dict(zip(missing, pool.map(self._read, missing), strict=True))
        else:
            read = {place: self._read(place) for place in missing}
        for place, loaded in read.items():
            size = _bytes(loaded)
            if self._bytes + size <= self.limit:
                self._kept[place] = loaded
                self._bytes += size
        return [self._kept[place] if place in self._kept else read[place] for place in wanted]

    def _read(self, place: int) -> T:
        return self._load(self.samples[place])


def _bytes(loaded: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_leaves(loaded) if isinstance(t, Tensor))
