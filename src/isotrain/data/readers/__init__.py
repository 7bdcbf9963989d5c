"""One module a format. Each says whether a folder holds it, and reads it without stopping at a fault."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from isotrain.data.readers.reading import Reading, Tree

FORMATS = ("arrays", "coco", "voc", "yolo", "metadata", "landmarks", "tables", "masks", "folders")
"""Modules in the order in which they are asked: those that can be sure come first."""
KNOWN = (
    "COCO json, Pascal VOC xml, YOLO txt with data.yaml, metadata.jsonl, csv with a header, "
    "faces with landmarks (.pts, csv), pictures with mask pictures, class folders, MNIST's idx files, CIFAR-10's "
    "binary files"
)


class Reader(Protocol):
    """What a module of a format has."""

    NAME: str

    def recognises(self, tree: Tree) -> bool:
        """Does the folder, or file, hold this format?"""

    def read(self, tree: Tree, need: str) -> Reading:
        """Its samples and faults. `need` is "labels", "boxes", "masks", or "" for all there is.

        Raises:
            BadData: nothing of it can be read.
        """


def reader_of(tree: Tree) -> Reader | None:
    """The first reader that recognises a folder or file."""
    for name in FORMATS:
        reader: Reader = import_module(f"isotrain.data.readers.{name}")
        if reader.recognises(tree):
            return reader
    return None
