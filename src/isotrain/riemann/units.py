"""Units: every parameterised layer, whatever its kind, written as one matrix of incoming weights.

Letters used in this package: g group (independent matrices: conv groups, norm channels; 1 for a dense
layer), n sample, s place or time, i input, k unit. A layer's weights are [g,k,i], its biases [g,k].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """A slice of a parameter, seen as unit-by-input matrices [g,k,i].

    Attributes:
        parameter: the whole parameter.
        shape: the slice reshaped to this; `order` then permutes it to (g, k, inputs...).
        order: permutation of `shape`'s dimensions.
        rows: the slice along dimension 0; None takes all of it.

    >>> p = nn.Parameter(torch.arange(6.0).view(2, 3))
    >>> Part(p, (1, 2, 3), (0, 1, 2)).read(p).shape
    torch.Size([1, 2, 3])
    """

    parameter: nn.Parameter
    shape: tuple[int, ...]
    order: tuple[int, ...]
    rows: tuple[int, int] | None = None

    @property
    def width(self) -> int:
        """Number of inputs."""
        return math.prod(self.shape[d] for d in self.order[2:])

    def slice(self, whole: Tensor) -> Tensor:
        """The slice, in the parameter's own layout."""
        return whole if self.rows is None else whole[self.rows[0] : self.rows[1]]

    def read(self, whole: Tensor) -> Tensor:
        """The slice of `whole` (the parameter, or anything of its shape) as [g,k,i]."""
        ordered = self.slice(whole).reshape(self.shape).permute(self.order)
        return ordered.flatten(2) if ordered.ndim > 3 else ordered

    def place(self, delta_gki: Tensor, target: Tensor) -> Tensor:
        """`delta` in the layout of the slice `target`."""
        if self.order == (0, 1, 2):
            return delta_gki.reshape(target.shape)
        back = [0] * len(self.order)
        for new, old in enumerate(self.order):
            back[old] = new
        ordered = delta_gki.reshape([self.shape[d] for d in self.order])
        return ordered.permute(back).reshape(target.shape)


@dataclass(frozen=True)
class Bias:
    """A slice of a bias parameter, seen as [g,k]."""

    parameter: nn.Parameter
    groups: int
    rows: tuple[int, int] | None = None

    def slice(self, whole: Tensor) -> Tensor:
        """The slice, flat."""
        flat = whole.reshape(-1)
        return flat if self.rows is None else flat[self.rows[0] : self.rows[1]]

    def read(self, whole: Tensor) -> Tensor:
        """The slice of `whole` as [g,k]."""
        return self.slice(whole).reshape(self.groups, -1)


@dataclass(frozen=True, eq=False)
class Units:
    """Units that share their inputs: what a metric block belongs to.

    Attributes:
        name: dotted name in the model, for messages.
        key: prefix of this block's tensors in the optimizer's state of the anchor parameter.
        parts: weights, concatenated along the inputs.
        bias: None when the layer has none, or when the function does not depend on it.
        spatial: inputs are windows of a picture or channels of a norm: damping is relative to their
            variance instead of their largest deviation.
        one_hot: inputs are indices of rows (embeddings); weights are [1,k,i] with i the rows.
        whole: of a layer that is frozen in part, all of it; these units are what is free.
    """

    name: str
    key: str
    parts: tuple[Part, ...]
    bias: Bias | None
    spatial: bool = False
    one_hot: bool = False
    guests: list[Units] = field(default_factory=list)
    whole: Units | None = None

    @property
    def anchor(self) -> nn.Parameter:
        """The parameter under which the state is kept."""
        if self.parts:
            return self.parts[0].parameter
        assert self.bias is not None
        return self.bias.parameter

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters these units read."""
        return [part.parameter for part in self.parts] + ([self.bias.parameter] if self.bias else [])

    @property
    def trained(self) -> bool:
        """Whether any of the parameters received a gradient."""
        return any(p.grad is not None for p in self.parameters)

    @property
    def half_frozen(self) -> bool:
        """Whether some of the parameters need gradients and some do not."""
        return len({p.requires_grad for p in self.parameters}) == 2

    @property
    def refrozen(self) -> bool:
        """Whether another part of the layer needs gradients than when these units were made."""
        if self.whole is None or not any(p.requires_grad for p in self.parameters):
            return self.half_frozen
        return sum(p.requires_grad for p in self.whole.parameters) != len(self.parameters)

    def free(self) -> Units:
        """The part that needs gradients, as units of their own; all of it where none or nothing is frozen."""
        if not self.half_frozen:
            return self
        parts = tuple(part for part in self.parts if part.parameter.requires_grad)
        bias = self.bias if self.bias is not None and self.bias.parameter.requires_grad else None
        return replace(self, parts=parts, bias=bias, guests=[], whole=self)

    def columns(self) -> Tensor:
        """[whole inputs] which of the whole layer's inputs these units' weights read."""
        assert self.whole is not None
        flags = [torch.full((part.width,), any(part is own for own in self.parts)) for part in self.whole.parts]
        return torch.cat(flags) if flags else torch.zeros(0, dtype=torch.bool)

    def weights(self, of: Callable[[nn.Parameter], Tensor]) -> Tensor:
        """[g,k,i] of whatever `of` gives for each parameter (its gradient, its value)."""
        if not self.parts:
            assert self.bias is not None
            return self.bias.read(of(self.bias.parameter)).unsqueeze(-1)[..., :0]
        read = [part.read(of(part.parameter)) for part in self.parts]
        return read[0] if len(read) == 1 else torch.cat(read, -1)

    def biases(self, of: Callable[[nn.Parameter], Tensor]) -> Tensor | None:
        """[g,k], or None."""
        return None if self.bias is None else self.bias.read(of(self.bias.parameter))


def gradient(parameter: nn.Parameter) -> Tensor:
    """The parameter's gradient; zeros where the loss did not depend on it."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@dataclass(frozen=True, eq=False)
class Sighting:
    """What one call of a layer showed: how to get its inputs, and the tensor whose gradient are its errors.

    Attributes:
        units: whose.
        tap: the pre-activation as the layer computed it, part of the graph of the look.
        inputs: gives [g,n,s,i] (indices [n,s] for one-hot units).
        arrange: turns the tap's gradient into [g,n,s,k].
        respond: gives the change [g,n,s,k] of the pre-activations for steps of weights [g,k,i] and biases
            [g,k] by a native kernel; None where a product with the inputs does it.
        values: gives the pre-activations [g,n,s,k]; None where that is the arranged tap itself.
    """

    units: Units
    tap: Tensor
    inputs: Callable[[], Tensor]
    arrange: Callable[[Tensor], Tensor]
    values: Callable[[], Tensor] | None = None
    respond: Callable[[Tensor, Tensor | None], Tensor] | None = None

    def of_free(self, free: Units) -> Sighting:
        """The same call, of the free part of its units alone."""
        columns = free.columns()
        inputs = self.inputs
        return replace(self, units=free, inputs=lambda: inputs()[..., columns], respond=None)
