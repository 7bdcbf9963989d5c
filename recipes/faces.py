"""The representation that comes with isotrain, and the table of alignments and optimizers beside it.

Example: python recipes/faces.py --data ../shared/data/lfw --alignment 3d --epochs 30 --out runs/faces-3d

People are parted by name: most are learned from, a twentieth choose the weights that are kept, and 15 % (none with
--everybody, as the shipped one was made) are shown to the net only at the end, in pairs like LFW's. The faces are found
and aligned by the shipped detector and landmarks, once for each alignment: --crops keeps them.

About 45 seconds of one core an epoch, and 5 minutes for the crops.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import cast

import torch
from shipping import SHIPPED, ship
from torch import Tensor

from isotrain.data.opened import open_dataset
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.faces.aligning import Aligner
from isotrain.faces.calibration import calibrate
from isotrain.faces.chain import cutter_of
from isotrain.faces.embedders import embedder_named
from isotrain.faces.parts import Alignment
from isotrain.faces.prepare import crops_of
from isotrain.faces.protocol import Learned, Training, verify
from isotrain.faces.recognise import write_calibration
from isotrain.faces.splits import make_pairs, split_people
from isotrain.progress import progress_bar
from isotrain.tasks.faces import Faces, all_pairs, defaults
from isotrain.train.loop import fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import SCORES, RunFolder, load_run

PARTS = (0.8, 0.05, 0.15)
"""Of the people: learned from, choosing the weights, shown at the end."""
PAIRS, FOLDS = 40, 10
"""Of each kind in each fold."""


def crops(data: str, alignment: Alignment, size: int, kept: Path | None) -> tuple[list[str], list[str], Tensor]:
    """People, pictures' names and crops uint8 [n, 1, size, size] of all pictures with a face."""
    if kept is not None and kept.exists():
        held = torch.load(kept, weights_only=True)
        return held["people"], held["names"], held["crops"]
    dataset = open_dataset(data, "labels", held_out=0.0)
    with progress_bar("faces", len(dataset.train), True) as part:
        found, skipped = crops_of(dataset.train, cutter_of(Aligner(alignment, size, 1)), part(alignment))
    print(skipped.said())
    people = [dataset.classes[sample.labels[0]] for sample in found]
    made = torch.stack([cast(Tensor, sample.picture) for sample in found])
    if kept is not None:
        torch.save({"people": people, "names": [sample.name for sample in found], "crops": made}, kept)
    return people, [sample.name for sample in found], made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder with a folder for each person")
    parser.add_argument("--out", type=Path, default=Path("runs/faces"), help="run folder")
    parser.add_argument("--alignment", default="3d", choices=("3d", "2d", "none"))
    parser.add_argument("--optimizer", default="riemannian")
    parser.add_argument("--epochs", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--crops", type=Path, help="file in which the aligned crops are kept, or are found")
    parser.add_argument("--everybody", action="store_true", help="learn from those too who would be shown at the end")
    parser.add_argument("--score", action="store_true", help="do not train: score the run that is in --out")
    parser.add_argument("--ship", action="store_true", help="replace the shipped representation")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    options = {"alignment": given.alignment}
    people, names, pixels = crops(given.data, given.alignment, defaults("residual")["size"], given.crops)
    learned, choosing, shown = split_people(people, PARTS, given.seed)
    if given.everybody:
        learned, shown = sorted([*learned, *shown]), []
    number = {person: place for place, person in enumerate([*learned, *choosing, *shown])}
    own, judging, unseen = (
        [
            Sample(crop, (number[person],), name=name)
            for person, name, crop in zip(people, names, pixels, strict=True)
            if person in set_
        ]
        for set_ in (set(learned), set(choosing), set(shown))
    )
    dataset = Dataset(tuple(number), own, judging, unseen, source=Path(given.data).name, format="aligned faces")
    task = Faces(Faces.plan(dataset, options))
    if not given.score:
        plan = Plan(epochs=given.epochs, batch=64, optimizer=given.optimizer, seed=given.seed)
        fit(task, dataset, RunFolder(given.out), plan, progress=True)
    outcome = json.loads((given.out / SCORES).read_text(encoding="utf-8"))
    record = {
        "alignment": given.alignment, "optimizer": given.optimizer, "epochs": given.epochs, "steps": outcome["steps"],
        "seconds": outcome["seconds"], "samples": [len(part) for part in (own, judging, unseen)],
        "people": [len(learned), len(choosing), len(shown)], "scores": outcome["scores"], "kept": outcome["kept"],
    }  # fmt: skip
    _, net, _ = load_run(given.out)
    if shown:
        vectors, whose = task.vectors(net, Shelf(dataset.test, task.load))
        pictures: dict[str, list[Path]] = {}
        for place, person in enumerate(whose.tolist()):
            pictures.setdefault(str(person), []).append(Path(str(place)))
        pairs = make_pairs(pictures, PAIRS, given.seed, FOLDS)
        rows = torch.tensor([int(str(path)) for path in pairs.pictures])
        training = Training("unrestricted", (Learned("landmarks", "ytfaces", "label-free"),))
        found = verify(pairs, vectors[rows].numpy(), training)
        print(found)
        record["verification"] = found.to_dict()
    (given.out / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print({key: value for key, value in record.items() if key not in ("scores", "verification")})
    print(outcome["scores"])
    # Thresholds are learned from people that the net has not learned from.
    held = dataset.held_out + dataset.test
    similarity, same = all_pairs(*task.vectors(net, Shelf(held, task.load)))
    calibration = calibrate(similarity.numpy(), same.numpy())
    write_calibration(given.out, embedder_named(given.out).id, calibration, f"{len(held)} faces of people held out")
    if given.ship:
        target = ship(given.out, "faces", "Labeled Faces in the Wild, the shared part", but="people.")
        write_calibration(target, embedder_named(target).id, calibration, f"{len(held)} faces of people held out")
        print("shipped:", target, SHIPPED)


if __name__ == "__main__":
    main()
