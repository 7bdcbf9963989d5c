"""Heads: the predictive outputs of a call, with what the gradient of the user's own loss says there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isotrain.errors import LikelihoodMismatch, NotFinite
from isotrain.likelihood.base import Likelihood
from isotrain.riemann.probes import Head
from isotrain.riemann.record import Call

Likelihoods = Likelihood | Sequence[Likelihood | None] | Mapping[str, Likelihood | None]


def heads_of(call: Call, outputs: list[Tensor], likelihoods: Likelihoods, scale: float, sign: float) -> list[Head]:
    """Which outputs are predictive, with what the gradient there says.

    `scale` is the factor the loss carried (gradient scaler; 1/calls when gradients are accumulated), `sign`
    -1 when the objective is maximised.

    Raises:
        LikelihoodMismatch: outputs and likelihoods do not fit each other.
        WrongReduction: the loss was summed.
        NotFinite: the gradient at an output is NaN or infinite.
    """
    chosen: dict[int, Likelihood | None] = {}
    if isinstance(likelihoods, Likelihood):
        if len(call.gradients) > 1:
            named = ", ".join(call.labels[p] for p in sorted(call.gradients))
            raise LikelihoodMismatch(
                f"the loss reaches {len(call.gradients)} outputs of the model ({named}) and there is one likelihood. "
                "Give one for each: likelihood={'name': ...} for a dict of outputs, likelihood=[..., None] for a "
                "tuple; None for an output that the others are computed from."
            )
        chosen = dict.fromkeys(call.gradients, likelihoods)
    elif isinstance(likelihoods, Mapping):
        for name, likelihood in likelihoods.items():
            if name not in call.labels:
                raise LikelihoodMismatch(
                    f"likelihood for output {name!r}, the model returned {', '.join(call.labels) or 'no tensor'}."
                )
            chosen[call.labels.index(name)] = likelihood
    else:
        if len(likelihoods) != len(call.labels):
            raise LikelihoodMismatch(
                f"{len(likelihoods)} likelihoods for {len(call.labels)} outputs of the model: give one for each, "
                "None where the output is not predicted."
            )
        chosen = dict(enumerate(likelihoods))
    predicted = [outputs[p] for p, one in chosen.items() if one is not None and p in call.gradients]
    missed = [
        call.labels[p]
        for p in call.gradients
        if p not in chosen or (chosen[p] is None and not _feeds(outputs[p], predicted))
    ]
    if missed:
        raise LikelihoodMismatch(
            f"the loss reaches output {', '.join(missed)}, which has no likelihood: give it one, or None if the "
            "loss reaches it only through the predictions that are computed from it."
        )
    heads = []
    for place, likelihood in chosen.items():
        if likelihood is None or place not in call.gradients:
            continue
        output, gradient = reading(call, place, likelihood, scale, sign)
        likelihood.check(output)
        if not bool(torch.isfinite(gradient).all()):
            raise NotFinite(
                f"the gradient of the loss at output {call.labels[place]} of the model is not finite "
                f"({int((~torch.isfinite(gradient)).sum())} of {gradient.numel()} entries): the loss is NaN or "
                "infinite. Nothing was changed; look at the batch, or lower what makes the loss overflow."
            )
        batch_rows = likelihood.rows(output) * call.samples / max(1, output.shape[0])
        evidence = likelihood.evidence(output, gradient, batch_rows)
        now = outputs[place].detach().to(output.dtype)
        heads.append(Head(place, likelihood, now, evidence))
    return heads


def reading(call: Call, place: int, likelihood: Likelihood, scale: float, sign: float) -> tuple[Tensor, Tensor]:
    """An output of a call as the loss saw it, in float32 at least, and the gradient of a mean of this head's own."""
    output = call.outputs[place].float() if call.outputs[place].dtype.itemsize < 4 else call.outputs[place]
    return output, call.gradients[place].to(output.dtype) * (sign / (scale * likelihood.weight))


def _feeds(output: Tensor, predicted: list[Tensor]) -> bool:
    """Whether predictions are computed from an output, which then receives a gradient without being predicted."""
    reached = [p for p in predicted if p.requires_grad]
    if not reached or not output.requires_grad:
        return False
    ones = [torch.ones_like(p) for p in reached]
    (found,) = torch.autograd.grad(reached, output, ones, retain_graph=True, allow_unused=True)
    return found is not None
