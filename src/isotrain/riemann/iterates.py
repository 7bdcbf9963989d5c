"""Averages of a run's weights, long and short, and the best of them.

A run that goes on after the training samples are fitted grows sure of itself, and its last weights carry the noise of
its last minibatches. The mean of the weights it went through does better on other samples; over how much of the run,
and until when, depends on the problem, so several means are kept. A mean is linear in the weights: a claim that holds
for a run holds for its averages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from isotrain.errors import BadCheckpoint, BadOption, NotFinite

VERSION = 1
SHARES = (1.0, 0.5, 0.25, 0.125)
"""Of the run so far, that an average remembers: the j-th weights count about as j ** (1 / share - 1)."""

Score = Callable[[nn.Module], float]


class Best(NamedTuple):
    """The best weights that were scored.

    Attributes:
        score: their score.
        share: of the run until then, that they are an average of; 0 for weights as training had them.
        step: when.
    """

    score: float
    share: float
    step: int


class Averages:
    """Averages of a model's weights (and floating-point buffers) over the run so far, under any optimizer.

    Call `update()` after each optimizer step, `check(score)` now and then (after each epoch, say), and `settle()` at
    the end: it puts into the model what did best by your score, an average or the weights as they were, now or then.
    The length of the run need not be known.

    Args:
        model: whose weights; made before or after the optimizer.
        every: steps between two weights that are averaged. An average over every tenth is as good as over all.

    Attributes:
        shares: what can be loaded now: the share of the run each average remembers; 0 is the weights being trained.
        best: the best weights scored so far; None before the first check.

    Raises:
        BadOption: `every` is below 1, or the model has nothing to average.

    Memory: five times the weights, in float32 at least. Time: four additions of the weights in each `every` steps.

    Source: Shamir and Zhang 2013, "Stochastic gradient descent for non-smooth optimization", section 4
    (polynomial-decay averaging); Polyak and Juditsky 1992 for share 1.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> averages = Averages(model, every=1)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     _ = model.weight.data.fill_(weight)
    ...     averages.update()
    >>> averages.check(lambda m: abs(m.weight.item() - 3))
    {1.0: 0.0, 0.5: 0.83..., 0.25: 1.60..., 0.125: 2.17..., 0.0: 3.0}
    >>> averages.settle()  # the mean of all three
    Best(score=0.0, share=1.0, step=3)
    >>> model.weight.item()
    3.0
    """

    def __init__(self, model: nn.Module, every: int = 10) -> None:
        if every < 1:
            raise BadOption(f"every={every} is no number of steps: give at least 1.")
        self.model = model
        self.every = every
        self.steps = self.taken = 0
        self.best: Best | None = None
        self._best: list[Tensor] = []
        self._away: list[Tensor] = []
        self._averages: dict[float, list[Tensor]] = {}
        if not self._live():
            raise BadOption(f"{type(model).__name__} has no weights to average.")

    @property
    def shares(self) -> tuple[float, ...]:
        """The longest first."""
        return (*self._averages, 0.0)

    def _live(self) -> list[Tensor]:
        tensors: list[Tensor] = [*self.model.parameters(), *self.model.buffers()]
        return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]

    def _require_home(self) -> None:
        if self._away:
            raise BadOption(
                "the model holds an average: averages.load(0) puts back the weights that were being trained; to train "
                "on from the average, make new Averages."
            )

    @torch.no_grad()
    def update(self) -> None:
        """Count a step, and take the weights in if it is their turn.

        Raises:
            BadOption: an average is in the model, in place of the weights that are trained.
        """
        self._require_home()
        self.steps += 1
        if self.steps % self.every:
            return
        self.taken += 1
        live = self._live()
        for share in SHARES:
            kept = self._averages.setdefault(share, [_wide(tensor).clone() for tensor in live])
            torch._foreach_lerp_(kept, [_wide(tensor) for tensor in live], 1 / (1 + share * (self.taken - 1)))

    def load(self, share: float) -> None:
        """Put the present average of that share into the model; 0 puts back the weights as training left them.

        Raises:
            BadOption: there is no such average, or none yet.
        """
        if share not in self.shares:
            raise BadOption(
                f"share={share:g} is none of {', '.join(f'{s:g}' for s in self.shares)} (after {self.steps} steps, of "
                f"which every {self.every}th is averaged)."
            )
        if share:
            self._put(self._averages[share])
        elif self._away:
            self._put(self._away)
            self._away = []

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        live = self._live()
        self._away = self._away or [tensor.clone() for tensor in live]
        for tensor, value in zip(live, values, strict=True):
            tensor.copy_(value)

    def check(self, score: Score) -> dict[float, float]:
        """Score every average and the present weights, remember the best so far, and leave the model as it is.

        Args:
            score: of the model, the lower the better: its loss on samples held out, or its errors. Called once for
                every share, in evaluation mode, without gradients. In a distributed run: the same everywhere.

        Returns:
            share -> its score.

        Raises:
            BadOption: an average is in the model, in place of the weights that are trained.
            NotFinite: no score is a number.
        """
        self._require_home()
        training = [module for module in self.model.modules() if module.training]
        scores: dict[float, float] = {}
        try:
            self.model.eval()
            for share in self.shares:
                self.load(share)
                with torch.no_grad():
                    scores[share] = float(score(self.model))
                if scores[share] < (math.inf if self.best is None else self.best.score):
                    self.best = Best(scores[share], share, self.steps)
                    self._best = [tensor.clone() for tensor in self._live()]
        finally:
            self.load(0.0)
            for module in training:
                module.training = True
        if all(math.isnan(value) for value in scores.values()):
            raise NotFinite(f"no score is a number: {scores}. The weights are as they were.")
        return scores

    def settle(self, score: Score | None = None) -> Best:
        """Put the best weights that were scored into the model; `load(0)` takes it back.

        Args:
            score: makes a last `check` before.

        Raises:
            BadOption: nothing was scored with a finite result.
        """
        if score is not None:
            self.check(score)
        if self.best is None:
            raise BadOption("nothing was scored yet: averages.settle(score), or averages.check(score) before.")
        self._put(self._best)
        return self.best

    def state_dict(self) -> dict[str, Any]:
        """All it holds, for `torch.save`."""
        return {
            "isotrain_averages": VERSION,
            **{name: getattr(self, name) for name in ("every", "steps", "taken")},
            "best": None if self.best is None else tuple(self.best),
            "weights": {"best": _cloned(self._best), "away": _cloned(self._away)},
            "averages": {share: _cloned(kept) for share, kept in self._averages.items()},
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
        for kept in (*saved["averages"].values(), *saved["weights"].values()):
            theirs = [list(tensor.shape) for tensor in kept]
            if kept and theirs != sizes:
                raise BadCheckpoint(f"the averages are another model's: their sizes are {theirs}, this one's {sizes}.")
        for name in ("every", "steps", "taken"):
            setattr(self, name, saved[name])
        self.best = None if saved["best"] is None else Best(*saved["best"])
        self._best, self._away = (_moved(saved["weights"][name], live) for name in ("best", "away"))
        self._averages = {share: _moved(kept, live) for share, kept in saved["averages"].items()}


def _wide(tensor: Tensor) -> Tensor:
    """In at least float32: a short number cannot hold a mean that moves slowly."""
    return tensor if tensor.element_size() > 2 else tensor.float()


def _cloned(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _moved(tensors: list[Tensor], live: list[Tensor]) -> list[Tensor]:
    return [tensor.to(own.device, copy=True) for tensor, own in zip(tensors, live, strict=False)]
