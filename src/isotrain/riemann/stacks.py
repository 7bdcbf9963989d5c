"""Stacks: small blocks worked on together, as one batch of matrices padded with zeros.

In small networks a step is many small operations, and the time goes into starting them. Blocks that follow as many
directions as each other share them: a padded unit has no gradient and a padded input no scale, so neither has a part
in anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isotrain.riemann.blocks import Direction, Shape, State

WASTE = 1 << 15
"""Most zeros a block may add to a stack: passing over them costs as much as starting what it saves."""


@dataclass(frozen=True)
class Block:
    """A block and its averaged gradient, ready for `Shape.direct`."""

    shape: Shape
    state: State
    v: Tensor
    v0: Tensor | None

    @property
    def directions(self) -> int:
        """Most directions the gradient can have."""
        k, i = self.v.shape[1:]
        return min(k, i + (self.v0 is not None))

    @property
    def rank(self) -> int:
        """How many of them are followed."""
        return self.state["basis"].shape[-1] if "basis" in self.state else 0

    @property
    def family(self) -> tuple[object, ...]:
        """Blocks of one family may share a stack."""
        return type(self.shape), self.rank, self.rank == self.directions, self.v0 is None, self.v.dtype, self.v.device


class Stack:
    """Buffers for some blocks, in one batch [g,...] of all their groups."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        first = blocks[0]
        self.shape = first.shape
        self.sizes = [tuple(b.v.shape) for b in blocks]
        self.groups = [size[0] for size in self.sizes]
        self.starts = [sum(self.groups[:at]) for at in range(len(blocks))]
        self.biased = first.v0 is not None
        k = max(size[1] for size in self.sizes)
        names = {name: [b.state[name] for b in blocks] for name in self.shape.stacked}
        self.buffers: State = {}
        self.views: dict[str, list[Tensor]] = {}
        for name, tensors in {"v": [b.v for b in blocks], **names}.items():
            most = [max(t.shape[d] for t in tensors) for d in range(1, tensors[0].ndim)]
            self._add(name, first.v.new_zeros(sum(self.groups), *most), tensors)
        if self.biased:
            self._add("v0", first.v.new_zeros(sum(self.groups), k), [b.v0 for b in blocks if b.v0 is not None])
        others = [float(b.directions - b.rank) for b in blocks for _ in range(b.v.shape[0])]
        self.others: Tensor | int = first.v.new_tensor(others) if any(others) else 0

    def _add(self, name: str, buffer: Tensor, tensors: Sequence[Tensor]) -> None:
        self.buffers[name] = buffer
        self.views[name] = [_part(buffer, start, t.shape) for start, t in zip(self.starts, tensors, strict=True)]

    def direct(self, blocks: Sequence[Block]) -> list[Direction]:
        """Every block's direction."""
        for name in ("v", *self.shape.stacked):
            torch._foreach_copy_(self.views[name], [b.v if name == "v" else b.state[name] for b in blocks])
        if self.biased:
            torch._foreach_copy_(self.views["v0"], [b.v0 for b in blocks if b.v0 is not None])
        found = self.shape.direct(self.buffers, self.buffers["v"], self.buffers.get("v0"), self.others)
        return [
            Direction(
                _part(found.delta, start, size),
                None if found.delta0 is None else _part(found.delta0, start, size[:2]),
                found.dual[start : start + size[0]],
                {name: _part(t, start, b.state[name].shape).clone() for name, t in found.kept.items()},
            )
            for b, start, size in zip(blocks, self.starts, self.sizes, strict=True)
        ]


def _part(whole: Tensor, start: int, size: Sequence[int]) -> Tensor:
    return whole[(slice(start, start + size[0]), *(slice(0, n) for n in size[1:]))]


class Stacks:
    """The stacks of a network, arranged when it is first seen and whenever it changes."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._plan: list[tuple[list[int], Stack | None]] = []

    def direct(self, blocks: Sequence[Block]) -> list[Direction]:
        """The direction of every block, in order."""
        key = tuple((b.family, b.v.shape) for b in blocks)
        if key != self._key:
            self._plan = [
                (places, Stack([blocks[p] for p in places]) if len(places) > 1 else None) for places in arranged(blocks)
            ]
            self._key = key
        found: dict[int, Direction] = {}
        for places, stack in self._plan:
            if stack is None:
                b = blocks[places[0]]
                found[places[0]] = b.shape.direct(b.state, b.v, b.v0)
            else:
                found.update(zip(places, stack.direct([blocks[p] for p in places]), strict=True))
        return [found[p] for p in range(len(blocks))]


def arranged(blocks: Sequence[Block]) -> list[list[int]]:
    """Which blocks go together: of one family, small ones first, while padding stays cheap."""
    found: list[list[int]] = []
    families: dict[tuple[object, ...], list[int]] = {}
    for place, block in enumerate(blocks):
        if block.shape.stacked:
            families.setdefault(block.family, []).append(place)
        else:
            found.append([place])
    for places in families.values():
        places.sort(key=lambda p: blocks[p].v[0].numel())
        stack: list[int] = []
        for place in places:
            if stack and _padded(blocks, [*stack, place]) - _padded(blocks, stack) > WASTE + blocks[place].v.numel():
                found.append(stack)
                stack = []
            stack.append(place)
        found.append(stack)
    return found


def _padded(blocks: Sequence[Block], places: Sequence[int]) -> int:
    sizes = [blocks[p].v.shape for p in places]
    return sum(size[0] for size in sizes) * max(size[1] for size in sizes) * max(size[2] for size in sizes)
