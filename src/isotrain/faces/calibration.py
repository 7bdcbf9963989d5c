"""What a similarity means: thresholds to decide by, and the probability that two faces are of one person."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.errors import BadCheckpoint, BadData, BadOption
from isotrain.tasks.scores.verification import best_threshold, checked, tar_at_far

FARS = (1e-1, 1e-2, 1e-3)
"""Shares of strangers let in that thresholds are set for, where there are enough pairs to tell."""


@dataclass(frozen=True)
class Level:
    """A threshold that lets in at most a share of strangers.

    Attributes:
        threshold: a pair is accepted if its similarity is at least this.
        far: share of the pairs of two people that it accepted.
        tar: share of the pairs of one person that it accepted.
    """

    threshold: float
    far: float
    tar: float


@dataclass(frozen=True)
class Calibration:
    """Thresholds and a map to probabilities, learned from pairs.

    Attributes:
        threshold: with the highest accuracy on those pairs.
        accuracy: at it.
        levels: by the share of strangers they were set for; only shares that the pairs can tell.
        slope: of the logistic map, positive.
        intercept: of it.
        same: pairs of one person.
        different: pairs of two.
    """

    threshold: float
    accuracy: float
    levels: dict[float, Level]
    slope: float
    intercept: float
    same: int
    different: int

    def probability(self, similarities: ArrayLike, prior: float = 0.5) -> NDArray[np.float64]:
        """That each pair is of one person, where a share `prior` of such pairs is expected.

        Raises:
            BadOption: the prior is not between 0 and 1.

        >>> Calibration(0.5, 1.0, {}, slope=2.0, intercept=-1.0, same=1, different=1).probability([0.5])
        array([0.5])
        """
        if not 0 < prior < 1:
            raise BadOption(f"prior is {prior}: it must lie between 0 and 1.")
        odds = self.slope * np.asarray(similarities, np.float64) + self.intercept + np.log(prior / (1 - prior))
        return np.asarray(1 / (1 + np.exp(-odds.clip(-700, 700))))

    def at(self, far: float) -> Level:
        """The level that lets in at most that share of strangers.

        Raises:
            BadData: the pairs were too few to tell, or it was not asked for.
        """
        if far not in self.levels:
            known = ", ".join(f"{share:g}" for share in self.levels) or "none"
            raise BadData(
                f"no threshold lets in at most {far:g} of strangers: calibrated on {self.different:,} pairs of two "
                f"people for {known}. About {10 / far:,.0f} such pairs are needed to tell."
            )
        return self.levels[far]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self) | {"levels": [{"for": far} | asdict(level) for far, level in self.levels.items()]}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Calibration:
        """What `to_dict` told.

        Raises:
            BadCheckpoint: something is missing.
        """
        try:
            levels = {
                float(one["for"]): Level(float(one["threshold"]), float(one["far"]), float(one["tar"]))
                for one in saved["levels"]
            }
            line = float(saved["slope"]), float(saved["intercept"])
            counts = int(saved["same"]), int(saved["different"])
            return cls(float(saved["threshold"]), float(saved["accuracy"]), levels, *line, *counts)
        except (KeyError, TypeError, ValueError) as error:
            raise BadCheckpoint(f"a saved calibration is not whole: {type(error).__name__} {error}.") from error


def calibrate(similarities_p: ArrayLike, same_p: ArrayLike, fars: tuple[float, ...] = FARS) -> Calibration:
    """Thresholds and probabilities from the similarities of pairs.

    Args:
        similarities_p: [p].
        same_p: whether each pair is of one person, [p].
        fars: shares of strangers to set thresholds for.

    Raises:
        BadOption: a share is not between 0 and 1.
        BadData: one kind of pairs is missing, a similarity is not finite, or pairs of one person are no more alike.
    """
    if not all(0 < far < 1 for far in fars):
        raise BadOption(f"shares of strangers {fars}: each lies between 0 and 1.")
    similarities, same = checked(similarities_p, same_p)
    threshold, accuracy = best_threshold(similarities, same)
    levels = {}
    for far in fars:
        found = tar_at_far(similarities, same, far, times=0)
        if found is not None:
            levels[far] = Level(found.threshold, found.far, found.tar.value)
    slope, intercept = _logistic(similarities, same)
    return Calibration(threshold, accuracy, levels, slope, intercept, int(same.sum()), int((~same).sum()))


def _logistic(similarities: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of Platt's map, both kinds of pairs weighing the same.

    The targets are Platt's, a little inside of 0 and 1, so that pairs that are told apart without a fault do not make
    the slope infinite.

    Raises:
        BadData: all similarities are alike, or the slope is not positive.

    Source: Platt 1999, "Probabilistic outputs for support vector machines", section 2.1; Newton's steps with halving as
    in Lin et al. 2007, "A note on Platt's probabilistic outputs".
    """
    centre, spread = similarities.mean(), similarities.std()
    if spread == 0:
        raise BadData(f"all {len(same)} similarities are {centre:.4g}: they tell nobody apart.")
    yes, no = int(same.sum()), int((~same).sum())
    target = np.where(same, (yes + 1) / (yes + 2), 1 / (no + 2))
    weight = np.where(same, 0.5 / yes, 0.5 / no)
    design = np.stack([(similarities - centre) / spread, np.ones(len(same))], 1)

    def loss(line: NDArray[np.float64]) -> float:
        odds = design @ line
        return float((weight * (np.logaddexp(0, odds) - target * odds)).sum())

    line, now = np.zeros(2), np.log(2.0)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-(design @ line).clip(-700, 700)))
        slope = design.T @ (weight * (chance - target))
        curvature = design.T @ (design * (weight * chance * (1 - chance))[:, None]) + 1e-12 * np.eye(2)
        step, length = np.linalg.solve(curvature, slope), 1.0
        while length > 1e-9 and (after := loss(line - length * step)) > now - 1e-4 * length * float(slope @ step):
            length /= 2
        if length <= 1e-9 or now - after < 1e-14:
            break
        line, now = line - length * step, after
    if line[0] <= 0:
        raise BadData("pairs of one person are no more alike than pairs of two: this model tells nobody apart.")
    return float(line[0] / spread), float(line[1] - line[0] * centre / spread)
