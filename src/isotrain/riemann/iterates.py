"""Averages of a run's weights, long and short, and the best of them.

A run that goes on after the training samples are fitted grows sure of itself, and its last weights carry the noise of
its last minibatches. The mean of the weights it went through does better on other samples; over how much of the run,
depends on the problem, so several means are kept. A mean is linear in the weights: a claim that holds for a run holds
for its averages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.errors import BadCheckpoint, BadOption, NotFinite

VERSION = 1
SHARES = (1.0, 0.5, 0.25, 0.125)
"""Of the run so far, that an average remembers: the j-th weights count about as j ** (1 / share - 1)."""


class Averages:
    """Averages of a model's weights (and floating-point buffers) over the run so far, under any optimizer.

    Call `update()` after each optimizer step. At the end `settle` puts into the model whichever does best by a score of
    yours: an average or the last weights. The length of the run need not be known.

    Args:
        model: whose weights; made before or after the optimizer.
        every: steps between two weights that are averaged. An average over every tenth is as good as over all.

    Raises:
        BadOption: `every` is below 1, or the model has nothing to average.

    Memory: four times the weights, in float32 at least. Time: four additions of the weights in each `every` steps.

    Source: Shamir and Zhang 2013, "Stochastic gradient descent for non-smooth optimization", section 4
    (polynomial-decay averaging); Polyak and Juditsky 1992 for share 1.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> averages = Averages(model, every=1)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     _ = model.weight.data.fill_(weight)
    ...     averages.update()
    >>> averages.settle(lambda m: abs(m.weight.item() - 3))  # the mean of all three
    {1.0: 0.0, 0.5: 0.83..., 0.25: 1.60..., 0.125: 2.17..., 0.0: 3.0}
    >>> model.weight.item(), averages.settled
    (3.0, 1.0)
    """

    def __init__(self, model: nn.Module, every: int = 10) -> None:
        if every < 1:
            raise BadOption(f"every={every} is no number of steps: give at least 1.")
        self.model = model
        self.every = every
        self.steps = self.taken = 0
        self.settled = 0.0
        self._last: list[Tensor] = []
        self._averages: dict[float, list[Tensor]] = {}
        if not self._live():
            raise BadOption(f"{type(model).__name__} has no weights to average.")

    @property
    def shares(self) -> tuple[float, ...]:
        """What can be loaded: the share of the run each average remembers, the longest first; 0 is the last weights."""
        return (*self._averages, 0.0)

    def _live(self) -> list[Tensor]:
        tensors: list[Tensor] = [*self.model.parameters(), *self.model.buffers()]
        return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Count a step, and take the weights in if it is their turn.

        Raises:
            BadOption: an average is in the model, in place of the weights that are trained.
        """
        if self.settled:
            raise BadOption(
                f"the model holds the average of share {self.settled:g}: averages.load(0) puts back the weights "
                "that were being trained; to train on from the average, make new Averages."
            )
        self.steps += 1
        if self.steps % self.every:
            return
        self.taken += 1
        live = self._live()
        for share in SHARES:
            kept = self._averages.setdefault(share, [_wide(tensor).clone() for tensor in live])
            torch._foreach_lerp_(kept, [_wide(tensor) for tensor in live], 1 / (1 + share * (self.taken - 1)))

    @torch.no_grad()
    def load(self, share: float) -> None:
        """Put the average of that share into the model; 0 puts back the weights as training left them.

        Raises:
            BadOption: there is no such average, or none yet.
        """
        if share not in self.shares:
            raise BadOption(
                f"share={share:g} is none of {', '.join(f'{s:g}' for s in self.shares)} (after {self.steps} steps, of "
                f"which every {self.every}th is averaged)."
            )
        live = self._live()
        if not self.settled:
            self._last = [tensor.clone() for tensor in live]
        for tensor, value in zip(live, self._averages[share] if share else self._last, strict=True):
            tensor.copy_(value)
        self.settled = share
        if not share:
            self._last = []

    def settle(self, score: Callable[[nn.Module], float]) -> dict[float, float]:
        """Put into the model what does best: an average, or the last weights.

        Args:
            score: of the model, the lower the better: its loss on samples held out, or its errors. Called once for
                every share, in evaluation mode, without gradients. In a distributed run: the same everywhere.

        Returns:
            share -> its score. The one chosen is `settled`.

        Raises:
            NotFinite: no score is a number.
        """
        before = self.settled
        training = [module for module in self.model.modules() if module.training]
        scores: dict[float, float] = {}
        try:
            self.model.eval()
            for share in self.shares:
                self.load(share)
                with torch.no_grad():
                    scores[share] = float(score(self.model))
        except BaseException:
            self.load(before)
            raise
        finally:
            for module in training:
                module.training = True
        known = {share: value for share, value in scores.items() if not math.isnan(value)}
        if not known:
            self.load(before)
            raise NotFinite(f"no score is a number: {scores}. The weights are as they were.")
        self.load(min(known, key=lambda share: known[share]))
        return scores

    def state_dict(self) -> dict[str, Any]:
        """All it holds, for `torch.save`. Between steps of a training, not while an average is in the model."""
        return {
            "isotrain_averages": VERSION,
            "every": self.every,
            "steps": self.steps,
            "taken": self.taken,
            "settled": self.settled,
            "last": [tensor.clone() for tensor in self._last],
            "averages": {share: [tensor.clone() for tensor in kept] for share, kept in self._averages.items()},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            BadCheckpoint: the state is of something else, another version or another model.
        """
        if saved.get("isotrain_averages") != VERSION:
            raise BadCheckpoint(
                f"the state is not one of isotrain.Averages of version {VERSION}: load what its state_dict() gave."
            )
        live = self._live()
        sizes = [list(tensor.shape) for tensor in live]
        for kept in (*saved["averages"].values(), *([saved["last"]] if saved["settled"] else [])):
            theirs = [list(tensor.shape) for tensor in kept]
            if theirs != sizes:
                raise BadCheckpoint(f"the averages are another model's: their sizes are {theirs}, this one's {sizes}.")
        self.every, self.steps, self.taken = saved["every"], saved["steps"], saved["taken"]
        self.settled = saved["settled"]
        self._last = [value.to(own, copy=True) for value, own in zip(saved["last"], live, strict=False)]
        self._averages = {
            share: [value.to(own.device, copy=True) for value, own in zip(kept, live, strict=True)]
            for share, kept in saved["averages"].items()
        }


def _wide(tensor: Tensor) -> Tensor:
    """In at least float32: a short number cannot hold a mean that moves slowly."""
    return tensor if tensor.element_size() > 2 else tensor.float()
