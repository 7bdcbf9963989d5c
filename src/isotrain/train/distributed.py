"""Training on several processes: each runs the net on its share of every batch, and the curve is that of one process.

Everything random in a step hangs on the seed and the step alone, so every process makes the same whole batch, and takes
its rows. The outputs, which are small, are gathered; every process computes the loss of all samples, whatever mean that
is, and sends back what belongs to its own. DistributedDataParallel adds the gradients up. Batch norms count over all
samples, a dropout draws for all samples and takes its rows. Process 0 leads: it alone scores, writes and speaks.

Started by torchrun (`torchrun --nproc_per_node 2 -m isotrain train ...`), or by `isotrain train --processes 2`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_flatten, tree_unflatten

from isotrain.errors import BadOption, IsotrainError, UnsupportedOperation
from isotrain.riemann.ranks import Ranks
from isotrain.riemann.record import part
from isotrain.riemann.sharednorm import group_of, normalised
from isotrain.train.norms import NORMED
from isotrain.train.rundir import RunFolder

SILENT = "ISOTRAIN_LOST_SILENTLY"
"""Set by who starts the processes and tells what became of them: survivors then say nothing."""
LOST = 70
"""Exit code of a process whose others are gone."""
_OPTIONS = signature(DistributedDataParallel.__init__).parameters
BUFFERS: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in _OPTIONS else "broadcast_buffers": False}
"""Norms are shared, so buffers are equal already: torch 2.15 has another name for it than those before."""
DROPPED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class Team:
    """The processes of a training, as one of them sees them; here there is one."""

    rank, size = 0, 1

    @property
    def lead(self) -> bool:
        """Whether this process scores, writes and speaks."""
        return self.rank == 0

    def folder(self, folder: RunFolder) -> RunFolder:
        """The run folder, which one process alone writes."""
        return folder

    def prepare(self, net: nn.Module, size: int) -> Callable[..., Any]:
        """Before the first step, when the net has its weights: what gives the outputs for a whole batch of `size`."""
        return net

    def agreed(self, *wishes: bool) -> list[bool]:
        """Which of the wishes any process has; with several, had before the last step."""
        return list(wishes)

    def told(self, work: Callable[[], float]) -> float:
        """A number that the lead finds out, known to all."""
        return work()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within, the end of another process is the end of this one, in words."""
        yield


ALONE = Team()


class Processes(Team):
    """Several processes, which torch.distributed has joined.

    Raises:
        UnsupportedOperation: they are not joined by gloo (the nets are trained on the processors).
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        if dist.get_backend() != "gloo":
            raise UnsupportedOperation(f"processes are joined by {dist.get_backend()}, `isotrain train` needs gloo.")
        self._wishes: list[bool] = [False] * 2
        self._agreed: list[bool] = [False] * 2
        self._apart = False

    def folder(self, folder: RunFolder) -> RunFolder:
        """One that the lead alone writes."""
        return folder if self.lead else Silent(folder.path)

    def prepare(self, net: nn.Module, size: int) -> Callable[..., Any]:
        """Wrap the net, share its norms and dropouts; what it gives is called with the whole batch.

        Raises:
            BadOption: the batch does not divide by the processes.
        """
        if size % self.size:
            raise BadOption(
                f"a batch of {size} samples cannot be shared evenly by {self.size} processes: give --batch "
                f"{max(1, size // self.size) * self.size}, or another number of processes."
            )
        self._each = size // self.size
        group = dist.group.WORLD
        for module in net.modules():
            if isinstance(module, NORMED):
                module.process_group = group  # type: ignore[assignment]
                object.__setattr__(module, "forward", partial(_norm, module, self))
            elif isinstance(module, DROPPED):
                object.__setattr__(module, "forward", partial(_drop, module, self))
        self._model = DistributedDataParallel(net, **BUFFERS)
        self._ranks = Ranks(self._model)
        return self.forward

    @property
    def part(self) -> tuple[int, int, int]:
        """The first of this process's samples in a whole batch, how many, of how many."""
        return self.rank * self._each, self._each, self.size * self._each

    def forward(self, *inputs: Tensor) -> Any:
        """The output for the whole batch, of which this process computes its share.

        Raises:
            UnsupportedOperation: the outputs of the shares do not fit together.
        """
        first, each, _ = self.part
        output = self._model(*(t[first : first + each] for t in inputs))
        leaves, tree = tree_flatten(output)
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        mine = [leaves[place] for place in places]
        kinds = [zlib.crc32(repr((t.shape[1:], t.dtype)).encode()) if t.ndim else 0 for t in mine]
        told = self._ranks.lists([*self._wishes, *kinds, *(len(t) if t.ndim else 0 for t in mine)])
        self._agreed = [any(one[place] for one in told) for place in range(2)]
        if 0 in kinds or len({tuple(one[2 : 2 + len(mine)]) for one in told}) > 1:
            raise UnsupportedOperation(
                f"the outputs of the net on this process's samples, {[list(t.shape) for t in mine]}, do not fit to "
                "those of the others: train this net on one process."
            )
        whole = _Gathered.apply(self._ranks, [one[2 + len(mine) :] for one in told], *mine)
        for place, tensor in zip(places, whole, strict=True):
            leaves[place] = tensor
        return tree_unflatten(leaves, tree)

    def agreed(self, *wishes: bool) -> list[bool]:
        """All hear of a wish with the next step, so that all heed it after the same one."""
        self._wishes = list(wishes)
        return self._agreed

    def told(self, work: Callable[[], float]) -> float:
        """The lead works, its norms for itself; the others wait."""
        number = torch.zeros(1, dtype=torch.float64)
        if self.lead:
            self._apart = True
            try:
                number += work()
            finally:
                self._apart = False
        dist.broadcast(number, 0)
        return float(number)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say it in one line when another process is gone.

        Raises:
            IsotrainError: one is.
            RuntimeError: something else went wrong.
            SystemExit: one is, and whoever started the processes tells of it.
        """
        try:
            yield
        except RuntimeError as error:
            if not _is_loss(error):
                raise
            if SILENT in os.environ:
                raise SystemExit(LOST) from None
            raise IsotrainError(
                f"process {self.rank} of {self.size}: another process of this training is gone, by its own error or "
                "killed. What was saved is untouched: go on with --resume."
            ) from error

    @property
    def shared(self) -> bool:
        """Whether norms count over all processes: not while the lead works alone."""
        return not self._apart


class Silent(RunFolder):
    """A run folder as the other processes see it: read, never written."""

    def write(self, name: str, content: bytes | str) -> Path:
        """Nothing."""
        return self.path / name


def joined() -> Team:
    """The team that the environment speaks of: torchrun's processes, or this one alone.

    >>> joined().size
    1
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return Team()
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return Processes()


class _Gathered(torch.autograd.Function):
    """The rows of all processes; back come this one's, as often as there are processes, whose mean DDP takes."""

    @staticmethod
    def forward(ctx: Any, ranks: Ranks, counts: Sequence[Sequence[int]], *mine: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # what the loss does not reach stays unreached
        ctx.world = ranks.world
        ctx.own = [
            (sum(one[place] for one in counts[: ranks.rank]), counts[ranks.rank][place]) for place in range(len(mine))
        ]
        whole = ranks.rows([t.contiguous() for t in mine], counts)
        ctx.mark_non_differentiable(*(t for t in whole if not t.is_floating_point()))
        return tuple(whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        found = [
            None if g is None else g[first : first + rows] * ctx.world
            for g, (first, rows) in zip(gradients, ctx.own, strict=True)
        ]
        return None, None, *found


def _norm(layer: Any, team: Processes, x: Tensor) -> Tensor:
    """A batch norm over the samples of all processes, where it is trained."""
    if not layer.training or not team.shared:
        group, layer.process_group = layer.process_group, None
        try:
            return type(layer).forward(layer, x)  # type: ignore[no-any-return]
        finally:
            layer.process_group = group
    out, mean, variance, count = normalised(x, layer.eps, group_of(layer))
    if layer.track_running_stats:
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            share = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
            layer.running_mean.lerp_(mean.to(layer.running_mean), share)
            layer.running_var.lerp_((variance * (count / (count - 1))).to(layer.running_var), share)
    if layer.weight is None:
        return out
    wide = (1, -1, *[1] * (x.ndim - 2))
    return out * layer.weight.view(wide) + layer.bias.view(wide)  # type: ignore[no-any-return]


def _drop(layer: Any, team: Processes, x: Tensor) -> Tensor:
    """What is left out is drawn for all samples, and this process's rows taken."""
    first, own, whole = part.get() or team.part
    each, odd = divmod(len(x), own)
    if not layer.training or not layer.p or odd or not team.shared:
        return type(layer).forward(layer, x)  # type: ignore[no-any-return]
    kept = type(layer).forward(layer, x.new_ones(each * whole, *x.shape[1:]))
    return x * kept[each * first : each * (first + own)]  # type: ignore[no-any-return]


def _is_loss(error: RuntimeError) -> bool:
    """Whether an error is of the connection to another process."""
    words = str(error).lower()
    return isinstance(error, dist.DistError) or any(
        sign in words for sign in ("gloo", "closed by peer", "connection reset", "broken pipe")
    )
