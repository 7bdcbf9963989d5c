"""What the natural length is made of: balance between layers, the trial, and calm when a norm leaps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain import Bernoulli, Categorical, Gaussian, Likelihood, Riemannian
from isotrain.riemann import motion, steplength, trial
from isotrain.riemann.polar import Polar


def pictures(n: int = 64) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, 12, dtype=torch.float64)
    return x, (x @ torch.randn(12, 4, dtype=torch.float64)).argmax(1)


def deep(width: int = 24) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(12, width), nn.Sigmoid()]
    for _ in range(4):
        layers += [nn.Linear(width, width), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(width, 4)).double()


def steps(model: nn.Module, optimizer: Riemannian, count: int, x: Tensor, y: Tensor) -> list[float]:
    losses = []
    for _ in range(count):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_step_that_moves_the_outputs_further_than_predicted_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pictures()
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    as_usual, optimizer = copy.deepcopy(model), Riemannian(model)
    original = trial.trusted

    def too_hopeful(*given: object) -> float:
        return original(*given[:4], 1e-6 * given[4], *given[5:])  # type: ignore[arg-type, operator]

    monkeypatch.setattr(trial, "trusted", too_hopeful)
    before = model(x).detach()
    steps(model, optimizer, 1, x, y)
    trust = optimizer.param_groups[0]["trust"]
    assert 0 < trust < 0.1
    short = float((model(x).detach() - before).norm())
    monkeypatch.setattr(trial, "trusted", original)
    other = Riemannian(as_usual)
    steps(as_usual, other, 1, x, y)
    assert other.param_groups[0]["trust"] == 1
    full = float((as_usual(x).detach() - before).norm())
    assert 0.9 * trust * full < short < 0.9 * full  # units that are held back anyway lose less
    steps(model, optimizer, 1, x, y)
    assert optimizer.param_groups[0]["trust"] == pytest.approx(min(1, trial.RECOVERY * trust))


def test_a_trial_leaves_the_parameters_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pictures()
    model = deep()
    before = [p.detach().clone() for p in model.parameters()]
    monkeypatch.setattr(motion, "shift", lambda motions, length: None)
    steps(model, Riemannian(model), 1, x, y)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_a_trial_that_fails_leaves_the_parameters_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pictures()
    model = deep()
    before = [p.detach().clone() for p in model.parameters()]

    def fail(*_: object) -> float:
        raise RuntimeError("the user's forward failed")

    monkeypatch.setattr(trial, "_divergence", fail)
    with pytest.raises(RuntimeError, match="the user's forward failed"):
        steps(model, Riemannian(model), 1, x, y)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("shape", ["polar", "quasi-diagonal", "kronecker"])
def test_balanced_blocks_are_newton_steps_alone(shape: str) -> None:
    """At the first look w'Fw = v'w for every block by itself, so the common curvature lies between 0 and the blocks."""
    x, y = pictures()
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    optimizer = Riemannian(model, shape=shape)
    steps(model, optimizer, 1, x, y)
    assert 0 < optimizer.param_groups[0]["curvature"] <= len([m for m in model if isinstance(m, nn.Linear)]) + 1e-9


def test_a_leap_of_the_norm_is_held() -> None:
    x, y = pictures()
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    optimizer = Riemannian(model, momentum=0.0)
    steps(model, optimizer, 40, x, y)
    usual = float(optimizer.state[model[0].weight]["usual"])
    steps(model, optimizer, 1, x, (y + 1) % 4)  # every label wrong at once
    after = float(optimizer.state[model[0].weight]["usual"])
    assert usual < after <= usual * (0.9 + 0.1 * steplength.LEAP) * (1 + 1e-12)


def test_a_norms_unit_that_was_silent_in_all_looks_waits_for_the_next() -> None:
    """Its metric knows nothing of its gradient, which could send it anywhere; the others go on."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)).double()
    optimizer = Riemannian(model)
    x, y = pictures()
    norm = model[1]
    before = [norm.weight.detach().clone(), norm.bias.detach().clone()]
    for step in range(42):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for part in (norm.weight, norm.bias):
            part.grad[5] *= 0 if step < 33 else 1e3
        optimizer.step()
        moved = [part.detach() - old for part, old in zip((norm.weight, norm.bias), before, strict=True)]
        if step < 40:  # the looks are at 30 and at 40
            assert moved[0][5] == moved[1][5] == 0
            assert bool((moved[0] != 0).any())
    assert moved[0][5] != 0
    # A gradient a thousand times what looks have seen, and no more than its own spread in each of two steps.
    assert float((moved[0][5].square() + moved[1][5].square()).sqrt()) <= 2 * float(norm.weight.detach().abs().max())


@pytest.mark.parametrize(
    ("likelihood", "output"),
    [
        (Categorical(), torch.randn(50, 4, dtype=torch.float64)),
        (Bernoulli(), torch.randn(50, 3, dtype=torch.float64)),
        (Gaussian(), torch.randn(50, 3, dtype=torch.float64)),
    ],
    ids=["categorical", "bernoulli", "gaussian"],
)
def test_divergences(likelihood: Likelihood, output: Tensor) -> None:
    """Zero at no move, half the Fisher metric for a small one, and what the sampled base class estimates."""
    share = output.new_tensor(1 / likelihood.rows(output))
    move = 0.02 * torch.randn_like(output)
    assert float(likelihood.divergence(output, output, share)) == pytest.approx(0, abs=1e-14)
    exact = float(likelihood.divergence(output, output + move, share))
    generator = torch.Generator().manual_seed(0)
    columns = likelihood.every(output, generator)
    if isinstance(likelihood, Categorical):
        squares = sum((c * move).sum(1).square().sum() for c in columns)
    else:
        squares = (likelihood.squares(output) * move.square()).sum()
    assert exact == pytest.approx(float(squares) / 2 / likelihood.rows(output), rel=0.05)
    many = [o.repeat(400, 1) for o in (output, output + move)]
    drawn = float(Likelihood.divergence(likelihood, many[0], many[1], share))
    assert drawn == pytest.approx(exact, rel=0.1)


def polar_step(gradient_ki: Tensor, turns: int) -> Tensor:
    """[k,i] the step after `turns` on one gradient, of a layer without a bias, inputs and errors of spread one."""
    k, i = gradient_ki.shape
    inputs, units = torch.ones(1, i, dtype=torch.float64), torch.ones(1, k, dtype=torch.float64)
    spreads = {"mean": 0 * inputs, "spread": inputs, "range": 0 * inputs, "factor": units, "response": units}
    state = Polar().ready(spreads, 0.1)
    state = Polar().begin(state, gradient_ki[None], None)
    for _ in range(turns - 1):
        state |= Polar().direct(state, gradient_ki[None], None).kept
    return Polar().solve(state, gradient_ki[None], None)[0][0]


def test_polar_shortens_the_strongest_directions_to_the_others() -> None:
    """Against the singular values: with a rank above the matrix's, none is longer than their mean, the others stay."""
    torch.manual_seed(3)
    k, i = 6, 9
    u, _ = torch.linalg.qr(torch.randn(k, k, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(i, k, dtype=torch.float64))
    sizes = torch.tensor([50.0, 20.0, 5.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    gradient = (u * sizes) @ v.T
    expected = (u * sizes.clamp_max(float(sizes.mean()))) @ v.T
    assert float((polar_step(gradient, 5) - expected).abs().max()) < 1e-6


def test_polar_in_a_wide_layer_follows_the_strongest_alone() -> None:
    torch.manual_seed(4)
    k, i = 48, 64
    noise = torch.randn(k, i, dtype=torch.float64)
    strong = 30 * torch.outer(torch.randn(k), torch.randn(i)).double()
    assert float(torch.linalg.matrix_norm(noise + strong, 2)) > 500
    assert float(torch.linalg.matrix_norm(polar_step(noise + strong, 3), 2)) < 1.2 * float(
        torch.linalg.matrix_norm(noise, 2)
    )
