"""An optimizer that cannot be made, or a state that is not its own: one clear error, at once."""

from __future__ import annotations

import copy

import pytest
import torch
from small_problem import batch, net, same, snapshot, train
from torch import nn
from torch.nn import functional as F

from isotrain import Bernoulli, Change, Gaussian, Riemannian
from isotrain.errors import BadCheckpoint, BadOption, IsotrainError, UnknownName, UnsupportedLayer


def says(error, pattern, make):
    with pytest.raises(error, match=pattern) as caught:
        make()
    assert isinstance(caught.value, IsotrainError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"likelihood": "categorial"}, r"likelihood 'categorial' is not known. Did you mean 'categorical'\? Known: "),
        ({"likelihood": {"a": "gausian"}}, r"likelihood 'gausian' is not known. Did you mean 'gaussian'\?"),
        ({"likelihood": ["categorical", "x"]}, r"likelihood 'x' is not known. Known: categorical"),
        ({"metric": "montecarlo"}, r"metric 'montecarlo' is not known. Did you mean 'monte-carlo'\?"),
        ({"shape": "quasidiagonal"}, r"shape 'quasidiagonal' is not known. Did you mean 'quasi-diagonal'\?"),
        ({"plain": ["3"]}, r"plain '3' is not known. Known: "),
        ({"plain": ["2.wieght"]}, r"plain '2.wieght' is not known. Did you mean '2.weight'\?"),
        ({"params": [{"params": [], "momentun": 0.9}]}, r"option 'momentun' is not known. Did you mean 'momentum'\?"),
    ],
    ids=str,
)
def test_unknown_names(options, pattern):
    says(UnknownName, pattern, lambda: Riemannian(net(), **options))


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"refresh": 0}, "refresh=0 must be at least 1"),
        ({"subsample": 2}, r"subsample=2 in \(0, 1\]"),
        ({"subsample": 0.0}, r"subsample=0.0 in \(0, 1\]"),
        ({"lr": -0.1}, r"lr=-0.1 must be in \[0, inf\)"),
        ({"lr": float("nan")}, r"lr=nan must be in \[0, inf\)"),
        ({"decay": 1.0}, r"decay=1.0 must be in \[0, 1\)"),
        ({"damping": -1.0}, r"damping=-1.0 must be in \[0, inf\)"),
        ({"momentum": 1.5}, r"momentum=1.5 must be in \[0, 1\)"),
        ({"weight_decay": -1e-3}, r"weight_decay=-0.001 must be in"),
        ({"likelihood": 3}, r"likelihood=3.*name, a Likelihood, a dict or a list"),
        ({"params": [{"params": [], "refresh": 3}]}, r"refresh=3 in a parameter group.*Riemannian\(model, refresh=3\)"),
    ],
    ids=str,
)
def test_options_out_of_range(options, pattern):
    says(BadOption, pattern, lambda: Riemannian(net(), **options))


def test_a_refused_optimizer_leaves_no_hooks():
    model = net()
    for options in ({"lr": -1.0}, {"shape": "x"}, {"plain": ["x"]}, {"params": [{"params": [model[0].weight]}]}):
        with pytest.raises(IsotrainError):
            Riemannian(model, **options)
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_likelihoods_out_of_range():
    says(BadOption, r"variance=-1 must be positive", lambda: Gaussian(variance=-1))
    assert Bernoulli().weight == 1.0


def test_parameters_instead_of_the_model():
    says(BadOption, r"needs the model, got generator.*Riemannian\(model\)", lambda: Riemannian(net().parameters()))
    says(BadOption, r"needs the model, got list", lambda: Riemannian(list(net().parameters())))


class Codebook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.zeros(3))
        self.body = net()

    def forward(self, x):
        return self.body(x) + self.codes


def test_a_parameter_that_no_layer_owns_and_the_way_out():
    model = nn.Sequential(Codebook())
    says(
        UnsupportedLayer,
        r"'0.codes' \(shape \(3,\), in Codebook\).*adapter \(docs/layers.md\).*plain=\['0.codes'\]\)",
        lambda: Riemannian(model),
    )
    optimizer = Riemannian(model, plain=["0.codes"])
    assert optimizer.claims() == {Change.UNIT_PERMUTATION} != Riemannian(net()).claims()
    losses = train(model, optimizer, range(20))
    assert losses[-1] < losses[0]
    assert not torch.equal(model[0].codes, torch.zeros(3))
    assert set(optimizer.state[model[0].codes]) == {"turns", "mean", "square"}


def test_a_frozen_parameter_that_no_layer_owns_is_no_error_until_it_is_unfrozen():
    model = Codebook()
    model.codes.requires_grad_(False)
    optimizer = Riemannian(model)
    train(model, optimizer, range(2))
    model.codes.requires_grad_(True)
    optimizer.zero_grad()
    F.cross_entropy(model(batch(2)[0]), batch(2)[1]).backward()
    before = snapshot(model, optimizer)
    says(UnsupportedLayer, r"'codes' \(shape \(3,\)", optimizer.step)
    assert same(snapshot(model, optimizer), before)
    model.codes.requires_grad_(False)
    model.codes.grad = None
    train(model, optimizer, range(2, 4))


def test_weight_and_bias_in_different_groups():
    model = net()
    weights = [p for p in model.parameters() if p.ndim == 2]
    biases = [p for p in model.parameters() if p.ndim == 1]
    pattern = (
        r"weight and bias of layer '0' are in different parameter groups.*Put all parameters of a layer in one group"
    )
    says(BadOption, pattern, lambda: Riemannian(model, params=[{"params": weights}, {"params": biases}]))
    says(BadOption, pattern, lambda: Riemannian(model, params=[{"params": weights}]))


def test_a_parameter_of_another_model():
    says(
        BadOption,
        r"parameter of shape \(5, 6\) in the group does not belong to the model",
        lambda: Riemannian(net(), params=[{"params": net().parameters()}]),
    )


def test_complex_parameters():
    model = nn.Linear(3, 2, dtype=torch.complex64)
    says(
        UnsupportedLayer,
        r"'weight' \(shape \(2, 3\)\) is torch.complex64.*torch.view_as_complex",
        lambda: Riemannian(model),
    )


# --- checkpoints ------------------------------------------------------------------------------------------------


def saved_by(make=Riemannian, model=None, **options):
    model = model or net()
    optimizer = make(model, **options)
    train(model, optimizer, range(2))
    return optimizer.state_dict()


def with_mark(**changes):
    saved = saved_by()
    return {**saved, "isotrain": {**saved["isotrain"], **changes}}


@pytest.mark.parametrize(
    ("saved", "pattern"),
    [
        (lambda: torch.optim.Adam(net().parameters()).state_dict(), "not saved by isotrain.Riemannian"),
        (lambda: with_mark(version=0), "has version 0, this isotrain reads 6"),
        (lambda: saved_by(metric="exact"), "has metric='exact', this optimizer metric="),
        (lambda: saved_by(shape="diagonal"), r"shapes \['diagonal'\], this optimizer \['polar'\]"),
        (lambda: saved_by(plain=["2"]), r"plain=\['2'\], this optimizer plain=\[\]"),
        (
            lambda: saved_by(model=net(hidden=4)),
            r"another model's: in group 0 it has \[4, 6\] where this one has \[5, 6\]",
        ),
        (lambda: saved_by(model=nn.Sequential(net(), nn.Linear(3, 3))), r"in group 0 it has 6 where this one has 4"),
    ],
    ids=["adam", "version", "metric", "shape", "plain", "sizes", "number"],
)
def test_a_state_that_is_not_its_own(saved, pattern):
    model = net()
    optimizer = Riemannian(model)
    train(model, optimizer, range(2))
    before = snapshot(model, optimizer)
    state = saved()
    says(BadCheckpoint, pattern, lambda: optimizer.load_state_dict(state))
    assert same(snapshot(model, optimizer), before)
    reference = net()
    assert train(reference, again := Riemannian(reference), range(2)) and again
    assert train(model, optimizer, range(2, 4)) == train(reference, again, range(2, 4))


def test_a_state_with_other_groups():
    model = net()
    split = Riemannian(model, params=[{"params": layer.parameters()} for layer in (model[0], model[2])])
    other = copy.deepcopy(split.state_dict())
    says(BadCheckpoint, "shapes", lambda: Riemannian(net()).load_state_dict(other))
