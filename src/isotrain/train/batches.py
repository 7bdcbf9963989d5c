"""Which samples a step learns from, and what is varied in them: all of it hangs on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from isotrain.data.shelf import Shelf
from isotrain.tasks.base import Batch, Task

ORDER, VARY, NET = 0, 1, 2
"""What a stream of random numbers is for."""


def key_of(*key: int) -> int:
    """One number out of several, for a generator."""
    return hash(key) & 0x7FFFFFFFFFFF


def stream(*key: int) -> torch.Generator:
    """Random numbers that hang on `key` alone.

    >>> torch.rand(1, generator=stream(0, 1)).item() == torch.rand(1, generator=stream(0, 1)).item()
    True
    """
    return torch.Generator().manual_seed(key_of(*key))


@dataclass(frozen=True)
class Batches:
    """The batches of a run, by the number of the step.

    Attributes:
        task: makes them.
        shelf: of the training samples.
        size: samples in each; a rest at the end of an epoch that does not fill one waits for another epoch.
        seed: draws their order, and what is varied.
    """

    task: Task
    shelf: Shelf[Any]
    size: int
    seed: int
    _order: dict[int, list[int]] = field(default_factory=dict, repr=False)
    """Of the epoch that was asked for last."""

    @property
    def epoch(self) -> int:
        """Steps in one epoch."""
        return max(1, len(self.shelf) // self.size)

    def places(self, step: int) -> list[int]:
        """Which samples a step learns from."""
        epoch, turn = divmod(step, self.epoch)
        if epoch not in self._order:
            self._order.clear()
            self._order[epoch] = self.task.order(self.shelf.samples, stream(self.seed, ORDER, epoch), self.size)
        return self._order[epoch][turn * self.size : (turn + 1) * self.size]

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step."""
        return self.task.batch(self.shelf.take(self.places(step)), stream(self.seed, VARY, step))

    def ahead(self, first: int, last: int) -> Iterator[Batch]:
        """The batches from `first` up to `last`, each made while the one before is in use."""
        # One thread for the small operations of a batch: more would spin beside those of the step.
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            following = pool.submit(self.__getitem__, first)
            following.result()
            torch.set_num_threads(threads)  # for threads to come; the one that makes batches keeps its own
            for step in range(first, last):
                batch = following.result()
                if step + 1 < last:
                    following = pool.submit(self.__getitem__, step + 1)
                yield batch
