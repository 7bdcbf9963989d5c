"""Who is in a picture: aligned faces as vectors, near one another where the person is the same.

It learns from the people it is shown and is judged on others, so nobody's vector has to have been learned.
Letters: n faces, D numbers of a vector, P people.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.pictures import in_channels, read_picture
from isotrain.data.samples import Dataset, Sample, evenly
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.likelihood.base import Likelihood
from isotrain.likelihood.categorical import Categorical
from isotrain.likelihood.gaussian import Gaussian
from isotrain.nets.faces import NETS, Represents, Vectors, face_net
from isotrain.progress import Tick
from isotrain.tasks import faceloss
from isotrain.tasks.base import Batch, Card, Scores
from isotrain.tasks.classify_card import fitted
from isotrain.tasks.discriminant import discriminant
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.measured import channels_of
from isotrain.tasks.scores import verification
from isotrain.tasks.variation import coarse, covered, lit, recoloured, rescanned
from isotrain.vision import views

ALIGNMENTS = ("3d", "2d", "none")
"""How faces are brought into their crops: warped to the frontal average face, turned and scaled alone, only cut out."""
FARS = (1e-2, 1e-3)
"""Shares of strangers let in at which the share of true pairs is told."""
MEASURED = 64
"""Training crops that means and spreads are measured on."""
MEASURED_LINEAR = 20_000
"""Training crops that the linear part is made from, at most."""
CHUNK = 128
"""Faces looked at together where nothing is learned."""
TURNED, SCALED, MOVED = math.radians(8), 0.08, 0.04
"""How far a training crop is turned, scaled (log) and moved (in its sides), at most: landmarks are off by as much."""


class Seen(NamedTuple):
    """An aligned face as it is kept: uint8 [C, S, S], and whose it is."""

    crop: Tensor
    person: int
    name: str


class Faces(PictureTask):
    """Vectors of faces."""

    name: ClassVar[str] = "faces"
    score: ClassVar[str] = "accuracy"
    open_set: ClassVar[bool] = True

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """A card for aligned faces of people, as `isotrain.faces.prepare` makes them.

        Options:
            net: "residual" or "deepface".
            size: pixels of a crop's side; default 96, DeepFace 152.
            alignment: "3d", "2d" or "none": how the crops were made.
            loss: "margin", "softmax", "contrastive" or "triplet".
            dims: numbers of a vector that are learned by steps; default 128.
            linear: numbers of a linear discriminant beside them, in closed form at the end; default 192, DeepFace 0.
            width: factor of the net's channels; default 1, DeepFace 0.5.
            mirror: whether left and right may be exchanged in training.
            begin: run folder, or its model.safetensors, whose weights to begin from (softmax first, then pairs, as the
                paper has it); outputs for people are left out if those are others.

        Raises:
            BadData: no faces, or no person with two of them.
            BadOption: an option is outside its range.
            UnknownName: an option, net, loss or alignment is not known.
        """
        known = defaults(str(options.get("net", "residual")))
        for option in options:
            if option not in known:
                raise UnknownName("option of faces", option, known)
        chosen = {**known, **options}
        for kind, names in (("net", NETS), ("loss", faceloss.LOSSES), ("alignment", ALIGNMENTS)):
            if chosen[kind] not in names:
                raise UnknownName(kind, chosen[kind], names)
        size, dims = _whole("size", chosen["size"], 32, 512), _whole("dims", chosen["dims"], 2, 8192)
        linear = _whole("linear", chosen["linear"], 0, 512)
        width = chosen["width"]
        if not isinstance(width, int | float) or not 0 < width <= 8:
            raise BadOption(f"width={width!r} must be above 0, 8 at most.")
        if chosen["begin"] is not None and not Path(str(chosen["begin"])).exists():
            raise BadOption(f"begin={chosen['begin']}: there is no such run folder or file.")
        if not dataset.train:
            raise BadData(f"{dataset.source or 'the dataset'} has no faces to learn from.")
        counts = Counter(sample.labels[0] for sample in dataset.train)
        if len(counts) < 2 or max(counts.values()) < 2:
            raise BadData(
                f"{dataset.source or 'the dataset'} shows {len(counts)} people, at most {max(counts.values())} times "
                "each: two people or more are needed, one of them in two pictures."
            )
        face_net(chosen["net"], [0.5], [0.25], size, 2, 2, 0.01)
        pictures = [read_picture(sample.picture) for sample in evenly(dataset.train, MEASURED)]
        # Those learned from come first; who is held out needs no output.
        people = list(dataset.classes)[: max(counts) + 1]
        return {
            **chosen, "classes": people, "size": size, "dims": dims, "linear": linear, "width": float(width),
            "mirror": bool(chosen["mirror"]), **channels_of(pictures),
        }  # fmt: skip

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.size, self.channels = int(card["size"]), int(card["channels"])
        self.by_person = faceloss.LOSSES[card["loss"]].by_person

    def net(self) -> Represents:
        """The net, with an output for each person if its loss needs one."""
        c = self.card
        people = len(self.classes) if self.by_person else 0
        return face_net(c["net"], c["mean"], c["spread"], self.size, c["dims"], people, c["width"], c["linear"])

    def begin(self, net: nn.Module) -> None:
        """Load the weights that the card names to begin from, if it does.

        Raises:
            BadCheckpoint: they are another net's.
        """
        if self.card["begin"] is not None:
            from isotrain.nets.pretrained import load_alike

            load_alike(net, Path(self.card["begin"]), but="people.")

    @property
    def likelihood(self) -> Likelihood:
        """One person of several; or vectors, all of whose directions count the same."""
        return Categorical() if self.by_person else Gaussian(event_dims=1)

    def load(self, sample: Sample) -> Seen:
        """The crop."""
        if len(sample.labels) != 1:
            raise BadData(f"{sample.where or sample.name}: one person is needed, there are {len(sample.labels)}.")
        crop = in_channels(read_picture(sample.picture), self.channels)
        if crop.shape[1:] != (self.size, self.size):
            crop = fitted(crop, self.channels, self.size, self.size)
        return Seen(crop, sample.labels[0], sample.name)

    def order(self, samples: Sequence[Sample], generator: torch.Generator, size: int) -> list[int]:
        """Faces at random; for losses of pairs, two of a person after one another."""
        drawn: list[int] = torch.randperm(len(samples), generator=generator).tolist()
        if self.by_person:
            return drawn
        waiting: dict[int, int] = {}
        order: list[int] = []
        for place in drawn:
            person = samples[place].labels[0]
            if person in waiting:
                order += [waiting.pop(person), place]
            else:
                waiting[person] = place
        # Those left have no mate in this turn: they are strangers to the others, between the pairs.
        lone = list(waiting.values())
        every = max(1, len(order) // 2 // max(1, len(lone)))
        mixed: list[int] = []
        for pair in range(0, len(order), 2):
            mixed += order[pair : pair + 2]
            if (pair // 2) % every == 0 and lone:
                mixed.append(lone.pop())
        return mixed + lone

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Crops turned, moved, scaled, mirrored and in another light, at random."""
        inputs = torch.stack([seen.crop for seen in loaded]).float().div_(255)
        if generator is not None:
            view = _varied(len(inputs), self.size, bool(self.card["mirror"]), generator)
            grid = views.grid_of(view, self.size, self.size, self.size)
            inputs = F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
            inputs = rescanned(recoloured(lit(inputs, generator), generator), generator)
            inputs = coarse(covered(inputs, generator), generator)
        people = torch.tensor([seen.person for seen in loaded])
        return Batch((inputs,), {"people": people}, [seen.name for seen in loaded])

    def loss(self, output: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """That of the card."""
        return faceloss.LOSSES[self.card["loss"]].of(output, targets["people"])

    @torch.no_grad()
    def embed(self, net: nn.Module, crops: Tensor) -> Tensor:
        """Vectors [n, D], each of length 1, of crops [n, C, S, S] in [0, 1]: mean of the crop's and its mirror image's.

        Source: Schroff, Kalenichenko and Philbin 2015 and others since; a mirrored face is the same person.
        """
        device = next(net.parameters()).device
        vectors = self.exported(net)
        found = [vectors(part.to(device))["vectors"].cpu() for part in crops.split(CHUNK)]
        return torch.cat(found) if found else torch.zeros(0, self.card["dims"] + self.card["linear"])

    @torch.no_grad()
    def settle(self, net: nn.Module, shelf: Shelf[Seen]) -> None:
        """The linear part, from training samples and their mirror images."""
        represents = cast(Represents, net)
        if not represents.ways.numel():
            return
        seen = shelf.take(evenly(list(range(len(shelf))), MEASURED_LINEAR))
        device = represents.ways.device
        cells = []
        for start in range(0, len(seen), CHUNK):
            crops = torch.stack([one.crop for one in seen[start : start + CHUNK]]).to(device).float() / 255
            cells += [torch.stack((represents.cells(crops), represents.cells(crops.flip(3))), 1).flatten(0, 1)]
        people = torch.tensor([one.person for one in seen], device=device).repeat_interleave(2)
        found = discriminant(torch.cat(cells), people, represents.ways.shape[1])
        if found is not None:
            represents.middle.copy_(found[0])
            represents.ways.zero_()[:, : found[1].shape[1]] = found[1]

    def exported(self, net: nn.Module) -> Vectors:
        """The vectors, without outputs for the people it has learned from."""
        return Vectors(cast(Represents, net))

    def vectors(self, net: nn.Module, shelf: Shelf[Seen], tick: Tick | None = None) -> tuple[Tensor, Tensor]:
        """Vectors [n, D] and people [n] of all samples.

        Raises:
            BadData: there are none.
        """
        if not len(shelf):
            raise BadData("there are no faces to score.")
        vectors, people = [], []
        for start in range(0, len(shelf), CHUNK):
            batch = self.batch(shelf.take(range(start, min(start + CHUNK, len(shelf)))), None)
            vectors.append(self.embed(net, batch.inputs[0]))
            people.append(batch.targets["people"])
            if tick is not None:
                tick(len(people[-1]))
        return torch.cat(vectors), torch.cat(people)

    def evaluate(self, net: nn.Module, shelf: Shelf[Seen], tick: Tick | None = None) -> Scores:
        """Same or not, for pairs drawn from the samples: accuracy over ten folds of people, and what ROC curves say.

        Raises:
            BadData: there are no faces, or nobody is shown twice.
        """
        return pair_scores(*self.vectors(net, shelf, tick))

    def weigh(self, net: nn.Module, shelf: Shelf[Seen], size: int) -> float:
        """One less the area under the ROC curve of all pairs."""
        vectors, people = self.vectors(net, shelf)
        similarity, same = all_pairs(vectors, people)
        if not bool(same.any()) or bool(same.all()):
            return 0.5
        return 1.0 - verification.auc(verification.roc(similarity, same))

    @torch.no_grad()
    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        """The vector of a crop."""
        crop = fitted(picture, self.channels, self.size, self.size)[None].float() / 255
        return Prediction({"vector": self.embed(net, crop)[0].tolist()})

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """The crop: a vector is not to be looked at."""
        from isotrain.vision.drawing import image_of

        return image_of(picture)

    def example(self) -> tuple[Tensor, ...]:
        """Two pictures of noise."""
        generator = torch.Generator().manual_seed(0)
        return (torch.rand(2, self.channels, self.size, self.size, generator=generator),)


def defaults(net: str) -> dict[str, Any]:
    """The options and what they are, if they are not chosen."""
    deep = net == "deepface"
    return {
        "net": net, "size": 152 if deep else 96, "alignment": "3d", "loss": "margin", "dims": 128,
        "linear": 0 if deep else 192, "width": 0.5 if deep else 1.0, "mirror": True, "begin": None,
    }  # fmt: skip


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadOption(f"{name}={value!r} must be a whole number from {least} to {most}.")
    return value


def _varied(n: int, size: int, mirror: bool, generator: torch.Generator) -> Tensor:
    """Views (see `isotrain.vision.views`) of crops, [n, 5]."""
    draws = 2 * torch.rand(5, n, generator=generator) - 1
    middle = size / 2 + MOVED * size * draws[:2]
    turn = torch.where(draws[4] > 0, -1.0, 1.0) if mirror else torch.ones(n)
    return torch.stack((middle[0], middle[1], (SCALED * draws[2]).exp(), TURNED * draws[3], turn), 1)


def all_pairs(vectors: Tensor, people: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of all pairs of faces, and whether they are of one person: [n (n - 1) / 2] each."""
    first, second = torch.triu_indices(len(people), len(people), 1)
    return (vectors @ vectors.T)[first, second], people[first] == people[second]


def pair_scores(vectors: Tensor, people: Tensor) -> Scores:
    """What all pairs of faces say of vectors [n, D] of length 1 of people [n].

    "accuracy" is the mean of the shares of pairs of one person and of pairs of two that are answered right, each half
    of the people by the threshold that is best for the other half.

    Raises:
        BadData: nobody has two faces in both halves, or there are no two people.

    >>> pair_scores(torch.eye(4)[[0, 0, 1, 1, 2, 2, 3, 3]], torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))["accuracy"]
    1.0
    """
    halves = []
    _, place = people.unique(return_inverse=True)
    counts = place.bincount()
    # By how often they are shown, so that both halves have people with several faces.
    rank = torch.empty_like(counts)
    rank[counts.argsort(descending=True, stable=True)] = torch.arange(len(counts))
    for half in (0, 1):
        rows = (rank[place] % 2 == half).nonzero()[:, 0]
        similarity, same = all_pairs(vectors[rows], people[rows])
        if not bool(same.any()) or bool(same.all()):
            raise BadData("too few people to score: four, each in two pictures, are the least.")
        halves.append(verification.roc(similarity, same))
    right = []
    for curve, other in (halves, halves[::-1]):
        threshold = curve.thresholds[(curve.tar - curve.far).argmax()]
        at = int((other.thresholds >= threshold).sum()) - 1
        right.append(0.5 + (other.tar[at] - other.far[at]) / 2)
    similarity, same = all_pairs(vectors, people)
    curve = verification.roc(similarity, same)
    scores: Scores = {
        "accuracy": float(sum(right) / 2),
        "AUC": verification.auc(curve),
        "EER": verification.equal_error(curve),
    }
    for far in FARS:
        found = verification.tar_at_far(similarity, same, far, times=0)
        scores[f"TAR at FAR {far:g}"] = None if found is None else found.tar.value
    return scores | {"pairs of one person": int(same.sum()), "pairs of two": int((~same).sum())}
