"""The field's scores of classifiers: n samples, C classes."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(scores_nc: Tensor, labels_n: Tensor, top: int = 1) -> float:
    """Share of samples whose label is among the `top` highest scores.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    found_nk = scores_nc.topk(top, dim=1).indices
    return _mean((found_nk == labels_n[:, None]).any(1))


def confusion(predicted_n: Tensor, labels_n: Tensor, classes: int) -> Tensor:
    """Counts [C, C]: row the label, column the prediction.

    >>> confusion(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return torch.bincount(labels_n * classes + predicted_n, minlength=classes**2).view(classes, classes)


def class_accuracies(confusion_cc: Tensor) -> list[float | None]:
    """Share of each class's samples that are predicted as it (recall); None for a class without samples.

    >>> class_accuracies(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    [0.75, 1.0, None]
    """
    right_c, all_c = confusion_cc.diagonal().tolist(), confusion_cc.sum(1).tolist()
    return [right / total if total else None for right, total in zip(right_c, all_c, strict=True)]


def calibration_error(probabilities_nc: Tensor, labels_n: Tensor, bins: int = 15) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, in equally wide bins of confidence.

    0: of the samples that are predicted with probability p, a share p is right.

    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3 (15 bins in section 5).

    >>> calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 0, 1]))
    0.0
    """
    confidence_n, predicted_n = probabilities_nc.double().max(1)
    right_n = (predicted_n == labels_n).double()
    # Bins are open on the left: a confidence of exactly 1/15 is in the first.
    bin_n = (confidence_n * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gap_b = torch.zeros(bins, dtype=torch.float64, device=labels_n.device).index_add_(0, bin_n, right_n - confidence_n)
    return float(gap_b.abs().sum()) / max(1, len(labels_n))


def _mean(right: Tensor) -> float:
    return float(right.double().mean()) if len(right) else float("nan")
