"""The plain rule against the oracle: every metric, shape and layer, to 1e-10 in float64."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import pytest
import torch
from layer_cases import ALL, CLASSES, PLAIN, Attention, Case
from oracle import (
    SHAPES,
    Block,
    Visit,
    all_blocks,
    arranged,
    attention_squares,
    cross_entropy_cotangents,
    flat,
    flat_gradient,
    incoming,
    kronecker_steps,
    listen,
    lstm_squares,
    moments_of_gradients,
    moments_of_places,
    per_sample,
    positions,
    relative,
    row_squares,
    row_steps,
    sights,
    solve_unit,
    squares_back,
    unit_steps,
    visits,
)
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain import Categorical, Riemannian

BOUND = 1e-10
SAMPLED = ("outer-product", "monte-carlo", "signs", "exact")


def one_step(
    model: nn.Module, args: Any, labels: Tensor, metric: str, shape: str, dim: int = -1
) -> tuple[Tensor, list[Tensor]]:
    """What a step with rate 1 subtracts from the parameters, and the cotangents its metric was made from."""
    before = flat(model)
    optimizer = Riemannian(
        model, Categorical(dim=dim), lr=1.0, metric=metric, shape=shape, damping=0.0, refresh=1, subsample=1.0
    )
    F.cross_entropy(model(*args).movedim(dim, 1), labels).backward()
    with listen(metric) as heard:
        optimizer.step()
    optimizer.close()
    return before - flat(model), [one[0] for one in heard]


class Slow:
    """A case run once by the oracle: gradient, per-sample graph, and every block in sight."""

    def __init__(self, case: Case) -> None:
        self.dim = case.dim
        self.model, self.args, self.labels = case.make()
        self.native = copy.deepcopy(self.model)
        self.output = self.native(*self.args)
        F.cross_entropy(self.output.movedim(case.dim, 1), self.labels).backward(retain_graph=True)
        self.gradient = flat_gradient(self.native)
        self.by_hand, self.sights = sights(copy.deepcopy(self.model), self.args)
        assert relative(self.by_hand, self.output) < 1e-12
        of_sight = {(s.block.module, s.block.label): s.block for s in self.sights}
        self.blocks = [of_sight[b.module, b.label] for b in all_blocks(self.model)]

    def cotangents(self, metric: str) -> list[Tensor]:
        """From the formulas; draws (and the exact metric's signs between rows of a sample) by listening."""
        if metric == "outer-product" or (metric == "exact" and self.output.ndim == 2):
            return cross_entropy_cotangents(metric, self.output, self.labels, self.dim)
        copied = copy.deepcopy(self.model)
        return one_step(copied, self.args, self.labels, metric, "diagonal", self.dim)[1]


slow = lru_cache(maxsize=2)(Slow)


@pytest.mark.parametrize("metric", SAMPLED)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_plain_rule(case: Case, metric: str) -> None:
    one = slow(case)
    cotangents = one.cotangents(metric)
    gradients_nb = per_sample(one.native, one.output, cotangents)
    seen = visits(one.by_hand, one.sights, cotangents)
    gaps = {}
    for shape in SHAPES:
        found, heard = one_step(copy.deepcopy(one.model), one.args, one.labels, metric, shape, one.dim)
        for mine, theirs in zip(cotangents, heard, strict=True):
            assert relative(theirs, mine) < 1e-12
        expected = torch.zeros_like(found)
        for block in one.blocks:
            if block.rows:
                expected += row_steps(block, gradients_nb.square().sum(0), one.gradient)
            elif shape.startswith("kronecker"):
                full = shape == "kronecker-full"
                expected += kronecker_steps(full, False, block, seen[id(block)], one.gradient)
            else:
                expected += unit_steps(shape, block, moments_of_gradients(block, gradients_nb), one.gradient)
        gaps[shape] = relative(found, expected)
    assert max(gaps.values()) < BOUND, gaps


def steps_from_squares(shape: str, blocks: list[Block], seen: dict[int, list[Visit]], gradient: Tensor) -> Tensor:
    """[b] the step of the backpropagated metric from the weights at every place."""
    step = torch.zeros_like(gradient)
    for block in blocks:
        own = seen[id(block)]
        if block.rows:
            step += row_steps(block, row_squares(block, own, len(gradient)), gradient)
        elif shape.startswith("kronecker"):
            step += kronecker_steps(shape == "kronecker-full", True, block, own, gradient)
        else:
            step += unit_steps(shape, block, moments_of_places(block, own), gradient)
    return step


@pytest.mark.parametrize("case", [c for c in PLAIN if c.chain], ids=str)
def test_backpropagated(case: Case) -> None:
    one = slow(case)
    (squares,) = cross_entropy_cotangents("backpropagated", one.output, one.labels, one.dim)
    modules = list(copy.deepcopy(one.model))
    weights = squares_back(modules, one.args[0], squares)
    seen: dict[int, list[Visit]] = {}
    for sight in one.sights:
        place = int(sight.block.module)
        errors = weights[place] if sight.block.rows else arranged(modules[place], weights[place])
        seen.setdefault(id(sight.block), []).append(Visit(sight.inputs, errors[None]))
    gaps = {}
    for shape in SHAPES:
        copied = copy.deepcopy(one.model)
        found, heard = one_step(copied, one.args, one.labels, "backpropagated", shape, one.dim)
        assert relative(heard[0], squares) < 1e-12
        gaps[shape] = relative(found, steps_from_squares(shape, one.blocks, seen, one.gradient))
    assert max(gaps.values()) < BOUND, gaps


class Last(nn.Module):
    """An LSTM whose last output is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(2, 2, batch_first=True), nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


FUSED = [
    (Case("lstm", Last, lambda: (torch.randn(14, 3, 2, dtype=torch.float64),)), lstm_squares),
    (
        Case(
            "attention",
            lambda: Attention(nn.MultiheadAttention(4, 2, batch_first=True)),
            lambda: (torch.randn(14, 3, 4, dtype=torch.float64),),
        ),
        attention_squares,
    ),
]


@pytest.mark.parametrize(("case", "propagate"), FUSED, ids=["lstm", "attention"])
def test_backpropagated_through_gates_and_attention(case: Case, propagate: Any) -> None:
    one = slow(case)
    (squares,) = cross_entropy_cotangents("backpropagated", one.output, one.labels, one.dim)
    weights = propagate(one.model, one.args[0], squares)
    seen = {}
    for sight in one.sights:
        key = (sight.block.module, sight.block.label)
        seen[id(sight.block)] = [Visit(sight.inputs, weights[key][None, None])]
    gaps = {}
    for shape in SHAPES:
        found, _ = one_step(copy.deepcopy(one.model), one.args, one.labels, "backpropagated", shape)
        gaps[shape] = relative(found, steps_from_squares(shape, one.blocks, seen, one.gradient))
    assert max(gaps.values()) < BOUND, gaps


class Tied(nn.Module):
    """Word vectors that are also the output layer's weights; a head of its own to be two uses."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(4, 3), nn.Linear(3, 3)
        self.head = nn.Linear(3, 4, bias=bias)
        self.head.weight = self.words.weight

    def forward(self, index: Tensor) -> Tensor:
        return self.head(self.mix(self.words(index).sum(1)).tanh())


class Untied(nn.Module):
    """The same function with a copy of the shared weight for each use."""

    def __init__(self, tied: Tied) -> None:
        super().__init__()
        self.words, self.mix, self.head = (copy.deepcopy(m) for m in (tied.words, tied.mix, tied.head))
        self.head.weight = nn.Parameter(tied.head.weight.detach().clone())

    forward = Tied.forward


@pytest.mark.parametrize("shape", ["diagonal", "quasi-diagonal", "unitwise"])
@pytest.mark.parametrize("metric", ["outer-product", "monte-carlo", "exact"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_tied_weights_add_the_moments_of_their_uses(bias: bool, metric: str, shape: str) -> None:
    tied = Tied(bias).double()
    untied = Untied(tied)
    index, labels = torch.randint(0, 4, (16, 2)), torch.randint(0, 4, (16,))
    found, cotangents = one_step(tied, (index,), labels, metric, shape)
    if metric == "outer-product":
        cotangents = cross_entropy_cotangents(metric, untied(index), labels, -1)
    output = untied(index)
    gradients_nb = per_sample(untied, output, cotangents)
    F.cross_entropy(output, labels).backward()
    gradient, at = flat_gradient(untied), positions(untied)
    blocks = {b.module: b for b in all_blocks(untied)}
    uses = at["words.weight"], at["head.weight"]
    gradient[uses[1]] += gradient[uses[0]]
    moments = moments_of_gradients(blocks["head"], gradients_nb)
    for (g, k), moment in moments.items():
        for place in range(3):
            own = incoming(blocks["head"], g, k).tolist().index(int(uses[1][k, place]))
            moment[own, own] += gradients_nb[:, uses[0][k, place]].square().sum()
    expected = unit_steps(shape, blocks["head"], moments, gradient)
    expected += unit_steps(shape, blocks["mix"], moments_of_gradients(blocks["mix"], gradients_nb), gradient)
    expected[uses[0]] = expected[uses[1]]
    kept = torch.cat([at[name].reshape(-1) for name, _ in tied.named_parameters()])
    assert relative(found, expected[kept]) < BOUND


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_layers_stay_and_the_others_step_as_ever(shape: str) -> None:
    case = next(c for c in PLAIN if c.name == "linear")
    one = slow(case)
    model = copy.deepcopy(one.model)
    model[0].requires_grad_(False)
    frozen, _ = one_step(model, one.args, one.labels, "exact", shape)
    free, _ = one_step(copy.deepcopy(one.model), one.args, one.labels, "exact", shape)
    head = positions(model)["2.weight"].min()
    assert not frozen[:head].any()
    assert relative(frozen[head:], free[head:]) < 1e-14


HALF_FROZEN = {
    "linear": ("0.weight", "0.bias"),
    "twice": ("weight", "bias"),
    "bilinear": ("weight", "bias"),
    "conv2d": ("0.weight", "0.bias"),
    "transpose1d": ("0.weight", "0.bias"),
    "layernorm": ("1.weight", "1.bias"),
    "lstm": ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"),
    "gru": ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"),
    "attention": ("in_proj_weight", "in_proj_bias", "out_proj.bias"),
}


@pytest.mark.parametrize(("name", "frozen"), [(name, one) for name, each in HALF_FROZEN.items() for one in each])
def test_layers_frozen_in_part_step_under_the_metric_of_what_is_free(name: str, frozen: str) -> None:
    one = slow(next(c for c in ALL if c.name == name))
    gradients_nb = per_sample(one.native, one.output, one.cotangents("exact"))
    chosen = [full for full, _ in one.model.named_parameters() if full.endswith(frozen)]
    assert chosen
    free = torch.ones(len(one.gradient), dtype=torch.bool)
    for full in chosen:
        free[positions(one.model)[full].reshape(-1)] = False
    for shape in SHAPES:
        model = copy.deepcopy(one.model)
        for full in chosen:
            model.get_parameter(full).requires_grad_(False)
        found, _ = one_step(model, one.args, one.labels, "exact", shape)
        assert torch.isfinite(found).all() and not found[~free].any()
        if shape.startswith("kronecker"):
            continue  # its factors are those of the whole layer, cut: no other formula to check against
        expected = torch.zeros_like(found)
        for block in one.blocks:
            for (g, k), moment in moments_of_gradients(block, gradients_nb).items():
                where = incoming(block, g, k)
                kept = free[where]
                where, moment = where[kept], moment[kept][:, kept]
                biased = block.bias_gk is not None and bool(kept[0])
                expected[where] = solve_unit(shape, moment, one.gradient[where], biased)
        assert relative(found, expected) < BOUND, shape
