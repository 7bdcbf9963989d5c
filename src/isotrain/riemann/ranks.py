"""The processes that train one model together: what they reduce, packed flat, so that replicas stay equal.

A look asks the same questions of every layer. Each is a generator that yields what is to be reduced over the processes
and is sent the results; alone, they run one after another and get back what they asked for, and together they run in
step, so that all layers' numbers travel in one reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.distributed.tensor import DTensor

from isotrain.errors import IsotrainError

T = TypeVar("T")


@dataclass(frozen=True)
class Mean:
    """A mean over some rows here, to become the mean over the rows of all processes."""

    value: Tensor
    rows: int


@dataclass(frozen=True)
class Sum:
    """To be added up."""

    value: Tensor


@dataclass(frozen=True)
class Most:
    """To become the largest, entry by entry."""

    value: Tensor


Asked = Sequence[Mean | Sum | Most]
Question = Generator[Asked, list[Tensor], T]


class Ranks:
    """The processes that train one model together; alone, every method gives back its argument."""

    def __init__(self, model: nn.Module) -> None:
        while isinstance(model, OptimizedModule):
            model = model._orig_mod
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))  # nccl reduces nothing else
        self.group = model.process_group if isinstance(model, nn.parallel.DistributedDataParallel) else None
        cut = next((p for p in model.parameters() if isinstance(p, DTensor)), None)
        if cut is not None:
            self.group = cut.device_mesh.get_group()

    def adopt(self, wrapper: nn.parallel.DistributedDataParallel | None) -> None:
        """The model turned out to be called inside a wrapper that was put around it later."""
        if self.group is None and wrapper is not None:
            self.group = wrapper.process_group

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.group is None

    @property
    def rank(self) -> int:
        """This process's place."""
        return 0 if self.group is None else dist.get_rank(self.group)

    @property
    def world(self) -> int:
        """How many processes there are."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    def together(self, work: Callable[[], T]) -> T:
        """Do local work that may refuse its share of the batch: where one process does, all do, and none waits.

        Raises:
            IsotrainError: this process, or another, refused.
        """
        if self.group is None:
            return work()
        refusal: IsotrainError | None = None
        result: T | None = None
        try:
            result = work()
        except IsotrainError as error:
            refusal = error
        (refused,) = self.largest([torch.tensor(float(refusal is not None))])
        if refusal is not None:
            raise refusal
        if refused:
            raise IsotrainError(
                "another process refused its share of this batch: see its message. Nothing was changed."
            )
        return cast(T, result)

    def sums(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Each added up over the processes, in one reduction for each type of number."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def largest(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The largest over the processes, entry by entry, in one reduction for each type of number."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def mean(self, value: float) -> float:
        """Mean of a number over the processes."""
        return value if self.alone else float(self.sums([torch.tensor(value, dtype=torch.float64)])[0]) / self.world

    def lists(self, numbers: Sequence[int]) -> list[list[int]]:
        """What each process gave: as many whole numbers everywhere."""
        if self.group is None:
            return [list(numbers)]
        mine = torch.tensor(numbers, dtype=torch.int64, device=self.device)
        found = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(found, mine, group=self.group)
        return [one.tolist() for one in found]

    def rows(self, values: Sequence[Tensor], counts: Sequence[Sequence[int]]) -> list[Tensor]:
        """The rows of all processes, one process after another: `counts[r][v]` of each value, in one exchange."""
        if self.group is None:
            return list(values)
        found: list[Tensor | None] = [None] * len(values)
        for places in _kinds(values):
            most = [max(count[p] for count in counts) for p in places]
            padded = [
                torch.cat([values[p], values[p].new_zeros(n - len(values[p]), *values[p].shape[1:])]).reshape(-1)
                for p, n in zip(places, most, strict=True)
            ]
            mine = torch.cat(padded).to(self.device)
            parts = [torch.empty_like(mine) for _ in range(self.world)]
            dist.all_gather(parts, mine, group=self.group)
            sizes = [len(flat) for flat in padded]
            cut = [part.split(sizes) for part in parts]
            for turn, p in enumerate(places):
                shape = (most[turn], *values[p].shape[1:])
                pieces = [cut[r][turn].view(shape)[: counts[r][p]] for r in range(self.world)]
                found[p] = torch.cat(pieces).to(values[p].device)
        return cast(list[Tensor], found)

    def answers(self, questions: Sequence[Question[T]]) -> list[T]:
        """What each question comes to; together, all advance at once, and every process must ask the same ones."""
        if self.group is None:
            return [_alone(question) for question in questions]
        results: list[Any] = [None] * len(questions)
        sent: dict[int, list[Tensor] | None] = dict.fromkeys(range(len(questions)))
        while sent:
            asked: dict[int, Asked] = {}
            for place, answer in sent.items():
                try:
                    asked[place] = questions[place].send(answer)  # type: ignore[arg-type]
                except StopIteration as end:
                    results[place] = end.value
            sent = dict(zip(asked, self._all(list(asked.values())), strict=True))
        return results

    def _all(self, asked: list[Asked]) -> list[list[Tensor] | None]:
        sums: list[Tensor] = []
        most: list[Tensor] = []
        for one in (one for every in asked for one in every):
            if isinstance(one, Most):
                most.append(one.value)
            elif isinstance(one, Sum):
                sums.append(one.value)
            else:
                sums += [one.value * one.rows, one.value.new_tensor([float(one.rows)])]
        added, largest = iter(self.sums(sums)), iter(self.largest(most))
        found: list[list[Tensor] | None] = []
        for every in asked:
            answer = []
            for one in every:
                value = next(largest if isinstance(one, Most) else added)
                answer.append(value / next(added).clamp_min(1) if isinstance(one, Mean) else value)
            found.append(answer)
        return found

    def _reduced(self, values: Sequence[Tensor], how: Any) -> list[Tensor]:
        if self.group is None:
            return list(values)
        found: list[Tensor | None] = [None] * len(values)
        for places in _kinds(values):
            flat = torch.cat([values[p].reshape(-1) for p in places]).to(self.device)
            if len(flat):
                dist.all_reduce(flat, how, group=self.group)
            sizes = [values[p].numel() for p in places]
            for p, part in zip(places, flat.split(sizes), strict=True):
                found[p] = part.view(values[p].shape).to(values[p].device)
        return cast(list[Tensor], found)


def _kinds(values: Sequence[Tensor]) -> list[list[int]]:
    """Which tensors are of one type."""
    kinds: dict[torch.dtype, list[int]] = {}
    for place, value in enumerate(values):
        kinds.setdefault(value.dtype, []).append(place)
    return list(kinds.values())


def _alone(question: Question[T]) -> T:
    try:
        asked = next(question)
        while True:
            asked = question.send([one.value for one in asked])
    except StopIteration as end:
        return cast(T, end.value)
