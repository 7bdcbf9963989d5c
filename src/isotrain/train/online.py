"""Learning while reading: gradients of a recurrent net in constant memory, without going back to the beginning.

A state depends on the parameters through all that was read, G = d state / d parameters. Truncated backpropagation takes
G = 0 at the beginning of every window, so what happens over longer times than a window is not learned, or learned with
the wrong sign. Here G is replaced by a product of a column (as large as the state) and a row (as large as the
parameters) that has G as its mean over random signs: the gradients are noisy, and right on average.

With F the map of a window from its first state to its last, nu random signs, and two factors that make the noise small:

    column <- r0 (dF/dstate) column + r1 nu         r0^2 = |row| / |(dF/dstate) column|
    row    <- row / r0 + (nu' dF/dparameters) / r1  r1^2 = |nu' dF/dparameters| / |nu|

The mean of column x row is then (dF/dstate) G + dF/dparameters, the G of the next window, whatever the factors.

Source: Tallec and Ollivier 2017, arXiv:1702.05043, algorithm 1 (UORO).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.errors import BadOption

State = Tensor | tuple[Tensor, ...]
Net = Callable[[Any, Any], tuple[Any, Any]]
"""What is read and the state before, to the output and the state after."""
SMALL = 1e-7
"""Keeps the two factors away from zero."""
ONCE = (
    "a part of the net cannot be differentiated twice, which it takes to carry the estimate on: write it in torch's "
    "own operations, or truncate with rank_one=False."
)


class Stepwise(nn.Module):
    """A net that reads one input after the other: a cell of torch, and what its state says.

    Args:
        cell: `nn.RNNCell`, `nn.GRUCell`, `nn.LSTMCell`, or any module from an input and a state to the state after.
        readout: of the state (of several tensors, the first), makes the output.

    >>> net = Stepwise(nn.LSTMCell(3, 4), nn.Linear(4, 2))
    >>> output, (h, c) = net(torch.zeros(5, 3), (torch.zeros(5, 4), torch.zeros(5, 4)))
    >>> list(output.shape), list(c.shape)
    ([5, 2], [5, 4])
    """

    def __init__(self, cell: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.readout = readout

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """An input and the state before it to the output and the state after it."""
        state = self.cell(x, state)
        return self.readout(state if isinstance(state, Tensor) else state[0]), state


class Online:
    """Reads a stream window by window and fills in the gradients of each; any optimizer steps on them.

    Within a window gradients are exact; what came before it is known by a rank-one estimate, or not at all. All
    sequences of a batch are one state, so that the row is as large as the parameters, not as many times as large: more
    of them do not make the estimate's noise smaller. Longer windows and smaller rates do.

    Args:
        net: what is read and a state to an output and a state; a module, or a function that comes with `parameters`.
        state: before the first input: a tensor or a tuple of tensors.
        parameters: that the gradients are for; the module's when None.
        rank_one: know what came before the window by the estimate (unbiased); False: truncated backpropagation.
        seed: of the random signs.

    Raises:
        BadOption: no parameters to train.

    >>> net = Stepwise(nn.GRUCell(1, 3), nn.Linear(3, 1))
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    >>> online = Online(net, torch.zeros(1, 3))
    >>> for x in torch.linspace(0, 1, 7).view(7, 1, 1):
    ...     optimizer.zero_grad()
    ...     online.backward((online(x) - x).square().mean())
    ...     optimizer.step()
    >>> [list(part.shape) for part in online.column], len(online.row)
    ([[1, 3]], 6)
    """

    def __init__(
        self,
        net: Net,
        state: State,
        parameters: Iterable[nn.Parameter] | None = None,
        rank_one: bool = True,
        seed: int = 0,
    ) -> None:
        if parameters is None:
            parameters = net.parameters() if isinstance(net, nn.Module) else ()
        self.parameters = [p for p in parameters if p.requires_grad]
        if not self.parameters:
            raise BadOption("Online has no parameters to train: pass a module, or parameters=[...] with a function.")
        self.net = net
        self.rank_one = rank_one
        self.generator = torch.Generator().manual_seed(seed)
        self.reset(state)

    def reset(self, state: State) -> None:
        """Begin to read something else: from this state, which nothing was learned about."""
        self._tuple = not isinstance(state, Tensor)
        self._start([state] if isinstance(state, Tensor) else list(state))
        self.column = [torch.zeros_like(part) for part in self._first]
        self.row = [torch.zeros_like(p) for p in self.parameters]

    @property
    def state(self) -> State:
        """After what was read last."""
        return tuple(self._last) if self._tuple else self._last[0]

    def __call__(self, x: Any) -> Any:
        """Read on: the output. Several of these may make up a window, which `backward` ends."""
        output, state = self.net(x, self.state)
        self._last = [state] if isinstance(state, Tensor) else list(state)
        return output

    def backward(self, loss: Tensor) -> None:
        """Add to `.grad` of the parameters the gradient of the loss of this window, and end the window.

        Args:
            loss: of the outputs since the last `backward`.

        Raises:
            BadOption: nothing was read since then, or the net cannot be differentiated twice.
        """
        if self._last is self._first:
            raise BadOption("backward() ends a window in which nothing was read: call the Online with an input first.")
        loss.backward(retain_graph=self.rank_one)
        if self.rank_one:
            self._add_what_came_before()
            self._carry_on()
        self._start(self._last)

    def _start(self, state: Sequence[Tensor]) -> None:
        self._first = self._last = [part.detach().requires_grad_(self.rank_one) for part in state]

    @torch.no_grad()
    def _add_what_came_before(self) -> None:
        pairs = zip(self._first, self.column, strict=True)
        share = sum(float((s.grad * c).sum()) for s, c in pairs if s.grad is not None)
        if not share:
            return
        for p, row in zip(self.parameters, self.row, strict=True):
            if p.grad is None:
                p.grad = share * row
            else:
                p.grad.add_(row, alpha=share)

    def _carry_on(self) -> None:
        """The estimate at the end of the window."""
        signs = [self._signs(part) for part in self._last]
        new_row = torch.autograd.grad(
            self._last, self.parameters, signs, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        moved = self._pushed()
        r0 = math.sqrt(_norm(self.row) / (_norm(moved) + SMALL)) + SMALL
        r1 = math.sqrt(_norm(new_row) / (_norm(signs) + SMALL)) + SMALL
        self.column = [r0 * m + r1 * s for m, s in zip(moved, signs, strict=True)]
        self.row = [old / r0 + new / r1 for old, new in zip(self.row, new_row, strict=True)]

    def _pushed(self) -> list[Tensor]:
        """How the last state moves with the first along the column: pulling back is linear, its own pull pushes."""
        still = [torch.zeros_like(part) for part in self._last]
        if not any(bool(part.any()) for part in self.column):
            return still
        probe = [torch.zeros_like(part, requires_grad=True) for part in self._last]
        try:
            found = _pulled(self._last, self._first, probe, create_graph=True)
            back = [part for part in found if part is not None]
            if not back:  # nothing of the first state is left in the last
                return still
            along = [column for part, column in zip(found, self.column, strict=True) if part is not None]
            pushed = _pulled(back, probe, along)
        except RuntimeError as error:
            raise BadOption(f"{ONCE} Torch said: {error}") from error
        if all(part is None for part in pushed):  # torch cuts off what can be differentiated once without a word
            raise BadOption(ONCE)
        return [zero if part is None else part for part, zero in zip(pushed, still, strict=True)]

    def _signs(self, like: Tensor) -> Tensor:
        drawn = torch.randint(2, like.shape, generator=self.generator)
        return drawn.to(like).mul_(2).sub_(1)


def _pulled(
    ends: Sequence[Tensor], starts: Sequence[Tensor], along: Sequence[Tensor], create_graph: bool = False
) -> Sequence[Tensor | None]:
    """None for a start that no end depends on."""
    return torch.autograd.grad(ends, starts, along, create_graph=create_graph, allow_unused=True)


def _norm(parts: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(part.detach().square().sum()) for part in parts))
