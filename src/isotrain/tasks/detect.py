"""Objects and their boxes: regions of a picture, each given a class and a better box (Fast R-CNN).

Regions come from selective search ("search"), a region proposal net that is learned beside ("net"), or a file.

Source: Girshick 2015, "Fast R-CNN"; Ren et al. 2015, "Faster R-CNN".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.likelihood.base import Likelihood
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.categorical import Categorical
from isotrain.likelihood.huber import Huber
from isotrain.nets.proposing import FasterRCNN, anchors_of
from isotrain.nets.regions import BACKBONES, POOLS, FastRCNN
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores
from isotrain.tasks.framing import Frame, frame, mirrored, zoomed
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.measured import channels_of
from isotrain.tasks.objects import mean_of, smooth_l1
from isotrain.tasks.regionfiles import RegionFile
from isotrain.tasks.sampling import IGNORED, Anchors, Regions, Truth, around, overlaps
from isotrain.tasks.scores import coco, voc
from isotrain.tasks.scores.found import Found, There
from isotrain.tasks.variation import recoloured
from isotrain.vision.boxes import clean, decode

SOURCES = ("search", "net")
"""Of regions; anything else is a file."""
MEASURED = 64
"""Training pictures that means and spreads are measured on."""
LARGEST = {"small": 320, "pyramid": 640}
"""Side of the square that large pictures are shown in."""
KEPT = {"search": 1000, "net": 1000}
"""Regions of a picture that are looked at."""
LEAST, SHOWN = 0.02, 0.5
"""Scores from which on an object is told of, and drawn."""
SAME = 0.4
"""Overlap from which on two finds of a class are one."""
MOST = 100
"""Objects told of in a picture."""


class Seen(NamedTuple):
    """A sample as it is kept: in its frame, with its regions.

    Attributes:
        frame: picture uint8 [C, size, size] and the true boxes in it.
        regions: [P, 4] in the frame; P = 0 where the net finds them itself.
        size: (height, width) of the picture.
        things: as they were read.
        name: of the sample.
    """

    frame: Frame
    regions: Tensor
    size: tuple[int, int]
    things: tuple[Thing, ...]
    name: str


class Detect(PictureTask):
    """Objects, each with its box, class and score."""

    name: ClassVar[str] = "detect"
    score: ClassVar[str] = "VOC07_mAP50"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """A card for a dataset with boxes.

        Options:
            size: side of the square a picture is shown in, a multiple of 32; by default that of the largest picture,
                up to 320 (640 with a pyramid).
            backbone: "small" or one of torchvision's residual nets with a feature pyramid ("resnet18" ...).
            pool: "align" or "max".
            regions: "search" (selective search), "net" (a region proposal net), or a csv or JSON file.
            mirror: whether left and right may be exchanged in training.
            zoom: pictures are scaled by up to this factor in training, up or down; 1 for never.

        Raises:
            BadData: no object has a box.
            UnknownName: an option, backbone or pool is not known.
            BadOption: an option is outside its range.
            MissingExtra: faster-coco-eval is not installed.
        """
        known = {
            "size": 0, "backbone": "small", "pool": "align", "regions": "search", "mirror": True, "zoom": 1.25,
        }  # fmt: skip
        for option in options:
            if option not in known:
                raise UnknownName("option of detect", option, known)
        coco.require()
        chosen = {**known, **options}
        if chosen["backbone"] not in BACKBONES:
            raise UnknownName("backbone", chosen["backbone"], BACKBONES)
        if chosen["pool"] not in POOLS:
            raise UnknownName("pool", chosen["pool"], POOLS)
        shown = list(islice((s for s in dataset.train if any(not t.crowd for t in s.things)), MEASURED))
        if not shown:
            raise BadData(f"{dataset.source or 'the dataset'} has no object with a box to train on.")
        pictures = [read_picture(sample.picture) for sample in shown]
        longest = max(max(picture.shape[1:]) for picture in pictures)
        most = LARGEST["small" if chosen["backbone"] == "small" else "pyramid"]
        size = int(chosen["size"]) or min(most, -(-longest // 32) * 32)
        if size < 32 or size % 32:
            raise BadOption(f"size={size} must be a multiple of 32, 32 at least.")
        zoom = float(chosen["zoom"])
        if not 1 <= zoom <= 4:
            raise BadOption(f"zoom={zoom:g} must be 1 (never) to 4.")
        if chosen["regions"] not in SOURCES:
            RegionFile(Path(chosen["regions"]))
        return {
            **chosen,
            "classes": list(dataset.classes),
            "size": size,
            "mirror": bool(chosen["mirror"]),
            "zoom": zoom,
            "regions": str(chosen["regions"]),
            **channels_of(pictures),
        }

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.size = int(card["size"])
        self.drawing, self.anchoring = Regions(), Anchors()
        self.fill = torch.tensor(card["mean"])

    def net(self) -> nn.Module:
        """A Fast R-CNN, or one that finds its regions itself."""
        kind = FasterRCNN if self.card["regions"] == "net" else FastRCNN
        return kind(
            len(self.classes),
            int(self.card["channels"]),
            self.card["backbone"],
            self.card["pool"],
            mean=self.card["mean"],
            spread=self.card["spread"],
        )

    @property
    def likelihood(self) -> Likelihoods:
        """Boxes count where there is an object, anchors where it is sure whether there is."""
        heads: dict[str, Likelihood] = {
            "classes": Categorical(dim=-1, ignore_index=IGNORED),
            "boxes": Huber(event_dims=1, masked=True),
        }
        if self.card["regions"] == "net":
            heads |= {"objects": Bernoulli(masked=True), "anchors": Huber(event_dims=1, masked=True)}
        return heads

    @cached_property
    def anchors(self) -> Tensor:
        """All anchors of a frame, [A, 4]."""
        strides = [8] if self.card["backbone"] == "small" else [4, 8, 16, 32, 64]
        return anchors_of(self.size, self.size, strides)

    @cached_property
    def _file(self) -> RegionFile:
        return RegionFile(Path(self.card["regions"]))

    def load(self, sample: Sample) -> Seen:
        """The picture in its frame, and its regions, which take longest."""
        picture = read_picture(sample.picture)
        height, width = picture.shape[1:]
        for thing in sample.things:
            if not len(clean(torch.tensor([thing.box]), height, width, smallest=1e-3)[0]):
                raise BadData(
                    f"{thing.where or sample.name}: box {list(thing.box)} has no area inside of its picture, "
                    f"{width} x {height} pixels; `isotrain data check` names all of its kind."
                )
        regions = self._regions(picture, sample)
        truth = Truth(
            clean(torch.tensor([t.box for t in sample.things]).reshape(-1, 4), height, width, 1e-3)[0],
            torch.tensor([t.label for t in sample.things], dtype=torch.long),
            torch.tensor([t.crowd for t in sample.things], dtype=torch.bool),
        )
        framed = frame(picture, truth, self.size, self.fill)
        return Seen(framed, framed.fit.to(regions), (height, width), sample.things, sample.name)

    def _regions(self, picture: Tensor, sample: Sample | None) -> Tensor:
        """Regions [P, 4] of a picture in its own pixels, the likeliest first."""
        if self.card["regions"] == "net":
            return torch.zeros(0, 4)
        if self.card["regions"] == "search":
            from isotrain.vision.proposals import proposals

            return proposals(picture, most=KEPT["search"])
        if sample is None:
            raise BadOption(
                f"this net was trained on the regions of {self.card['regions']}: give the picture's regions too, or "
                "take those of selective search (regions='search')."
            )
        return self._file.of(sample, *picture.shape[1:])

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Some regions of each picture; mirrored, scaled and recoloured if there is a generator."""
        draws = torch.Generator().manual_seed(0) if generator is None else generator
        pictures, drawn, anchored = [], [], []
        for seen in loaded:
            framed, regions = seen.frame, seen.regions
            if generator is not None:
                if self.card["zoom"] > 1:
                    framed, regions = zoomed(framed, regions, float(self.card["zoom"]), self.fill, generator)
                if self.card["mirror"] and float(torch.rand((), generator=generator)) < 0.5:
                    framed, regions = mirrored(framed, regions)
            if self.card["regions"] == "net":
                regions = around(framed.truth, self.anchors, self.size, draws)
                anchored.append(self.anchoring.draw(self.anchors, framed.truth, draws))
            pool = torch.cat([framed.truth.plain[0], regions])  # the true boxes are regions too
            drawn.append(self.drawing.draw(pool, framed.truth, draws))
            pictures.append(framed.picture)
        targets = {
            "classes": torch.stack([one.classes for one in drawn]),
            "boxes": torch.stack([one.deltas for one in drawn]),
        }
        if anchored:
            targets["objects"] = torch.stack([one.classes for one in anchored])
            targets["anchors"] = torch.stack([one.deltas for one in anchored])
        shown = torch.stack(pictures).float() / 255
        if generator is not None:
            shown = recoloured(shown, generator)
        inputs = (shown, torch.stack([one.boxes for one in drawn]))
        return Batch(inputs, targets, [seen.name for seen in loaded])

    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, a mean over the regions, and smooth L1 of the deltas, a mean over those on objects."""
        classes = targets["classes"].flatten()
        entropy = F.cross_entropy(output["classes"].flatten(0, 1), classes, ignore_index=IGNORED, reduction="none")
        total = mean_of(entropy, classes != IGNORED)
        total = total + mean_of(smooth_l1(output["boxes"], targets["boxes"]), targets["classes"] > 0)
        if "objects" in targets:
            known = targets["objects"]
            objects = (known > 0).to(output["objects"].dtype)
            entropy = F.binary_cross_entropy_with_logits(output["objects"], objects, reduction="none")
            total = total + mean_of(entropy, known != IGNORED)
            total = total + mean_of(smooth_l1(output["anchors"], targets["anchors"]), known > 0)
        return total

    @torch.no_grad()
    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        """VOC's and COCO's average precision, and the share of objects that the first 1000 regions reach."""
        there, found, reached = [], [], []
        for place in range(len(shelf)):
            seen: Seen = shelf.take([place])[0]
            finds, regions = self._find(net, seen.frame, seen.regions)
            there.append(There(seen.things, seen.size))
            found.append(finds)
            reached.append(overlaps(seen.frame.truth.plain[0], regions[:1000])[0] >= 0.5)
            if tick is not None:
                tick(1)
        hits = torch.cat(reached) if reached else torch.zeros(0)
        number = len(self.classes)
        each = voc.average_precisions(there, found, number, points=voc.POINTS)
        return {
            "VOC07_mAP50": voc.mean_average_precision(there, found, number, points=voc.POINTS),
            "VOC_mAP50": voc.mean_average_precision(there, found, number),
            **coco.coco_scores(there, found, self.classes),
            "recall_of_regions": float(hits.float().mean()) if len(hits) else None,
            "VOC07_AP50": dict(zip(self.classes, each, strict=True)),
        }

    @torch.no_grad()
    def predict(self, net: nn.Module, picture: Tensor, regions: Tensor | None = None) -> Prediction:
        """Objects by falling scores; `regions` [P, 4] in pixels of the picture if they come from outside."""
        finds, _ = self._find(net, *self._asked(picture, regions))
        rows = zip(finds.labels.tolist(), finds.scores.tolist(), finds.boxes.tolist(), strict=True)
        return Prediction(
            {
                "objects": [
                    {"class": self.classes[label], "score": round(score, 4), "box": [round(side, 1) for side in box]}
                    for label, score, box in rows
                ]
            }
        )

    def predict_sample(self, net: nn.Module, picture: Tensor, sample: Sample) -> Prediction:
        """With the sample's own regions, if they are in a file."""
        return self.predict(net, picture, self._regions(picture, sample))

    @torch.no_grad()
    def features(self, net: nn.Module, picture: Tensor, regions: Tensor | None = None) -> dict[str, Tensor]:
        """Regions of a picture, [R, 4] in its pixels, and the feature vector of each, [R, F]."""
        assert isinstance(net, FastRCNN)
        framed, inside = self._asked(picture, regions)
        maps, inside = self._looked(net, framed, inside)
        return {"regions": framed.fit.back(inside), "features": net.vectors(maps, inside[None])[0]}

    def _asked(self, picture: Tensor, regions: Tensor | None) -> tuple[Frame, Tensor]:
        """A picture in its frame, and regions [P, 4] of the picture, or its own, there."""
        regions = self._regions(picture, None) if regions is None else regions
        nothing = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
        framed = frame(picture, nothing, self.size, self.fill)
        return framed, framed.fit.to(regions)

    def _looked(self, net: FastRCNN, framed: Frame, regions: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps of a frame and the regions on them, the net's own if it finds them."""
        device = net.to_classes.weight.device
        maps = net.maps(framed.picture[None].to(device).float() / 255)
        if isinstance(net, FasterRCNN):
            regions = net.propose(maps, self.size, self.size, KEPT["net"])
        return maps, regions.to(device)

    def _find(self, net: nn.Module, framed: Frame, regions: Tensor) -> tuple[Found, Tensor]:
        """What a net finds, in pixels of the picture, and the regions, in the frame, that it was found from."""
        from torchvision.ops import batched_nms

        assert isinstance(net, FastRCNN)
        maps, regions = self._looked(net, framed, regions)
        out = net.judge(maps, regions[None])
        scores = out["classes"][0].softmax(-1)[:, 1:]
        boxes = framed.fit.back(decode(out["boxes"][0], regions))
        boxes, places = clean(boxes, framed.fit.height, framed.fit.width)
        sure, labels = (scores[places] >= LEAST).nonzero(as_tuple=True)
        score = scores[places][sure, labels]
        kept = batched_nms(boxes[sure], score, labels, SAME)[:MOST]
        return Found(boxes[sure][kept].cpu(), score[kept].cpu(), labels[kept].cpu()), regions.cpu()

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """Boxes and classes of the objects that are sure enough."""
        from isotrain.vision.drawing import draw_boxes, enlarged, image_of

        sure = [one for one in prediction.answer["objects"] if one["score"] >= SHOWN]
        image = enlarged(image_of(picture))
        labels, scores = [self.classes.index(one["class"]) for one in sure], [one["score"] for one in sure]
        boxes = [one["box"] for one in sure]
        return draw_boxes(image, boxes, labels, self.classes, scores, scale=image.width / picture.shape[2])

    def example(self) -> tuple[Tensor, ...]:
        """Two frames, and four regions in each."""
        pictures = self.fill[None, :, None, None].repeat(2, 1, self.size, self.size)
        corner = torch.tensor([[0.0, 0.0], [8.0, 4.0], [2.0, 12.0], [8.0, 8.0]])
        regions = torch.cat([corner, corner + self.size / 2], 1)
        return pictures, regions.repeat(2, 1, 1)
