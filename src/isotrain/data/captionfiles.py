"""Pictures and what is said of them: COCO's and Karpathy's json, Flickr8k's list, JSON lines, a text beside each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isotrain.data.captionformats import all_said
from isotrain.data.faults import Told, refused
from isotrain.data.opened import folder_of, hold_out
from isotrain.data.readers.folders import split_of
from isotrain.data.readers.reading import TEST, TRAIN, VAL, Tree
from isotrain.data.readers.textfiles import shown
from isotrain.data.samples import Dataset, Sample
from isotrain.data.textfiles import half_in
from isotrain.errors import BadData, BadOption

LONGEST = 2000
"""Characters of a caption; what is longer is none."""
Place = str | Path


@dataclass
class Entry:
    """A picture that was found, with what is said of it."""

    split: str
    where: str
    said: list[str] = field(default_factory=list)


@dataclass
class Gathered:
    """What captions and pictures make of one another.

    Attributes:
        tree: the pictures.
        format: of the captions.
        entries: pictures that the captions name, and what is said of them; of some perhaps nothing.
        missing: name of each picture that is not there -> the place that names it first.
        empty: places of empty captions.
        long: places of captions that are too long -> their characters.
        halved: places of captions with half a character (a lone surrogate, as JSON may hold) -> which.
    """

    tree: Tree
    format: str
    entries: dict[Path, Entry] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    long: dict[str, int] = field(default_factory=dict)
    halved: dict[str, str] = field(default_factory=dict)

    @property
    def mostly_missing(self) -> bool:
        """Whether more than half of the pictures are."""
        return 2 * len(self.missing) > len(self.missing) + len(self.entries)

    @property
    def bare(self) -> list[str]:
        """Names of the pictures without a caption."""
        return [self.tree.name(path) for path in self.tree.pictures if not self.said(path)]

    def said(self, path: Path) -> list[str]:
        """The captions of a picture."""
        return self.entries[path].said if path in self.entries else []

    @property
    def samples(self) -> dict[str, list[Sample]]:
        """The pictures with captions, by split."""
        splits: dict[str, list[Sample]] = {TRAIN: [], VAL: [], TEST: []}
        for path, entry in self.entries.items():
            if entry.said:
                sample = Sample(path, name=self.tree.name(path), where=entry.where, said=tuple(entry.said))
                splits[entry.split].append(sample)
        return splits


def open_captions(
    photos: Place, captions: Place | Sequence[Place] | None = None, *, held_out: float = 0.1, seed: int = 0
) -> Dataset:
    """Pictures with captions, in whichever of the known formats they are.

    The split is that of a file's name (captions_val2017.json), of Karpathy's "split", or of a picture's folder; what is
    "val" is held out. Left out, and counted in the notes: captions whose picture is missing (an error if that is more
    than half of the pictures), pictures without captions, captions that are empty, longer than 2,000 characters, or
    hold half a character.

    Args:
        photos: the folder of the pictures, or a name in `$ISOTRAIN_DATA`.
        captions: the file with the captions, several of them, or a folder; None: they are looked for in `photos`.
        held_out: share of the pictures that is held out, at most 5,000, where no split says which. 0: none, and a
            source with nothing to learn from is welcome too (to be scored on).
        seed: of the draw of those.

    Raises:
        BadData: absent, of no known format, malformed, missing pictures, no captions; the message names file and line.
        BadOption: the share is not one.
    """
    if not 0 <= held_out < 1:
        raise BadOption(f"a share of {held_out} cannot be held out: 0 to below 1.")
    found = gathered(photos, captions)
    notes = _notes(found)
    splits, where = found.samples, found.tree.root
    if not any(splits.values()):
        raise BadData("; ".join((f"{where}: no picture has a caption", *notes)) + ".")
    train, kept = splits[TRAIN], splits[VAL]
    if not train and held_out:
        raise BadData(f"{where} ({found.format}) has no pictures to learn from: all are held out or to be tested on.")
    if not kept and held_out:
        train, kept = hold_out(train, held_out, seed)
    return Dataset((), train, kept, splits[TEST], str(photos), found.format, tuple(notes))


def gathered(photos: Place, captions: Place | Sequence[Place] | None = None, told: Told = refused) -> Gathered:
    """Pictures and captions brought together, with all that will be left out.

    Args:
        photos: as of `open_captions`.
        captions: the same.
        told: what is done about a fault of a file.

    Raises:
        BadData: absent, of no known format, or `told` does.
    """
    folder = folder_of(str(photos))
    if not folder.is_dir():
        raise BadData(f"{folder} is a file: the folder of the pictures is needed, and the captions behind it.")
    tree = Tree(folder)
    if not tree.pictures:
        raise BadData(f"{folder} has no pictures.")
    if captions is None:
        named = []
    else:
        named = [captions] if isinstance(captions, str | Path) else list(captions)
    kind, every = all_said(tree, [folder_of(str(place)) for place in named], told)
    found = Gathered(tree, kind)
    places: dict[tuple[str, tuple[Path, ...]], Path | None] = {}
    for said in every:
        key = said.picture, said.folders
        if key not in places:
            places[key] = tree.picture(said.picture, *said.folders) if said.picture else None
        path = places[key]
        if path is None:
            found.missing.setdefault(said.picture, said.where)
            continue
        entry = found.entries.setdefault(path, Entry(said.split or _split_of(tree, path), said.where))
        if said.split not in ("", entry.split):
            what = f"picture {tree.name(path)} is in {said.split}, and in {entry.split} at {entry.where}"
            told(said.where, what, "Take it out of one")
            continue
        if said.caption is None:
            continue
        caption = " ".join(said.caption.split())
        if not caption:
            found.empty.append(said.where)
        elif len(caption) > LONGEST:
            found.long[said.where] = len(caption)
        elif half := half_in(caption):
            found.halved[said.where] = half
        else:
            entry.said.append(caption)
    return found


def _notes(found: Gathered) -> list[str]:
    """What is left out, in a line a kind; raise if it is most of the pictures."""
    notes: list[str] = []
    _missing(found, notes)
    long = [f"{where}, {size:,} characters" for where, size in found.long.items()]
    halved = [f"{where}, {half}" for where, half in found.halved.items()]
    for places, one, several in (
        (found.empty, "empty caption", "empty captions"),
        (long, f"caption of more than {LONGEST:,} characters", f"captions of more than {LONGEST:,} characters"),
        (halved, "caption with half a character", "captions with half a character"),
        (found.bare, "picture without a caption", "pictures without a caption"),
    ):
        if places:
            notes.append(_left_out(len(places), one if len(places) == 1 else several, places[0]))
    return notes


def _split_of(tree: Tree, path: Path) -> str:
    return split_of(tree, path)[0] if path.is_relative_to(tree.root) else TRAIN


def _missing(found: Gathered, notes: list[str]) -> None:
    """Note pictures that are missing, the first with the place that names it; raise if they are most of all."""
    if not found.missing:
        return
    name, where = next(iter(found.missing.items()))
    number, of = len(found.missing), len(found.missing) + len(found.entries)
    if found.mostly_missing:
        raise BadData(
            f"{where}: picture {shown(name)} is not in {found.tree.root}; {number:,} of {of:,} pictures are missing. "
            "Put them there, or name the folder that holds them."
        )
    is_are = "is" if number == 1 else "are"
    first = f"{'' if number == 1 else 'the first: '}{shown(name)}, {where}"
    notes.append(f"{number:,} of {of:,} pictures {is_are} missing, and the captions left out ({first})")


def _left_out(number: int, what: str, first: str) -> str:
    return f"{number:,} {what} left out ({'' if number == 1 else 'the first: '}{first})"
