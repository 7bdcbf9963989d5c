"""Masks by regions: a net that proposes boxes, classifies them, and gives a mask inside each.

Source: He et al. 2017, "Mask R-CNN". In training the net's regions are drawn around the true ones (`tasks.sampling`),
and masks are asked for of some of those that are on objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, roi_align

from isotrain.likelihood.base import Likelihood
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.categorical import Categorical
from isotrain.likelihood.huber import Huber
from isotrain.nets.masks import SIDE, MaskRCNN
from isotrain.nets.proposing import anchors_of
from isotrain.tasks.base import Batch, Card
from isotrain.tasks.objects import Objects, System, mean_of, smooth_l1
from isotrain.tasks.sampling import IGNORED, Anchors, Drawn, Regions, Truth, around, overlaps
from isotrain.tasks.sliding import paste
from isotrain.tasks.variation import recoloured
from isotrain.tasks.windows import Seen
from isotrain.vision.boxes import Letterbox, clean, decode
from isotrain.vision.views import boxes_in, cut, cut_mask

MASKED = 12
"""Regions of a picture that masks are learned of."""
LOOKED_AT = 300
"""Regions of a picture that are judged."""
LEAST = 0.02
"""Score from which on an object is told of."""
SAME = 0.5
"""Overlap from which on two finds of a class are one."""
MOST = 100
"""Objects told of in a picture."""
ZOOM, SHIFT = 0.35, 0.1
"""Octaves and parts of the side by which a picture is scaled and moved in training, at most."""
LEFT = 0.4
"""Part of an object that must be left in the square for it to be learned from."""


class RegionMasks(System):
    """Faster R-CNN with a mask head."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.size = int(card["size"])
        self.drawing, self.anchoring = Regions(), Anchors()

    def net(self) -> nn.Module:
        """A Mask R-CNN."""
        card = self.card
        return MaskRCNN(
            self.classes, int(card["channels"]), bool(card["per_class"]), backbone=card["backbone"], mean=card["mean"],
            spread=card["spread"],
        )  # fmt: skip

    @property
    def heads(self) -> dict[str, Likelihood]:
        """Boxes and masks count where there is an object, anchors where it is sure whether there is."""
        return {
            "classes": Categorical(dim=-1, ignore_index=IGNORED),
            "boxes": Huber(event_dims=1, masked=True),
            "objects": Bernoulli(masked=True),
            "anchors": Huber(event_dims=1, masked=True),
            "masks": Bernoulli(event_dims=2, masked=True, weight=1 / SIDE**2),
        }

    @cached_property
    def anchors(self) -> Tensor:
        """All anchors of a square, [A, 4]."""
        strides = [8] if self.card["backbone"] == "small" else [4, 8, 16, 32, 64]
        return anchors_of(self.size, self.size, strides)

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Pictures in a square, some regions of each, and a few on objects to learn masks of."""
        draws = torch.Generator().manual_seed(0) if generator is None else generator
        pictures, regions, anchors, boxes, masks, wanted = [], [], [], [], [], []
        for seen in loaded:
            view = self._view(seen, generator)
            pictures.append(cut(seen.levels, view, self.size, self.fill)[0])
            truth = self._truth(seen, view)
            pool = torch.cat([truth.plain[0], around(truth, self.anchors, self.size, draws)])
            drawn = self.drawing.draw(pool, truth, draws)
            regions.append(drawn)
            anchors.append(self.anchoring.draw(self.anchors, truth, draws))
            some = self._masked(seen, view, truth, drawn)
            boxes.append(some[0])
            masks.append(some[1])
            wanted.append(some[2])
        shown = torch.stack(pictures)
        if generator is not None:
            shown = recoloured(shown, generator)
        targets = {
            "classes": torch.stack([one.classes for one in regions]),
            "boxes": torch.stack([one.deltas for one in regions]),
            "objects": torch.stack([one.classes for one in anchors]),
            "anchors": torch.stack([one.deltas for one in anchors]),
            "masks": torch.stack(masks),
            "masked": torch.stack(wanted),
        }
        inputs = (shown, torch.stack([one.boxes for one in regions]), torch.stack(boxes))
        return Batch(inputs, targets, [seen.name for seen in loaded])

    def _view(self, seen: Seen, generator: torch.Generator | None) -> Tensor:
        """The square's view of a picture, [1, 5]: all of it, but for what zoom and shift leave out."""
        height, width = seen.size
        fit = self.size / max(height, width)
        view = torch.tensor([[width / 2, height / 2, fit, 0.0, 1.0]])
        if generator is not None:
            zoom, x, y, mirror = (2 * torch.rand(4, generator=generator) - 1).unbind()
            view[0, 2] *= torch.exp2(ZOOM * zoom)
            view[0, :2] += SHIFT * torch.stack((x, y)) * self.size / fit
            view[0, 4] = -1.0 if mirror < 0 else 1.0
        return view

    def _truth(self, seen: Seen, view: Tensor) -> Truth:
        """Objects in the square; those of which too little is left count as crowds, those outside are not there."""
        whole = boxes_in(seen.boxes, view.expand(len(seen.boxes), -1), self.size)
        inside = whole.clamp(0, self.size)
        areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (inside, whole)]
        # An object that is out of sight keeps its place in the list, as a crowd of no size.
        return Truth(inside, seen.labels, seen.crowd | (areas[0] < LEFT * areas[1]))

    def _masked(self, seen: Seen, view: Tensor, truth: Truth, drawn: Drawn) -> tuple[Tensor, Tensor, Tensor]:
        """Regions [r, 4], what of their objects' masks lies in them [r, 28, 28], and their classes [r] or IGNORED."""
        places = (drawn.classes > 0).nonzero()[:MASKED, 0]
        boxes = torch.tensor([0.0, 0.0, self.size, self.size]).repeat(MASKED, 1)
        masks, wanted = torch.zeros(MASKED, SIDE, SIDE), torch.full((MASKED,), IGNORED)
        if not len(places):
            return boxes, masks, wanted
        boxes[: len(places)] = drawn.boxes[places]
        plain = (~truth.crowd).nonzero()[:, 0]
        owners = plain[overlaps(boxes[: len(places)], truth.boxes[plain])[1]]
        for owner in owners.unique().tolist():
            left, top = seen.boxes[owner, :2].tolist()
            mask = cut_mask(seen.crops[owner], left, top, view, self.size)[:, None].float()
            rows = (owners == owner).nonzero()[:, 0]
            inside = torch.cat((torch.zeros(len(rows), 1), boxes[rows]), 1)
            masks[rows] = (roi_align(mask, inside, SIDE, aligned=True)[:, 0] > 0.5).float()
        wanted[: len(places)] = drawn.classes[places] - 1
        return boxes, masks, wanted

    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """The five heads', each a mean over the rows that count."""
        classes, objects = targets["classes"], targets["objects"]
        entropy = F.cross_entropy(
            output["classes"].flatten(0, 1), classes.flatten(), ignore_index=IGNORED, reduction="none"
        )
        total = mean_of(entropy, classes.flatten() != IGNORED)
        total = total + mean_of(smooth_l1(output["boxes"], targets["boxes"]), classes > 0)
        there = (objects > 0).to(output["objects"].dtype)
        entropy = F.binary_cross_entropy_with_logits(output["objects"], there, reduction="none")
        total = total + mean_of(entropy, objects != IGNORED)
        total = total + mean_of(smooth_l1(output["anchors"], targets["anchors"]), objects > 0)
        logits, wanted = output["masks"], targets["masked"]
        if logits.ndim == 5:  # a mask for each class: of the right one
            logits = logits[torch.arange(len(wanted))[:, None], torch.arange(MASKED), wanted.clamp_min(0)]
        pixels = F.binary_cross_entropy_with_logits(logits, targets["masks"], reduction="none").mean((2, 3))
        return total + mean_of(pixels, wanted != IGNORED)

    def find(self, net: nn.Module, picture: Tensor) -> Objects:
        """Classes and boxes of the net's regions, and masks of those that are kept."""
        assert isinstance(net, MaskRCNN)
        fit, maps, regions, out = self._judged(net, picture)
        scores = out["classes"][0].softmax(-1)[:, 1:]
        boxes, places = clean(decode(out["boxes"][0], regions), self.size, self.size)
        sure, labels = (scores[places] >= LEAST).nonzero(as_tuple=True)
        score = scores[places][sure, labels]
        kept = batched_nms(boxes[sure], score, labels, SAME)[:MOST]
        return self._masks_of(net, fit, maps, boxes[sure][kept], score[kept], labels[kept])

    def proposals(self, net: nn.Module, picture: Tensor) -> Objects:
        """The net's regions, moved to the better boxes, scored by not being background."""
        assert isinstance(net, MaskRCNN)
        fit, maps, regions, out = self._judged(net, picture)
        chances = out["classes"][0].softmax(-1)
        boxes, places = clean(decode(out["boxes"][0], regions), self.size, self.size)
        scores, labels = 1 - chances[places, 0], chances[places, 1:].argmax(-1)
        order = scores.argsort(descending=True)
        return self._masks_of(net, fit, maps, boxes[order], scores[order], labels[order])

    def _judged(self, net: MaskRCNN, picture: Tensor) -> tuple[Letterbox, list[Tensor], Tensor, dict[str, Tensor]]:
        height, width = picture.shape[1:]
        fit = Letterbox(height, width, self.size, self.size)
        level = self.fill[:, None, None]
        maps = net.maps((fit.picture(picture - level) + level)[None])
        regions = net.propose(maps, self.size, self.size, LOOKED_AT)
        return fit, maps, regions, net.judge(maps, regions[None])

    def _masks_of(
        self, net: MaskRCNN, fit: Letterbox, maps: list[Tensor], boxes: Tensor, scores: Tensor, labels: Tensor
    ) -> Objects:
        logits = net.masks(maps, boxes[None])[0]
        if net.per_class:
            logits = logits[torch.arange(len(labels)), labels]
        boxes, places = clean(fit.back(boxes), fit.height, fit.width)
        masks = paste(logits.sigmoid()[places], boxes, fit.height, fit.width)
        return Objects(boxes, scores[places], labels[places], masks)

    def example(self) -> tuple[Tensor, ...]:
        """Two squares, four regions in each, and the regions again to have masks of."""
        pictures = self.fill[None, :, None, None].repeat(2, 1, self.size, self.size)
        corner = torch.tensor([[0.0, 0.0], [8.0, 4.0], [2.0, 12.0], [8.0, 8.0]])
        regions = torch.cat([corner, corner + self.size / 2], 1).repeat(2, 1, 1)
        return pictures, regions, regions
