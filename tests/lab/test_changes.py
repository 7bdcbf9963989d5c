"""A rewritten model is the same function, or the rewriting is refused and says where and why."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from isotrain.errors import CannotRewrite, UnknownName
from isotrain.lab.changes import CHANGES, applicable, apply
from isotrain.lab.inputs import well_conditioned

SEEDS = st.integers(0, 2**31 - 1)


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


def conv_valid() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def conv_circular() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3, padding="same", padding_mode="replicate"),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, both: bool = True) -> None:
        super().__init__()
        self.core = kind(4, 5, num_layers=2, batch_first=True, bidirectional=both)
        self.hidden = nn.Linear(10 if both else 5, 6)
        self.gate = nn.Linear(6, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.core(x)
        h = torch.tanh(self.hidden(states[:, -1]))
        return self.out(F.relu(self.gate(h)))


class Branches(nn.Module):
    """Shape operations, a residual sum, a concatenation, arithmetic with numbers, a layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.again = nn.Linear(8, 8)
        self.joined = nn.Linear(16, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = (2 * x - 1) / 3
        h = self.first(x.permute(0, 2, 1).reshape(x.size(0), -1)).tanh()
        h = h + torch.tanh(self.again(h))
        h = torch.cat([h, self.again(h).tanh()], dim=1)
        one, two = self.joined(h).chunk(2, dim=1)
        return self.last(torch.cat([one, two], dim=-1))


MODELS = {
    "dense": (dense, (2, 6)),
    "conv valid": (conv_valid, (2, 20, 20)),
    "conv circular": (conv_circular, (3, 6, 6)),
    "lstm": (Recurrent, (5, 4)),
    "branches": (Branches, (2, 3)),
}
# What cannot be absorbed exactly, and by whom it is said.
REFUSED = {
    ("branches", "input-mixing"): "'mul' in forward",
    ("branches", "sigmoid"): "'again' .* more than once",
    ("branches", "unit-permutation"): "'add' in forward",
}


def sample(shape: tuple[int, ...], seed: int, n: int = 7) -> Tensor:
    return torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MODELS)
@given(seed=SEEDS)
def test_the_function_is_kept(name: str, change: str, seed: int) -> None:
    make, shape = MODELS[name]
    torch.manual_seed(seed)
    model = make().double()
    before = copy.deepcopy(model.state_dict())
    if (name, change) in REFUSED:
        with pytest.raises(CannotRewrite, match=REFUSED[name, change]):
            apply(change, model, sample(shape, 1), seed)
        return
    changed = apply(change, model, sample(shape, 1), seed)
    x = sample(shape, seed, n=5)  # not the example it was checked on
    gap = (copy.deepcopy(changed.model)(changed.encode(x)) - copy.deepcopy(model)(x)).abs().max()
    assert gap < 1e-10
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items()), "model was touched"


@pytest.mark.parametrize("change", CHANGES)
@given(seed=SEEDS)
def test_the_change_is_far_from_none(change: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = dense().double()
    x = sample((2, 6), seed)
    changed = apply(change, model, x, seed)
    pairs = zip(changed.model.parameters(), model.parameters(), strict=True)
    moved = max(float((a - b).detach().abs().max()) for a, b in pairs)
    assert moved > 0.05


@given(seed=SEEDS, features=st.integers(2, 30))
def test_mixtures_are_well_conditioned_and_full(seed: int, features: int) -> None:
    mixing_ff = well_conditioned(features, torch.Generator().manual_seed(seed))
    assert torch.linalg.cond(mixing_ff) < 10
    assert float((mixing_ff != 0).double().mean()) > 0.9


def test_changes_follow_one_another() -> None:
    model, x = dense().double(), sample((2, 6), 0)
    changed = apply("sigmoid+input-inversion", model, x)
    torch.testing.assert_close(changed.model(changed.encode(x)), model(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(changed.encode(x), 1 - x)
    assert "sigmoid" in changed.model.code


def test_a_float32_model_stays_float32() -> None:
    model = dense()
    changed = apply("input-affine", model, torch.rand(4, 2, 6))
    assert {p.dtype for p in changed.model.parameters()} == {torch.float32}
    assert changed.encode(torch.rand(4, 2, 6)).dtype is torch.float32


def test_running_statistics_and_random_numbers_are_left_alone() -> None:
    model = conv_circular().double()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    changed = apply("input-scale", model, sample((3, 6, 6), 0))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(changed.model[1].running_mean, torch.zeros(5, dtype=torch.float64))


def test_grouped_channels_are_rescaled() -> None:
    model = nn.Sequential(nn.Conv1d(4, 8, 3, groups=2), nn.Flatten(), nn.Linear(8 * 3, 2)).double()
    x = sample((4, 5), 0)
    changed = apply("input-affine", model, x)
    torch.testing.assert_close(changed.model(changed.encode(x)), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_every_recurrent_layer_reads_recoded_inputs(kind: type[nn.RNNBase]) -> None:
    model, x = Recurrent(kind, both=False).double(), sample((5, 4), 0)
    changed = apply("input-mixing", model, x)
    torch.testing.assert_close(changed.model(changed.encode(x)), model(x), rtol=0, atol=1e-12)


class Forward(nn.Module):
    """A model whose forward is given."""

    def __init__(self, forward, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.way = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


REFUSALS = {
    "zero padding": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 2)),
        (1, 4, 4),
        "input-inversion",
        ["'0' (Conv2d)", "pads with zeros"],
    ),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 2)),
        (4,),
        "input-inversion",
        ["'0' (Linear)", "no bias"],
    ),
    "no bias after a sigmoid": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2, bias=False)),
        (4,),
        "sigmoid",
        ["'2' (Linear)", "no bias"],
    ),
    "residual sum": (
        lambda: Forward(
            lambda m, x: m.c(m.a(x).tanh() + m.b(x)), a=nn.Linear(4, 3), b=nn.Linear(4, 3), c=nn.Linear(3, 2)
        ),
        (4,),
        "sigmoid",
        ["'add' in forward", "residual sum"],
    ),
    "no tanh": (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,), "sigmoid", ["no tanh"]),
    "tanh of the input": (
        lambda: nn.Sequential(nn.Tanh(), nn.Linear(4, 3)),
        (4,),
        "scaled-tanh",
        ["tanh reads", "no weights"],
    ),
    "tanh at the end": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh()),
        (4,),
        "sigmoid",
        ["the model's output"],
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3)),
        (4,),
        "input-inversion",
        ["'0' (Dropout)", "sets values to 0"],
    ),
    "normalised input": (
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)),
        (4,),
        "input-scale",
        ["'0' (BatchNorm1d)", "eps"],
    ),
    "unknown layer": (
        lambda: nn.Sequential(nn.Softmax(-1), nn.Linear(4, 3)),
        (4,),
        "input-scale",
        ["'0' (Softmax)", "no exact rule"],
    ),
    "functional layer": (
        lambda: Forward(lambda m, x: m.a(F.linear(x, torch.eye(4, dtype=x.dtype))), a=nn.Linear(4, 3)),
        (4,),
        "input-scale",
        ["'linear' in forward", "no exact rule"],
    ),
    "branch on values": (
        lambda: Forward(lambda m, x: m.a(x) if x.sum() > 0 else x, a=nn.Linear(4, 4)),
        (4,),
        "input-scale",
        ["torch.fx cannot trace Forward", "Branches"],
    ),
    "tied weights": (tied, (4,), "input-scale", ["'0'", "shares its weights", "'2'"]),
    "activation of the input": (
        lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 3)),
        (4,),
        "input-inversion",
        ["'0' (ReLU)", "positive factor"],
    ),
    "product": (
        lambda: Forward(lambda m, x: m.a(x * x), a=nn.Linear(4, 3)),
        (4,),
        "input-scale",
        ["'mul' in forward"],
    ),
    "grouped mixture": (
        lambda: nn.Sequential(nn.Conv1d(4, 4, 2, groups=2), nn.Flatten(), nn.Linear(8, 2)),
        (4, 3),
        "input-mixing",
        ["'0' (Conv1d)"],
    ),
    "all sums": (
        lambda: nn.Sequential(nn.Linear(4, 3)),
        (4,),
        "unit-permutation",
        ["the model's output"],
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_the_layer_and_the_reason(case: str) -> None:
    make, shape, change, words = REFUSALS[case]
    model = make().double()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CannotRewrite) as caught:
        apply(change, model, sample(shape, 0))
    for word in [change, *words] if "cannot trace" not in " ".join(words) else words:
        assert word in str(caught.value)
    assert "While executing" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_codes_have_no_scale() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(CannotRewrite, match="int64 codes"):
        apply("input-scale", model, torch.randint(0, 5, (6, 3)))


def test_a_difference_no_rule_foresaw_is_caught() -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:  # a Linear by type, not by what it does
            return super().forward(x).square()

    Odd.__module__ = "torch.nn.odd"  # so that torch.fx takes it as a leaf, as it does torch's own
    with pytest.raises(CannotRewrite, match="differs from the original"):
        apply("unit-scale", nn.Sequential(Odd(4, 3), nn.Linear(3, 2)), torch.rand(5, 4))


def test_unknown_change_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'input-inversion'"):
        apply("input-invertion", dense(), torch.rand(4, 2, 6))


def test_applicable_tells_each_change() -> None:
    reasons = applicable(dense(), torch.rand(4, 2, 6))
    assert list(reasons) == list(CHANGES)
    assert set(reasons.values()) == {None}
