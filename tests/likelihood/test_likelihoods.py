"""Draws, signs and exact columns have the Fisher matrix of the loss; evidence recovers what the loss was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import isotrain
from isotrain.errors import BadOption, LikelihoodMismatch, UnknownName, UnsupportedOperation, WrongReduction
from isotrain.likelihood import Bernoulli, Categorical, Gaussian, Likelihood, named

DRAWS = 40_000


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def exact_fisher(likelihood: Likelihood, row: Tensor) -> Tensor:
    """Second moment of the gradient of the loss of one row [c], by autograd and the known distribution."""
    if isinstance(likelihood, Categorical):
        p = row.softmax(-1)
        gradients = []
        for label in range(len(row)):
            leaf = row.clone().requires_grad_()
            F.cross_entropy(leaf.unsqueeze(0), torch.tensor([label])).backward()
            gradients.append(leaf.grad)
        return sum(p[y] * torch.outer(g, g) for y, g in enumerate(gradients))
    leaf = row.clone().requires_grad_()
    if isinstance(likelihood, Bernoulli):
        return torch.autograd.functional.hessian(
            lambda z: F.binary_cross_entropy_with_logits(z, torch.zeros_like(z), reduction="sum"), leaf
        )
    return torch.autograd.functional.hessian(lambda z: z.square().sum() / (2 * likelihood.variance), leaf)


@pytest.mark.parametrize("likelihood", [Categorical(), Bernoulli(), Gaussian(), Gaussian(variance=3.0)], ids=repr)
@pytest.mark.parametrize("how", ["draw", "signs"])
def test_samples_have_the_fisher_matrix(likelihood: Likelihood, how: str) -> None:
    row = logits(3)
    many = row.expand(DRAWS, 3)
    cotangent = getattr(likelihood, how)(many, torch.Generator().manual_seed(1))
    fisher = exact_fisher(likelihood, row)
    assert torch.allclose(cotangent.T @ cotangent / DRAWS, fisher, atol=0.03 * float(fisher.abs().max()))
    assert float(cotangent.mean(0).abs().max()) < 0.03


@pytest.mark.parametrize("likelihood", [Categorical(), Bernoulli(), Gaussian(variance=2.0)], ids=repr)
def test_every_adds_up_to_the_fisher_matrix(likelihood: Likelihood) -> None:
    output = logits(4, 3)
    columns = list(likelihood.every(output, torch.Generator().manual_seed(0)))
    for n in range(4):
        found = sum(torch.outer(c[n], c[n]) for c in columns)
        assert torch.allclose(found, exact_fisher(likelihood, output[n]), atol=1e-12)


@pytest.mark.parametrize("likelihood", [Categorical(), Bernoulli(), Gaussian(variance=2.0)], ids=repr)
def test_squares_are_the_diagonal(likelihood: Likelihood) -> None:
    row = logits(3)
    assert torch.allclose(likelihood.squares(row.unsqueeze(0))[0], exact_fisher(likelihood, row).diagonal(), atol=1e-12)


def gradient_of(loss_of, output: Tensor) -> tuple[float, Tensor]:
    leaf = output.clone().requires_grad_()
    loss = loss_of(leaf)
    loss.backward()
    return loss.item(), leaf.grad


SHAPES = {"rows": (8, 5), "text": (4, 3, 5), "maps": (4, 5, 3, 2)}


@pytest.mark.parametrize("factor", [1.0, 1 / 4, 65536.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_categorical_evidence(shape: tuple[int, ...], factor: float) -> None:
    output = logits(*shape)
    dim = 1 if len(shape) == 4 else -1
    place = [n for d, n in enumerate(shape) if d != dim % len(shape)]
    target = torch.randint(5, place, generator=torch.Generator().manual_seed(2))

    def loss_of(z: Tensor) -> Tensor:
        return factor * F.cross_entropy(z.movedim(dim, 1), target)

    loss, gradient = gradient_of(loss_of, output)
    likelihood = Categorical()
    evidence = likelihood.evidence(output, gradient, likelihood.rows(output))
    rows = target.numel()
    residual = output.softmax(dim) - F.one_hot(target, 5).movedim(-1, dim)
    assert torch.allclose(evidence.residual, residual, atol=1e-9)
    assert float(evidence.loss) == pytest.approx(loss / factor, rel=1e-9)
    assert torch.allclose(evidence.share * torch.ones_like(output).select(dim, 0).unsqueeze(dim), torch.full_like(
        output.select(dim, 0).unsqueeze(dim), 1 / rows))  # fmt: skip


def test_categorical_ignore_index_weights_and_smoothing() -> None:
    output = logits(8, 3)
    target = torch.tensor([0, 1, 2, 0, -100, 1, -100, 2])
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    loss, gradient = gradient_of(lambda z: F.cross_entropy(z, target, weight=weights), output)
    likelihood = Categorical(ignore_index=-100, class_weights=weights)
    evidence = likelihood.evidence(output, gradient, 8)
    assert float(evidence.loss) == pytest.approx(loss, rel=1e-9)
    share = weights[target.clamp_min(0)] * (target >= 0)
    assert torch.allclose(evidence.share[:, 0], share / share.sum())
    assert float(evidence.residual[4].abs().max()) == 0
    whole = torch.tensor([0, 1, 2, 0, 2, 1, 1, 2])
    loss, gradient = gradient_of(lambda z: F.cross_entropy(z, whole, label_smoothing=0.1), output)
    evidence = Categorical(label_smoothing=0.1).evidence(output, gradient, 8)
    assert float(evidence.loss) == pytest.approx(loss, rel=1e-9)
    assert torch.allclose(evidence.residual, gradient * 8, atol=1e-12)


def test_log_probabilities_serve_as_logits() -> None:
    output = logits(8, 3).log_softmax(1)
    target = torch.arange(8) % 3
    loss, gradient = gradient_of(lambda z: F.nll_loss(z, target), output)
    evidence = Categorical().evidence(output, gradient, 8)
    assert float(evidence.loss) == pytest.approx(loss, rel=1e-9)
    assert torch.allclose(evidence.residual, output.exp() - F.one_hot(target, 3), atol=1e-9)


@pytest.mark.parametrize("event_dims", [0, 1])
def test_bernoulli_and_gaussian_evidence(event_dims: int) -> None:
    output = logits(6, 4)
    target = torch.rand(6, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    divide = 6 if event_dims else 24
    loss, gradient = gradient_of(
        lambda z: F.binary_cross_entropy_with_logits(z, target, reduction="sum") / divide, output
    )
    evidence = Bernoulli(event_dims).evidence(output, gradient, divide)
    assert torch.allclose(evidence.residual, output.sigmoid() - target)
    assert float(evidence.loss) == pytest.approx(loss, rel=1e-9)
    loss, gradient = gradient_of(lambda z: F.mse_loss(z, target, reduction="sum") / divide, output)
    evidence = Gaussian(event_dims=event_dims).evidence(output, gradient, divide)
    assert torch.allclose(evidence.residual, 2 * (output - target))
    assert float(evidence.loss) == pytest.approx(loss, rel=1e-9)


def test_a_summed_loss_is_refused() -> None:
    output = logits(8, 3)
    target = torch.arange(8) % 3
    _, gradient = gradient_of(lambda z: F.cross_entropy(z, target, reduction="sum"), output)
    with pytest.raises(WrongReduction, match="8 rows"):
        Categorical().evidence(output, gradient, 8)
    answers = F.one_hot(target, 3).double()
    _, gradient = gradient_of(lambda z: F.binary_cross_entropy_with_logits(z, answers, reduction="sum"), output)
    with pytest.raises(WrongReduction, match="24 rows"):
        Bernoulli().evidence(output, gradient, 24)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(LikelihoodMismatch, match="bernoulli"):
        Categorical().check(torch.zeros(4, 1))
    with pytest.raises(LikelihoodMismatch, match="class weights"):
        Categorical(class_weights=[1.0, 2.0]).check(torch.zeros(4, 3))
    for likelihood in (Categorical(), Bernoulli(), Gaussian()):
        with pytest.raises(LikelihoodMismatch, match="loss"):
            likelihood.check(torch.tensor(1.0))
    with pytest.raises(LikelihoodMismatch, match="event_dims=2"):
        Bernoulli(event_dims=2).rows(torch.zeros(4, 3))
    with pytest.raises(BadOption, match="variance"):
        Gaussian(variance=0.0)
    with pytest.raises(UnknownName, match="gaussian"):
        named("gausian")
    output = logits(8, 3)
    _, gradient = gradient_of(lambda z: F.mse_loss(z, torch.zeros_like(z)), output)
    with pytest.raises(LikelihoodMismatch, match="not a cross-entropy"):
        Categorical().evidence(output, gradient, 8)


class Poisson(Likelihood):
    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(output.exp(), generator=generator)

    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        return output.exp() - target * output


def test_a_likelihood_of_ones_own() -> None:
    row = torch.tensor([0.5, 1.0], dtype=torch.float64)
    cotangent = Poisson().draw(row.expand(DRAWS, 2), torch.Generator().manual_seed(0))
    assert torch.allclose((cotangent.T @ cotangent / DRAWS).diagonal(), row.exp(), rtol=0.05)
    for ask in (Poisson().squares, lambda z: next(iter(Poisson().every(z, torch.Generator())))):
        with pytest.raises(UnsupportedOperation, match="monte-carlo"):
            ask(row)


@pytest.mark.parametrize("names", [True, False], ids=["dict", "tuple"])
def test_two_heads_train(names: bool) -> None:
    torch.manual_seed(0)

    class TwoHeads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.label, self.size = (torch.nn.Linear(i, k) for i, k in ((4, 8), (8, 3), (8, 1)))

        def forward(self, x: Tensor) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
            h = self.body(x).tanh()
            return {"label": self.label(h), "size": self.size(h)} if names else (self.label(h), self.size(h))

    model = TwoHeads()
    heads = {"label": "categorical", "size": "gaussian"} if names else ["categorical", "gaussian"]
    optimizer = isotrain.Riemannian(model, likelihood=heads)
    x = torch.randn(64, 4)
    label, size = (x[:, 0] > 0).long() + (x[:, 1] > 0).long(), x[:, 2:3]
    losses = []
    for _ in range(60):
        out = model(x)
        first, second = out.values() if names else out
        loss = F.cross_entropy(first, label) + F.mse_loss(second, size)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    with pytest.raises(LikelihoodMismatch, match="2 outputs"):
        one = isotrain.Riemannian(TwoHeads(), likelihood="categorical")
        model = one._model
        out = model(x)
        first, second = out.values() if names else out
        (F.cross_entropy(first, label) + F.mse_loss(second, size)).backward()
        one.step()
