"""Verification as Labeled Faces in the Wild measures it, under the name of the protocol that was followed.

* View 1 is for choosing: the threshold is chosen on the development pairs for training, the figure is of those for
  testing; where only the former are there, it is cross-validated within them, and the name says so.
* View 2 is for reporting: ten folds, each answered by the threshold (and the similarity, if it learns) of the other
  nine; mean and standard error over the folds.

The name also says what was learned from, in LFW's terms: whether identities or only pairs of LFW were used, and whether
anything saw outside data. Letters: p pairs, m pictures, D numbers of a vector.

Source: Huang et al. 2007, "Labeled Faces in the Wild"; Huang & Learned-Miller 2014, "Labeled Faces in the Wild: updates
and new reporting procedures" (the names).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isotrain.data.pairs import Pairs
from isotrain.errors import BadData, BadOption
from isotrain.faces.calibration import FARS, Calibration, calibrate
from isotrain.faces.similarity import Cosine, Similarity, finite
from isotrain.tasks.scores.intervals import Rate, over_folds
from isotrain.tasks.scores.verification import (
    Operating,
    accuracy_at,
    auc_interval,
    best_threshold,
    checked,
    equal_error_interval,
    tar_at_far,
)

Outside = Literal["no", "label-free", "labeled"]
OUTSIDE: tuple[Outside, ...] = ("no", "label-free", "labeled")
"""Kinds of outside data, the strongest last. Labels are those of identity: landmarks drawn by hand are label-free."""
Labels = Literal["unsupervised", "image-restricted", "unrestricted"]
LABELS: tuple[Labels, ...] = ("unsupervised", "image-restricted", "unrestricted")
"""What of LFW's own labels was learned from: none, pairs alone, or who is who."""


class Learned(NamedTuple):
    """One part of the chain and what it learned from.

    Attributes:
        part: "representation", "detector", "landmarks", ...
        data: in words.
        outside: what of it is not LFW's.
    """

    part: str
    data: str
    outside: Outside = "no"


@dataclass(frozen=True)
class Training:
    """All that was learned from.

    Attributes:
        labels: of LFW that were used.
        parts: of the chain.
    """

    labels: Labels
    parts: tuple[Learned, ...] = ()

    @property
    def name(self) -> str:
        """The protocol in LFW's terms.

        >>> Training("unrestricted", (Learned("landmarks", "ytfaces", "label-free"),)).name
        'unrestricted, label-free outside data'
        >>> Training("image-restricted", (Learned("representation", "another set", "labeled"),)).name
        'unrestricted, labeled outside data'
        """
        strongest = max((OUTSIDE.index(part.outside) for part in self.parts), default=0)
        outside = OUTSIDE[strongest]
        # Who knows strangers' identities is unrestricted: LFW has no other protocol for it.
        labels = "unrestricted" if outside == "labeled" else self.labels
        return labels if labels == "unsupervised" else f"{labels}, {outside} outside data"


class Fold(NamedTuple):
    """One fold's share of right answers, at the threshold that the others chose."""

    accuracy: float
    threshold: float


@dataclass(frozen=True)
class Verification:
    """What came out, with the similarities it came from.

    Attributes:
        protocol: its name.
        training: a line for each part of the chain.
        similarity: its name.
        accuracy: mean over the folds.
        error: standard error of it: over the folds; of one measurement, from the number of pairs.
        folds: one for a separate set.
        auc: area under the ROC curve, with its 95 % interval, as all that follow.
        eer: equal error rate.
        tar: true accepts by the share of strangers let in; None where there are too few pairs to say.
        similarities: of each pair, by the similarity that did not learn from it, [p].
        same: [p].
        fold: [p].
        left_out: pairs that could not be compared.
        calibration: thresholds from all these pairs, for use on others; None where the similarities tell nobody apart.
        uncalibrated: why there is none; "" where there is one.
    """

    protocol: str
    training: tuple[str, ...]
    similarity: str
    accuracy: float
    error: float
    folds: tuple[Fold, ...]
    auc: Rate
    eer: Rate
    tar: dict[float, Operating | None]
    similarities: NDArray[np.float64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]
    left_out: int
    calibration: Calibration | None
    uncalibrated: str

    def __str__(self) -> str:
        return f"{self.protocol}: {self.accuracy:.2%} ± {self.error:.2%} ({self.similarity}, {len(self.same):,} pairs)"

    def to_dict(self) -> dict[str, Any]:
        """The figures, as JSON can hold them; without the similarities."""
        return {
            "protocol": self.protocol,
            "training": list(self.training),
            "similarity": self.similarity,
            "pairs": len(self.same),
            "left out": self.left_out,
            "accuracy": self.accuracy,
            "standard error": self.error,
            "folds": [fold._asdict() for fold in self.folds],
            "auc": self.auc._asdict(),
            "equal error rate": self.eer._asdict(),
            "tar at far": {
                f"{far:g}": None if one is None else {"threshold": one.threshold, "far": one.far} | one.tar._asdict()
                for far, one in self.tar.items()
            },
            "calibration": self.uncalibrated if self.calibration is None else self.calibration.to_dict(),
        }


SimilaritiesOf = Callable[[NDArray[np.bool_]], ArrayLike]
"""From the pairs that may be learned from [p] to the similarities of all pairs [p]."""


def verify(
    pairs: Pairs,
    vectors: ArrayLike,
    training: Training,
    similarity: Similarity | None = None,
    chosen_on: tuple[Pairs, ArrayLike] | None = None,
    data: str = "LFW protocol",
    folds: int = 10,
) -> Verification:
    """Follow the protocol that the pairs are made for.

    Pairs with folds: View 2. Without, and `chosen_on` given: View 1, the threshold and what the similarity learns from
    those pairs. Without either: View 1's training pairs alone, cross-validated in blocks of neighbouring lines (LFW's
    lists are in the order of names, so that few people are in two blocks).

    Args:
        pairs: to report on.
        vectors: one for each of `pairs.pictures`, [m, D].
        training: what was learned from.
        similarity: cosine if left out.
        chosen_on: other pairs, and the vectors of their pictures.
        data: the name of the set, "LFW" where it is that one.
        folds: for pairs without, 2 or more.

    Raises:
        BadOption: folds of one, or more than there are pairs of a kind.
        BadData: the vectors do not belong to the pictures, one is broken, or one kind of pairs is missing.
    """
    measure = similarity if similarity is not None else Cosine()
    first, second, same = _sides(pairs, vectors)
    if chosen_on is None or pairs.folds:
        return verify_by(
            lambda on: measure.fitted(first[on], second[on], same[on]).pairs(first, second),
            pairs,
            training,
            measure.name,
            data,
            folds,
        )
    one, other, answers = _sides(*chosen_on)
    fitted = measure.fitted(one, other, answers)
    threshold, _ = best_threshold(fitted.pairs(one, other), answers)
    similarities, same = checked(fitted.pairs(first, second), same)
    fold = Fold(accuracy_at(similarities, same, threshold), threshold)
    error = float(np.sqrt(fold.accuracy * (1 - fold.accuracy) / len(same)))
    view = f"View 1 (threshold from {chosen_on[0].source}, reported on {pairs.source})"
    name = f"{data} {view}, {training.name}"
    return _verification(
        name, training, fitted.name, fold.accuracy, error, (fold,), similarities, pairs, np.zeros(len(same), np.int64)
    )


def verify_by(
    similarities_of: SimilaritiesOf,
    pairs: Pairs,
    training: Training,
    similarity: str,
    data: str = "LFW protocol",
    folds: int = 10,
) -> Verification:
    """The same from a function that gives the similarities of all pairs, having learned from those it is told.

    A similarity that does not learn ignores what it is told.

    Args:
        similarities_of: see `SimilaritiesOf`.
        pairs: to report on.
        training: what was learned from.
        similarity: its name.
        data: the name of the set, "LFW" where it is that one.
        folds: for pairs without, 2 or more.

    Raises:
        BadOption: folds of one, or more than there are pairs of a kind.
        BadData: a similarity is not finite, or one kind of pairs is missing.
    """
    if pairs.folds:
        fold_p, number = pairs.fold, pairs.folds
        view = f"View 2 ({number} folds of {pairs.source}, threshold from the other {number - 1})"
    else:
        fold_p, number = blocks(pairs.same, folds), folds
        view = f"View 1 ({pairs.source} alone, cross-validated in {number} blocks: no separate test pairs)"
    if number < 2:
        raise BadOption(f"{pairs.source} has {number} fold: two or more are needed, to choose on the others.")
    similarities = np.zeros(len(pairs))
    found = []
    for fold in range(number):
        here = fold_p == fold
        every, same = checked(similarities_of(~here), pairs.same)
        threshold, _ = best_threshold(every[~here], same[~here])
        found.append(Fold(accuracy_at(every[here], same[here], threshold), threshold))
        similarities[here] = every[here]
    accuracy, error = over_folds([fold.accuracy for fold in found])
    name = f"{data} {view}, {training.name}"
    return _verification(name, training, similarity, accuracy, error, tuple(found), similarities, pairs, fold_p)


def blocks(same_p: NDArray[np.bool_], folds: int) -> NDArray[np.int64]:
    """Folds of neighbouring pairs, both kinds parted alike: [p].

    Raises:
        BadOption: fewer than two folds, or more than there are pairs of a kind.

    >>> blocks(np.array([True, True, False, False]), 2).tolist()
    [0, 1, 0, 1]
    """
    kinds = int(same_p.sum()), int((~same_p).sum())
    if folds < 2 or folds > min(kinds):
        raise BadOption(
            f"{folds} folds of {kinds[0]} pairs of one person and {kinds[1]} of two: 2 to {min(kinds)} are possible."
        )
    fold_p = np.zeros(len(same_p), np.int64)
    for kind, number in zip((same_p, ~same_p), kinds, strict=True):
        fold_p[kind] = np.arange(number) * folds // number
    return fold_p


def _sides(pairs: Pairs, vectors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """The vectors of the first and of the second pictures, [p, D], and the answers, [p]."""
    every = finite(vectors)
    if len(every) != len(pairs.pictures):
        raise BadData(
            f"{len(every)} vectors for the {len(pairs.pictures)} pictures of {pairs.source}: one each is needed."
        )
    return every[pairs.first], every[pairs.second], pairs.same


def _verification(
    name: str,
    training: Training,
    similarity: str,
    accuracy: float,
    error: float,
    folds: Sequence[Fold],
    similarities: NDArray[np.float64],
    pairs: Pairs,
    fold: NDArray[np.int64],
) -> Verification:
    if pairs.left_out:
        name += f"; INCOMPLETE: {pairs.left_out:,} pairs left out, not comparable with published figures"
    calibration, why = None, ""
    try:
        calibration = calibrate(similarities, pairs.same)
    except BadData as fault:  # a model that tells nobody apart has figures all the same, and this is one of them
        why = str(fault)
    lines = tuple(f"{part.part}: {part.data} ({part.outside} outside data)" for part in training.parts)
    return Verification(
        name,
        lines,
        similarity,
        accuracy,
        error,
        tuple(folds),
        auc_interval(similarities, pairs.same),
        equal_error_interval(similarities, pairs.same),
        {far: tar_at_far(similarities, pairs.same, far) for far in FARS},
        similarities,
        pairs.same,
        fold,
        pairs.left_out,
        calibration,
        why,
    )
