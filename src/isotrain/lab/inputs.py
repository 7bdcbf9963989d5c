"""The codes of a model's inputs: inversion, scales, affine maps and full mixtures.

What counts as one feature depends on who reads the input: every entry for a dense layer on flattened
pictures, the channel for a convolution, the last axis for a sequence. `input_plans` proposes them in that
order; the first one that the model can absorb exactly is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from isotrain.lab.codes import Code
from isotrain.lab.rewrite import Plan

Encode = Callable[[Tensor], Tensor]
Proposal = tuple[Plan, Encode, str]

# A full mixture needs a matrix with this many rows; above it the memory, not the idea, is the obstacle.
LARGEST_MIXTURE = 4096


def labellings(shape: tuple[int, ...]) -> list[tuple[str, Tensor]]:
    """Ways to number the features of one sample, finest first: the number of each entry's feature.

    >>> [(name, label.tolist()) for name, label in labellings((2, 2))]
    [('entry', [[0, 1], [2, 3]]), ('last axis', [[0, 1], [0, 1]]), ('channel', [[0, 0], [1, 1]]), ('input',
    [[0, 0], [0, 0]])]
    """
    if not shape:
        return [("the input", torch.zeros((), dtype=torch.long))]
    found = [("entry", torch.arange(math.prod(shape)).view(shape))]
    if len(shape) > 1:
        found.append(("last axis", torch.arange(shape[-1]).expand(shape).contiguous()))
        found.append(("channel", torch.arange(shape[0]).view(-1, *[1] * (len(shape) - 1)).expand(shape).contiguous()))
    if math.prod(shape) > 1:
        found.append(("input", torch.zeros(shape, dtype=torch.long)))
    return found


def input_plans(change: str, x: Tensor, generator: torch.Generator) -> Iterator[Proposal]:
    """Plans to try, with the encoding of the inputs that each one stands for."""
    if change == "input-inversion":
        yield (
            Plan(change, recode_input=lambda v: Code.plain(v).affine(-1.0, 1.0)),
            lambda v: 1 - v,
            "x becomes 1 - x",
        )
        return
    for name, label in labellings(tuple(x.shape[1:])):
        features = int(label.max()) + 1
        if change == "input-mixing":
            if 1 < features <= LARGEST_MIXTURE or name == "entry":
                yield _mixture(change, name, label, features, generator)
        else:
            yield _affine(change, name, label, features, generator)


def _affine(change: str, name: str, label: Tensor, features: int, generator: torch.Generator) -> Proposal:
    size_f = torch.rand(features, generator=generator, dtype=torch.float64) * 1.5 + 1.5
    scale_f = torch.where(torch.rand(features, generator=generator) < 0.5, size_f, 1 / size_f)
    shift_f = torch.rand(features, generator=generator, dtype=torch.float64) * 4 - 2
    if change == "input-scale":
        shift_f = torch.zeros_like(shift_f)
    scale, shift = scale_f[label], shift_f[label]

    def encode(v: Tensor) -> Tensor:
        return (v.double() * scale.to(v.device) + shift.to(v.device)).to(v.dtype)

    def recode(v: Tensor) -> Code:
        return Code.plain(v).affine(scale.to(v.device), shift.to(v.device))

    return Plan(change, recode_input=recode), encode, f"{features} features, one per {name}"


def _mixture(change: str, name: str, label: Tensor, features: int, generator: torch.Generator) -> Proposal:
    mixing_ff = well_conditioned(features, generator)
    offset_f = torch.rand(features, generator=generator, dtype=torch.float64) * 4 - 2
    axis = 0 if name == "channel" else -1

    def encode(v: Tensor) -> Tensor:
        flat = v.flatten(1) if name == "entry" else v.movedim(axis + 1 if axis == 0 else -1, -1)
        mixed = (flat.double() @ mixing_ff.T.to(v.device) + offset_f.to(v.device)).to(v.dtype)
        return mixed.view(v.shape) if name == "entry" else mixed.movedim(-1, axis + 1 if axis == 0 else -1)

    def recode(v: Tensor) -> Code:
        plain = Code.plain(v)
        return Code(plain.scale, plain.shift, label=label.to(v.device).expand(v.shape).contiguous())

    plan = Plan(change, recode_input=recode, mixing_ff=mixing_ff, offset_f=offset_f)
    return plan, encode, f"{features} features mixed, one per {name}"


def well_conditioned(features: int, generator: torch.Generator) -> Tensor:
    """A random full matrix whose singular values lie between 1/2 and 2.

    >>> a_ff = well_conditioned(5, torch.Generator().manual_seed(0))
    >>> bool(torch.linalg.cond(a_ff) <= 4)
    True
    """
    size = (features, features)
    left_ff = torch.linalg.qr(torch.randn(size, generator=generator, dtype=torch.float64)).Q
    right_ff = torch.linalg.qr(torch.randn(size, generator=generator, dtype=torch.float64)).Q
    value_f = 2 ** (torch.rand(features, generator=generator, dtype=torch.float64) * 2 - 1)
    mixing_ff: Tensor = (left_ff * value_f) @ right_ff
    return mixing_ff
