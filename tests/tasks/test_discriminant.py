"""The linear discriminant: against scikit-learn's, what it shrinks, where it keeps silent, and that it helps a net."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from isotrain.tasks.discriminant import LEAST, discriminant
from isotrain.tasks.faces import all_pairs
from isotrain.tasks.scores import verification


def people_and_features(people: int = 120, each: int = 3, size: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Two directions tell people apart, much hides them, and all is turned and shifted."""
    whose = torch.arange(people).repeat_interleave(each)
    inside = torch.randn(people * each, size)
    inside[:, :2] += 4 * torch.randn(people, 2)[whose]
    inside[:, 2:6] *= 10
    turn = torch.linalg.qr(torch.randn(size, size))[0]
    return inside @ turn + 5, whose


def area(vectors: torch.Tensor, whose: torch.Tensor) -> float:
    return verification.auc(verification.roc(*all_pairs(F.normalize(vectors), whose)))


def test_strangers_are_told_apart_by_what_was_learned_from_others() -> None:
    features, whose = people_and_features()
    learned = whose < 80
    found = discriminant(features[learned], whose[learned], 2)
    assert found is not None
    mean, ways = found
    strange, others = features[~learned], whose[~learned]
    assert area((strange - mean) @ ways, others) > area(strange - mean, others) + 0.2


def test_its_plane_is_that_of_scikit_learn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, whose = people_and_features(people=300)
    found = discriminant(features, whose, 2)
    assert found is not None
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(features.numpy(), whose.numpy()).scalings_[:, :2]
    ours = torch.linalg.qr(found[1].double())[0]
    other = torch.linalg.qr(torch.tensor(theirs))[0]
    assert torch.linalg.svdvals(ours.T @ other).min() > 0.99


def test_directions_that_tell_nothing_are_shrunk() -> None:
    features, whose = people_and_features()
    found = discriminant(features, whose, 6)
    assert found is not None
    own = (features - found[0]) @ found[1]
    spread = own.std(0)
    assert spread[-2:].min() > 3 * spread[:-2].max()


@pytest.mark.parametrize("each", [1, 2])
def test_too_few_pictures_tell_nothing(each: int) -> None:
    whose = torch.arange(LEAST - 1).repeat_interleave(each)
    assert discriminant(torch.randn(len(whose), 4), whose, 2) is None
