"""Where things are, learned from the labels of whole pictures alone.

Boxes are looked at by `evaluate` only. Pictures of one class each are told apart by a softmax, pictures of any number
of classes by a yes or no for each.

Source: Oquab et al. 2015, "Is object localization for free?"; Durand et al. 2016, "WELDON".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn

from isotrain.data.pictures import in_channels, read_picture
from isotrain.data.samples import Dataset, Sample, evenly
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.likelihood.base import Likelihood
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.categorical import Categorical
from isotrain.nets.multiscale import POOLINGS, STRIDE, Multiscale, window
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Scores
from isotrain.tasks.drawnheat import drawn_heat
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.measured import channels_of
from isotrain.tasks.scores.localisation import (
    average_precisions,
    correctly_localised,
    mean_of_known,
    per_class,
    pointing_precisions,
    points_hit,
    tolerance,
)
from isotrain.tasks.variation import shifted
from isotrain.tasks.warm import warm_regions
from isotrain.tasks.whole import classes_of, framed
from isotrain.vision.boxes import Letterbox
from isotrain.vision.heat import boxes_of, evidence_for, laid_over, peaks, stretched

MEASURED = 256
"""Training pictures that means, spreads and sizes are measured on."""
LONGEST = 128
"""Longest side of the net's pictures unless the user says otherwise; smaller ones are not enlarged."""
SIDES = (16, 2048)
"""Least and greatest side the user may choose."""
SHIFT = 1 / 16
"""Of the picture's side: how far it is moved at random in training."""
PRESENT = 0.5
"""Probability from which on a class is said to be in a picture that may have several."""
WARM = 0.25
"""Share of the greatest evidence for a class that bounds its box."""
CHUNK = 32
"""Pictures looked at together where nothing is learned."""
OPTIONS = {"size", "scales", "pooling", "top", "bottom", "widths", "depth", "mirror"}


class Seen(NamedTuple):
    """A sample as it is kept: in the net's rectangle, with the boxes of what is no crowd there."""

    picture: Tensor
    labels: tuple[int, ...]
    boxes_m4: Tensor
    labels_m: Tensor
    fit: Letterbox
    name: str

    def boxes(self, label: int) -> Tensor:
        """Of the things of a class, [m, 4]."""
        return self.boxes_m4[self.labels_m == label]


class Localise(PictureTask):
    """The classes of a picture, and for each of them a heat map, a point and a box."""

    name: ClassVar[str] = "localise"
    score: ClassVar[str] = "classification"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """A card for pictures with labels.

        Options:
            size: longest side of the pictures as the net takes them, in pixels.
            scales: factors of the pyramid. By default half octaves, from 1 down to where the whole picture fits into
                the net's window.
            pooling: "max", "instances" or "mean" (nets/multiscale). By default instances: they learn in fewer steps.
            top: how many highest instances.
            bottom: how many lowest.
            widths: channels at half and at a quarter of the size.
            depth: residual blocks at each of the two.
            mirror: exchange left and right at random. By default for coloured pictures: grey ones are often signs,
                which it makes others.

        Raises:
            BadData: no labels, or nothing to tell apart.
            BadOption: an option is outside its range.
            UnknownName: an option or a pooling is not known.
        """
        for option in options:
            if option not in OPTIONS:
                raise UnknownName("option", option, OPTIONS)
        single = _single(dataset)
        shown = [read_picture(sample.picture) for sample in evenly(dataset.train, MEASURED)]
        high, wide = (sorted(p.shape[axis] for p in shown)[len(shown) // 2] for axis in (1, 2))
        longest = int(options.get("size", min(LONGEST, max(high, wide, SIDES[0]))))
        if not SIDES[0] <= longest <= SIDES[1]:
            raise BadOption(
                f"size={longest}: the longest side of the net's pictures is {SIDES[0]} to {SIDES[1]} pixels."
            )
        size = [_whole_cells(side * longest / max(high, wide)) for side in (high, wide)]
        depth = int(options.get("depth", 1))
        if depth < 1:
            raise BadOption(f"depth={depth} must be at least 1.")
        card: Card = {
            "classes": list(dataset.classes),
            "single": single,
            **channels_of(shown),
            "size": size,
            "scales": [float(s) for s in options.get("scales", _half_octaves(max(size), window(depth)))],
            "pooling": str(options.get("pooling", "instances")),
            "top": int(options.get("top", 3)),
            "bottom": int(options.get("bottom", 3)),
            "widths": [int(width) for width in options.get("widths", (16, 32))],
            "depth": depth,
            "mirror": bool(options.get("mirror", any(len(picture) > 1 for picture in shown))),
        }
        if card["pooling"] not in POOLINGS:
            raise UnknownName("pooling", card["pooling"], POOLINGS)
        if len(card["widths"]) != 2 or min(card["widths"]) < 1:
            raise BadOption(f"widths={card['widths']}: two numbers of channels, such as 16, 32.")
        with torch.device("meta"):
            cls(card).net()  # what is wrong with the other options, it says
        return card

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.single = bool(card["single"])
        self.height, self.width = map(int, card["size"])

    def net(self) -> nn.Module:
        """A Multiscale."""
        card = self.card
        first, second = card["widths"]
        return Multiscale(
            card["mean"], card["spread"], len(self.classes), (first, second), card["depth"], card["scales"],
            card["pooling"], card["top"], card["bottom"],
        )  # fmt: skip

    @property
    def likelihood(self) -> Likelihood:
        """One class of several, or a yes or no for each."""
        return Categorical() if self.single else Bernoulli()

    def load(self, sample: Sample) -> Seen:
        """The picture in the net's rectangle."""
        picture = read_picture(sample.picture)
        fit = Letterbox(picture.shape[1], picture.shape[2], self.height, self.width)
        things = [thing for thing in sample.things if not thing.crowd]
        boxes = torch.tensor([thing.box for thing in things]).reshape(-1, 4)
        labels = torch.tensor([thing.label for thing in things], dtype=torch.long)
        return Seen(
            framed(picture, fit, self.card["mean"]), classes_of(sample), fit.to(boxes), labels, fit, sample.name
        )

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Pictures, moved a little and mirrored at random; the labels are the index of the class, or 0 and 1."""
        pictures = torch.stack([seen.picture for seen in loaded])
        if generator is not None:
            most = round(SHIFT * pictures.shape[2]), round(SHIFT * pictures.shape[3])
            pictures = shifted(pictures, most, bool(self.card["mirror"]), generator)
        if self.single:
            labels = torch.tensor([seen.labels[0] for seen in loaded])
        else:
            labels = self._present([seen.labels for seen in loaded]).float()
        return Batch((pictures.float() / 255,), {"labels": labels}, [seen.name for seen in loaded])

    def loss(self, output: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        if self.single:
            return F.cross_entropy(output, targets["labels"])
        return F.binary_cross_entropy_with_logits(output, targets["labels"])

    @torch.no_grad()
    def evaluate(self, net: nn.Module, shelf: Shelf[Seen], tick: Tick | None = None) -> Scores:
        """Classification, and where boxes are known pointing and correct localisation, means over the classes.

        "classification" is the accuracy for pictures of one class, VOC's mean average precision for others. "pointing"
        is the share of pairs of a picture and a class it has whose hottest point is in one of the class's boxes,
        "pointing AP" the average precision where only such a picture is right.
        """
        logits, points, boxes = [], [], []
        labels: list[tuple[int, ...]] = []
        true: list[Tensor] = []
        pairs: list[tuple[int, int]] = []
        for start in range(0, len(shelf), CHUNK):
            loaded = shelf.take(range(start, min(start + CHUNK, len(shelf))))
            pictures = torch.stack([seen.picture for seen in loaded]).float() / 255
            scores, heat = self._look(net, pictures)
            own = [(row, label) for row, seen in enumerate(loaded) for label in seen.labels if len(seen.boxes(label))]
            if own:
                found = self._point(net, pictures, heat, own, [seen.fit for seen in loaded])
                points.append(found[0])
                boxes.append(found[1])
            logits.append(scores)
            labels += [seen.labels for seen in loaded]
            true += [loaded[row].boxes(label) for row, label in own]
            pairs += [(start + row, label) for row, label in own]
            if tick is not None:
                tick(len(loaded))
        classified = self._classification(torch.cat(logits), labels)
        if not pairs:
            return classified
        rows_p, labels_p = torch.tensor(pairs).unbind(1)
        hit = points_hit(torch.cat(points), true)
        near = points_hit(torch.cat(points), true, tolerance(self.height, self.width))
        right = correctly_localised(torch.cat(boxes), true)
        shares = {"pointing": hit, "pointing within 18 of 500 pixels": near, "CorLoc": right}
        each = {name: per_class(share_p, labels_p, len(self.classes)) for name, share_p in shares.items()}
        means = {name: mean_of_known(values) for name, values in each.items()}
        if not self.single:
            means["pointing AP"] = mean_of_known(pointing_precisions(torch.cat(logits), near, rows_p, labels_p))
        by_class = {f"{name} by class": dict(zip(self.classes, each[name], strict=True)) for name in each}
        return classified | means | by_class

    @torch.no_grad()
    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        """Probability of each class, a point and a box for each that is present, and regions around all that is warm.

        In pixels of the picture.
        """
        fit = Letterbox(picture.shape[1], picture.shape[2], self.height, self.width)
        inputs = framed(picture, fit, self.card["mean"])[None].float() / 255
        scores, heat = self._look(net, inputs)
        probabilities = scores[0].softmax(0) if self.single else scores[0].sigmoid()
        present = [int(probabilities.argmax())] if self.single else (probabilities >= PRESENT).nonzero()[:, 0].tolist()
        objects = []
        if present:
            points, boxes = self._point(net, inputs, heat, [(0, label) for label in present], [fit])
            for label, point, box in zip(present, fit.back(points.repeat(1, 2))[:, :2], fit.back(boxes), strict=True):
                score = float(probabilities[label])
                one = {"class": self.classes[label], "score": score, "point": point.tolist(), "box": box.tolist()}
                objects.append(one)
        (left, top), (high, wide) = fit.corner, fit.inner
        by_class = dict(zip(self.classes, probabilities.tolist(), strict=True))
        inside = stretched(heat[0, :, top : top + high, left : left + wide])
        regions = warm_regions(inside, probabilities, fit)
        return Prediction({"classes": by_class, "objects": objects}, heat=inside, regions=regions)

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """Heat in a colour for each class that is present, its hottest point and its box."""
        assert prediction.heat is not None, "a prediction of this task has heat maps"
        return drawn_heat(in_channels(picture, 3), prediction.heat, prediction.answer["objects"], self.classes)

    def example(self) -> tuple[Tensor, ...]:
        """One black picture."""
        return (torch.zeros(1, int(self.card["channels"]), self.height, self.width),)

    def _look(self, net: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, K] and heat [n, K, height, width]."""
        seen = cast(Multiscale, net)
        maps = seen.maps(pictures)
        heat = laid_over(maps, seen.sizes(self.height, self.width), STRIDE, self.height, self.width)
        return seen.pooled(maps), heat

    def _point(
        self,
        net: nn.Module,
        pictures: Tensor,
        heat: Tensor,
        pairs: Sequence[tuple[int, int]],
        fits: Sequence[Letterbox],
    ) -> tuple[Tensor, Tensor]:
        """Point [p, 2] and box [p, 4] for pairs of a row of the batch and a class, in pixels of the rectangle."""
        rows, labels = torch.tensor(pairs).unbind(1)
        # What lies around a picture in the rectangle is no place to point at.
        inside = torch.zeros(len(pairs), self.height, self.width, dtype=torch.bool)
        for place, row in enumerate(rows.tolist()):
            (left, top), (high, wide) = fits[row].corner, fits[row].inner
            inside[place, top : top + high, left : left + wide] = True
        points = peaks(heat[rows, labels].masked_fill(~inside, -torch.inf))
        gradient, windows = cast(Multiscale, net).evidence(pictures[rows], labels)
        evidence = evidence_for(pictures[rows], gradient, windows)
        return points, boxes_of(evidence.masked_fill(~inside, 0.0), WARM)

    def _present(self, labels: Sequence[tuple[int, ...]]) -> Tensor:
        """Bool [n, K]."""
        present = torch.zeros(len(labels), len(self.classes), dtype=torch.bool)
        for row, own in enumerate(labels):
            present[row, list(own)] = True
        return present

    def _classification(self, logits: Tensor, labels: Sequence[tuple[int, ...]]) -> Scores:
        if self.single:
            right = logits.argmax(1) == torch.tensor([own[0] for own in labels])
            accuracy = float(right.double().mean())
            return {"classification": accuracy, "accuracy": accuracy}
        present = self._present(labels)
        each = average_precisions(logits, present)
        return {
            "classification": mean_of_known(each),
            "mAP": mean_of_known(each),
            "mAP 11 points": mean_of_known(average_precisions(logits, present, eleven=True)),
            "AP by class": dict(zip(self.classes, each, strict=True)),
        }


def _single(dataset: Dataset) -> bool:
    """Whether each picture has exactly one class."""
    samples = [*dataset.train, *dataset.held_out, *dataset.test]
    learned = [classes_of(sample) for sample in dataset.train]
    if not any(learned):
        raise BadData(f"{dataset.source or 'the dataset'} has no labelled picture to train on.")
    for sample in samples:
        for label in classes_of(sample):
            if not 0 <= label < len(dataset.classes):
                where = sample.where or sample.name
                raise BadData(f"{where}: label {label} is not one of the {len(dataset.classes)} classes.")
    if len(set(learned)) == 1:
        named = ", ".join(dataset.classes[label] for label in learned[0])
        raise BadData(
            f"{dataset.source or 'the dataset'}: all training pictures have the same label ({named}), so that there is "
            "nothing to tell apart. Add pictures without it."
        )
    return all(len(classes_of(sample)) == 1 for sample in samples)


def _half_octaves(side: int, seen: int) -> list[float]:
    """1, 0.71, 0.5, ... down to where `side` pixels fit into a window of `seen`.

    >>> _half_octaves(64, 32)
    [1.0, 0.71, 0.5]
    """
    steps = max(0, math.ceil(2 * math.log2(side / seen) - 1e-9))
    return [round(2 ** (-step / 2), 2) for step in range(steps + 1)]


def _whole_cells(side: float) -> int:
    return max(2 * STRIDE, STRIDE * round(side / STRIDE))
