"""Statistics over the processes of a distributed training: reduced once a refresh, so that replicas stay equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from isotrain.errors import IsotrainError

T = TypeVar("T")


class Ranks:
    """The processes that train one model together; alone, every method returns its argument."""

    def __init__(self, model: nn.Module) -> None:
        while isinstance(model, OptimizedModule):
            model = model._orig_mod
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))  # nccl reduces nothing else
        self.group = model.process_group if isinstance(model, nn.parallel.DistributedDataParallel) else None

    def adopt(self, wrapper: nn.parallel.DistributedDataParallel | None) -> None:
        """The model turned out to be called inside a wrapper that was put around it later."""
        if self.group is None and wrapper is not None:
            self.group = wrapper.process_group

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
        refused = self.largest(torch.tensor(float(refusal is not None), device=self.device))
        if refusal is not None:
            raise refusal
        if refused:
            raise IsotrainError(
                "another process refused its share of this batch: see its message. Nothing was changed."
            )
        return cast(T, result)

    def same(self, here: Tensor) -> Tensor:
        """Where all processes agree with the booleans given here."""
        number = here.to(self.device, torch.float32)
        return self.largest(number.clone()) == self.smallest(number.clone())

    @property
    def rank(self) -> int:
        """This process's place."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def average(self, value: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.group is None:
            return value
        dist.all_reduce(value, group=self.group)
        return value / dist.get_world_size(self.group)

    def largest(self, value: Tensor) -> Tensor:
        """Maximum over the processes."""
        if self.group is not None:
            dist.all_reduce(value, dist.ReduceOp.MAX, group=self.group)
        return value

    def smallest(self, value: Tensor) -> Tensor:
        """Minimum over the processes."""
        if self.group is not None:
            dist.all_reduce(value, dist.ReduceOp.MIN, group=self.group)
        return value

    def mean(self, value: float) -> float:
        """Mean of a number over the processes."""
        return (
            value
            if self.group is None
            else float(self.average(torch.tensor(value, dtype=torch.float64, device=self.device)))
        )
