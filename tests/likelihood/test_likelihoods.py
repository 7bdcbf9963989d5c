"""Likelihoods: draws have the model's own second moment, and the user's loss can be read from its gradient."""

# A row of the table is a line.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain import Bernoulli, Categorical, Gaussian, Huber, Likelihood, Riemannian
from isotrain.errors import BadOption, LikelihoodMismatch, UnknownName, UnsupportedOperation, WrongReduction
from isotrain.likelihood import named

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 3.0])


def fisher(likelihood: Likelihood, output: Tensor) -> Tensor:
    """[n, e, e]: E[g g'] of each sample's flat output under the model itself, by autograd of nll and all labels."""
    flat = output.flatten(1)
    found = torch.zeros(len(flat), flat.shape[1], flat.shape[1], dtype=output.dtype)
    if isinstance(likelihood, Categorical):
        dim = likelihood._dim(output)
        for label in range(output.shape[dim]):
            leaf = output.clone().requires_grad_()
            rows = likelihood.nll(leaf, torch.full_like(leaf.select(dim, 0), label, dtype=torch.long))
            p = (-rows).exp().detach()
            for n in range(len(flat)):
                for place in range(rows[n].numel()):
                    (g,) = torch.autograd.grad(rows[n].flatten()[place], leaf, retain_graph=True)
                    g = g[n].flatten()
                    found[n] += p[n].flatten()[place] * torch.outer(g, g)
    elif isinstance(likelihood, Bernoulli):
        for answer in (0.0, 1.0):
            leaf = flat.clone().requires_grad_()
            nll = likelihood.nll(leaf, torch.full_like(leaf, answer))
            (g,) = torch.autograd.grad(nll.sum(), leaf)
            found += torch.diag_embed((-nll).exp().detach() * g.square())
    elif isinstance(likelihood, Huber):
        error = torch.linspace(-60, 60, 1_200_001, dtype=torch.float64)
        leaf = torch.zeros((), dtype=torch.float64, requires_grad=True).expand(len(error)).contiguous()
        nll = likelihood.nll(leaf, error)
        (slope,) = torch.autograd.grad(nll.sum(), leaf)
        weights = (-nll).exp().detach() * (error[1] - error[0])
        found += torch.eye(flat.shape[1], dtype=output.dtype) * (weights * slope.square()).sum() / weights.sum()
    else:
        assert isinstance(likelihood, Gaussian)
        found += torch.eye(flat.shape[1], dtype=output.dtype) / likelihood.variance
    return found


OUTPUTS = [
    (Categorical(), (3, 4)),
    (Categorical(dim=-1), (2, 3, 4)),
    (Categorical(dim=1), (2, 3, 2)),
    (Categorical(dim=1), (2, 3, 2, 2)),
    (Bernoulli(), (3, 4)),
    (Bernoulli(event_dims=1), (2, 2, 3)),
    (Gaussian(), (3, 2)),
    (Gaussian(variance=2.0), (2, 3, 2)),
    (Huber(), (3, 2)),
    (Huber(beta=0.3, event_dims=1), (2, 3, 2)),
]
names = [f"{type(likelihood).__name__}-{shape}" for likelihood, shape in OUTPUTS]


@pytest.mark.parametrize(("likelihood", "shape"), OUTPUTS, ids=names)
def test_every_and_squares_are_the_exact_fisher_matrix(likelihood: Likelihood, shape: tuple[int, ...]) -> None:
    output = torch.randn(shape, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    expected = fisher(likelihood, output)
    assert torch.allclose(likelihood.squares(output).flatten(1), expected.diagonal(dim1=1, dim2=2), atol=1e-12)
    turns = 1 if likelihood.rows(output) == len(output) or not isinstance(likelihood, Categorical) else 4000
    found = torch.zeros_like(expected)
    for _ in range(turns):  # the rows of a sample are parted by random signs: exact on average
        for cotangent in likelihood.every(output, generator):
            flat = cotangent.flatten(1)
            found += flat[:, :, None] * flat[:, None, :] / turns
    exact = 1e-7 if isinstance(likelihood, Huber) else 1e-12  # what is expected of it is an integral, summed up
    assert float((found - expected).abs().max()) < (exact if turns == 1 else 0.03)


@pytest.mark.parametrize("way", ["draw", "signs"])
@pytest.mark.parametrize(("likelihood", "shape"), OUTPUTS, ids=names)
def test_draws_have_the_exact_second_moment(likelihood: Likelihood, shape: tuple[int, ...], way: str) -> None:
    output = torch.randn(shape, dtype=torch.float64)
    expected = fisher(likelihood, output)
    copies = 4000
    many = output.repeat(copies, *[1] * (output.ndim - 1))
    flat = getattr(likelihood, way)(many, torch.Generator().manual_seed(0)).flatten(1)
    found = (flat[:, :, None] * flat[:, None, :]).view(copies, len(output), flat.shape[1], -1).mean(0)
    assert float((found - expected).abs().max()) < 0.15 * max(1.0, float(expected.abs().max()))


@dataclass(frozen=True)
class Loss:
    """A user's loss, the likelihood that describes it, the model's output and its labels."""

    name: str
    likelihood: Likelihood
    loss: Callable[[Tensor, Tensor], Tensor]
    output: tuple[int, ...]
    labels: str
    dim: int = -1

    def __str__(self) -> str:
        return self.name

    def make(self) -> tuple[Tensor, Tensor]:
        output = 2 * torch.randn(self.output, dtype=torch.float64)
        if self.labels == "classes":
            return output, torch.randint(0, output.shape[self.dim], output.select(self.dim, 0).shape)
        return output, (torch.rand(self.output) < 0.5).double() if self.labels == "answers" else torch.randn_like(
            output
        )


def last(loss: Callable[..., Tensor], **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda out, y: loss(out.flatten(0, -2), y.flatten(), **options)


LOSSES = [
    Loss("plain", Categorical(), F.cross_entropy, (8, 4), "classes"),
    Loss("vector", Categorical(dim=0), F.cross_entropy, (4,), "classes"),
    Loss("tokens", Categorical(), last(F.cross_entropy), (3, 5, 4), "classes"),
    Loss("maps", Categorical(dim=1), F.cross_entropy, (3, 4, 2, 2), "classes", 1),
    Loss("maps-found", Categorical(), F.cross_entropy, (3, 4, 2, 2), "classes", 1),
    Loss("ignored", Categorical(ignore_index=2), lambda o, y: F.cross_entropy(o, y, ignore_index=2), (20, 4), "classes"),
    Loss("weighted", Categorical(class_weights=WEIGHTS), lambda o, y: F.cross_entropy(o, y, WEIGHTS.to(o)), (20, 4), "classes"),
    Loss("smooth", Categorical(label_smoothing=0.2), lambda o, y: F.cross_entropy(2 * o / 2, y, label_smoothing=0.2), (40, 4), "classes"),
    Loss(
        "smooth-weighted",
        Categorical(label_smoothing=0.2, class_weights=WEIGHTS),
        lambda o, y: F.cross_entropy(o, y, WEIGHTS.to(o), label_smoothing=0.2),
        (40, 4),
        "classes",
    ),
    Loss("log-softmax", Categorical(), F.nll_loss, (8, 4), "classes"),
    Loss("bernoulli", Bernoulli(), F.binary_cross_entropy_with_logits, (6, 3), "answers"),
    Loss("bernoulli-summed", Bernoulli(event_dims=1), lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="sum") / 6, (6, 3), "answers"),
    Loss("bernoulli-masked", Bernoulli(event_dims=1, masked=True), lambda o, y: F.binary_cross_entropy_with_logits(o[::2], y[::2], reduction="sum") / 3, (6, 3), "answers"),
    Loss("huber", Huber(beta=20.0), lambda o, y: F.smooth_l1_loss(o, y, beta=20.0), (6, 3), "numbers"),
    Loss("huber-masked", Huber(20.0, 1, masked=True), lambda o, y: F.smooth_l1_loss(o[1::3], y[1::3], beta=20.0, reduction="sum") / 2, (6, 3), "numbers"),
    Loss("gaussian", Gaussian(), F.mse_loss, (6, 3), "numbers"),
    Loss("gaussian-half", Gaussian(1.0, event_dims=1), lambda o, y: (o - y).square().sum() / 12, (6, 3), "numbers"),
]  # fmt: skip


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_evidence_recovers_residuals_shares_and_loss(case: Loss) -> None:
    output, labels = case.make()
    if case.name == "log-softmax":
        output = output.log_softmax(-1)
    leaf = output.requires_grad_()
    loss = case.loss(leaf, labels)
    (gradient,) = torch.autograd.grad(loss, leaf)
    found = case.likelihood.evidence(output.detach(), gradient, case.likelihood.rows(output.detach()))
    back = found.residual * found.share
    if case.name == "log-softmax":
        gradient = output.detach().exp() * -gradient.sum(-1, keepdim=True) + gradient
    assert float((back - gradient).abs().max()) < 1e-12
    assert float(found.loss) == pytest.approx(float(loss.detach()), rel=1e-9)
    rows = torch.ones_like(output).sum() / case.likelihood.rows(output)
    assert float(found.share.expand_as(output).sum() / rows) == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [0.1, 7.0, 2.0**16])
@pytest.mark.parametrize("case", [c for c in LOSSES if isinstance(c.likelihood, Categorical)], ids=str)
def test_labels_are_found_whatever_factor_the_loss_carries(case: Loss, factor: float) -> None:
    output, labels = case.make()
    output = output.log_softmax(-1) if case.name == "log-softmax" else output
    leaf = output.requires_grad_()
    (gradient,) = torch.autograd.grad(case.loss(leaf, labels), leaf)
    rows = case.likelihood.rows(output.detach())
    plain = case.likelihood.evidence(output.detach(), gradient, rows)
    scaled = case.likelihood.evidence(output.detach(), gradient * factor, rows)
    assert float((plain.residual - scaled.residual).abs().max()) < 1e-10
    assert float(plain.loss) == pytest.approx(float(scaled.loss))


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("apart", [0.02, 0.5, 3.0])
def test_hubers_divergence_is_the_integral(beta: float, apart: float) -> None:
    likelihood = Huber(beta)
    error = torch.linspace(-80, 80, 400_001, dtype=torch.float64)
    p = (-likelihood.nll(torch.zeros_like(error), error)).exp() * (error[1] - error[0])
    longer = likelihood.nll(torch.full_like(error, apart), error) - likelihood.nll(torch.zeros_like(error), error)
    found = likelihood.divergence(torch.zeros(1), torch.tensor([apart]), torch.ones(1))
    assert float(found) == pytest.approx(float((p * longer).sum()), rel=0.08)
    assert float(p.sum()) == pytest.approx(1, abs=1e-6)


def test_a_masked_mean_weighs_a_row_as_the_plain_mean_of_the_rows_that_count() -> None:
    output, answers = torch.randn(6, 3, dtype=torch.float64), (torch.rand(6, 3) < 0.5).double()
    counts = torch.tensor([0, 2, 5])
    leaf = output.clone().requires_grad_()
    loss = F.binary_cross_entropy_with_logits(leaf[counts], answers[counts], reduction="sum") / len(counts)
    (gradient,) = torch.autograd.grad(loss, leaf)
    masked = Bernoulli(event_dims=1, masked=True).evidence(output, gradient, 6)
    plain = Bernoulli(event_dims=1).evidence(output[counts], gradient[counts], 3)
    assert torch.allclose(masked.residual[counts], plain.residual)
    assert torch.equal(masked.share.flatten().nonzero().flatten(), counts)
    assert torch.allclose(masked.loss, plain.loss)


class Poisson(Likelihood):
    """The custom likelihood of the docs."""

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(output.exp(), generator=generator)

    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        return output.exp() - target * output


def test_a_subclass_needs_sample_and_nll_alone() -> None:
    output = torch.linspace(-1, 1, 5, dtype=torch.float64)
    drawn = Poisson().draw(output.repeat(4000, 1), torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.square().mean(0), output.exp(), rtol=0.1)
    assert torch.equal(
        Poisson().signs(output, torch.Generator().manual_seed(3)),
        Poisson().draw(output, torch.Generator().manual_seed(3)),
    )
    for method in (Poisson().squares, lambda o: list(Poisson().every(o, torch.Generator()))):
        with pytest.raises(UnsupportedOperation, match=r"Poisson.*override"):
            method(output)
    model = nn.Linear(2, 1)
    optimizer = Riemannian(model, Poisson(), metric="monte-carlo")
    x = torch.rand(32, 2)
    counts = torch.poisson((x.sum(1, keepdim=True)).exp())
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = Poisson().nll(model(x), counts).mean()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    assert losses[-1] < losses[0] - 0.05


class Heads(nn.Module):
    """Two predictions and a by-product."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.body, self.classes, self.boxes, self.kind = nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(4, 2), kind

    def forward(self, x: Tensor) -> Any:
        z = self.body(x).tanh()
        out = {"classes": self.classes(z), "boxes": self.boxes(z), "features": z}
        return out if self.kind == "dict" else tuple(out.values())


def heads_loss(out: Any, labels: Tensor, target: Tensor) -> Tensor:
    classes, boxes = (out["classes"], out["boxes"]) if isinstance(out, dict) else out[:2]
    return F.cross_entropy(classes, labels) + 0.5 * F.mse_loss(boxes, target)


LIKELIHOODS = {"classes": "categorical", "boxes": Gaussian(weight=0.5), "features": None}


def heads_step(kind: str, likelihood: Any, **options: Any) -> list[Tensor]:
    torch.manual_seed(0)
    model = Heads(kind).double()
    x, labels, target = torch.randn(24, 3).double(), torch.randint(0, 3, (24,)), torch.randn(24, 2).double()
    optimizer = Riemannian(model, likelihood, **options)
    for _ in range(3):
        optimizer.zero_grad()
        heads_loss(model(x), labels, target).backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("metric", ["outer-product", "monte-carlo", "exact", "backpropagated"])
def test_several_heads_by_name_or_by_place(metric: str) -> None:
    by_name = heads_step("dict", LIKELIHOODS, metric=metric)
    by_place = heads_step("tuple", list(LIKELIHOODS.values()), metric=metric)
    assert all(torch.equal(a, b) for a, b in zip(by_name, by_place, strict=True))


def test_heads_and_likelihoods_must_fit() -> None:
    for kind, likelihood, words in (
        ("dict", "categorical", "reaches 3 outputs.*classes, boxes, features"),
        ("dict", {"classes": "categorical"}, "boxes, features, which has no likelihood"),
        ("dict", {**LIKELIHOODS, "masks": "bernoulli"}, "masks"),
        ("tuple", ["categorical", "gaussian"], "2 likelihoods for 3 outputs"),
        ("dict", {**LIKELIHOODS, "masks": None}, "masks"),
    ):
        with pytest.raises(LikelihoodMismatch, match=words):
            heads_step(kind, likelihood)


@pytest.mark.parametrize(
    ("likelihood", "loss", "shape", "labels"),
    [
        ("categorical", lambda o, y: F.cross_entropy(o, y, reduction="sum"), (16, 4), "classes"),
        ("bernoulli", lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="sum"), (16, 3), "answers"),
    ],
)
def test_a_summed_loss_is_refused(likelihood: str, loss: Any, shape: tuple[int, ...], labels: str) -> None:
    case = Loss("", named(likelihood), loss, shape, labels)
    _, target = case.make()
    model = nn.Linear(3, shape[1]).double()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = Riemannian(model, likelihood)
    loss(model(torch.randn(16, 3).double()), target).backward()
    with pytest.raises(WrongReduction, match=r"16|48"):
        optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("likelihood", "output", "words"),
    [
        (Categorical(), torch.zeros(4, 1), "found 1 class"),
        (Categorical(), torch.zeros(()), "If the model returns its loss"),
        (Categorical(dim=3), torch.zeros(4, 2), "class dimension"),
        (Categorical(class_weights=[1.0, 2.0]), torch.zeros(4, 3), "2 class weights"),
        (Bernoulli(), torch.zeros(()), "logits"),
        (Bernoulli(event_dims=2), torch.zeros(4, 3), "event_dims=2"),
        (Gaussian(), torch.zeros(4, dtype=torch.long), "numbers"),
    ],
)
def test_mismatches_name_what_is_wrong(likelihood: Likelihood, output: Tensor, words: str) -> None:
    with pytest.raises(LikelihoodMismatch, match=words):
        likelihood.check(output)


def test_another_loss_is_refused() -> None:
    model = nn.Linear(3, 4)
    optimizer = Riemannian(model, "categorical")
    F.mse_loss(model(torch.randn(8, 3)), torch.randn(8, 4)).backward()
    with pytest.raises(LikelihoodMismatch, match="not a cross-entropy"):
        optimizer.step()


def test_names() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'gaussian'"):
        named("gausian")
    with pytest.raises(BadOption, match="variance"):
        Gaussian(0.0)
