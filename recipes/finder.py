"""Makes the face detector that isotrain ships, from portraits, films' frames and pictures of anything.

    python recipes/finder.py --data DATA --out runs/finder --people half

DATA holds lfw/ (Name/Name_0001.jpg, the face in the middle), ytfaces/ (frames with 68 landmarks) and coco_mini/ (COCO's
layout), of which the parts for training are used, and cifar10/. At the edge of a portrait others may stand whom nobody
labelled. A first round leaves the edges out. What its net finds there is left out in the second, which goes on from it,
and the rest of the edges is learned as what is no face; so does each round with the net of the one before.
What is kept is the mean of the last two.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isotrain.data.pictures import read_picture
from isotrain.data.samples import Box, Dataset, Sample, Thing
from isotrain.nets.finder import Finder
from isotrain.progress import progress_bar
from isotrain.tasks.finder import FindFaces
from isotrain.train.loop import Training
from isotrain.train.recipes import Plan, recipe
from isotrain.train.rundir import RunFolder, load_run

LFW_SIDE, LFW_FACE = 250, 250 / 2.2
"""Pixels of a picture of LFW, and of the face's box in its middle."""
KNOWN = 1.6
"""Sides of a face about its centre in which no other is expected."""
FROM_LANDMARKS = (1.06, -0.195)
"""Side of the face's box, and the way down to its centre from that of the landmarks' box, in longer sides of that box.

So that it is the box LFW has: measured by what scikit-image's LBP cascade finds in both (LFW 1.065 of the box at its
centre, ytfaces 1.125 of the landmarks' longer side, 0.183 of it higher; medians of 350 and 187 faces).
"""
CROPS, CROP = 12, 320
"""Parts cut from each picture of COCO, and their longest side."""
ROUNDS = (300, 600, 900, 600)
"""Steps."""
RARER = 4.48
"""Taken off the logits at the end: in training, cells without a face count more rarely than there are.

A score of 0.5 is then one of 0.99 before, where 99 % of the faces of LFW are found, and less than 1 % of its pictures
have a find that is none.
"""
DOUBT = 0.8
"""Score from which on a find at the edge of a portrait may be somebody."""


def main() -> None:
    """Reads the data, trains round after round, writes the last round's run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument(
        "--out", type=Path, required=True, help="run folder of the last round; OUT-1, OUT-2 of those before"
    )
    parser.add_argument(
        "--people", choices=("all", "half"), default="half", help="of LFW: half leaves every other one out"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=ROUNDS, help="of each round")
    parser.add_argument("--minutes", type=float, help="of each round, at most")
    parser.add_argument("--after", type=Path, help="a finder's run folder that the first round goes on from")
    parser.add_argument("--scene", type=int, default=128, help="side of the scenes")
    parser.add_argument("--optimizer", default="riemannian")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    portraits = lfw(asked.data / "lfw")
    people = sorted({sample.group for sample in portraits})
    chosen = set(people if asked.people == "all" else people[::2])
    kept_out = set(sorted(chosen)[::20])  # these choose the weights
    portraits = [sample for sample in portraits if sample.group in chosen]
    rest = [*frames(asked.data / "ytfaces", "training"), *grounds(asked.data, asked.seed)]
    plan = replace(recipe("finder"), minutes=asked.minutes, optimizer=asked.optimizer, seed=asked.seed, judges=100)
    before: Path | None = asked.after
    before_last: Path | None = None
    for turn, steps in enumerate(asked.steps, 1):
        out = asked.out if turn == len(asked.steps) else asked.out.with_name(f"{asked.out.name}-{turn}")
        if before is not None:
            portraits = edged(portraits, before)
        train(_dataset(portraits, kept_out, rest), out, plan, steps, before, asked.scene)
        before_last, before = before, out
    settle([out for out in (before_last, asked.out) if out is not None], asked.out, RARER)


def settle(runs: list[Path], out: Path, by: float) -> None:
    """The mean of the weights of runs that followed one another, and `by` off the logits, into a folder of them."""
    nets = [load_run(run)[1] for run in runs]
    net = nets[-1]
    assert isinstance(net, Finder)
    states = [one.state_dict() for one in nets]
    net.load_state_dict({name: sum(state[name] / len(states) for state in states) for name in states[0]})
    for head in net.to_faces:
        assert isinstance(head, torch.nn.Conv2d) and head.bias is not None
        head.bias.data -= by
    RunFolder(out).write_weights(net)


def train(dataset: Dataset, out: Path, plan: Plan, steps: int, begin: Path | None, scene: int) -> None:
    """One round, from new weights or those of another run."""
    task, folder = FindFaces(FindFaces.plan(dataset, {"scene": scene})), RunFolder(out)
    plan = replace(plan, epochs=steps / max(1, len(dataset.train) // plan.batch))
    training = Training(task, dataset, folder, plan)
    if begin is not None:
        RunFolder(begin).read_weights(training.net)
    sizes = {name: len(getattr(dataset, name)) for name in ("train", "held_out", "test")}
    folder.write_card(task, asdict(plan), {"source": dataset.source, "format": dataset.format, "samples": sizes})
    print(json.dumps(training.run(progress=True).to_dict()))


def _dataset(portraits: list[Sample], kept_out: set[str], rest: list[Sample]) -> Dataset:
    learned = [sample for sample in portraits if sample.group not in kept_out] + [
        sample for place, sample in enumerate(rest) if place % 20
    ]
    held_out = [sample for sample in portraits if sample.group in kept_out] + rest[::20]
    return Dataset(("face",), learned, held_out, source="lfw, ytfaces, coco_mini, cifar10", format="faces")


def lfw(folder: Path) -> list[Sample]:
    """The portraits, the edge of each unknown."""
    middle, half, known = LFW_SIDE / 2, LFW_FACE / 2, KNOWN * LFW_FACE / 2
    face = (middle - half,) * 2 + (middle + half,) * 2
    return [
        Sample(
            path, (), (Thing(0, face), *edges((middle, middle), known, LFW_SIDE, LFW_SIDE)), path.stem, path.parent.name
        )
        for path in sorted(folder.glob("*/*.jpg"))
    ]


def frames(folder: Path, part: str) -> list[Sample]:
    """The frames, twice, as there are few of them; the edge of each unknown."""
    samples = []
    for row in list(csv.reader((folder / f"{part}_frames_keypoints.csv").open()))[1:]:
        points = np.array(row[1:], float).reshape(68, 2) + 0.5
        low, high = points.min(0), points.max(0)
        longer = float((high - low).max())
        x, y = (low + high) / 2 + [0, FROM_LANDMARKS[1] * longer]
        half = FROM_LANDMARKS[0] * longer / 2
        path = folder / part / row[0]
        height, width = read_picture(path).shape[1:]
        things = (Thing(0, (x - half, y - half, x + half, y + half)), *edges((x, y), KNOWN * half, height, width))
        samples += [Sample(path, (), things, f"{path.stem}-{turn}") for turn in range(2)]
    return samples


def edges(centre: tuple[float, float], reach: float, height: int, width: int) -> list[Thing]:
    """What lies around the square about `centre`, as unknown."""
    x, y = centre
    left, top, right, bottom = max(0.0, x - reach), max(0.0, y - reach), min(width, x + reach), min(height, y + reach)
    strips: list[Box] = [
        (0, 0, left, height),
        (right, 0, width, height),
        (left, 0, right, top),
        (left, bottom, right, height),
    ]
    return [Thing(0, strip, crowd=True) for strip in strips if strip[2] > strip[0] + 1 and strip[3] > strip[1] + 1]


def grounds(data: Path, seed: int) -> list[Sample]:
    """Parts of COCO's pictures, the heads of people unknown in them, and sheets of small pictures."""
    rng = np.random.default_rng(seed)
    folder = data / "coco_mini"
    images = json.loads((folder / "annotations/instances_train2017.json").read_text())["images"]
    people = json.loads((folder / "annotations/person_keypoints_train2017.json").read_text())["annotations"]
    samples = []
    for image in images:
        picture = read_picture(folder / "train2017" / image["file_name"]).float().mean(0, keepdim=True).byte()
        heads = [head(person) for person in people if person["image_id"] == image["id"]]
        for turn in range(CROPS):
            samples.append(cut(picture, heads, rng, f"{image['id']}-{turn}"))
    raw = np.fromfile(data / "cifar10/data_batch_1.bin", np.uint8).reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)
    small = torch.from_numpy(raw.mean(1).astype(np.uint8))
    for turn in range(90):
        sheet = small[torch.from_numpy(rng.integers(len(small), size=64))]
        sheet = sheet.view(8, 8, 32, 32).permute(0, 2, 1, 3).reshape(1, 256, 256)
        samples.append(Sample(sheet, name=f"sheet-{turn}"))
    return samples


def head(person: dict[str, object]) -> Box:
    """Where a person's head may be: about nose, eyes and ears, else the whole person."""
    points = np.array(person["keypoints"], float).reshape(17, 3)
    left, top, wide, high = np.array(person["bbox"], float)
    seen = points[:5][points[:5, 2] > 0, :2]
    if person["iscrowd"] or (not len(seen) and not (points[5:, 2] > 0).any()):
        return (left, top, left + wide, top + high)
    if not len(seen):  # from behind, or the head is cut off: above the shoulders
        return (left, top - 0.1 * high, left + wide, top + 0.35 * high)
    low, far = seen.min(0), seen.max(0)
    reach = max(float((far - low).max()), 0.1 * max(wide, min(high, 3 * wide)))
    return (low[0] - reach, low[1] - reach, far[0] + reach, far[1] + reach)


def cut(picture: Tensor, heads: list[Box], rng: np.random.Generator, name: str) -> Sample:
    """A part of a picture at random, and the heads in it."""
    height, width = picture.shape[1:]
    high, wide = (min(side, int(rng.integers(160, CROP + 1))) for side in (height, width))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    things = []
    for box in heads:
        moved = np.array(box) - [left, top, left, top]
        inside = (*np.maximum(moved[:2], 0).tolist(), *np.minimum(moved[2:], [wide, high]).tolist())
        if inside[2] > inside[0] + 1 and inside[3] > inside[1] + 1:
            things.append(Thing(0, inside, crowd=True))
    return Sample(picture[:, top : top + high, left : left + wide].contiguous(), (), tuple(things), name)


def edged(portraits: list[Sample], run: Path) -> list[Sample]:
    """The portraits, with what a first net finds at their edges unknown instead of all that is there."""
    task, net, _ = load_run(run)
    assert isinstance(task, FindFaces)
    made = []
    with progress_bar("edges", len(portraits), True) as part:
        tick = part("")
        for start in range(0, len(portraits), 16):
            several = portraits[start : start + 16]
            found = task.find(net, [read_picture(sample.picture) for sample in several], least=DOUBT)
            for sample, finds in zip(several, found, strict=True):
                middle = (finds.boxes[:, :2] + finds.boxes[:, 2:]) / 2
                away = (middle - LFW_SIDE / 2).abs().amax(1)
                others = finds.boxes[away > 0.35 * LFW_FACE]
                reach = (others[:, 2:] - others[:, :2]) * 0.15
                wide = torch.cat([others[:, :2] - reach, others[:, 2:] + reach], 1).clamp(0, LFW_SIDE)
                wide = wide[(wide[:, 2:] > wide[:, :2] + 1).all(1)]
                face = next(thing for thing in sample.things if not thing.crowd)
                unknown = [Thing(0, tuple(box), crowd=True) for box in wide.tolist()]
                made.append(replace(sample, things=(face, *unknown)))
            tick(len(several))
    return made


if __name__ == "__main__":
    main()
