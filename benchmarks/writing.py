"""The figures of the tasks that write, each by the commands that a user would type; written to reports/writing-DATE.md.

    .venv/bin/python benchmarks/writing.py                       everything that is not there yet; about two hours
    .venv/bin/python benchmarks/writing.py translate             some of them
    .venv/bin/python benchmarks/writing.py --list                which there are

Real data is looked for in the folder of $ISOTRAIN_DATA. Answers are kept as JSON in runs/writing, as seeing.py does it.
What was held out of the training lines chooses the weights; the test part of a text and Multi30k's val choose nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from typed import Answers, Figure, report

SENTENCES = 1014
"""Of Multi30k's val."""


def nats(most: float) -> Callable[[Answers], tuple[str, bool]]:
    """Nats a character on the part that chooses the weights, and on the one that chooses nothing."""

    def found(answers: Answers) -> tuple[str, bool]:
        held, test = (answers[0]["scores"][part]["nats per symbol"] for part in ("held-out", "test"))
        return f"{held:.3f} held out, {test:.3f} test", max(held, test) <= most

    return found


def bleu(answers: Answers) -> tuple[str, bool]:
    (scores,), minutes = answers[1]["scores"].values(), answers[0]["seconds"] / 60
    words = f"BLEU {scores['bleu']:.1f}, chrF {scores['chrf']:.1f} ({scores['bleu_signature']}); {minutes:.0f} min"
    return words, scores["bleu"] >= 30 and minutes <= 75


def speed(answers: Answers) -> tuple[str, bool]:
    rate = SENTENCES / (60 * answers[0]["minutes_of_command"])
    return f"{rate:.0f} sentences a second, start and loading counted", rate >= 30


def exact(answers: Answers) -> tuple[str, bool]:
    scores, minutes = answers[1]["scores"]["test"], answers[1]["seconds"] / 60
    return f"{scores['exact']:.1%} exactly right; {minutes:.0f} min", scores["exact"] >= 0.95


def by_heart(answers: Answers) -> tuple[str, bool]:
    scores, minutes = answers[1]["scores"]["train"], answers[0]["seconds"] / 60
    return f"CIDEr-D {scores['CIDEr-D']:.2f}; {minutes:.0f} min", scores["CIDEr-D"] >= 2.0


def learned(here: Path, data: Path) -> None:
    """The training part of coco_mini alone."""
    shutil.copytree(data / "coco_mini" / "train2017", here / "photos", dirs_exist_ok=True)


MULTI = "{data}/multi30k"
FIGURES = {
    "chars-3": Figure(
        "tiny Shakespeare, LSTM, 3 minutes",
        "≤ 1.88 nats a character",
        ("train characters {data}/text/tinyshakespeare.txt --minutes 3 --out {here}/run",),
        nats(1.88),
    ),
    "chars-20": Figure(
        "the same, 20 minutes",
        "≤ 1.60 nats a character",
        ("train characters {data}/text/tinyshakespeare.txt --minutes 20 --out {here}/run",),
        nats(1.60),
    ),
    "translate": Figure(
        "Multi30k, English to German, val, beam 5",
        "≥ 30 BLEU in ≤ 75 min",
        (
            f"train translate --source {MULTI}/train.en.gz --target {MULTI}/train.de.gz --out {{here}}/run",
            f"evaluate {{here}}/run --source {MULTI}/val.en.gz --target {MULTI}/val.de.gz",
        ),
        bleu,
    ),
    "speed": Figure(
        "translating val, beam 5",
        "≥ 30 sentences a second",
        (f"predict {{runs}}/translate/run --input {MULTI}/val.en.gz --no-pictures",),
        speed,
    ),
    "scenes": Figure(
        "captions of generated pictures, 300 test pictures",
        "≥ 95 % exactly right",
        (
            "data make caption {here}/scenes --train 4000 --held-out 300 --test 300",
            "train caption {here}/scenes --epochs 6 --out {here}/run",
        ),
        exact,
    ),
    "coco": Figure(
        "captions of coco_mini's 80 training pictures, by heart",
        "CIDEr-D ≥ 2.0",
        (
            "train caption {here}/photos {data}/coco_mini/annotations/captions_train2017.json --held-out 0 "
            "--epochs 100 -o dropout=0 --out {here}/run",
            "evaluate {here}/run --split train",
        ),
        by_heart,
        learned,
    ),
}

if __name__ == "__main__":
    report("writing", "Figures of the tasks that write", FIGURES, "text, multi30k and coco_mini", __doc__)
