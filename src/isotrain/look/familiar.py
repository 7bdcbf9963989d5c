"""Whether a net knows the kind of picture it is shown: how far it lies from those the net learned from.

A photo is described by what the net's own layers make of it (`isotrain.look.views`). Descriptions of the pictures it
learned from have a mean and a covariance; a photo is unlike them where its Mahalanobis distance is beyond what most
held-out pictures have. Mean, covariance and bound are kept in a small file beside the run.

Source: Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples" (distances at several
layers); Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from isotrain.aside import write_aside
from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, Sample, evenly
from isotrain.errors import BadCheckpoint, BadData, BadOption
from isotrain.look.views import View, descriptions, view_of
from isotrain.tasks.base import Task
from isotrain.train.rundir import WEIGHTS, load_run

FILE = "familiar.safetensors"
VERSION = 1
LEAST_SAMPLES, LEAST_HELD_OUT = 40, 20
QUANTILE = 0.95
"""Share of held-out pictures that are known."""
LOOKING = ("classify", "localise", "detect", "masks", "caption")
"""Tasks whose runs a look can be given."""
MOST_SAMPLES, MOST_HELD_OUT = 600, 300
"""Of a run's own data, as many are looked at after a training."""
TINY, TIMES = 64, 4
"""Pixels of the longer side up to which pictures are tiny, and how much larger a photo of their kind may be: shrunk to
that, any photo looks like one of them to a net, its details gone."""
USUAL = 640
"""Pixels of the longer side at which a net of any size is shown a photo, where nobody measured what it learned from."""


@dataclass(frozen=True)
class Familiar:
    """What a net learned from, as far as it takes to tell a photo that is unlike.

    Attributes:
        mean: [d] of the descriptions.
        whiten: [d, d], takes a description less the mean to coordinates in which all directions have spread 1.
        bound: distance beyond which a photo is unlike.
        quantile: share of held-out pictures within the bound.
        longest: usual longer side in pixels of the pictures it learned from.
        what: they are, in words.
        samples: they were, in number.
        largest: pixels of the longer side of a photo that can be of this kind; None for any.
    """

    mean: Tensor
    whiten: Tensor
    bound: float
    quantile: float
    longest: int
    what: str
    samples: int
    largest: int | None = None

    def distances(self, described_nd: Tensor) -> Tensor:
        """How far photos are from the pictures the net learned from, [n], in spreads of a direction (root mean)."""
        return ((described_nd.double() - self.mean) @ self.whiten).square().mean(1).sqrt()


def learn_familiar(
    run: Path | str,
    samples: Sequence[Sample],
    held_out: Sequence[Sample] = (),
    quantile: float = QUANTILE,
    what: str = "",
    largest: int | None = None,
) -> Path:
    """Measure what a run's net learned from, and keep it beside the run.

    Args:
        run: its folder.
        samples: that it learned from.
        held_out: that it did not; none: every fifth sample is taken out of the others.
        quantile: share of held-out pictures that have to be known.
        what: the pictures are, in words ("drawn shapes"), for messages.
        largest: pixels of the longer side beyond which a photo is not of this kind, whatever it looks like; None: four
            times the usual side where that is 64 or less, else any.

    Returns:
        The file.

    Raises:
        BadCheckpoint: no run, or damaged.
        BadData: too few samples, or one that cannot be read.
        BadOption: the quantile is no share, or the task does not look at whole photos.
    """
    from sklearn.covariance import ledoit_wolf

    if not 0.5 <= quantile < 1:
        raise BadOption(f"quantile={quantile:g}: the share of held-out pictures that are known is 0.5 to below 1.")
    learned = list(samples)
    held = list(held_out) or learned[4::5]
    if not held_out:
        learned = [sample for place, sample in enumerate(samples) if place % 5 != 4]
    if len(learned) < LEAST_SAMPLES or len(held) < LEAST_HELD_OUT:
        raise BadData(
            f"{len(learned)} samples and {len(held)} held out: to tell what is unlike them takes {LEAST_SAMPLES} and "
            f"{LEAST_HELD_OUT} at least."
        )
    task, net, _ = load_run(run)
    pictures = [read_picture(sample.picture, reduce=True) for sample in learned]
    sides = sorted(max(picture.shape[1:]) for picture in pictures)
    longest = sides[len(sides) // 2]
    if largest is None and longest <= TINY:
        largest = TIMES * longest
    view = view_of(task, net, longest)
    described_nd = descriptions(view, pictures).double()
    covariance_dd = torch.from_numpy(ledoit_wolf(described_nd.numpy())[0])
    values, vectors = torch.linalg.eigh(covariance_dd)
    # A channel that is always the same has no spread to measure by: a millionth of the usual one stands for it.
    whiten_dd = vectors * values.clamp_min(1e-6 * float(values.mean())).rsqrt()
    known = Familiar(described_nd.mean(0), whiten_dd, 0.0, quantile, longest, what or task.name, len(learned), largest)
    own = descriptions(view, [read_picture(sample.picture, reduce=True) for sample in held])
    bound = float(known.distances(own).quantile(quantile))
    return _write(Path(run), known, bound, len(held))


def learn_of(run: Path, dataset: Dataset) -> Path | None:
    """After a training: measure what the run learned from, on an even choice of its data; see `learn_familiar`.

    Returns:
        The file; None where the task is none that a look can be given, or the data too little.

    Raises:
        BadOption: it cannot be written.
        BadData: a sample cannot be read.
    """
    learned = evenly(dataset.train, MOST_SAMPLES)
    held = evenly(dataset.held_out or dataset.test, MOST_HELD_OUT)
    if len(held) < LEAST_HELD_OUT:
        held = []
    least = LEAST_SAMPLES if held else 5 * LEAST_HELD_OUT  # a fifth of them is then held out
    if len(learned) < least or load_run(run)[0].name not in LOOKING:
        return None
    return learn_familiar(run, learned, held, what=Path(dataset.source).name)


def read_familiar(run: Path) -> Familiar | None:
    """What was measured of a run; None if nobody did.

    Raises:
        BadCheckpoint: the file is damaged, of another version, or of other weights.
    """
    from safetensors import SafetensorError, safe_open

    path = run / FILE
    if not path.is_file():
        return None
    again = "make it again with isotrain.look.familiar.learn_familiar"
    try:
        with safe_open(path, "pt") as file:
            told = dict(file.metadata() or {})
            mean, whiten = file.get_tensor("mean"), file.get_tensor("whiten")
        version = told.get("isotrain_familiar")
        found = Familiar(
            mean.double(), whiten.double(), float(told["bound"]), float(told["quantile"]), int(told["longest"]),
            str(told["what"]), int(told["samples"]), json.loads(told["largest"]),
        )  # fmt: skip
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise BadCheckpoint(f"{path} cannot be read ({error}): {again}.") from error
    if version != str(VERSION):
        raise BadCheckpoint(f"{path} is of version {version}, this isotrain reads version {VERSION}: {again}.")
    if told["weights"] != weights_of(run):
        raise BadCheckpoint(f"{path} was made for other weights than {run / WEIGHTS}: {again}.")
    return found


def weights_of(run: Path) -> str:
    """A digest of a run's weights.

    Raises:
        BadCheckpoint: there are none.
    """
    try:
        return hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise BadCheckpoint(f"{run / WEIGHTS} cannot be read: {error.strerror or error}.") from error


class Knowing:
    """Tells of photos whether a run's net knows their kind.

    Args:
        run: its folder.
        task: of it.
        net: of it.
        part: what it does here, for messages: "class", "objects", "caption".

    Attributes:
        familiar: what was measured; None: nobody can tell.
    """

    def __init__(self, run: Path, task: Task, net: nn.Module, part: str) -> None:
        self.familiar = read_familiar(run)
        self.part = part
        self._view: View | None = None if self.familiar is None else view_of(task, net, self.familiar.longest)

    @property
    def longest(self) -> int:
        """Pixels of the longer side at which the net is at home."""
        return USUAL if self.familiar is None else self.familiar.longest

    def why_not(self, pictures: Sequence[Tensor]) -> list[str | None]:
        """For each photo why it is not known; None where it is, or where nobody can tell."""
        if self.familiar is None or self._view is None or not len(pictures):
            return [None] * len(pictures)
        whys = [self._too_large(picture) for picture in pictures]
        asked = [place for place, why in enumerate(whys) if why is None]
        if asked:
            far = self.familiar.distances(descriptions(self._view, [pictures[place] for place in asked]))
            words = f"this picture is unlike those the {self.part} net learned from ({self.familiar.what})"
            for place, distance in zip(asked, far.tolist(), strict=True):
                whys[place] = None if distance <= self.familiar.bound else words
        return whys

    def _too_large(self, picture: Tensor) -> str | None:
        assert self.familiar is not None, "the caller has looked"
        most, longest = self.familiar.largest, max(picture.shape[1:])
        if most is None or longest <= most:
            return None
        return (
            f"this picture is much larger than those of {self.familiar.longest} pixels that the {self.part} net "
            f"learned from ({self.familiar.what})"
        )

    @property
    def untold(self) -> str | None:
        """That nobody measured what the net learned from, if so."""
        return (
            None if self.familiar is not None else f"cannot tell whether the {self.part} net knows this kind of picture"
        )


def _write(run: Path, known: Familiar, bound: float, held_out: int) -> Path:
    from safetensors.torch import save

    told = {
        "isotrain_familiar": str(VERSION), "weights": weights_of(run), "bound": json.dumps(bound),
        "quantile": json.dumps(known.quantile), "longest": str(known.longest), "what": known.what,
        "samples": str(known.samples), "held_out": str(held_out), "largest": json.dumps(known.largest),
    }  # fmt: skip
    content = save({"mean": known.mean.float(), "whiten": known.whiten.float().contiguous()}, told)
    path = run / FILE
    try:
        write_aside(path, content)
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}.") from error
    return path
