"""Faces and their boxes, at any place and size: one class, found by a small fully convolutional net.

The net learns from scenes that are composed anew for every step (`isotrain.tasks.collage`). A picture is looked through
at its own size and at halves of it, so that faces of all sizes come to lie in the range the net knows.

Source: of the hard examples, Liu et al. 2016, "SSD: single shot multibox detector", section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.pictures import in_channels, read_picture
from isotrain.data.samples import Dataset, Sample, Thing
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.likelihood.base import Likelihood
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.huber import Huber
from isotrain.nets.finder import Finder
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores
from isotrain.tasks.cells import truth_of
from isotrain.tasks.collage import Source, compose, source_of
from isotrain.tasks.developing import developed
from isotrain.tasks.finds import distinct, placed, shrunk
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.measured import channels_of
from isotrain.tasks.objects import mean_of, smooth_l1
from isotrain.tasks.scores import voc
from isotrain.tasks.scores.found import Found, There
from isotrain.vision.boxes import Letterbox, clean

SCENE = 192
"""Side of the scenes the net learns from, by default."""
MEASURED = 200
"""Training pictures that mean and spread are measured on."""
LONGEST = 640
"""Pixels along the longer side of a picture that is looked through, at most; larger ones are made smaller."""
SMALLEST = 112
"""Longer side of the smallest half that is looked through."""
SEEN, CHANCE, HARD = 4, 12, 4
"""Cells that are taken to see a face, at least, in each scene; cells without one that count for each of them by chance,
and because they are the worst.

The worst alone would not do: before a net can tell faces, what it is surest of is no face, and it unlearns.
"""
LEAST, SHOWN = 0.1, 0.5
"""Scores from which on a face is told of, and drawn."""


class FindFaces(PictureTask):
    """Faces, each with its box and score."""

    name: ClassVar[str] = "finder"
    score: ClassVar[str] = "AP50"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """A card for a dataset whose boxes are faces.

        Boxes are taken as squares of the same centre and mean side; crowds mark where faces may be that nobody
        labelled. Pictures without any box are grounds that faces are laid on.

        Options:
            scene: side of the scenes in training, a multiple of 32.

        Raises:
            BadData: there are several classes, or no face has a box.
            UnknownName: an option is not known.
            BadOption: the scene's side is no multiple of 32.
        """
        known = {"scene": SCENE}
        for option in options:
            if option not in known:
                raise UnknownName("option of finder", option, known)
        scene = int({**known, **options}["scene"])
        if scene < 64 or scene % 32:
            raise BadOption(f"scene={scene} must be a multiple of 32, 64 at least.")
        if len(dataset.classes) != 1:
            raise BadData(
                f"{dataset.source or 'the dataset'} has {len(dataset.classes)} classes "
                f"({', '.join(dataset.classes[:5])}): a finder looks for one; `isotrain train detect` for several."
            )
        shown = list(islice((s for s in dataset.train if any(not t.crowd for t in s.things)), MEASURED))
        if not shown:
            raise BadData(f"{dataset.source or 'the dataset'} has no face with a box to train on.")
        measured = channels_of([in_channels(read_picture(sample.picture), 1) for sample in shown])
        return {"classes": list(dataset.classes), "scene": scene, **measured}

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.size = int(card["scene"])

    def net(self) -> nn.Module:
        """A `Finder`."""
        return Finder(float(self.card["mean"][0]), float(self.card["spread"][0]))

    @property
    def likelihood(self) -> Likelihoods:
        """Cells count where it is sure what they see, boxes where there is a face."""
        heads: dict[str, Likelihood] = {"faces": Bernoulli(masked=True), "boxes": Huber(event_dims=1, masked=True)}
        return heads

    def load(self, sample: Sample) -> Source:
        """The picture and its smaller copies, its faces and what is unknown of it."""
        picture = read_picture(sample.picture)
        height, width = picture.shape[1:]
        for thing in sample.things:
            if not len(clean(torch.tensor([thing.box]), height, width, smallest=1e-3)[0]):
                raise BadData(
                    f"{thing.where or sample.name}: box {list(thing.box)} has no area inside of its picture, "
                    f"{width} x {height} pixels; `isotrain data check` names all of its kind."
                )
        faces = [_square(thing) for thing in sample.things if not thing.crowd]
        unknown = [thing.box for thing in sample.things if thing.crowd]
        faces_k4, unknown_m4 = (np.array(kind, np.float32).reshape(-1, 4) for kind in (faces, unknown))
        return source_of(picture, faces_k4, unknown_m4, sample.name)

    def batch(self, loaded: Sequence[Source], generator: torch.Generator | None) -> Batch:
        """A scene about each picture, made with the others'; the same ones again if there is no generator."""
        seed = 0 if generator is None else int(torch.randint(2**31, (), generator=generator))
        rng = np.random.default_rng(seed)
        scenes = []
        for place, host in enumerate(loaded):
            others = [other for at, other in enumerate(loaded) if at != place]
            scenes.append(compose(host, others, rng, self.size))
        shown = developed(torch.stack([scene.canvas for scene in scenes]), rng)[:, None] / 255
        known = [
            truth_of(torch.from_numpy(scene.faces), torch.from_numpy(scene.unknown), self.size) for scene in scenes
        ]
        targets = {"faces": torch.stack([k[0] for k in known]), "boxes": torch.stack([k[1] for k in known])}
        return Batch((shown,), targets, [source.name for source in loaded])

    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the cells that count, and smooth L1 of the deltas where a face is seen, both means."""
        truth = targets["faces"]
        entropy = F.binary_cross_entropy_with_logits(output["faces"], (truth > 0).float(), reduction="none")
        total = mean_of(entropy, counted(entropy.detach(), truth))
        return total + mean_of(smooth_l1(output["boxes"], targets["boxes"]), truth > 0)

    @torch.no_grad()
    def find(
        self, net: nn.Module, pictures: Sequence[Tensor], longest: int = LONGEST, least: float = LEAST
    ) -> list[Found]:
        """Faces in pictures uint8 [C, H, W] of any sizes, the surest first, boxes in pixels of each.

        Args:
            net: in evaluation mode.
            pictures: looked through together where their sizes are equal.
            longest: longer side, in pixels, that a larger picture is brought to.
            least: score below which a face is not told of.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, picture in enumerate(pictures):
            groups.setdefault(tuple(picture.shape), []).append(place)
        found: list[Found | None] = [None] * len(pictures)
        for places in groups.values():
            looked = self._look(net, torch.stack([pictures[place] for place in places]), longest, least)
            for place, one in zip(places, looked, strict=True):
                found[place] = one
        return [one for one in found if one is not None]

    def _look(self, net: nn.Module, pictures_nchw: Tensor, longest: int, least: float) -> list[Found]:
        n, _, height, width = pictures_nchw.shape
        grey = shrunk(pictures_nchw, longest)
        scores, boxes = [], []
        while True:
            high, wide = grey.shape[2:]
            fit = Letterbox(height, width, high, wide)
            out = net(grey)
            score, box = placed(out["faces"], out["boxes"], high, wide)
            scores.append(score)
            boxes.append(fit.back(box))
            if max(high, wide) // 2 < SMALLEST or min(high, wide) < 2:
                break
            grey = F.avg_pool2d(grey, 2)
        score, box = torch.cat(scores, 1), torch.cat(boxes, 1)
        finds = []
        for row in range(n):
            kept = distinct(box[row], score[row], least)
            finds.append(Found(box[row][kept], score[row][kept], torch.zeros(len(kept), dtype=torch.long)))
        return finds

    @torch.no_grad()
    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        """Average precision, the share of faces found, and finds that are none a picture, where all is known."""
        there, found = [], []
        for place in range(len(shelf)):
            source: Source = shelf.take([place])[0]
            faces = [Thing(0, _box(face)) for face in source.faces.tolist()]
            crowds = [Thing(0, _box(box), crowd=True) for box in source.unknown.tolist()]
            there.append(There([*faces, *crowds], source.size))
            found.append(self.find(net, [source.levels[0][None]])[0])
            if tick is not None:
                tick(1)
        faces_in_all = sum(not thing.crowd for one in there for thing in one.things)
        wrong = sum(
            int(_beside(one, finds.boxes[finds.scores >= SHOWN]).sum()) for one, finds in zip(there, found, strict=True)
        )
        curve = voc.precision_recall(there, [_sure(finds) for finds in found], 0)
        return {
            "AP50": voc.average_precisions(there, found, 1)[0],
            "found": None if curve is None or not faces_in_all else float(curve[1][-1]) if len(curve[1]) else 0.0,
            "false_a_picture": wrong / max(1, len(there)),
        }

    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        """Faces by falling scores."""
        finds = self.find(net, [picture])[0]
        rows = zip(finds.scores.tolist(), finds.boxes.tolist(), strict=True)
        return Prediction(
            {
                "objects": [
                    {"class": self.classes[0], "score": round(score, 4), "box": [round(side, 1) for side in box]}
                    for score, box in rows
                ]
            }
        )

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """Boxes of the faces that are sure enough."""
        from isotrain.vision.drawing import draw_boxes, enlarged, image_of

        sure = [one for one in prediction.answer["objects"] if one["score"] >= SHOWN]
        image = enlarged(image_of(picture))
        boxes, scores = [one["box"] for one in sure], [one["score"] for one in sure]
        return draw_boxes(image, boxes, [0] * len(sure), self.classes, scores, scale=image.width / picture.shape[2])

    def example(self) -> tuple[Tensor, ...]:
        """Two grey pictures of the size that most photos are brought to."""
        return (torch.full((2, 1, LONGEST * 3 // 4, LONGEST), float(self.card["mean"][0])),)


def counted(entropy: Tensor, truth: Tensor) -> Tensor:
    """Cells [n, a] that count: those that see a face, and of the others some by chance and the worst.

    What chance is comes from torch's generator, which the loop seeds by the step.

    Args:
        entropy: of each cell.
        truth: 1 for a cell that sees a face, 0 for one that does not, else below 0.
    """
    sees, plain = truth > 0, truth == 0
    number = max(int(sees.sum()), SEEN * len(truth))
    share = CHANCE * number / max(1, int(plain.sum()))
    chosen = plain & (torch.rand(truth.shape, device=truth.device) < share)
    most = min(HARD * number, int(plain.sum()))
    if most:
        worst = torch.where(plain, entropy, -torch.inf).flatten().topk(most).indices
        chosen.view(-1)[worst] = True
    return chosen | sees


def _square(thing: Thing) -> tuple[float, float, float, float]:
    left, top, right, bottom = thing.box
    x, y, half = (left + right) / 2, (top + bottom) / 2, (right - left + bottom - top) / 4
    return x - half, y - half, x + half, y + half


def _box(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = numbers
    return left, top, right, bottom


def _sure(finds: Found) -> Found:
    kept = finds.scores >= SHOWN
    return Found(finds.boxes[kept], finds.scores[kept], finds.labels[kept])


def _beside(there: There, boxes: Tensor) -> Tensor:
    """Finds [K, 4] that overlap no face by half, and are not in a place nobody labelled: bool [K]."""
    from torchvision.ops import box_iou

    faces = torch.tensor([thing.box for thing in there.things if not thing.crowd]).reshape(-1, 4)
    unknown = torch.tensor([thing.box for thing in there.things if thing.crowd]).reshape(-1, 4)
    right = (box_iou(boxes, faces) >= 0.5).any(1)
    middle = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    excused = ((middle >= unknown[:, :2]) & (middle < unknown[:, 2:])).all(-1).any(1)
    wrong: Tensor = ~right & ~excused
    return wrong
