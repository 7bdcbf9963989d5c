"""A bad batch: one error that names the thing, the value and the way out; nothing changed; then training goes on."""

from __future__ import annotations

import copy

import pytest
import torch
from small_problem import batch, net, same, snapshot, train
from torch import nn
from torch.nn import functional as F

from isotrain import Gaussian, Riemannian
from isotrain.errors import (
    BadOption,
    DegenerateMetric,
    IsotrainError,
    LikelihoodMismatch,
    NoBackward,
    NotFinite,
    NotObserved,
    WrongReduction,
)

LOOK, NO_LOOK = 3, 23
COMPOSITIONS = {
    "natural": {},
    "plain-rule": {"lr": 1e-2, "damping": 0.1, "metric": "outer-product"},
    "momentum": {"momentum": 0.9},
    "partly-plain": {"plain": ["0"]},
    "kronecker": {"shape": "kronecker"},
}


def refused(model, optimizer, error, pattern, step=None):
    """The step fails with this one line, and parameters and state are bit for bit what they were."""
    before = snapshot(model, optimizer)
    kept = {p: set(kept) for p, kept in optimizer.state.items()}
    with pytest.raises(error, match=pattern) as caught:
        (step or optimizer.step)()
    assert isinstance(caught.value, IsotrainError)
    assert "\n" not in str(caught.value)
    assert same(snapshot(model, optimizer), before)
    assert {p: set(kept) for p, kept in optimizer.state.items()} == kept


def goes_on(model, optimizer, at, **options):
    """As if the bad batch had never been."""
    reference, untouched = trained(at, **options)
    assert train(model, optimizer, range(at, at + 3)) == train(reference, untouched, range(at, at + 3))
    assert same(snapshot(model, optimizer), snapshot(reference, untouched))


def trained(at, ready={}, **options):  # noqa: B006 - a run is made once and copied
    key = (at, repr(options))
    if key not in ready:
        model = net()
        optimizer = Riemannian(model, **options)
        train(model, optimizer, range(at))
        ready[key] = (model, optimizer)
    return copy.deepcopy(ready[key])


@pytest.fixture(params=COMPOSITIONS.values(), ids=COMPOSITIONS.keys())
def options(request):
    return request.param


@pytest.mark.parametrize("at", [0, LOOK, NO_LOOK], ids=["first", "look", "no-look"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(value, at, options):
    model, optimizer = trained(at, **options)
    optimizer.zero_grad()
    x, y = batch(90)
    (F.cross_entropy(model(x), y) * value).backward()
    refused(model, optimizer, NotFinite, r"not finite \(\d+ of \d+ entries\).*Nothing was changed; look at the batch")
    goes_on(model, optimizer, at, **options)


@pytest.mark.parametrize("at", [0, LOOK, NO_LOOK], ids=["first", "look", "no-look"])
@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.weight", "2.bias"])
@pytest.mark.parametrize("which", ["natural", "partly-plain", "momentum"])
def test_one_gradient_that_is_not_finite(name, at, which):
    """Whichever layer it is in, no other has moved."""
    model, optimizer = trained(at, **COMPOSITIONS[which])
    optimizer.zero_grad()
    F.cross_entropy(model(batch(90)[0]), batch(90)[1]).backward()
    model.get_parameter(name).grad.view(-1)[0] = float("nan")
    refused(model, optimizer, NotFinite, rf"gradient of '{name}' is not finite \(1 of \d+ entries\)")
    goes_on(model, optimizer, at, **COMPOSITIONS[which])


@pytest.mark.parametrize("at", [0, LOOK, NO_LOOK], ids=["first", "look", "no-look"])
def test_an_input_that_is_not_finite(at):
    model, optimizer = trained(at)
    x, y = batch(90)
    x[2, 3] = float("nan")
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    refused(model, optimizer, NotFinite, "not finite")
    goes_on(model, optimizer, at)


@pytest.mark.parametrize("at", [0, LOOK, NO_LOOK], ids=["first", "look", "no-look"])
def test_a_step_without_a_backward(at, options):
    model, optimizer = trained(at, **options)
    optimizer.zero_grad()
    refused(model, optimizer, NoBackward, r"no parameter has a gradient: call loss.backward\(\) first")
    goes_on(model, optimizer, at, **options)


def test_a_second_step_after_one_backward():
    model, optimizer = trained(LOOK)
    train(model, optimizer, [LOOK])
    refused(model, optimizer, NoBackward, r"nothing to look at.*Call loss.backward\(\)")
    goes_on(model, optimizer, LOOK + 1)


def test_a_part_of_the_model_called_alone():
    model, optimizer = trained(LOOK)
    x, y = batch(90)
    optimizer.zero_grad()
    F.cross_entropy(model[2](model[1](model[0](x))), y).backward()
    refused(model, optimizer, NoBackward, r"the model was not called \(call the model itself, not its parts\)")
    goes_on(model, optimizer, LOOK)


@pytest.mark.parametrize("options", [{}, {"lr": 0.01, "damping": 0.1}], ids=["natural", "plain-rule"])
def test_a_first_batch_of_one(options):
    model, optimizer = trained(0, **options)
    x, y = batch(90, 1)
    F.cross_entropy(model(x), y).backward()
    refused(model, optimizer, DegenerateMetric, r"1 sample.*use at least 2 samples in the first step")
    goes_on(model, optimizer, 0, **options)


def test_a_later_batch_of_one_is_no_error():
    model, optimizer = trained(2)
    for n in (1, 2):
        x, y = batch(90, n)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert all(p.isfinite().all() for p in model.parameters())


# --- the loss ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, LOOK])
@pytest.mark.parametrize("n", [2, 8, 24])
def test_a_summed_cross_entropy(n, at):
    model, optimizer = trained(at)
    x, y = batch(90, n)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y, reduction="sum").backward()
    refused(model, optimizer, WrongReduction, rf"summed over its {n} rows.*reduction='mean' \(divide the loss by {n}\)")
    goes_on(model, optimizer, at)


def test_a_summed_cross_entropy_of_which_a_share_is_looked_at():
    model, optimizer = trained(30, subsample=0.7)
    x, y = batch(90)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y, reduction="sum").backward()
    refused(model, optimizer, WrongReduction, "summed over its 24 rows")


def labels(y):
    return F.one_hot(y, 3).float()


@pytest.mark.parametrize("n", [2, 24])
def test_a_summed_binary_cross_entropy(n):
    model = net()
    optimizer = Riemannian(model, "bernoulli")
    x, y = batch(90, n)
    F.binary_cross_entropy_with_logits(model(x), labels(y), reduction="sum").backward()
    refused(model, optimizer, WrongReduction, rf"summed over its {3 * n} rows.*divide the loss by {3 * n}")
    optimizer.zero_grad()
    F.binary_cross_entropy_with_logits(model(x), labels(y)).backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (lambda out, y: F.mse_loss(out, labels(y)), "mse"),
        (lambda out, y: F.binary_cross_entropy_with_logits(out, labels(y)), "bce"),
        (lambda out, y: F.multi_margin_loss(out, y) + out.square().mean(), "margin"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_loss_than_cross_entropy(loss, name):
    model, optimizer = trained(0)
    x, y = batch(90)
    loss(model(x), y).backward()
    refused(model, optimizer, LikelihoodMismatch, r"not a cross-entropy over dimension -1.*likelihood='bernoulli' / 'g")
    goes_on(model, optimizer, 0)


class Returns(nn.Module):
    """A model whose output is made of its logits by `shape`."""

    def __init__(self, shape) -> None:
        super().__init__()
        self.body, self.shape = net(), shape

    def forward(self, x):
        return self.shape(self.body(x))


@pytest.mark.parametrize(
    ("likelihood", "shape", "loss", "pattern"),
    [
        (
            "categorical",
            lambda o: o.square().mean(),
            lambda o: o,
            r"returned shape \(\).*If the model returns its loss",
        ),
        ("gaussian", lambda o: o.square().mean(), lambda o: o, r"returned shape \(\).*If the model returns its loss"),
        ("bernoulli", lambda o: o.square().mean(), lambda o: o, r"shape \(\)"),
        ("categorical", lambda o: o[:, :1], lambda o: o.sigmoid().mean(), r"found 1 class.*use likelihood='bernoulli'"),
        (Gaussian(event_dims=2), lambda o: o, lambda o: o.square().mean(), "event_dims"),
    ],
    ids=["scalar-categorical", "scalar-gaussian", "scalar-bernoulli", "one-logit", "events"],
)
def test_an_output_that_is_not_what_the_likelihood_describes(likelihood, shape, loss, pattern):
    model = Returns(shape)
    optimizer = Riemannian(model, likelihood)
    loss(model(batch(0)[0])).backward()
    refused(model, optimizer, LikelihoodMismatch, pattern)


def test_classes_in_another_dimension():
    """Found where it can be; said where it cannot."""
    model = Returns(lambda o: o.reshape(4, 6, 3).transpose(1, 2))  # [n, class, place]
    optimizer = Riemannian(model)
    x, y = batch(0)
    F.cross_entropy(model(x), y.reshape(4, 6)).backward()
    optimizer.step()
    wrong = Returns(lambda o: o.reshape(2, 3, 4, 3))  # classes last, loss over dimension 2
    optimizer = Riemannian(wrong)
    out = wrong(x)
    F.cross_entropy(out.transpose(1, 2), torch.zeros(2, 3, 3, dtype=torch.long)).backward()
    refused(wrong, optimizer, LikelihoodMismatch, r"not a cross-entropy over dimension .*Categorical\(dim=")
    optimizer.zero_grad()
    F.cross_entropy(wrong(x).permute(0, 3, 1, 2), y.reshape(2, 3, 4)).backward()
    optimizer.step()


def test_an_output_of_integers():
    class Answers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = net()

        def forward(self, x):
            self.kept = self.body(x)
            return self.kept.argmax(1)

    model = Answers()
    optimizer = Riemannian(model)
    model(batch(0)[0])
    F.cross_entropy(model.kept, batch(0)[1]).backward()
    refused(model, optimizer, NoBackward, "no gradient came back to its output")


class TwoHeads(nn.Module):
    def __init__(self, kind=dict) -> None:
        super().__init__()
        self.body, self.left, self.right, self.kind = net(), nn.Linear(3, 3), nn.Linear(3, 1), kind

    def forward(self, x):
        h = self.body(x)
        left, right = self.left(h), self.right(h)
        return {"left": left, "right": right} if self.kind is dict else (left, right)


def both(out, y):
    left, right = out.values() if isinstance(out, dict) else out
    return F.cross_entropy(left, y) + F.mse_loss(right[:, 0], y.float())


@pytest.mark.parametrize(
    ("likelihood", "kind", "pattern"),
    [
        ("categorical", dict, r"reaches 2 outputs of the model \(left, right\).*one likelihood.*likelihood=\{'name'"),
        ({"left": "categorical"}, dict, r"reaches output right, which has no likelihood"),
        ({"left": "categorical", "rigth": "gaussian"}, dict, r"output 'rigth', the model returned left, right"),
        (["categorical"], tuple, r"1 likelihoods for 2 outputs.*None where"),
        (["categorical", None], tuple, r"reaches output 1, which has no likelihood"),
    ],
)
def test_several_outputs(likelihood, kind, pattern):
    model = TwoHeads(kind)
    optimizer = Riemannian(model, likelihood)
    x, y = batch(0)
    both(model(x), y).backward()
    refused(model, optimizer, LikelihoodMismatch, pattern)


@pytest.mark.parametrize(
    "likelihood", [{"left": "categorical", "right": "gaussian"}, ["categorical", "gaussian"]], ids=str
)
def test_several_outputs_and_as_many_likelihoods(likelihood):
    model = TwoHeads(type(likelihood) if isinstance(likelihood, dict) else tuple)
    optimizer = Riemannian(model, likelihood)
    losses = []
    for turn in range(15):
        x, y = batch(turn)
        optimizer.zero_grad()
        loss = both(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


# --- what is called how -----------------------------------------------------------------------------------------


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = net(), nn.Linear(3, 3)

    def forward(self, x):
        return F.linear(torch.tanh(self.body(x)), self.head.weight, self.head.bias)


def test_weights_used_by_a_function():
    model = Functional()
    optimizer = Riemannian(model)
    F.cross_entropy(model(batch(0)[0]), batch(0)[1]).backward()
    refused(model, optimizer, NotObserved, r"layer 'head'.*F.linear\(x, layer.weight\).*plain=\['head'\]")
    optimizer.close()
    losses = train(model, Riemannian(model, plain=["head"]), range(15))
    assert losses[-1] < losses[0]


def test_sparse_gradients():
    model = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Flatten(), nn.Linear(8, 3))
    optimizer = Riemannian(model)
    F.cross_entropy(model(torch.randint(5, (6, 2))), torch.arange(6) % 3).backward()
    refused(model, optimizer, BadOption, r"'0.weight'.*Embedding\(sparse=False\)")


def test_a_layer_frozen_in_part_later():
    model, optimizer = trained(LOOK)
    model[0].bias.requires_grad_(False)
    x, y = batch(90)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    refused(model, optimizer, BadOption, r"'0' is frozen in another part.*\('0.bias'.*Make a new optimizer")
    model[0].bias.requires_grad_(True)
    goes_on(model, optimizer, LOOK)


def test_a_frozen_part_that_is_freed_later():
    model, _ = trained(LOOK)
    model[0].bias.requires_grad_(False)
    optimizer = Riemannian(model)
    train(model, optimizer, range(3))
    x, y = batch(90)
    model[0].bias.requires_grad_(True)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    refused(model, optimizer, BadOption, r"'0' is frozen in another part.*all of it.*Make a new optimizer")
