"""What face detectors find, what they take for faces, and how long they need.

    python benchmarks/faces_detect.py --data DATA --detector shipped --detector lbp --people other
    python benchmarks/faces_detect.py --data DATA --detector shipped --sheet doubtful.png --every 5

DATA holds lfw/ (each person in the middle of 250 x 250 pixels, the box the middle 250 / 2.2) and coco_mini/. A face is
found where a find overlaps its box by half (IoU). Every other find on a picture of LFW is *beside*: some are people in
the background whom nobody labelled. `--second DETECTOR` takes out those that another detector finds too (IoU 0.3), and
`--sheet` shows the rest to be judged by eye. On coco_mini's pictures without a person every find is false.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou

from isotrain.data.pictures import read_picture
from isotrain.faces.detectors import detector_named
from isotrain.faces.parts import Detector

SIDE, FACE = 250, 250 / 2.2
BATCH = 32
MIDDLE = torch.tensor([[(SIDE - FACE) / 2] * 2 + [(SIDE + FACE) / 2] * 2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", action="append", help="name, run folder or ONNX file; may be repeated")
    parser.add_argument(
        "--people", choices=("all", "half", "other"), default="all", help="of LFW, as in recipes/finder.py"
    )
    parser.add_argument("--every", type=int, default=1, help="one picture in so many")
    parser.add_argument("--least", type=float, default=None, help="score from which on a find counts")
    parser.add_argument("--second", help="detector whose finds are taken for faces too")
    parser.add_argument("--sheet", type=Path, help="picture to write of the finds nobody else has")
    parser.add_argument("--threads", type=int, default=1, help="for the large photo; small pictures take one")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folders = sorted(folder for folder in (asked.data / "lfw").iterdir() if folder.is_dir())
    folders = {"all": folders, "half": folders[::2], "other": folders[1::2]}[asked.people]
    portraits = [path for folder in folders for path in sorted(folder.glob("*.jpg"))][:: asked.every]
    second = None if asked.second is None else detector_named(asked.second)
    for name in asked.detector or ["shipped", "lbp"]:
        detector = detector_named(name) if asked.least is None else detector_named(name, least=asked.least)
        told = {
            "detector": name,
            **on_portraits(detector, portraits, second, asked.sheet),
            **on_nobody(detector, asked.data / "coco_mini"),
            **times(detector, portraits[:BATCH], asked.threads),
        }
        print(json.dumps(told), flush=True)


def on_portraits(
    detector: Detector, paths: Sequence[Path], second: Detector | None, sheet: Path | None
) -> dict[str, float]:
    """Shares of pictures whose face is found, and of those with a find beside it."""
    found = beside = doubtful = 0
    crops: list[Tensor] = []
    for start in range(0, len(paths), BATCH):
        pictures = [read_picture(path) for path in paths[start : start + BATCH]]
        for picture, finds in zip(pictures, detector.find(pictures), strict=True):
            if not len(finds.boxes):
                continue
            overlap = box_iou(finds.boxes, MIDDLE)[:, 0]
            found += bool(overlap.max() >= 0.5)
            others = finds.boxes[
                torch.arange(len(overlap)) != overlap.argmax() if overlap.max() >= 0.5 else overlap < 2
            ]
            beside += bool(len(others))
            if len(others) and second is not None:
                known = second.find([picture])[0].boxes
                others = others[(box_iou(others, known) < 0.3).all(1)] if len(known) else others
            doubtful += bool(len(others))
            crops += [crop(picture, box) for box in others]
    if sheet is not None and crops:
        write_sheet(crops, sheet)
    number = len(paths)
    return {
        "pictures": number,
        "found": round(found / number, 4),
        "beside": round(beside / number, 4),
        "beside_alone": round(doubtful / number, 4),
    }


def on_nobody(detector: Detector, folder: Path) -> dict[str, float]:
    """Pictures of COCO without a person: how many have a find (those of train were learned from)."""
    told = {}
    for part in ("train", "val"):
        content = json.loads((folder / f"annotations/instances_{part}2017.json").read_text())
        person = next(kind["id"] for kind in content["categories"] if kind["name"] == "person")
        peopled = {note["image_id"] for note in content["annotations"] if note["category_id"] == person}
        names = [image["file_name"] for image in content["images"] if image["id"] not in peopled]
        finds = [detector.find([read_picture(folder / f"{part}2017" / name)])[0] for name in names]
        told[f"nobody_{part}"] = len(names)
        told[f"false_{part}"] = sum(bool(len(one.boxes)) for one in finds)
    return told


def times(detector: Detector, paths: Sequence[Path], threads: int) -> dict[str, float]:
    """Milliseconds: of a small picture in a batch on one core, of a photo of 12 megapixels on `threads`."""
    small = [read_picture(path) for path in paths]
    photo = torch.nn.functional.interpolate(torch.cat([p.expand(3, -1, -1) for p in small[:4]], 2)[None], (3000, 4000))[
        0
    ]
    each = median_of(lambda: detector.find(small))
    torch.set_num_threads(threads)
    whole = median_of(lambda: detector.find([photo]))
    torch.set_num_threads(1)
    return {
        "ms_small": round(each[0] / len(small), 2),
        "cpu_ms_small": round(each[1] / len(small), 2),
        "ms_12_megapixels": round(whole[0], 1),
        "cpu_ms_12_megapixels": round(whole[1], 1),
    }


def median_of(call: Callable[[], object], turns: int = 7) -> tuple[float, float]:
    """Milliseconds on the clock and on all cores together: on a busy machine the second says more."""
    call()
    clock, cores = [], []
    for _ in range(turns):
        began, spent = time.perf_counter(), time.process_time()
        call()
        clock.append(1000 * (time.perf_counter() - began))
        cores.append(1000 * (time.process_time() - spent))
    return statistics.median(clock), statistics.median(cores)


def crop(picture: Tensor, box: Tensor, side: int = 64) -> Tensor:
    """A find with as much again around it."""
    grey = Image.fromarray(picture.float().mean(0).byte().numpy())
    (left, top, right, bottom), reach = box.tolist(), float(box[2] - box[0]) / 2
    around = (left - reach, top - reach, right + reach, bottom + reach)
    return torch.frombuffer(
        bytearray(grey.transform((side, side), Image.Transform.EXTENT, around).tobytes()), dtype=torch.uint8
    ).view(side, side)


def write_sheet(crops: list[Tensor], path: Path, wide: int = 20) -> None:
    crops = crops[: wide * wide]
    crops += [torch.zeros_like(crops[0])] * (-len(crops) % wide)
    rows = [torch.cat(crops[at : at + wide], 1) for at in range(0, len(crops), wide)]
    Image.fromarray(torch.cat(rows).numpy()).save(path)


if __name__ == "__main__":
    main()
