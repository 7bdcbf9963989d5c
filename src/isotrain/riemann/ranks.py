"""Statistics over the processes of a distributed training: reduced once a refresh, so that replicas stay equal."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Ranks:
    """The processes that train one model together; alone, every method returns its argument."""

    def __init__(self, model: nn.Module) -> None:
        self.group = model.process_group if isinstance(model, nn.parallel.DistributedDataParallel) else None

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
        return value if self.group is None else float(self.average(torch.tensor(value, dtype=torch.float64)))
