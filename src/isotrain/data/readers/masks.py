"""Mask folders: a picture and, beside it or in a parallel folder, pictures of which of its pixels are objects.

`a.png` goes with `a_mask.png` (`a_mask_1.png`, ...), `images/a.jpg` with `masks/a.png`. In a mask 0 is no object. If
it has one other value, that is one object; if it has several, each is one (255 beside 1, 2, ... is "do not care", as
in VOC).

Folders whose names hold a digit are groups (patients, films), never torn apart when samples are held out, and their
objects are "object"; folders without digits are classes.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from isotrain.data.outlines import MaskPicture, box_of, decode, mask_values
from isotrain.data.readers.collector import Collector, Found
from isotrain.data.readers.folders import split_of
from isotrain.data.readers.reading import Reading, Tree
from isotrain.errors import BadData

NAME = "pictures with mask pictures"
MASK = re.compile(r"(.+?)[ _-](?:mask|masks|seg|segmentation|gt)(?:[ _-]?\d+)?", re.IGNORECASE)
MASK_FOLDERS = frozenset(
    ("masks", "mask", "labels", "annotations", "gt", "groundtruth", "segmentation", "segmentations")
)
PICTURE_FOLDERS = frozenset(("images", "image", "imgs", "pictures", "photos", "img", "jpegimages"))


def recognises(tree: Tree) -> bool:
    """A quarter of the pictures or more are masks of others."""
    return bool(tree.pictures) and not tree.only and 4 * len(_masks(tree)[0]) >= len(tree.pictures)


def _key(tree: Tree, path: Path) -> tuple[tuple[str, ...], str, bool]:
    """Folders (but for those named images or masks), stem without "_mask", and whether it is a mask."""
    folders = path.relative_to(tree.root).parts[:-1]
    found = MASK.fullmatch(path.stem)
    is_mask = found is not None or any(part.lower() in MASK_FOLDERS for part in folders)
    plain = tuple(part for part in folders if part.lower() not in MASK_FOLDERS | PICTURE_FOLDERS)
    return plain, found.group(1) if found else path.stem, is_mask


def _masks(tree: Tree) -> tuple[dict[Path, Path], list[Path]]:
    """The picture of each mask, and the masks without one."""
    keys = {path: _key(tree, path) for path in tree.pictures}
    pictures = {key[:2]: path for path, key in keys.items() if not key[2]}
    masks = {path: pictures.get(key[:2]) for path, key in keys.items() if key[2]}
    return {mask: path for mask, path in masks.items() if path}, [mask for mask, path in masks.items() if not path]


def read(tree: Tree, need: str) -> Reading:
    """A picture with an empty mask is a sample without things; a picture without a mask is left out."""
    reading = Reading(NAME)
    collector = Collector(tree, reading)
    masks, strays = _masks(tree)
    folders = {path: _folder(tree, path) for path in masks.values()}
    grouped = any(re.search(r"\d", folder) for folder in folders.values()) or len(set(folders.values())) < 2
    for mask, picture in masks.items():
        name = tree.name(mask)
        folder = folders[picture]
        label = "object" if grouped else folder or "object"
        entry = collector.entry(picture, split_of(tree, picture)[0], name, folder if grouped else "")
        try:
            entry.things += _objects(mask, label, name)
            shape = mask_values(mask).shape
        except BadData as error:
            reading.fault(name, str(error).rstrip("."), "Write the mask again, or take it and its picture out.")
            continue
        size = reading.size(picture, tree.name(picture))
        if size and size != shape:
            what = f"the mask is {shape[0]} x {shape[1]}, its picture {size[0]} x {size[1]} (height x width)"
            reading.fault(name, what, "Scale one of them to the other's size.")
    for mask in strays:
        collector.missing(f"of mask {tree.name(mask)}", tree.name(mask))
    collector.close()
    used = set(masks) | set(masks.values()) | set(strays)
    for path in tree.pictures:
        if path not in used:
            fix = "It is left out: if nothing is on it, give it a mask of zeros."
            reading.fault(tree.name(path), "picture without a mask", fix, "warning")
    return reading


def _folder(tree: Tree, path: Path) -> str:
    """The first folder that is neither a split nor named images; "" for none."""
    folders = split_of(tree, path)[1][:-1]
    return next((part for part in folders if part.lower() not in PICTURE_FOLDERS), "")


def _objects(path: Path, label: str, where: str) -> list[Found]:
    values = mask_values(path)
    present = [int(value) for value in np.unique(values) if value]
    void = len(present) > 1 and 255 in present
    if void:
        present.remove(255)
        if present != list(range(1, len(present) + 1)):
            values_found = f"0, {', '.join(map(str, present[:3]))}{' ...' * (len(present) > 3)} and 255"
            raise BadData(f"mask {path} has the values {values_found}, as soft edges do: save it as png with 0 and 255")
    found = []
    for value in present:
        outline = MaskPicture(path, value if len(present) > 1 or void else None)
        box = box_of(decode(outline, *values.shape))
        assert box is not None, "the value is in the picture"
        found.append(Found(label, box, outline, where=where))
    return found
