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


def average_precisions(scores_nc: Tensor, present_nc: Tensor) -> list[float | None]:
    """Average precision of each class over samples that may show several; None for a class that none shows.

    The area under precision against recall as a sum of steps, without interpolation; samples of equal score are taken
    in together, so that their order does not matter.

    >>> average_precisions(torch.tensor([[0.9], [0.8], [0.7]]), torch.tensor([[True], [False], [True]]))
    [0.833...]
    """
    n = len(scores_nc)
    if n == 0:
        return [None] * scores_nc.shape[1]
    sorted_nc, order_nc = scores_nc.sort(0, descending=True)
    hit_nc = present_nc.gather(0, order_nc).double()
    place_nc = torch.arange(n, device=scores_nc.device)[:, None].expand_as(sorted_nc)
    # The last place of each run of equal scores, brought back to all of the run.
    last_nc = torch.cat([sorted_nc[:-1] != sorted_nc[1:], torch.ones_like(sorted_nc[:1], dtype=torch.bool)])
    end_nc = torch.where(last_nc, place_nc, n).flip(0).cummin(0).values.flip(0)
    precision_nc = hit_nc.cumsum(0).gather(0, end_nc) / (end_nc + 1)
    shown_c = hit_nc.sum(0)
    found_c = (hit_nc * precision_nc).sum(0) / shown_c.clamp_min(1)
    return [value if shown else None for value, shown in zip(found_c.tolist(), shown_c.tolist(), strict=True)]


def mean_average_precision(scores_nc: Tensor, present_nc: Tensor) -> float:
    """Mean of `average_precisions` over the classes that are shown; nan if none is."""
    found = [value for value in average_precisions(scores_nc, present_nc) if value is not None]
    return sum(found) / len(found) if found else float("nan")


def _mean(right: Tensor) -> float:
    return float(right.double().mean()) if len(right) else float("nan")
