"""COCO's scores of ours, against pycocotools."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from isotrain.data.outlines import RunLengths, decode, encode_rle
from isotrain.data.samples import Thing
from isotrain.errors import BadData, MissingExtra
from isotrain.tasks.scores.coco import coco_scores, require
from isotrain.tasks.scores.found import Found, There, found_masks, nothing

SIDE = 120


def pictures(seed: int, count: int = 12) -> tuple[list[There], list[Found]]:
    """Ellipses, and finds that miss them by a little, with some objects missed, doubled and invented."""
    draw = np.random.default_rng(seed)
    there, found = [], []
    for _ in range(count):
        things, boxes, masks, scores, labels = [], [], [], [], []
        for _ in range(draw.integers(0, 6)):
            mask, box = ellipse(draw.uniform(10, SIDE - 10, 2), draw.uniform(4, 50, 2))
            label = int(draw.integers(3))
            things.append(Thing(label, box, mask, crowd=bool(draw.random() < 0.15)))
            for _ in range(draw.integers(0, 3)):
                centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) + draw.normal(0, 2, 2)
                near, edge = ellipse(centre, np.array([box[2] - box[0], box[3] - box[1]]) / 2 + draw.normal(0, 1.5, 2))
                boxes.append(edge)
                masks.append(near)
                scores.append(float(draw.random()))
                labels.append(label if draw.random() < 0.85 else int(draw.integers(3)))
        there.append(There(things, (SIDE, SIDE)))
        if boxes:
            rle = found_masks(torch.stack(masks))
            found.append(Found(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels), rle))
        else:
            found.append(nothing())
    return there, found


def ellipse(centre: Any, radii: Any) -> tuple[torch.Tensor, tuple[float, float, float, float]]:
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    rx, ry = (max(2.0, float(r)) for r in radii)
    mask = ((x - float(centre[0])) / rx) ** 2 + ((y - float(centre[1])) / ry) ** 2 <= 1
    places = mask.nonzero()
    if not len(places):
        mask[0, 0] = True
        places = mask.nonzero()
    (top, left), (bottom, right) = places.amin(0).tolist(), places.amax(0).tolist()
    return mask, (float(left), float(top), float(right + 1), float(bottom + 1))


def oracle(there: list[There], found: list[Found], kind: str, most: list[int], agnostic: bool) -> dict[str, float]:
    """The same by pycocotools, from dictionaries written here."""
    annotations, finds = [], []
    for image, one in enumerate(there, 1):
        for thing in one.things:
            mask = decode(thing.mask, SIDE, SIDE)  # type: ignore[arg-type]
            left, top, right, bottom = thing.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": thing.label + 1,
                    "iscrowd": int(thing.crowd),
                    "area": float(mask.sum()),
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": encode_rle(mask),
                }
            )
    for image, find in enumerate(found, 1):
        for place, (left, top, right, bottom) in enumerate(find.boxes.tolist()):
            row = {"image_id": image, "category_id": int(find.labels[place]) + 1, "score": float(find.scores[place])}
            if kind == "segm":
                assert find.masks is not None
                finds.append(row | {"segmentation": find.masks[place]})
            else:
                finds.append(row | {"bbox": [left, top, right - left, bottom - top]})
    truth = COCO()
    truth.dataset = {
        "images": [{"id": n, "height": SIDE, "width": SIDE} for n in range(1, len(there) + 1)],
        "categories": [{"id": n, "name": str(n)} for n in (1, 2, 3)],
        "annotations": annotations,
    }
    truth.createIndex()
    run = COCOeval(truth, truth.loadRes(finds), kind)
    run.params.maxDets, run.params.useCats = most, int(not agnostic)
    run.evaluate()
    run.accumulate()
    run.summarize()
    names = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", *(f"AR{m}" for m in most)]
    return dict(zip(names, run.stats[:9].tolist(), strict=True))


@pytest.mark.parametrize(("kind", "agnostic"), [("bbox", False), ("segm", False), ("bbox", True), ("segm", True)])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_pycocotools(kind: Any, agnostic: bool, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    there, found = pictures(seed)
    ours = coco_scores(there, found, ["a", "b", "c"], kind, agnostic=agnostic)
    theirs = oracle(there, found, kind, [1, 10, 100], agnostic)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert (-1 if value is None else value) == pytest.approx(theirs[name], abs=1e-9), name
    assert 0.05 < theirs["AP"] < 0.95  # a case in which something is at stake


def test_recall_of_proposals_equal_to_pycocotools() -> None:
    there, found = pictures(3)
    ours = coco_scores(there, found, ["a", "b", "c"], most=[10, 100, 1000], agnostic=True)
    theirs = oracle(there, found, "bbox", [10, 100, 1000], True)
    for name in ("AP", "AR10", "AR100", "AR1000"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9)


def test_perfect_nothing_and_undefined() -> None:
    thing = Thing(0, (2.0, 2.0, 40.0, 40.0))
    there = [There([thing], (SIDE, SIDE))]
    right = [Found(torch.tensor([thing.box]), torch.tensor([0.5]), torch.tensor([0]))]
    assert coco_scores(there, right, ["a"])["AP"] == pytest.approx(1.0)
    assert coco_scores(there, [nothing()], ["a"])["AP"] == 0.0
    assert coco_scores([There([], (SIDE, SIDE))], right, ["a"])["AP"] is None


def test_masks_that_are_not_there() -> None:
    there = [There([Thing(0, (0.0, 0.0, 4.0, 4.0), where="a.json: annotation 3")], (8, 8))]
    with pytest.raises(BadData, match="annotation 3 has no mask"):
        coco_scores(there, [nothing()], ["a"], "segm")
    there = [There([Thing(0, (0.0, 0.0, 8.0, 8.0), RunLengths((0, 64), (8, 8)))], (8, 8))]
    boxes = Found(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([1.0]), torch.tensor([0]))
    with pytest.raises(BadData, match="the finds have none"):
        coco_scores(there, [boxes], ["a"], "segm")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("faster_coco_eval"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"isotrain\[vision\]"):
        require()
