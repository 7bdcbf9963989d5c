"""The data of a run: what was named, or the generated twin of the task; and what was asked for."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from isotrain.app.named_data import Named
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.errors import BadCheckpoint, BadData, BadOption, UnknownName
from isotrain.progress import Tick, progress_bar
from isotrain.train.rundir import RunFolder

ASKED = "asked.json"
"""In the run folder: what the data was and how it was split, to open it again."""
TWINS: dict[str, tuple[str, str, tuple[int, int, int]]] = {
    "classify": ("labels", "shapes_dataset", (600, 200, 200)),
    "localise": ("labels", "clutter_dataset", (1000, 200, 200)),
    "detect": ("boxes", "scene_dataset", (120, 24, 24)),
    "masks": ("masks", "scene_dataset", (120, 24, 24)),
    "finder": ("boxes", "crowd_dataset", (120, 24, 24)),
    "landmarks": ("landmarks", "faces_dataset", (400, 60, 60)),
    "faces": ("labels", "faces_dataset", (600, 150, 150)),
    "characters": ("text", "grammar_dataset", (1800, 100, 100)),
    "translate": ("parallel", "language_dataset", (4000, 200, 200)),
    "caption": ("captions", "captioned_dataset", (1000, 100, 100)),
}
"""What a task needs to know of its samples, its twin in `isotrain.data.synthetic`, and how many samples to try it on
(to learn from, held out, to test on).
"""
HELD_OUT, HELD_OUT_OF = 0.1, {"translate": 0.05}
"""Share of the samples held out, where the data has no such part of its own."""
LENGTH = 64
"""Symbols of the stretches of a text where nothing else is asked for: it is cut before the task sees it."""
NO_OPTIONS = ("train", "held_out", "test", "tick")
SPLITS = {"held-out": "held_out", "test": "test", "train": "train"}


@dataclass(frozen=True)
class Asked:
    """What a run's data is.

    Attributes:
        data: folder, file or name; None for the task's generated twin.
        held_out: share of the samples held out, where the data has no such part of its own; of a text 0: it is one.
        seed: draws which ones.
        options: of the task.
        beside: the file that belongs to the data: of translations, of captions.
        val: of translate, sentences to hold out, and the file of their translations.
    """

    data: str | None = None
    held_out: float = HELD_OUT
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    beside: str | None = None
    val: tuple[str, str | None] | None = None

    @classmethod
    def of(cls, task: str, named: Named, held_out: float | None, seed: int, options: dict[str, Any]) -> Asked:
        """What is asked for on the command line.

        Args:
            task: its name.
            named: the data.
            held_out: share to hold out; None: the usual one.
            seed: draws which ones.
            options: of the task.

        Raises:
            BadOption: a share is asked for where there is none to choose.
        """
        if held_out is not None and task == "characters":
            raise BadOption("--held-out: the last tenth of a text is, half of it to choose by, half of it to test on.")
        if held_out is not None and named.val is not None:
            raise BadOption(f"--held-out {held_out:g} and --val-source {named.val[0]}: one of them.")
        if task == "characters":  # the same for the text and for the task, also when a later version would choose anew
            options = {"length": LENGTH, **options}
        share = HELD_OUT_OF.get(task, HELD_OUT) if held_out is None else held_out
        return cls(named.data, share, seed, options, named.beside, named.val)

    def naming(self, named: Named) -> Asked:
        """The same of other data."""
        return replace(self, data=named.data, beside=named.beside, val=named.val)

    def open(self, task: str, quiet: bool = True) -> Dataset:
        """The samples; of people, their faces found and aligned first.

        Args:
            task: its name.
            quiet: neither progress nor words.

        Raises:
            BadData: they cannot be read.
            BadOption: the share is outside of [0, 1).
            UnknownName: no such task.
        """
        if not 0 <= self.held_out < 1:
            raise BadOption(f"--held-out {self.held_out:g} should be a share: 0 or more, below 1.")
        if task == "faces":
            return self._people(quiet)
        if self.data is None:
            return twin(task, self.seed, options={"length": self._length()} if task == "characters" else None)
        need = need_of(task)
        if need == "text":
            from isotrain.data.textfiles import open_text

            unit: Literal["bytes", "characters"] = "bytes" if self.options.get("bytes") is True else "characters"
            return open_text(self.data, unit=unit, length=self._length(), whole=self.held_out == 0)
        if need == "parallel":
            from isotrain.data.parallel import open_parallel

            return open_parallel(self.data, self.beside, val=self.val, held_out=self.held_out, seed=self.seed)
        if need == "captions":
            from isotrain.data.captionfiles import open_captions

            return open_captions(self.data, self.beside, held_out=self.held_out, seed=self.seed)
        from isotrain.data.opened import open_dataset

        return open_dataset(self.data, need, held_out=self.held_out, seed=self.seed)

    def _length(self) -> int:
        """Of the stretches of a text, as far as it is one that the task takes."""
        from isotrain.tasks.characters import OPTIONS

        return int(OPTIONS["length"].checked("length", self.options.get("length", LENGTH)))

    def _people(self, quiet: bool) -> Dataset:
        """Aligned faces of people."""
        from isotrain.data.opened import open_dataset
        from isotrain.faces.prepare import people

        found = twin("faces", self.seed) if self.data is None else open_dataset(self.data, "people", held_out=0.0)
        number = sum(len(part) for part in (found.train, found.held_out, found.test))
        with progress_bar("faces", number, not quiet) as part:
            dataset, skipped = people(found, self.options, self.held_out, self.seed, part("found and aligned"))
        if skipped and not quiet:
            print(f"isotrain: {skipped.said()}", file=sys.stderr)
        return dataset

    def keep(self, folder: RunFolder) -> None:
        """Into the run folder; a path as it is found from anywhere."""
        places = Named(self.data, self.beside, self.val).resolved()
        folder.write_json(ASKED, asdict(self.naming(places)))


def asked_by(folder: RunFolder) -> Asked:
    """What a run's data was.

    Raises:
        BadCheckpoint: the folder does not say, or not whole.
    """
    path = folder.path / ASKED
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return Asked(**{**known, "val": tuple(known["val"]) if known.get("val") else None})
    except FileNotFoundError as error:
        raise BadCheckpoint(f"{folder.path} has no {ASKED}, which says what its data was: name DATA.") from error
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise BadCheckpoint(f"{path} cannot be read ({error}): name DATA.") from error


def twin(
    task: str,
    seed: int = 0,
    sizes: tuple[int, int, int] | None = None,
    options: Mapping[str, Any] | None = None,
    tick: Tick | None = None,
) -> Dataset:
    """The generated twin of a task's data.

    Args:
        task: its name.
        seed: of everything.
        sizes: samples to learn from, held out, to test on; None: few, to try the task.
        options: of the twin.
        tick: called after every sample.

    Raises:
        UnknownName: no such task, or no such option.
        BadOption: an option is outside its range.
    """
    from isotrain.data import synthetic

    _, name, few = _row(task)
    make = getattr(synthetic, name)
    usual = {
        name: known.default for name, known in inspect.signature(make).parameters.items() if name not in NO_OPTIONS
    }
    chosen = {"seed": seed, **(options or {})}
    for option, value in chosen.items():
        if option not in usual:
            raise UnknownName(f"option of the twin of {task}", option, usual)
        kind = str if usual[option] is None else list if isinstance(usual[option], tuple) else type(usual[option])
        if not isinstance(value, kind):
            raise BadOption(f"{option}={value!r} of the twin of {task} should be like {usual[option]!r}.")
    made: Dataset = make(*(few if sizes is None else sizes), **chosen, tick=tick)
    return made


def need_of(task: str) -> str:
    """What a task needs to know of its samples.

    Raises:
        UnknownName: no such task.

    >>> need_of("translate")
    'parallel'
    """
    return _row(task)[0]


def _row(task: str) -> tuple[str, str, tuple[int, int, int]]:
    if task not in TWINS:
        raise UnknownName("task", task, TWINS)
    return TWINS[task]


def part_of(dataset: Dataset, split: str | None) -> tuple[str, list[Sample]]:
    """One part of a dataset and its name; None: the test samples, else those held out, else all there are.

    Raises:
        UnknownName: no such part.
        BadData: it is empty.
    """
    if split is not None and split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    for name in ("test", "held-out", "train") if split is None else (split,):
        found: list[Sample] = getattr(dataset, SPLITS[name])
        if found:
            return name, found
    sizes = ", ".join(f"{len(getattr(dataset, part))} {name}" for name, part in SPLITS.items())
    raise BadData(f"{dataset.source or 'the data'} has no {split or 'samples'} to score ({sizes}).")


def renumbered(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The dataset with its classes numbered as a run has them; those it lacks are no fault.

    Raises:
        BadData: a class that the run has never seen.
    """
    if list(dataset.classes) == list(classes):
        return dataset
    strange = [name for name in dataset.classes if name not in set(classes)]
    if strange:
        raise BadData(
            f"{dataset.source} has classes that the run was not trained on: {', '.join(strange[:5])}. "
            f"It knows {', '.join(classes[:10])}{' ...' if len(classes) > 10 else ''}."
        )
    number = {place: classes.index(name) for place, name in enumerate(dataset.classes)}
    parts: dict[str, Any] = {p: [_renumber(sample, number) for sample in getattr(dataset, p)] for p in SPLITS.values()}
    return replace(dataset, classes=tuple(classes), **parts)


def _renumber(sample: Sample, number: Mapping[int, int]) -> Sample:
    things: tuple[Thing, ...] = tuple(replace(thing, label=number[thing.label]) for thing in sample.things)
    return replace(sample, labels=tuple(number[label] for label in sample.labels), things=things)


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Options written key=value; a value that is JSON (a number, true, a list) is taken as such, else as a word.

    Raises:
        BadOption: no equals sign, or no key.

    >>> options_of(["depth=0.5", "pretrained=true", "pool=max"])
    {'depth': 0.5, 'pretrained': True, 'pool': 'max'}
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise BadOption(f"-o {pair!r} should be key=value.")
        try:
            found[key.strip().replace("-", "_")] = json.loads(value)
        except (ValueError, RecursionError):
            found[key.strip().replace("-", "_")] = value
    return found
