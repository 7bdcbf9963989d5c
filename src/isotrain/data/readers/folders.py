"""Class folders: CLASS/picture.jpg, or train/CLASS/picture.jpg beside val/ and test/."""

from __future__ import annotations

from pathlib import Path

from isotrain.data.pictures import SUFFIXES
from isotrain.data.readers.reading import TRAIN, Reading, Tree, split_named
from isotrain.data.samples import Sample

NAME = "class folders"


def recognises(tree: Tree) -> bool:
    """Pictures lie in folders."""
    return not tree.only and any(len(path.relative_to(tree.root).parts) > 1 for path in tree.pictures)


def split_of(tree: Tree, path: Path) -> tuple[str, tuple[str, ...]]:
    """The split that a file's first folder names, and the parts of its path behind it."""
    parts = path.relative_to(tree.root).parts
    split = split_named(parts[0]) if len(parts) > 1 else None
    return (split, parts[1:]) if split else (TRAIN, parts)


def read(tree: Tree, need: str) -> Reading:
    """Every picture's class is its first folder (behind the split's)."""
    reading = Reading(NAME, labelled=True)
    found = []
    for path in tree.pictures:
        split, parts = split_of(tree, path)
        if len(parts) < 2:
            reading.fault(tree.name(path), "picture without a label", "Move it to its class's folder.", "warning")
        else:
            found.append((split, parts[0], path))
    numbers = reading.number({label for _, label, _ in found})
    for split, label, path in found:
        name = tree.name(path)
        reading.splits[split].append(Sample(path, (numbers[label],), name=name, where=name))
    used = {path.parent for _, _, path in found}
    for path in tree.files:
        if path.suffix.lower() not in SUFFIXES and path.parent in used and path.name.lower() != "thumbs.db":
            reading.fault(tree.name(path), "not a picture that can be read", "It is left out.", "warning")
    top = [folder for folder in tree.root.iterdir() if folder.is_dir()]
    below = [inner for folder in top if split_named(folder.name) for inner in folder.iterdir() if inner.is_dir()]
    for folder in (*(folder for folder in top if not split_named(folder.name)), *below):
        if not folder.name.startswith(".") and not any(path.is_relative_to(folder) for path in used):
            reading.fault(tree.name(folder), "class folder without a picture", "Fill it or delete it.", "warning")
    return reading
