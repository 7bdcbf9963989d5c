"""Pictures and what is said of them: COCO's and Karpathy's json, Flickr8k's list, JSON lines, a text beside each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isotrain.data.captionformats import Said, all_said
from isotrain.data.opened import folder_of, hold_out
from isotrain.data.readers.folders import split_of
from isotrain.data.readers.reading import TEST, TRAIN, VAL, Tree
from isotrain.data.samples import Dataset, Sample
from isotrain.errors import BadData, BadOption

LONGEST = 2000
"""Characters of a caption; what is longer is none."""
Place = str | Path


@dataclass
class _Entry:
    """A picture that was found, with what is said of it."""

    split: str
    where: str
    said: list[str] = field(default_factory=list)


def open_captions(
    photos: Place, captions: Place | Sequence[Place] | None = None, *, held_out: float = 0.1, seed: int = 0
) -> Dataset:
    """Pictures with captions, in whichever of the known formats they are.

    The split is that of a file's name (captions_val2017.json), of Karpathy's "split", or of a picture's folder; what is
    "val" is held out. Left out, and counted in the notes: captions whose picture is missing (an error if that is more
    than half of the pictures), pictures without captions, captions that are empty or longer than 2,000 characters.

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
    kind, said = all_said(tree, [folder_of(str(place)) for place in named])
    notes: list[str] = []
    entries = _gathered(tree, said, notes)
    splits: dict[str, list[Sample]] = {TRAIN: [], VAL: [], TEST: []}
    for path, entry in entries.items():
        sample = Sample(path, name=tree.name(path), where=entry.where, said=tuple(entry.said))
        splits[entry.split].append(sample)
    train, kept = splits[TRAIN], splits[VAL]
    if not train and held_out:
        raise BadData(f"{folder} ({kind}) has no pictures to learn from: all are held out or to be tested on.")
    if not kept and held_out:
        train, kept = hold_out(train, held_out, seed)
    return Dataset((), train, kept, splits[TEST], str(photos), kind, tuple(notes))


def _gathered(tree: Tree, all_said: Iterable[Said], notes: list[str]) -> dict[Path, _Entry]:
    """The pictures that are there and have captions; what is left out is noted."""
    entries: dict[Path, _Entry] = {}
    places: dict[tuple[str, tuple[Path, ...]], Path | None] = {}
    missing: dict[str, str] = {}
    empty: list[str] = []
    long: list[str] = []
    for said in all_said:
        key = said.picture, said.folders
        if key not in places:
            places[key] = tree.picture(said.picture, *said.folders) if said.picture else None
        path = places[key]
        if path is None:
            missing.setdefault(said.picture, said.where)
            continue
        entry = entries.setdefault(path, _Entry(said.split or _split_of(tree, path), said.where))
        if said.split not in ("", entry.split):
            what = f"picture {tree.name(path)} is in {said.split}, and in {entry.split} at {entry.where}"
            raise BadData(f"{said.where}: {what}. Take it out of one.")
        if said.caption is None:
            continue
        caption = " ".join(said.caption.split())
        if not caption:
            empty.append(said.where)
        elif len(caption) > LONGEST:
            long.append(f"{said.where}, {len(caption):,} characters")
        else:
            entry.said.append(caption)
    _missing(tree, missing, len(entries), notes)
    kept = {path: entry for path, entry in entries.items() if entry.said}
    bare = [tree.name(path) for path in tree.pictures if path not in kept]
    for found, one, several in (
        (empty, "empty caption", "empty captions"),
        (long, f"caption of more than {LONGEST:,} characters", f"captions of more than {LONGEST:,} characters"),
        (bare, "picture without a caption", "pictures without a caption"),
    ):
        if found:
            notes.append(_left_out(len(found), one if len(found) == 1 else several, found[0]))
    if not kept:
        raise BadData("; ".join((f"{tree.root}: no picture has a caption", *notes)) + ".")
    return kept


def _split_of(tree: Tree, path: Path) -> str:
    return split_of(tree, path)[0] if path.is_relative_to(tree.root) else TRAIN


def _missing(tree: Tree, missing: dict[str, str], found: int, notes: list[str]) -> None:
    """Note pictures that are missing, each with the place that names it first; raise if they are most of all."""
    if not missing:
        return
    name, where = next(iter(missing.items()))
    number, of = len(missing), len(missing) + found
    if 2 * number > of:
        raise BadData(
            f"{where}: picture {name!r} is not in {tree.root}; {number:,} of {of:,} pictures are missing. Put them "
            "there, or name the folder that holds them."
        )
    is_are = "is" if number == 1 else "are"
    first = "" if number == 1 else "the first: "
    notes.append(f"{number:,} of {of:,} pictures {is_are} missing, and the captions left out ({first}{name}, {where})")


def _left_out(number: int, what: str, first: str) -> str:
    return f"{number:,} {what} left out ({'' if number == 1 else 'the first: '}{first})"
