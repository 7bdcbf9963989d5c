"""The figures of the tasks, each by the commands that a user would type; written to reports/seeing-DATE.md.

    .venv/bin/python benchmarks/seeing.py                  everything that is not there yet; reckoned at four hours
    .venv/bin/python benchmarks/seeing.py mnist cifar      some of them
    .venv/bin/python benchmarks/seeing.py --list           which there are

Real data is looked for in the folder of $ISOTRAIN_DATA. Each command's answer is kept as JSON in runs/seeing, so that a
figure that was made is told again, not made again; delete its folder there to make it anew. The test samples, and the
patients and scenes held out for the scores told, choose nothing.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from typed import Answers, Figure, report

FOLDS = 4
"""Parts that the patients are held out in, one after the other."""


def right(least: float) -> Callable[[Answers], tuple[str, bool]]:
    """Share of right answers on the test samples of a training."""

    def found(answers: Answers) -> tuple[str, bool]:
        share = answers[0]["scores"]["test"]["accuracy"]
        return f"{share:.2%}", share >= least

    return found


def residual(answers: Answers) -> tuple[str, bool]:
    share = answers[0]["scores"]["test"]["accuracy"]
    depth = answers[1]["depth"]
    worst = max(depth["score"] - block["dropped"] for block in depth["blocks"])
    return f"{share:.1%}; a block dropped costs {100 * worst:.1f} points at most", share >= 0.62 and worst < 0.05


def scales(answers: Answers) -> tuple[str, bool]:
    many, one = (answer["scores"]["test"] for answer in answers[1:3])
    gain = 100 * (many["classification"] - one["classification"])
    words = (
        f"{many['classification']:.1%} against {one['classification']:.1%}: {gain:+.1f} points; "
        f"pointing {many['pointing']:.1%}, boxes (CorLoc) {many['CorLoc']:.1%} against {one['CorLoc']:.1%}"
    )
    return words, gain >= 3 and many["pointing"] >= 0.95


def boxes(answers: Answers) -> tuple[str, bool]:
    scores = answers[1]["scores"]["test"]
    mean, recall = scores["VOC07_mAP50"], scores["recall_of_regions"]
    return f"mAP {mean:.3f}; recall {recall:.3f}", mean >= 0.9 and recall >= 0.95


def by_heart(answers: Answers) -> tuple[str, bool]:
    score = answers[1]["scores"]["train"]["AP50"]
    return f"AP50 {score:.3f}", score >= 0.8


def masks(answers: Answers) -> tuple[str, bool]:
    scores = answers[1]["scores"]["test"]
    return (
        f"AP {scores['AP']:.3f}; AR@100 {scores['proposals_AR100']:.3f}",
        scores["AP"] >= 0.75 and scores["proposals_AR100"] >= 0.8,
    )


def patients(answers: Answers) -> tuple[str, bool]:
    scores = [answer["scores"]["test"] for answer in answers]
    dice, precision = ([score[name] for score in scores] for name in ("dice", "AP50"))
    longest = max(answer["seconds"] for answer in answers) / 60
    words = (
        f"Dice {statistics.mean(dice):.3f} ({', '.join(f'{d:.2f}' for d in dice)}), "
        f"AP50 {statistics.mean(precision):.3f} ({', '.join(f'{p:.2f}' for p in precision)}), {longest:.0f} min at most"
    )
    return words, statistics.mean(dice) >= 0.78 and statistics.mean(precision) >= 0.7 and longest <= 40


def waits(answers: Answers) -> tuple[str, bool]:
    limits = {"classify": 0.05, "detect": 0.5, "masks": 0.8}
    # The first picture of a process waits for what is imported late.
    told = {answer["task"]: answer["predictions"][1:] for answer in answers if "predictions" in answer}
    medians = {task: statistics.median(one["seconds"] for one in found) for task, found in told.items()}
    return (
        " · ".join(f"{medians[task]:.3f} s" for task in limits),
        all(medians[task] <= limit for task, limit in limits.items()),
    )


def exported(answers: Answers) -> tuple[str, bool]:
    off = dict(zip(TASKS, (answer["difference"] for answer in answers), strict=True))
    return ", ".join(f"{task} {value:.1e}" for task, value in off.items()), max(off.values()) < 1e-4


def folds(here: Path, data: Path) -> None:
    """Folders with every fourth patient in the test part."""
    names = sorted(path.name for path in (data / "lgg").iterdir() if path.is_dir())
    for fold in range(FOLDS):
        for place, name in enumerate(names):
            part = "test" if place % FOLDS == fold else "train"
            shutil.copytree(data / "lgg" / name, here / f"fold{fold}" / part / name, dirs_exist_ok=True)


def learned(here: Path, data: Path) -> None:
    """The training part of coco_mini alone: held-out pictures would choose weights that know less of it by heart."""
    shutil.copytree(data / "coco_mini" / "train2017", here / "coco" / "train2017", dirs_exist_ok=True)
    (here / "coco" / "annotations").mkdir(exist_ok=True)
    shutil.copy(data / "coco_mini" / "annotations" / "instances_train2017.json", here / "coco" / "annotations")


def photos(here: Path, data: Path) -> None:
    """Nine photographs, 640 pixels along the longer side."""
    from PIL import Image

    (here / "photos").mkdir(parents=True, exist_ok=True)
    for path in sorted((data / "coco_mini" / "val2017").glob("*.jpg"))[:9]:
        picture = Image.open(path).convert("RGB")
        longest = max(picture.size)
        sides = [round(side * 640 / longest) for side in picture.size]
        picture.resize((sides[0], sides[1])).save(here / "photos" / path.name, quality=92)


TASKS = ("classify", "localise", "detect", "masks")
FIGURES = {
    "mnist-2": Figure(
        "ResNet-20, MNIST's test pictures, two epochs",
        "≥ 98.8 %",
        ("train classify {data}/mnist --epochs 2 --out {here}/run",),
        right(0.988),
    ),
    "mnist": Figure(
        "the same, in half an hour",
        "≥ 99.4 %",
        ("train classify {data}/mnist --minutes 29 --out {here}/run",),
        right(0.994),
    ),
    "cifar": Figure(
        "ResNet-20, 3,000 pictures of CIFAR-10, its 1,000 test pictures",
        "≥ 62 %, each block's drop < 5 points",
        (
            'train classify {data}/cifar10 --epochs 100 -o "stochastic_depth=[0.1, 0.1]" --out {here}/run',
            "evaluate {here}/run --split test --depth",
        ),
        residual,
    ),
    "scales": Figure(
        "an image pyramid against one scale, MNIST's digits on clutter",
        "≥ 3 points; pointing ≥ 95 %",
        (
            "data make localise {here}/clutter --train 12000 --held-out 400 --test 1000 "
            '-o size=96 -o "scales=[0.15, 0.8]" -o mnist="{data}/mnist"',
            "train localise {here}/clutter --epochs 4 --out {here}/many",
            'train localise {here}/clutter --epochs 4 -o "scales=[1]" --out {here}/one',
        ),
        scales,
    ),
    "boxes": Figure(
        "Fast R-CNN, generated scenes, selective search, 100 test scenes",
        "VOC07 mAP ≥ .90; recall@1000 ≥ .95",
        (
            "data make detect {here}/scenes --train 800",
            "train detect {here}/scenes -o regions=search --out {here}/run",
        ),
        boxes,
    ),
    "coco": Figure(
        "the 80 training pictures of coco_mini, by heart",
        "AP50 ≥ .80",
        (
            "train detect {here}/coco --held-out 0 -o regions=net -o zoom=1 -o mirror=false --epochs 90 "
            "--out {here}/run",
            "evaluate {here}/run --split train",
        ),
        by_heart,
        learned,
    ),
    "masks": Figure(
        "masks, generated scenes, 100 test scenes",
        "AP ≥ .75, AR@100 ≥ .80",
        ("data make masks {here}/scenes --train 800", "train masks {here}/scenes --out {here}/run"),
        masks,
    ),
    "patients": Figure(
        "tumours, each patient tested on once, by a net that has not seen it",
        "Dice ≥ .78, AP50 ≥ .70, ≤ 40 min",
        tuple(
            f"train masks {{here}}/fold{fold} --held-out 0 --epochs 60 --out {{here}}/run{fold}"
            for fold in range(FOLDS)
        ),
        patients,
        folds,
    ),
    "waits": Figure(
        "a photograph of 640 pixels: classify · detect · masks",
        "≤ .05 · .5 · .8 s",
        (
            *(f"train {task} --minutes 0.5 --out {{here}}/{task}" for task in TASKS),
            *(f"predict {{here}}/{task} {{here}}/photos" for task in TASKS if task != "localise"),
        ),
        waits,
        photos,
    ),
    "onnx": Figure(
        "onnxruntime against torch, the same nets",
        "< 1e-4",
        tuple(f"export {{runs}}/waits/{task}" for task in TASKS),
        exported,
    ),
}


if __name__ == "__main__":
    report("seeing", "Figures of the tasks", FIGURES, "mnist, cifar10, coco_mini and lgg", __doc__)
