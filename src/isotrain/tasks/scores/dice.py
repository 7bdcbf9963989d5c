"""How much of two masks is the same: Dice's coefficient."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


def dice(pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """2 |A and B| / (|A| + |B|) of predicted and true masks, three ways.

    Where both masks of a picture are empty its coefficient is 1 (nothing was to be found, nothing was), where one is
    empty it is 0. So a single pixel marked in an empty picture costs that picture all; the pooled coefficient, where
    the pixels of all pictures are counted together, weighs pictures by their objects instead.

    Args:
        pairs: predicted and true mask of each picture, bool, of the same shape.

    Returns:
        `dice`: pooled; 1 where all masks are empty. `dice_picture`: mean over the pictures. `dice_object`: mean over
        the pictures whose true mask is not empty (1 where there is none).

    Raises:
        ValueError: two masks of one picture differ in size.

    Source: Dice 1945, "Measures of the amount of ecologic association between species".

    >>> import torch
    >>> dice([(torch.tensor([True, True, False]), torch.tensor([True, False, False]))])["dice"]
    0.6666666666666666
    """
    shared = total = 0
    each: list[float] = []
    objects: list[float] = []
    for predicted, true in pairs:
        if predicted.shape != true.shape:
            raise ValueError(f"a predicted mask {tuple(predicted.shape)} and a true one {tuple(true.shape)}.")
        both = int((predicted & true).sum())
        size = int(predicted.sum()) + int(true.sum())
        shared, total = shared + both, total + size
        each.append(2 * both / size if size else 1.0)
        if bool(true.any()):
            objects.append(each[-1])
    return {
        "dice": 2 * shared / total if total else 1.0,
        "dice_picture": sum(each) / len(each) if each else 1.0,
        "dice_object": sum(objects) / len(objects) if objects else 1.0,
    }
