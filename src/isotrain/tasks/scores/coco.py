"""COCO's average precision and recall of boxes and masks, by faster-coco-eval, on our own samples and finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from isotrain.data.outlines import decode, encode_rle
from isotrain.data.samples import Thing
from isotrain.errors import BadData, MissingExtra
from isotrain.tasks.scores.found import Found, There

Kind = Literal["bbox", "segm"]


def require() -> None:
    """Ask before a long run what a score at its end will need.

    Raises:
        MissingExtra: faster-coco-eval is not installed.
    """
    _package()


def coco_scores(
    there: Sequence[There],
    found: Sequence[Found],
    classes: Sequence[str],
    kind: Kind = "bbox",
    most: Sequence[int] = (1, 10, 100),
    agnostic: bool = False,
) -> dict[str, float | None]:
    """AP, AP50, AP75, AP of small, medium and large objects, and AR for each number of finds a picture.

    AP is the mean over the overlaps .50, .55, ... .95, at the largest number in `most` up to 100; None where no
    picture holds what is asked for. An object's size is its mask's where it has one, else its box's.

    Args:
        there: what each picture holds.
        found: what was found in each, in the same order.
        classes: their names.
        kind: "bbox" compares boxes, "segm" masks.
        most: numbers of finds a picture that AR is given for; (10, 100, 1000) for proposals.
        agnostic: compare without regard to classes (proposals).

    Raises:
        MissingExtra: faster-coco-eval is not installed.
        BadData: masks are asked for and an object has none.

    Source: Lin et al. 2014, "Microsoft COCO", and its evaluation program.
    """
    coco, evaluator = _package()
    most = sorted(most)
    truth = coco(
        {
            "images": [{"id": n, "height": one.size[0], "width": one.size[1]} for n, one in enumerate(there, 1)],
            "categories": [{"id": n, "name": name} for n, name in enumerate(classes, 1)],
            "annotations": _annotations(there, kind),
        }
    )
    finds = _finds(found, kind)
    if not truth.dataset["annotations"]:
        return dict.fromkeys(_names(most))
    if not finds:
        return dict.fromkeys(_names(most), 0.0)
    run = evaluator(truth, truth.loadRes(finds), iouType=kind)
    run.params.maxDets = most
    run.params.useCats = int(not agnostic)
    run.evaluate()
    run.accumulate()
    precision, recall = np.asarray(run.eval["precision"]), np.asarray(run.eval["recall"])
    # precision [overlap, recall, class, size, most], recall [overlap, class, size, most]; sizes: all, s, m, l.
    usual = most.index(100) if 100 in most else len(most) - 1
    scores = {
        "AP": _mean(precision[:, :, :, 0, usual]),
        "AP50": _mean(precision[0, :, :, 0, usual]),
        "AP75": _mean(precision[5, :, :, 0, usual]),
        "AP_small": _mean(precision[:, :, :, 1, usual]),
        "AP_medium": _mean(precision[:, :, :, 2, usual]),
        "AP_large": _mean(precision[:, :, :, 3, usual]),
    }
    return scores | {f"AR{count}": _mean(recall[:, :, 0, place]) for place, count in enumerate(most)}


def _names(most: Sequence[int]) -> list[str]:
    return ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", *(f"AR{count}" for count in most)]


def _mean(values: Any) -> float | None:
    """Over what is defined: -1 stands for classes and sizes that no picture holds."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _annotations(there: Sequence[There], kind: Kind) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image, one in enumerate(there, 1):
        for thing in one.things:
            annotations.append(_annotation(thing, one.size, kind) | {"id": len(annotations) + 1, "image_id": image})
    return annotations


def _annotation(thing: Thing, size: tuple[int, int], kind: Kind) -> dict[str, Any]:
    left, top, right, bottom = thing.box
    known: dict[str, Any] = {
        "category_id": thing.label + 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": int(thing.crowd),
    }
    if thing.mask is not None:
        mask = decode(thing.mask, *size)
        known["area"] = float(mask.sum())
        if kind == "segm":
            known["segmentation"] = encode_rle(mask)
    elif kind == "segm":
        raise BadData(f"{thing.where or f'the object in box {thing.box}'} has no mask: masks cannot be scored.")
    return known


def _finds(found: Sequence[Found], kind: Kind) -> list[dict[str, Any]]:
    finds: list[dict[str, Any]] = []
    for image, one in enumerate(found, 1):
        if kind == "segm" and len(one.scores) and (one.masks is None or len(one.masks) != len(one.scores)):
            raise BadData("masks are asked for and the finds have none.")
        sides = torch.cat([one.boxes[:, :2], one.boxes[:, 2:] - one.boxes[:, :2]], 1)
        # COCO's program takes its numbers in double precision.
        rows = zip(sides.double().tolist(), one.scores.double().tolist(), one.labels.tolist(), strict=True)
        for place, (box, score, label) in enumerate(rows):
            find = {"image_id": image, "category_id": label + 1, "score": score}
            finds.append(find | ({"segmentation": (one.masks or [])[place]} if kind == "segm" else {"bbox": box}))
    return finds


def _package() -> tuple[Any, Any]:
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtra(
            "the COCO scores need the optional faster-coco-eval: pip install 'isotrain[vision]'."
        ) from error
    return COCO, COCOeval_faster
