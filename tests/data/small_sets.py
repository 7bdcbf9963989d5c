"""The same four pictures, written in every format: two of class "cat", two of class "dog", one object in each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 60, 80
BOX = (20.0, 10.0, 50.0, 40.0)
"""Left, top, right, bottom of the object in every picture."""
NAMES = ("cat0", "cat1", "dog0", "dog1")
LABELS = (0, 0, 1, 1)
SPLITS = ("train", "val", "train", "val")


def pixels(number: int) -> np.ndarray:
    draw = np.random.default_rng(number)
    rough = draw.integers(0, 200, (6, 8, 3), dtype=np.uint8)
    picture = np.kron(rough, np.ones((10, 10, 1), dtype=np.uint8))
    picture[10:40, 20:50] = (250, 40 * number % 256, 0)
    return picture


def save(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def name(label: int) -> str:
    return ("cat", "dog")[label]


def folders(root: Path) -> None:
    for number, (stem, label, split) in enumerate(zip(NAMES, LABELS, SPLITS, strict=True)):
        save(root / split / name(label) / f"{stem}.png", number)


def csv(root: Path) -> None:
    lines = ["file,label,split,xmin,ymin,xmax,ymax"]
    for number, (stem, label, split) in enumerate(zip(NAMES, LABELS, SPLITS, strict=True)):
        save(root / "pictures" / f"{stem}.png", number)
        lines.append(f"{stem}.png,{name(label)},{split},20,10,50,40")
    write(root / "labels.csv", "\n".join(lines) + "\n")


def jsonl(root: Path) -> None:
    for number, (stem, label, split) in enumerate(zip(NAMES, LABELS, SPLITS, strict=True)):
        save(root / split / f"{stem}.png", number)
        objects = {"bbox": [[20, 10, 30, 30]], "categories": [name(label)]}
        with (root / split / "metadata.jsonl").open("a") as file:
            file.write(json.dumps({"file_name": f"{stem}.png", "objects": objects}) + "\n")


def coco_content(split: str) -> dict:
    chosen = [number for number in range(4) if SPLITS[number] == split]
    ring = [20, 10, 50, 10, 50, 40, 20, 40]
    return {
        "images": [{"id": n, "file_name": f"{NAMES[n]}.png", "height": HEIGHT, "width": WIDTH} for n in chosen],
        "categories": [{"id": 7, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {
                "id": 100 + n,
                "image_id": n,
                "category_id": (7, 18)[LABELS[n]],
                "bbox": [20, 10, 30, 30],
                "segmentation": [ring],
                "area": 900,
                "iscrowd": 0,
            }
            for n in chosen
        ],
    }


def lines_of(content: dict) -> str:
    """A line an element: images from line 2 on."""
    parts = [f'"{key}": [\n' + ",\n".join(map(json.dumps, value)) + "]" for key, value in content.items()]
    return "{" + ",\n".join(parts) + "}"


def coco(root: Path) -> None:
    for split in ("train", "val"):
        write(root / "annotations" / f"instances_{split}2017.json", lines_of(coco_content(split)))
    for number, (stem, split) in enumerate(zip(NAMES, SPLITS, strict=True)):
        save(root / f"{split}2017" / f"{stem}.png", number)


def voc_xml(stem: str, label: str, box: tuple[float, ...] = (21, 11, 50, 40), difficult: int = 0) -> str:
    """Pixels are counted from 1, the last one included: this is BOX. The object is on line 4, the size on line 3."""
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return (
        f"<annotation>\n<filename>{stem}.png</filename>\n"
        f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>\n"
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>\n"
        "</annotation>\n"
    )


def voc(root: Path) -> None:
    root = root / "VOC2007"
    for number, (stem, label, split) in enumerate(zip(NAMES, LABELS, SPLITS, strict=True)):
        save(root / "JPEGImages" / f"{stem}.png", number)
        write(root / "Annotations" / f"{stem}.xml", voc_xml(stem, name(label)))
        objects = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        objects[9:41, 19:51] = 255  # the border that VOC leaves open
        objects[10:40, 20:50] = 1
        mask = Image.fromarray(objects).convert("P")
        mask.putdata(objects.flatten().tolist())
        (root / "SegmentationObject").mkdir(exist_ok=True)
        mask.save(root / "SegmentationObject" / f"{stem}.png")
        for kind in ("Main", "Segmentation"):
            (root / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
            for listed in (split, "trainval"):
                with (root / "ImageSets" / kind / f"{listed}.txt").open("a") as file:
                    file.write(f"{stem}\n")


def yolo(root: Path, polygon: bool = False) -> None:
    for number, (stem, label, split) in enumerate(zip(NAMES, LABELS, SPLITS, strict=True)):
        save(root / "images" / split / f"{stem}.png", number)
        ring = "0.25 0.16666667 0.625 0.16666667 0.625 0.66666667 0.25 0.66666667"
        box = "0.4375 0.41666667 0.375 0.5"
        write(root / "labels" / split / f"{stem}.txt", f"{label} {ring if polygon else box}\n")
    write(root / "data.yaml", "path: .  # here\ntrain: images/train\nval: images/val\n\nnames:\n  0: cat\n  1: 'dog'\n")


def yolo_polygons(root: Path) -> None:
    yolo(root, polygon=True)


def masks(root: Path) -> None:
    for number, (stem, label, split) in enumerate(zip(NAMES, LABELS, SPLITS, strict=True)):
        save(root / split / name(label) / f"{stem}.png", number)
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        mask[10:40, 20:50] = 255
        Image.fromarray(mask).save(root / split / name(label) / f"{stem}_mask.png")


ALL = {
    "folders": folders,
    "csv": csv,
    "jsonl": jsonl,
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "yolo polygons": yolo_polygons,
    "masks": masks,
}
