"""How a recoded tensor is written, and how the code moves through a network.

A *code* says how the values of a rewritten network relate to the values of the original one, entry by entry:

* ``scale`` and ``shift``: ``new = scale * old + shift``;
* ``order``: ``new.flat[e] = old.flat[order[e]]`` (units in another order);
* ``label``: the entry is feature number ``label`` of inputs mixed by a full matrix.

Each of them is a tensor of the same shape as the values. That makes shape operations free: to know what a
``flatten`` or a ``permute`` does to a code, apply it to the code.

Shape letters: ``n`` sample, ``i`` input of a layer, ``k`` unit (output) of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Move = Callable[[Tensor], Tensor]


class NoCode(Exception):
    """A code cannot pass here; the message says why. The walk adds the layer's name."""


@dataclass(frozen=True)
class Code:
    """The relation of new values to old ones, entry by entry.

    >>> code = Code.plain(torch.zeros(2, 3)).affine(-1.0, 1.0)
    >>> code.moved(lambda x: x.flatten()).scale.tolist()
    [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0]
    """

    scale: Tensor
    shift: Tensor
    order: Tensor | None = None
    label: Tensor | None = None

    @classmethod
    def plain(cls, values: Tensor) -> Code:
        """The code of values that are not recoded."""
        return cls(
            torch.ones(values.shape, dtype=torch.float64, device=values.device),
            torch.zeros(values.shape, dtype=torch.float64, device=values.device),
        )

    def affine(self, scale: Tensor | float, shift: Tensor | float) -> Code:
        """Recode once more: ``newer = scale * new + shift`` (scale and shift broadcast to the entries)."""
        return replace(self, scale=self.scale * scale, shift=self.shift * scale + shift)

    @property
    def shifted(self) -> bool:
        """Whether an entry equal to 0 is no longer 0."""
        return bool((self.shift != 0).any())

    @property
    def scaled(self) -> bool:
        """Whether an entry changes its size or sign."""
        return bool((self.scale != 1).any())

    @property
    def reordered(self) -> bool:
        """Whether entries hold another unit's value, or a mixture."""
        return self.order is not None or self.label is not None

    def same(self, other: Code) -> bool:
        """Whether two codes are equal."""
        return (
            torch.equal(self.scale, other.scale)
            and torch.equal(self.shift, other.shift)
            and _equal(self.order, other.order)
            and _equal(self.label, other.label)
        )

    def moved(self, move: Move) -> Code:
        """The code after an operation that only moves entries (flatten, permute, slice)."""
        order = None
        if self.order is not None:
            before_e = move(torch.arange(self.order.numel(), device=self.order.device).view(self.order.shape))
            after_e = move(self.order)
            place_e = torch.full((self.order.numel(),), -1, dtype=torch.long, device=self.order.device)
            place_e[before_e.reshape(-1)] = torch.arange(before_e.numel(), device=self.order.device)
            order = place_e[after_e]
            if bool((order < 0).any()):
                raise NoCode("it keeps some of the reordered units and drops others")
        return Code(move(self.scale), move(self.shift), order, None if self.label is None else move(self.label))

    def averaged(self, move: Move) -> Code:
        """The code after a mean over places; scales must agree where they are averaged."""
        share, scale = move(torch.ones_like(self.scale)), move(self.scale)
        if bool((move(self.scale.square()) * share - scale.square() > 1e-12 * scale.square()).any()):
            raise NoCode("it averages entries recoded with different scales")
        order, label = self._channelwise(scale, agree=move)
        return Code(scale / share, move(self.shift), order, label)

    def largest(self, move: Move) -> Code:
        """The code after a maximum over places (max pooling): increasing codes only."""
        if self.label is not None:
            raise NoCode("a maximum of mixed inputs is not the mixture of their maxima")
        if bool((self.scale <= 0).any()):
            raise NoCode("a maximum becomes a minimum when the values change sign")
        for part in (self.scale, self.shift):
            if not torch.equal(move(part), -move(-part)):
                raise NoCode("it takes the maximum of entries recoded differently")
        scale = move(self.scale)
        order, _ = self._channelwise(scale, agree=move)
        return Code(scale, move(self.shift), order)

    def homogeneous(self) -> Code:
        """The code after ReLU and its like: positive scales pass, shifts do not."""
        if self.label is not None or self.shifted or bool((self.scale <= 0).any()):
            raise NoCode("only a positive factor passes through it")
        return self

    def elementwise(self) -> Code:
        """The code after any other function of one entry: only the order of units passes."""
        if self.label is not None or self.shifted or self.scaled:
            raise NoCode("the recoded values reach this nonlinear function, which does not undo them")
        return self

    def plus(self, other: Code, sign: float = 1.0) -> Code:
        """The code of a sum (``sign=-1``: of a difference) of two recoded tensors."""
        shape = (self.scale + other.scale).shape
        scale_a, scale_b = self.scale.expand(shape), other.scale.expand(shape)
        if not torch.equal(scale_a, scale_b):
            raise NoCode("it adds values recoded with different scales (a residual sum)")
        if self.reordered or other.reordered:
            if not (_equal(self.order, other.order) and _equal(self.label, other.label)):
                raise NoCode("it adds units in another order to units in their own order (a residual sum)")
        return Code(scale_a, self.shift + sign * other.shift, self.order, self.label)

    def vector(self, axis: int) -> tuple[Tensor, Tensor]:
        """``(scale_i, shift_i)`` along ``axis``, which must be the same at every other place."""
        parts = []
        for part in (self.scale, self.shift):
            rows_ni = part.movedim(axis, -1).reshape(-1, part.shape[axis])
            if not torch.equal(rows_ni, rows_ni[:1].expand_as(rows_ni)):
                raise NoCode("its inputs are recoded differently from place to place")
            parts.append(rows_ni[0])
        return parts[0], parts[1]

    def order_along(self, axis: int) -> Tensor:
        """The permutation ``p_i`` with ``new[i] = old[p[i]]`` along ``axis``."""
        assert self.order is not None
        shape = self.order.shape
        axis %= len(shape)
        stride = 1
        for size in shape[axis + 1 :]:
            stride *= size
        first_i = self.order.movedim(axis, -1).reshape(-1, shape[axis])[0]
        order_i = (first_i // stride) % shape[axis]
        ids = torch.arange(self.order.numel(), device=self.order.device).view(shape)
        if not torch.equal(ids.index_select(axis, order_i), self.order):
            raise NoCode("the order of its inputs changes from place to place")
        return order_i

    def labels_along(self, axis: int, features: int) -> Tensor:
        """Which input feature each of the layer's inputs is; all ``features`` must be there once."""
        assert self.label is not None
        rows_ni = self.label.movedim(axis, -1).reshape(-1, self.label.shape[axis])
        if not torch.equal(rows_ni, rows_ni[:1].expand_as(rows_ni)):
            raise NoCode("it reads different features from place to place")
        if rows_ni.shape[1] != features or len(set(rows_ni[0].tolist())) != features:
            raise NoCode(f"it reads {rows_ni.shape[1]} values of the {features} mixed features")
        return rows_ni[0]

    def _channelwise(self, result: Tensor, agree: Move) -> tuple[Tensor | None, Tensor | None]:
        """Order and label after an operation that treats the channels (axis 1) apart."""
        order = label = None
        if self.order is not None:
            if result.dim() < 2 or result.shape[:2] != self.order.shape[:2]:
                raise NoCode("it summarises over the reordered units")
            ids = torch.arange(result.numel(), device=result.device).view(result.shape)
            order = ids.index_select(1, self.order_along(1))
        if self.label is not None:
            mean = agree(self.label.double())
            if bool((agree(self.label.double().square()) - mean.square()).abs().max() > 1e-6):
                raise NoCode("it averages over the mixed features")
            label = mean.round().long()
        return order, label


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
