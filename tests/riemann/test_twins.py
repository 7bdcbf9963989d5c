"""A look leaves no trace, and what it shows is the native layer: outputs, states, buffers, draws."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from layer_cases import ALL, ATTENTION, CLASSES, RECURRENT, Case
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from isotrain import Riemannian
from isotrain.likelihood import Categorical
from isotrain.riemann.attention import attention_twin, attention_units
from isotrain.riemann.recurrent import cell_twin, recurrent_twin, recurrent_units


def tensors(value: Any) -> list[Tensor]:
    found = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, nn.utils.rnn.PackedSequence):
            found += [leaf.data, leaf.batch_sizes]
        elif isinstance(leaf, Tensor):
            found.append(leaf)
    return found


def twin_of(layer: nn.Module) -> Any:
    if isinstance(layer, nn.MultiheadAttention):
        return attention_twin, attention_units("", layer)
    return (cell_twin if isinstance(layer, nn.RNNCellBase) else recurrent_twin), recurrent_units("", layer)


@pytest.mark.parametrize("case", RECURRENT + ATTENTION, ids=str)
def test_twins_are_the_native_layers(case: Case) -> None:
    model, args, _ = case.make()
    layer = model.cell if hasattr(model, "cell") else model.layer
    twin, units = twin_of(layer)
    calls = []
    layer.register_forward_hook(lambda m, a, k, out: calls.append((a, k, out)), with_kwargs=True)
    native = model(*args)
    for a, k, out in calls:
        k = {**k, "need_weights": True} if isinstance(layer, nn.MultiheadAttention) else k
        expected = layer.forward(*a, **k)
        found = twin(layer, units, lambda sighting: None, *a, **k)
        assert len(tensors(found)) == len(tensors(expected)) > 0
        for mine, theirs in zip(tensors(found), tensors(expected), strict=True):
            assert mine.shape == theirs.shape
            assert float((mine - theirs).detach().abs().max()) < 1e-12
        for mine, theirs in zip(tensors(found)[:1], tensors(out)[:1], strict=True):
            assert float((mine - theirs).detach().abs().max()) < 1e-12
    assert torch.isfinite(native).all()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.RNN(2, 3), (4, 2)),
        (nn.LSTM(2, 3, bidirectional=True, proj_size=1), (4, 2)),
        (nn.GRU(2, 3, batch_first=True), (4, 2)),
        (nn.LSTMCell(2, 3), (2,)),
        (nn.GRUCell(2, 3), (2,)),
        (nn.RNNCell(2, 3, nonlinearity="relu"), (2,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_twins_take_a_single_sequence(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer = layer.double()
    x = torch.randn(shape, dtype=torch.float64)
    twin, units = twin_of(layer)
    found = tensors(twin(layer, units, lambda sighting: None, x))
    for mine, theirs in zip(found, tensors(layer(x)), strict=True):
        assert mine.shape == theirs.shape
        assert float((mine - theirs).detach().abs().max()) < 1e-12


class Restless(nn.Module):
    """Everything a forward may leave behind: running statistics, draws, a count, a kept state."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3)
        self.rnn = nn.LSTM(4, 3, num_layers=2, dropout=0.4, batch_first=True)
        self.mix = nn.MultiheadAttention(3, 1, dropout=0.2, batch_first=True)
        self.head = nn.Linear(3, CLASSES)
        self.register_buffer("seen", torch.zeros(()))
        self.calls, self.state = 0, None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        z = self.drop(self.norm(self.first(x))).unsqueeze(1).expand(-1, 3, -1)
        out, self.state = self.rnn(z)
        out, _ = self.mix(out, out, out)
        return self.head(out.mean(1) + 0.01 * torch.randn(len(x), 3, dtype=x.dtype))


@pytest.mark.parametrize("metric", ["outer-product", "signs", "exact"])
@pytest.mark.parametrize("subsample", [1.0, 0.5])
def test_a_look_leaves_no_trace(metric: str, subsample: float) -> None:
    model = Restless().double()
    optimizer = Riemannian(model, metric=metric, subsample=subsample)
    x, labels = torch.randn(40, 3, dtype=torch.float64), torch.randint(0, CLASSES, (40,))
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    attributes = [dict(m.__dict__) for m in model.modules()]
    state, before = torch.get_rng_state(), [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(b, buffers[name]) for name, b in model.named_buffers())
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, model.parameters(), strict=True) if p.grad is not None)
    for module, kept in zip(model.modules(), attributes, strict=True):
        assert module.__dict__.keys() == kept.keys()
        assert all(module.__dict__[name] is kept[name] for name in kept if name not in ("_buffers", "_parameters"))
    assert model.calls == 1
    assert any(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_the_look_sees_the_same_dropout_mask_as_the_training_forward() -> None:
    """The oracle's rule holds under dropout too: outputs of the look are those of the forward."""
    from isotrain.riemann import observe

    model = Restless().double()
    optimizer = Riemannian(model, metric="outer-product")
    outputs: list[Tensor] = []
    original = observe.tensors

    def listen(output: Any) -> list[Tensor]:
        outputs.extend(t.detach() for t in original(output))
        return original(output)

    x, labels = torch.randn(40, 3, dtype=torch.float64), torch.randint(0, CLASSES, (40,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "tensors", listen)
        out = model(x)
        F.cross_entropy(out, labels).backward()
        optimizer.step()
    looked, unmoved, tried = outputs
    assert float((looked - out.detach()).abs().max()) < 1e-12
    assert float((unmoved - out.detach()).abs().max()) < 1e-12
    assert 0 < float((tried - looked).abs().max()) < 1  # the trial moved the weights under the same mask


class Behind(nn.Module):
    """Dropout on the outputs of a recurrent layer, whose places in memory it draws its mask by."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.drop, self.head = layer, nn.Dropout(0.4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.layer(x)[0]))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_dropout_behind_a_recurrent_layer_drops_the_same_in_a_look(
    kind: type[nn.RNNBase], first: bool, both: bool
) -> None:
    """Else the trial takes the masks' difference for the step's: under dropout nothing was learned."""
    from isotrain.riemann import observe

    torch.manual_seed(0)
    layer = kind(3, 4 // (1 + both), batch_first=first, bidirectional=both)  # type: ignore[call-arg]
    model = Behind(layer).double()
    optimizer = Riemannian(model, likelihood=Categorical(-1), metric="outer-product")
    outputs: list[Tensor] = []
    original = observe.tensors

    def listen(output: Any) -> list[Tensor]:
        outputs.extend(t.detach() for t in original(output))
        return original(output)

    x, labels = torch.randn(6, 5, 3, dtype=torch.float64), torch.randint(0, CLASSES, (6, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "tensors", listen)
        out = model(x)
        F.cross_entropy(out.flatten(0, 1), labels.flatten()).backward()
        optimizer.step()
    looked, unmoved, *_ = outputs
    assert float((looked - out.detach()).abs().max()) < 1e-12
    assert float((unmoved - out.detach()).abs().max()) < 1e-12


@pytest.mark.parametrize("case", [c for c in ALL if c.name in ("lstm", "gru", "rnn")], ids=str)
def test_a_cell_in_a_loop_is_the_fused_layer(case: Case) -> None:
    """However it is written: the same function, the same steps."""
    torch.manual_seed(0)
    fused = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[case.name](2, 3, batch_first=True).double()
    cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[case.name](2, 3).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in fused.state_dict().items()})
    head = nn.Linear(3, CLASSES).double()

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = fused, copy.deepcopy(head)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x)[0][:, -1])

    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = cell, copy.deepcopy(head)

        def forward(self, x: Tensor) -> Tensor:
            state: Any = None
            for t in range(x.shape[1]):
                state = self.layer(x[:, t], state)
            return self.head(state[0] if isinstance(state, tuple) else state)

    x, labels = torch.randn(20, 3, 2, dtype=torch.float64), torch.randint(0, CLASSES, (20,))
    models = [Fused(), Looped()]
    for model in models:
        optimizer = Riemannian(model)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels).backward()
            optimizer.step()
    for mine, theirs in zip(*(m.parameters() for m in models), strict=True):
        assert float((mine - theirs).detach().abs().max()) < 1e-12
