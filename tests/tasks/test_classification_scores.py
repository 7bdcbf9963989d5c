"""Scores of classifiers, against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from isotrain.tasks.scores.classification import (
    accuracy,
    calibration_error,
    class_accuracies,
    confusion,
)

seeds = st.integers(0, 10_000)


def some(seed: int, n: int = 60, classes: int = 7, levels: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (n, classes), generator=generator) / levels
    return scores, torch.randint(0, classes, (n,), generator=generator)


@given(seed=seeds)
def test_accuracy_and_confusion_are_sklearns(seed):
    scores, labels = some(seed)
    predicted = scores.argmax(1)
    assert accuracy(scores, labels) == pytest.approx(metrics.accuracy_score(labels, predicted))
    counts = confusion(predicted, labels, 7)
    assert np.array_equal(counts.numpy(), metrics.confusion_matrix(labels, predicted, labels=range(7)))
    recall = metrics.recall_score(labels, predicted, labels=range(7), average=None, zero_division=np.nan)
    for ours, theirs in zip(class_accuracies(counts), recall, strict=True):
        assert math.isnan(theirs) if ours is None else ours == pytest.approx(theirs)


@given(seed=seeds, top=st.integers(1, 6))
def test_top_k_is_sklearns(seed, top):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(40, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (40,), generator=generator)
    theirs = metrics.top_k_accuracy_score(labels, scores, k=top, labels=range(7))
    assert accuracy(scores, labels, top) == pytest.approx(theirs)


def test_calibration_error_by_hand():
    # Ten predictions with 0.8, six right: 0.2 apart. Ten with 0.6, six right: none apart. Half of the samples each.
    probabilities = torch.tensor([[0.8, 0.2]] * 10 + [[0.6, 0.4]] * 10)
    labels = torch.tensor(([0] * 6 + [1] * 4) * 2)
    assert calibration_error(probabilities, labels) == pytest.approx(0.1, abs=1e-6)


@given(seed=seeds)
def test_calibration_error_is_the_sum_over_sklearns_bins(seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(200, 5, generator=generator, dtype=torch.float64).mul(2).softmax(1)
    labels = torch.randint(0, 5, (200,), generator=generator)
    confidence, predicted = probabilities.max(1)
    edges = np.linspace(0, 1, 16)
    bins = np.clip(np.digitize(confidence.numpy(), edges, right=True) - 1, 0, 14)
    right = (predicted == labels).numpy()
    theirs = sum(
        abs(right[bins == b].mean() - confidence.numpy()[bins == b].mean()) * (bins == b).mean() for b in set(bins)
    )
    assert calibration_error(probabilities, labels) == pytest.approx(theirs)
