"""A mask for each object, by one of two systems.

"refine" slides a net over the picture that proposes masks and sharpens them, and classifies what it found
(`tasks.refine`); "regions" proposes boxes, classifies them and gives a mask inside each (`tasks.regionmasks`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from torch import Tensor, nn

from isotrain.data.outlines import decode, encode_rle
from isotrain.data.pictures import in_channels, read_picture
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.nets.regions import BACKBONES
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.measured import channels_of
from isotrain.tasks.objects import System
from isotrain.tasks.refine import Refine
from isotrain.tasks.regionmasks import RegionMasks
from isotrain.tasks.scores import coco
from isotrain.tasks.scores.dice import dice
from isotrain.tasks.scores.found import There
from isotrain.tasks.windows import Seen, see
from isotrain.vision.drawing import draw_boxes, draw_masks, enlarged, image_of
from isotrain.vision.pieces import largest_share

SYSTEMS: dict[str, type[System]] = {"refine": Refine, "regions": RegionMasks}
WINDOWS = (64, 96, 128, 160, 192, 256)
"""Pixels along the side of what the first system's net sees at once."""
MEASURED = 64
"""Training pictures that means, spreads and sizes are measured on."""
LARGE = 0.125
"""Longer side of the usual object, in sides of the picture, from which on a net may be shown whole pictures."""
WHOLE_PIECE, SCRAP = 0.95, 0.5
"""Where objects have such a share of their pixels in one piece, smaller pieces than this share of the largest are left
out of what is found (of whole pictures; as nnU-Net leaves out all but the largest, Isensee et al. 2021).
"""
SHOWN = 0.5
"""Score from which on an object is drawn, and counted as found by Dice's coefficient."""
OPTIONS = {"system", "window", "whole", "size", "backbone", "per_class"}


class Masks(PictureTask):
    """Objects, each with its mask, box, class and score."""

    name: ClassVar[str] = "masks"
    score: ClassVar[str] = "AP"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """A card for a dataset with masks.

        Options:
            system: "refine" or "regions".
            window: of "refine", pixels along the side of what the net sees at once: 64, or 128 for whole pictures.
            whole: of "refine", show the net whole pictures; by default where each holds one object, at most, and the
                objects are not small.
            size: of "regions", side of the square a picture is shown in, a multiple of 32; by default that of the
                largest picture, up to 320 (640 with a pyramid).
            backbone: of "regions", "small" or one of torchvision's residual nets with a feature pyramid.
            per_class: of "regions", a mask for each class.

        Raises:
            BadData: no object has a mask, or there is no class.
            UnknownName: an option, system or backbone is not known.
            BadOption: an option is outside its range.
            MissingExtra: faster-coco-eval is not installed.
        """
        for option in options:
            if option not in OPTIONS:
                raise UnknownName("option of masks", option, OPTIONS)
        coco.require()
        system = options.get("system", "refine")
        if system not in SYSTEMS:
            raise UnknownName("system", system, SYSTEMS)
        wanted = (s for s in dataset.train if any(t.mask is not None and not t.crowd for t in s.things))
        shown = list(islice(wanted, MEASURED))
        if not shown:
            raise BadData(f"{dataset.source or 'the dataset'} has no object with a mask to train on.")
        pictures = [read_picture(sample.picture) for sample in shown]
        card = {
            "classes": list(dataset.classes),
            "system": system,
            **channels_of(pictures),
        }
        if system == "regions":
            return card | _squares(max(max(picture.shape[1:]) for picture in pictures), options)
        sides = torch.tensor(
            [
                [float(max(t.box[2] - t.box[0], t.box[3] - t.box[1])), float(max(p.shape[1:]))]
                for s, p in zip(shown, pictures, strict=True)
                for t in s.things
                if not t.crowd
            ]
        )
        single = all(sum(not t.crowd for t in s.things) <= 1 for s in dataset.train)
        card |= _windows(sides, single, options)
        return card | {"least_piece": 0.0 if card["scales"] else _least_piece(shown, pictures)}

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.system = SYSTEMS[card["system"]](card)

    def net(self) -> nn.Module:
        """The system's."""
        return self.system.net()

    @property
    def likelihood(self) -> Likelihoods:
        """One for each head; masks count where there is an object."""
        return self.system.heads

    def load(self, sample: Sample) -> Seen:
        """The picture at all scales and the masks where they are not empty."""
        return see(sample, int(self.card["channels"]))

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Windows of the pictures, or the pictures in a square; varied if there is a generator."""
        return self.system.batch(loaded, generator)

    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Each head's a mean over the rows that count."""
        return self.system.loss(output, targets)

    @torch.no_grad()
    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        """COCO's AP of masks and boxes, AR of the proposals, and Dice of the objects of a picture taken together."""
        there, found, proposed, pairs = [], [], [], []
        for place in range(len(shelf)):
            seen: Seen = shelf.take([place])[0]
            picture = seen.levels[0].float() / 255
            things = seen.things()
            there.append(There(things, seen.size))
            proposed.append(self.system.proposals(net, picture).found())
            objects = self.system.find(net, picture)
            found.append(objects.found())
            true = torch.zeros(seen.size, dtype=torch.bool)
            for thing in things:
                if isinstance(thing.mask, Tensor) and not thing.crowd:
                    true |= thing.mask
            pairs.append((objects.masks[objects.scores >= SHOWN].any(0), true))
            if tick is not None:
                tick(1)
        scores: Scores = coco.coco_scores(there, found, self.classes, "segm")
        boxes = coco.coco_scores(there, found, self.classes, "bbox")
        recall = coco.coco_scores(there, proposed, self.classes, "segm", (10, 100, 1000), agnostic=True)
        scores |= {f"box_{name}": boxes[name] for name in ("AP", "AP50", "AP75")}
        scores |= {f"proposals_{name}": recall[name] for name in ("AR10", "AR100", "AR1000")}
        return {**scores, **dice(pairs)}

    @torch.no_grad()
    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        """Objects by falling scores, masks as COCO's run lengths."""
        shown = in_channels(picture, int(self.card["channels"])).float() / 255
        found = self.system.find(net, shown)
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), found.masks, strict=True)
        objects = [
            {
                "class": self.classes[label],
                "score": round(score, 4),
                "box": [round(side, 1) for side in box],
                "mask": encode_rle(mask),
            }
            for label, score, box, mask in rows
        ]
        return Prediction({"objects": objects}, masks=found.masks)

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """Masks, boxes and classes of the objects that are sure enough."""
        objects = [thing for thing in prediction.answer["objects"] if thing["score"] >= SHOWN]
        labels = [self.classes.index(thing["class"]) for thing in objects]
        image = enlarged(image_of(picture))
        if prediction.masks is not None:
            image = draw_masks(image, prediction.masks[: len(objects)], labels)
        boxes, scores = [thing["box"] for thing in objects], [thing["score"] for thing in objects]
        return draw_boxes(image, boxes, labels, self.classes, scores, scale=image.width / picture.shape[2])

    def example(self) -> tuple[Tensor, ...]:
        """The system's."""
        return self.system.example()


def _windows(sides: Tensor, single: bool, options: Mapping[str, Any]) -> Card:
    """What "refine" needs to know; `sides` [o, 2] are of objects and of their pictures."""
    whole = bool(options.get("whole", single and float((sides[:, 0] / sides[:, 1]).median()) > LARGE))
    if whole and not single:
        raise BadOption("whole=True shows the net whole pictures, for one object in each: some here hold several.")
    window = int(options.get("window", 128 if whole else 64))
    if window not in WINDOWS:
        raise BadOption(f"window={window} must be one of {', '.join(map(str, WINDOWS))}.")
    return {"window": window, "scales": [] if whole else scales_for(sides[:, 0], window / 2)}


def _least_piece(shown: Sequence[Sample], pictures: Sequence[Tensor]) -> float:
    """SCRAP if the usual object is in one piece, else 0."""
    shares = [
        largest_share(decode(thing.mask, *picture.shape[1:]))
        for sample, picture in zip(shown, pictures, strict=True)
        for thing in sample.things
        if thing.mask is not None
    ]
    return SCRAP if statistics.median(shares) >= WHOLE_PIECE else 0.0


def scales_for(sides: Tensor, canonical: float) -> list[float]:
    """Scales, at most half an octave apart, at which nearly all objects come near the canonical size.

    >>> scales_for(torch.tensor([64.0, 64.0]), 32.0)
    [0.5]
    """
    small, large = max(sides.quantile(0.02).item(), 8.0), max(sides.max().item(), 8.0)
    low, high = math.log2(canonical / large), math.log2(canonical / small)
    number = max(1, math.ceil(2 * (high - low) - 0.1))
    return [2.0 ** (low + (high - low) * (step + 0.5) / number) for step in range(number)]


def _squares(longest: int, options: Mapping[str, Any]) -> Card:
    """What "regions" needs to know."""
    backbone = options.get("backbone", "small")
    if backbone not in BACKBONES:
        raise UnknownName("backbone", backbone, BACKBONES)
    most = 320 if backbone == "small" else 640
    size = int(options.get("size", 0)) or min(most, -(-longest // 32) * 32)
    if size < 32 or size % 32:
        raise BadOption(f"size={size} must be a multiple of 32, 32 at least.")
    return {"size": size, "backbone": backbone, "per_class": bool(options.get("per_class", False))}
