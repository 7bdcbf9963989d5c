"""One class out of several: softmax outputs under cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from isotrain.errors import LikelihoodMismatch
from isotrain.likelihood.base import Evidence, Likelihood, random_signs, refuse_sum

ROUNDING = 1e-2
"""Share of its size by which a gradient in bfloat16 (autocast) may miss its sum."""


class Categorical(Likelihood):
    """Softmax over one dimension of the output (logits, or log-probabilities: the softmax of both is the same).

    Args:
        dim: the classes' dimension. None: the last one of a matrix; with more dimensions, the one of
            {last, 1} along which the gradient of cross-entropy sums to zero.
        ignore_index: pass the loss's value when labels are ignored; their rows then do not count.
        class_weights: the loss's `weight`, one number a class.
        label_smoothing: the loss's value.
        weight: factor of this head in a loss of several heads.

    >>> Categorical().squares(torch.zeros(1, 2))
    tensor([[0.2500, 0.2500]])
    """

    def __init__(
        self,
        dim: int | None = None,
        *,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | Tensor | None = None,
        label_smoothing: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        self.dim = dim
        self.ignore_index = ignore_index
        self.class_weights = None if class_weights is None else torch.as_tensor(class_weights)
        self.label_smoothing = label_smoothing
        self.weight = weight
        self._found_dim: int | None = None

    def _dim(self, output: Tensor) -> int:
        if self.dim is not None:
            return self.dim
        return -1 if output.ndim <= 2 or self._found_dim is None else self._found_dim

    def rows(self, output: Tensor) -> int:
        """One row for every index outside the class dimension."""
        return output.numel() // output.shape[self._dim(output)]

    def check(self, output: Tensor) -> None:
        """Refuse outputs without at least two classes in floating point."""
        dim = self._dim(output)
        if output.ndim == 0 or not -output.ndim <= dim < output.ndim or not output.is_floating_point():
            raise LikelihoodMismatch(
                f"likelihood 'categorical' needs logits with a class dimension, the model returned shape "
                f"{tuple(output.shape)} of {output.dtype}. If the model returns its loss, let it return the logits."
            )
        if output.shape[dim] < 2:
            raise LikelihoodMismatch(
                f"likelihood 'categorical' found {output.shape[dim]} class in dimension {dim} of the model's "
                f"output {tuple(output.shape)}. For one logit per answer use likelihood='bernoulli', "
                "for a number likelihood='gaussian', for another class dimension Categorical(dim=...)."
            )
        if self.class_weights is not None and len(self.class_weights) != output.shape[dim]:
            raise LikelihoodMismatch(
                f"Categorical has {len(self.class_weights)} class weights, the model's output "
                f"{tuple(output.shape)} has {output.shape[dim]} classes in dimension {dim}."
            )

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a class index for every row (inverse of the cumulative distribution)."""
        p = output.softmax(self._dim(output))
        cumulative = p.cumsum(self._dim(output))
        height = torch.rand(
            cumulative.select(self._dim(output), 0).shape,
            generator=generator,
            device=output.device,
            dtype=p.dtype,
        )
        below = cumulative < height.unsqueeze(self._dim(output)) * cumulative.narrow(self._dim(output), -1, 1)
        return below.sum(self._dim(output))

    def nll(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of every row."""
        dim = self._dim(output)
        return -output.log_softmax(dim).gather(dim, target.unsqueeze(dim)).squeeze(dim)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """p - e_y for a drawn class y."""
        dim = self._dim(output)
        labels = self.sample(output, generator).unsqueeze(dim)
        return output.softmax(dim).scatter_add(dim, labels, -torch.ones_like(labels, dtype=output.dtype))

    def signs(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """(diag p)^(1/2) (I - rr') s with r = p^(1/2) and random signs s: its outer square is diag p - pp'."""
        dim = self._dim(output)
        p = output.softmax(dim)
        root = p.sqrt() * random_signs(output, generator)
        return root - p * root.sum(dim, keepdim=True)

    def divergence(self, output: Tensor, moved: Tensor, share: Tensor) -> Tensor:
        """Sum of p log(p/q) over the classes."""
        dim = self._dim(output)
        log_p, log_q = output.log_softmax(dim), moved.log_softmax(dim)
        return (share * (log_p.exp() * (log_p - log_q)).sum(dim, keepdim=True)).sum()

    def every(self, output: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """p^(1/2)_y (p - e_y) for every class y; random signs part the rows that share parameters and a sample."""
        dim = self._dim(output)
        p = output.softmax(dim)
        rows_of_a_sample = self.rows(output) // max(output.shape[0], 1)
        flip = torch.ones_like(p.narrow(dim, 0, 1))
        for label in range(output.shape[dim]):
            if rows_of_a_sample > 1:
                flip = random_signs(flip, generator)
            cotangent = p.clone()
            cotangent.select(dim, label).sub_(1)
            yield cotangent * (p.narrow(dim, label, 1).sqrt() * flip)

    def squares(self, output: Tensor) -> Tensor:
        """p (1 - p)."""
        p = output.softmax(self._dim(output))
        return p * (1 - p)

    def evidence(self, output: Tensor, gradient: Tensor, batch_rows: float) -> Evidence:
        """Recover labels, weights and loss: the gradient of cross-entropy is scale * share * (p - target)."""
        if self.dim is None and output.ndim > 2 and self._found_dim is None:
            return self._find_dim(output, gradient, batch_rows)
        dim = self._dim(output)
        p = output.softmax(dim)
        total = gradient.sum(dim, keepdim=True)
        # A row that is fitted to rounding has a gradient of rounding errors: it says nothing about its loss.
        open_ = p.amax(dim, keepdim=True) < 1 - 1e-3
        if float((open_ * total).abs().sum()) > ROUNDING * float((open_ * gradient).abs().sum()):
            self._require_log_probabilities(output, dim)
            gradient = gradient - p * total
        labels = self._labels(p, gradient, dim)
        smooth = self.label_smoothing / output.shape[dim]
        share = weight_of_label = self._of_labels(labels, output)
        weight_k = torch.ones_like(p) if self.class_weights is None else self._along(dim, output)
        residual = (1 - self.label_smoothing) * p.scatter_add(dim, labels, -torch.ones_like(share))
        if smooth:
            # As torch has it: the smoothed part weighs every class by its own weight, not by the label's.
            residual = residual + smooth * (p * self._total(output, dim) - weight_k) / weight_of_label
        if self.ignore_index is not None:
            share = share * (gradient.abs().amax(dim, keepdim=True) > 0)
        share = share / share.sum().clamp_min(torch.finfo(output.dtype).tiny)
        expected = share * residual
        room = float((expected.square()).sum())
        scale = float((gradient * expected).sum()) / room if room > 0 else 0.0
        rows = self.rows(output)
        if rows > 1 and abs(scale / rows - 1) < 1e-2:
            refuse_sum(round(batch_rows))
        surprise = -output.log_softmax(dim)
        own = (1 - self.label_smoothing) * surprise.gather(dim, labels)
        loss = (share * own).sum()
        if smooth:
            every = smooth * (weight_k * surprise).sum(dim, keepdim=True)
            loss = loss + (share * every / weight_of_label).sum()
        return Evidence(residual * (share > 0), share, loss)

    def _labels(self, p: Tensor, gradient: Tensor, dim: int) -> Tensor:
        """The labels whose residual has the direction of the gradient, whatever factor the loss carried."""
        if not self.label_smoothing:
            return gradient.argmin(dim, keepdim=True)
        keep, smooth = 1 - self.label_smoothing, self.label_smoothing / p.shape[dim]
        weight_k = torch.ones_like(p) if self.class_weights is None else self._along(dim, p)
        # Residual of label y: keep (p - e_y) + rest / w_y; its product with the gradient and its square, for every y.
        rest = smooth * (p * self._total(p, dim) - weight_k)
        along = keep * ((gradient * p).sum(dim, keepdim=True) - gradient)
        along = along + (gradient * rest).sum(dim, keepdim=True) / weight_k
        square = keep**2 * (p.square().sum(dim, keepdim=True) - 2 * p + 1)
        square = square + 2 * keep * ((p * rest).sum(dim, keepdim=True) - rest) / weight_k
        square = square + rest.square().sum(dim, keepdim=True) / weight_k.square()
        return (along / square.clamp_min(torch.finfo(p.dtype).tiny).sqrt()).argmax(dim, keepdim=True)

    def _along(self, dim: int, like: Tensor) -> Tensor:
        """The class weights, along the class dimension."""
        assert self.class_weights is not None
        shape = [1] * like.ndim
        shape[dim] = -1
        return self.class_weights.to(like).view(shape)

    def _of_labels(self, labels: Tensor, like: Tensor) -> Tensor:
        """The class weight of every row's label."""
        if self.class_weights is None:
            return torch.ones_like(labels, dtype=like.dtype)
        return self.class_weights.to(like)[labels]

    def _total(self, like: Tensor, dim: int) -> float:
        """Sum of the class weights."""
        return float(like.shape[dim]) if self.class_weights is None else float(self.class_weights.sum())

    def _find_dim(self, output: Tensor, gradient: Tensor, batch_rows: float) -> Evidence:
        """Evidence for the likelier class dimension, which is kept if the loss turns out to be its cross-entropy."""
        assumed = self.rows(output)
        self._found_dim = min((-1, 1), key=lambda d: float(gradient.sum(d).abs().sum()))
        sure = False
        try:
            self.check(output)
            evidence = self.evidence(output, gradient, batch_rows * self.rows(output) / assumed)
            sure = bool(gradient.any())
        finally:
            if not sure:
                self._found_dim = None
        return evidence

    def _require_log_probabilities(self, output: Tensor, dim: int) -> None:
        """The gradient does not sum to zero over the classes: only log-probabilities may do that."""
        excess = float(output.logsumexp(dim).abs().max())
        if excess > 1e-2:
            raise LikelihoodMismatch(
                f"the loss is not a cross-entropy over dimension {dim} of the model's output "
                f"{tuple(output.shape)}: its gradient does not sum to zero there. Use Categorical(dim=...) for "
                "another class dimension, or likelihood='bernoulli' / 'gaussian' / a Likelihood of your own."
            )
