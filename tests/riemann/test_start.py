"""The start: one function whatever the coding, units in their working range, and the whole run that follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isotrain
from isotrain.errors import NotFinite, UnsupportedLayer
from isotrain.riemann.follow import Follower
from isotrain.riemann.start import BRANCH, LAST, Started, start, working_spread

Activation = Callable[[Tensor], Tensor]


class Act(nn.Module):
    """Any function as a module."""

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def dense(function: Activation) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 12), Act(function), nn.Linear(12, 9), Act(function), nn.Linear(9, 3)
    ).double()  # fmt: skip


def pictures(function: Activation) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), Act(function), nn.AvgPool2d(2), nn.Conv2d(4, 6, 2, groups=2), Act(function),
        nn.Flatten(), nn.Linear(24, 3),
    ).double()  # fmt: skip


class Series(nn.Module):
    """A recurrent network on raw measurements."""

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.head, self.function, self.out = nn.Linear(10, 7), function, nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.function(self.head(self.lstm(x)[0][:, -1])))


def table(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp()


TANHS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "scaled": lambda z: 1.7159 * torch.tanh(z * 2 / 3),
    "mirrored": lambda z: 1 - 3 * torch.tanh(z),
}
NETS: dict[str, tuple[Callable[[Activation], nn.Module], tuple[int, ...]]] = {
    "dense": (dense, (6,)),
    "pictures": (pictures, (2, 8, 8)),
    "series": (lambda f: Series(f).double(), (5, 6)),
}


def raw(x: Tensor) -> Tensor:
    """Every feature in a unit of its own, some mirrored."""
    channels = 1 if x.ndim == 4 else -1
    n = x.shape[channels]
    scale = torch.logspace(-3, 3, n, dtype=torch.float64) * (-1.0) ** torch.arange(n)
    shape = [1] * x.ndim
    shape[channels] = n
    return x * scale.view(shape) + 100 * scale.view(shape)


@pytest.mark.parametrize("name", sorted(TANHS))
@pytest.mark.parametrize("net", sorted(NETS))
def test_the_start_is_one_function_in_every_coding(net: str, name: str) -> None:
    build, shape = NETS[net]
    x = table(80, *shape)
    one, other = build(torch.tanh), build(TANHS[name])
    start(one, x)
    start(other, raw(x))
    with torch.no_grad():
        a, b = one(x), other(raw(x))
        assert float(a.std()) > 0.05
        assert float((a - b).abs().max()) < 1e-9
        start(other, raw(x), seed=1)
        assert float((a - other(raw(x))).abs().max()) > 0.1  # other draws are another function


@pytest.mark.parametrize("net", ["dense", "pictures"])
def test_the_run_that_follows_is_one_run(net: str) -> None:
    """Weights are not mapped: the codings are all that the runs have in common with the seed."""
    build, shape = NETS[net]
    x = table(240, *shape)
    labels = (x.flatten(1) @ torch.randn(x[0].numel(), 3, dtype=torch.float64)).argmax(1)

    def losses(model: nn.Module, inputs: Tensor) -> list[float]:
        start(model, inputs)
        optimizer = isotrain.Riemannian(model)
        found = []
        for step in range(100):
            rows = torch.arange(step * 40, step * 40 + 40) % len(x)
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(float(loss.detach()))
        return found

    first = losses(build(torch.tanh), x)
    assert sum(first[-6:]) < sum(first[:6]) / 2
    for name, inputs in (("sigmoid", raw(x)), ("scaled", 1 - x)):
        other = losses(build(TANHS[name]), inputs)
        assert max(abs(a - b) for a, b in zip(first, other, strict=True)) < 1e-8


def test_units_begin_in_the_middle_of_their_working_range() -> None:
    x = raw(table(200, 6))
    model = nn.Sequential(
        nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Sigmoid(),
        nn.Linear(8, 3),
    ).double()  # fmt: skip
    found = {layer.name: layer.spread for layer in start(model, x)}
    tanh = working_spread(torch.tanh)
    assert tanh is not None
    assert found == {"0": pytest.approx(tanh), "2": 1.0, "4": BRANCH, "5": pytest.approx(2 * tanh), "7": LAST}
    z = x
    for name, layer in model.named_children():
        z = layer(z)
        if name in found:
            assert float(z.mean(0).detach().abs().max()) < 1e-9
            assert z.std(0, correction=0).tolist() == pytest.approx([found[name]] * z.shape[1], rel=1e-3)


def test_an_input_that_is_constant_gets_no_weight_and_a_rare_one_a_small_one() -> None:
    x = table(200, 4)
    x[:, 1] = 7.0
    x[:, 2] = 0.0
    x[:2, 2] = 1.0
    model = nn.Sequential(nn.Linear(4, 500), nn.Tanh(), nn.Linear(500, 2)).double()
    start(model, x)
    weight = model[0].weight.detach()
    assert torch.equal(weight[:, 1], torch.zeros(500, dtype=torch.float64))
    # Drawn by deviation alone, the rare input would do as much as any to the outputs; and when lit, 10 times as much.
    effect = weight.square().mean(0) * x.var(0)
    assert float(effect[2]) < float(effect[[0, 3]].min()) / 10


def followed(function: Activation) -> Activation | None:
    """What a follower takes for the activation of a layer whose output the function is given."""
    layer, z = nn.Linear(1, 1), torch.randn(8, 4)
    follower = Follower()
    with follower:
        follower.begin(layer, z, reader=True)
        function(z)
    return follower.activation(layer)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda z: F.relu(z.view(-1, 4)), None),
        (lambda z: z.clone().relu_(), None),
        (lambda z: F.max_pool1d(z.unsqueeze(1), 2).squeeze(1).sigmoid(), 2.0),
        (lambda z: 1.7159 * torch.tanh(z * (2 / 3)), 1.5),
        (lambda z: F.dropout(torch.tanh(z), 0.5, training=False), 1.0),
        (lambda z: torch.exp(z) / (1 + torch.exp(z)), 2.0),
        (lambda z: z * torch.sigmoid(z), None),
    ],
)
def test_activations_are_recognised_by_what_they_do(function: Activation, expected: float | None) -> None:
    found = followed(function)
    assert found is not None
    spread, tanh = working_spread(found), working_spread(torch.tanh)
    assert tanh is not None
    assert spread == (None if expected is None else pytest.approx(expected * tanh, rel=1e-6))


@pytest.mark.parametrize(
    "function",
    [lambda z: z.softmax(-1), lambda z: z.mean(0), lambda z: z + torch.arange(4.0), lambda z: z @ torch.ones(4, 2),
     lambda z: z[:, :2] * torch.sigmoid(z[:, 2:]) * 0 + F.layer_norm(z[:, :2], (2,))],
)  # fmt: skip
def test_what_mixes_entries_is_no_activation(function: Activation) -> None:
    found = followed(function)
    assert found is None or working_spread(found) == working_spread(torch.sigmoid)  # the gate's, entry by entry


def test_last_layers_are_those_that_nothing_reads() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 5)
            self.table = nn.Parameter(torch.randn(4, 6))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            h = F.gelu(self.body(x))
            return {"a": self.left(h), "b": self.right(h).tanh(), "c": h @ self.table}

    found = {layer.name: layer.spread for layer in start(Two(), torch.randn(50, 3))}
    assert found == {"body": 1.0, "left": LAST, "right": LAST, "model": None}


def test_what_is_not_its_own_is_left_and_said() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.frozen, self.free = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.unused, self.write = nn.Linear(4, 4), nn.Linear(4, 9, bias=False)
            self.write.weight = self.read.weight
            self.frozen.requires_grad_(False)
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.write(self.drop(self.free(self.frozen(self.read(x)).tanh())))

    model = Mixed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = {layer.name: layer for layer in start(model, torch.arange(9))}
    assert torch.equal(torch.rand(1), expected)  # the user's own random numbers are as they were
    assert all(module.training for module in model.modules())
    assert found["free"] == Started("free", BRANCH)
    assert {name: layer.note for name, layer in found.items() if layer.note} == {
        "read": "Embedding stays as it is",
        "frozen": "frozen",
        "write": "shares its weights",
        "unused": "never called",
    }
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"free.weight", "free.bias"}


def test_buffers_stay_and_inputs_may_be_arguments_or_keywords() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.norm, self.two = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return self.two(self.norm(self.one(x * scale)).sigmoid())

    x = torch.randn(40, 3)
    ways = [x, (x, 1.0), {"x": x, "scale": 1.0}]
    outputs = []
    for inputs in ways:
        model = Pair()
        start(model, inputs)
        assert torch.equal(model.norm.running_mean, torch.zeros(4))
        outputs.append(model(x))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize(
    "layer",
    [nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Conv1d(4, 6, 3), nn.Conv3d(4, 6, 2), nn.ConvTranspose1d(4, 6, 2)],
)
def test_convolutions_of_every_kind(layer: nn.Module) -> None:
    places = layer.weight.ndim - 2
    x = table(30, 4, *[5] * places).float() * torch.tensor([1e-2, 1.0, 10.0, 50.0]).view(4, *[1] * places)
    start(layer, x)
    z = layer(x).transpose(0, 1).flatten(1)
    assert z.mean(1).tolist() == pytest.approx([0.0] * 6, abs=1e-4)
    assert z.std(1, correction=0).tolist() == pytest.approx([LAST] * 6, rel=1e-3)


def test_a_norm_of_the_inputs_themselves_has_an_activation_too() -> None:
    found = start(nn.Sequential(nn.BatchNorm1d(3), nn.Sigmoid(), nn.Linear(3, 2)), torch.randn(50, 3))
    assert [layer.spread for layer in found] == [pytest.approx(0.846, abs=1e-3), LAST]


def test_faults_are_named() -> None:
    x = torch.randn(10, 3)
    x[2, 1] = torch.nan
    with pytest.raises(NotFinite, match="'0'"):
        start(nn.Sequential(nn.Linear(3, 2)), x)
    with pytest.raises(UnsupportedLayer, match="nothing to start in Sequential"):
        start(nn.Sequential(nn.Embedding(3, 2)), torch.arange(3))
