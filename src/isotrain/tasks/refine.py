"""Masks by proposals: a net slid over the picture says where objects are and sharpens their masks; a region classifier
on top says what they are.

Sources: Pinheiro et al. 2015 and 2016 (DeepMask, SharpMask); Zagoruyko et al. 2016, "A MultiPath network for object
detection" (a region classifier on such proposals, FAIR's entry to COCO 2015; here it shares the proposals' trunk).
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.likelihood.base import Likelihood
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.categorical import Categorical
from isotrain.nets.deepmask import DeepMask, WholeMask
from isotrain.tasks.base import Batch, Card
from isotrain.tasks.objects import Objects, System, mean_of
from isotrain.tasks.sliding import Proposals, apart, propose
from isotrain.tasks.windows import IGNORED, NONE, UNSURE, Seen, Windows, regions_of

MASK_WEIGHT = 4.0
"""Of a mask's mean over its pixels, beside the score and the class, which are one row each."""
SCORE_WEIGHT = 4.0
"""Of the mean over all windows of a part of a picture."""
PROPOSED, LOOKED_AT = 1000, 200
"""Windows whose masks are made: of proposals, and where only objects are asked for."""
SAME_PROPOSAL, SAME_OBJECT = 0.85, 0.5
"""Overlap of boxes from which on the less sure of two is left out."""
MOST = 100
"""Objects told of in a picture."""


class Refine(System):
    """DeepMask and SharpMask with a region classifier."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.window = int(card["window"])
        self.whole = not card["scales"]
        # A part of a picture has many windows, nearly all of them easy: their mean is small.
        self.score_weight = 1.0 if self.whole else SCORE_WEIGHT
        self.widths = (16, 32, 64, 96) if self.whole else (16, 32, 64)
        margin, stride = 0 if self.whole else 8, 2 ** len(self.widths)
        self.windows = Windows(self.window, margin, stride, tuple(card["scales"]), tuple(card["mean"]))

    def net(self) -> nn.Module:
        """Another where a window shows the whole picture."""
        scale = self.card["mean"], self.card["spread"]
        if self.whole:
            return WholeMask(*scale, self.classes, self.window, self.widths)
        return DeepMask(*scale, self.classes, self.window, self.windows.margin, self.widths)

    @property
    def heads(self) -> dict[str, Likelihood]:
        """Masks count where there is an object, scores where it is sure whether there is."""
        heads: dict[str, Likelihood] = {
            "masks": Bernoulli(event_dims=2, masked=True, weight=MASK_WEIGHT / self.window**2),
            "scores": Bernoulli(masked=True, weight=self.score_weight),
        }
        return heads if self.classes == 1 else {**heads, "classes": Categorical(dim=-1, ignore_index=IGNORED)}

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """A part of each picture, with all of its windows, some of which are masked."""
        drawn = self.windows.draw(loaded, generator)
        dtype = drawn.pictures.dtype
        targets = {
            "scores": (drawn.there == 1).to(dtype),
            "known": drawn.there != UNSURE,
            "masks": drawn.masks.to(dtype),
            # Not of pictures without an object: that it is empty there is the score's to say. Masks that learned it too
            # were too small on patients not seen before (lgg, one run, in which more than this differed).
            "masked": drawn.labels >= 0,
        }
        names = [seen.name for seen in loaded]
        if self.classes == 1:
            return Batch((drawn.pictures, drawn.cells), targets, names)
        none = drawn.labels.masked_fill(drawn.labels == NONE, self.classes)
        targets["classes"] = none.masked_fill(none == UNSURE, IGNORED)
        boxes = regions_of(drawn.masks.flatten(0, 1), generator).unflatten(0, drawn.cells.shape[:2])
        return Batch((drawn.pictures, drawn.cells, boxes), targets, names)

    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of masks, over the pixels of windows with an object; of scores and classes, over windows that are sure.

        Of a whole picture an object may be a hundredth, which a mean over the pixels makes too small where it is not
        sure: there the overlap of all masks counts too.
        """
        pixels = F.binary_cross_entropy_with_logits(output["masks"], targets["masks"], reduction="none").mean((2, 3))
        scores = F.binary_cross_entropy_with_logits(output["scores"], targets["scores"], reduction="none")
        total = MASK_WEIGHT * mean_of(pixels, targets["masked"]) + self.score_weight * mean_of(scores, targets["known"])
        if self.whole:
            total = total + soft_dice(output["masks"], targets["masks"], targets["masked"])
        if "classes" in output:
            wanted = targets["classes"].flatten()
            entropy = F.cross_entropy(output["classes"].flatten(0, 1), wanted, ignore_index=IGNORED, reduction="none")
            total = total + mean_of(entropy, wanted != IGNORED)
        return total

    def _propose(self, net: DeepMask, picture: Tensor, most: int, peaks: bool = False) -> Proposals:
        scales, least_piece = self.windows.scales, float(self.card.get("least_piece", 0.0))
        return propose(net, picture, scales, self.fill, most, peaks, least_piece)

    def find(self, net: nn.Module, picture: Tensor) -> Objects:
        """Scored by objectness, by being any class and by how sure the mask is of its own pixels."""
        assert isinstance(net, DeepMask)
        proposals = self._propose(net, picture, LOOKED_AT, peaks=True)
        scores = proposals.scores * proposals.classes.sum(1) * proposals.solidity()
        return _objects(apart(proposals.scored(scores), SAME_OBJECT, MOST), picture)

    def proposals(self, net: nn.Module, picture: Tensor) -> Objects:
        """Scored by objectness."""
        assert isinstance(net, DeepMask)
        proposals = self._propose(net, picture, PROPOSED)
        return _objects(apart(proposals, SAME_PROPOSAL, PROPOSED), picture)

    def example(self) -> tuple[Tensor, ...]:
        """Two parts of pictures, windows to be masked, and a region in each."""
        windows, r = self.windows, self.windows.masked
        across = self.window + (windows.grid - 1) * windows.stride + 2 * windows.margin
        pictures = self.fill[None, :, None, None].repeat(2, 1, across, across)
        cells = torch.zeros(2, r, 2, dtype=torch.long)
        if self.classes == 1:
            return pictures, cells
        return pictures, cells, regions_of(torch.zeros(2 * r, self.window, self.window), None).unflatten(0, (2, r))


def soft_dice(logits: Tensor, masks: Tensor, counted: Tensor) -> Tensor:
    """1 - Dice's coefficient of probabilities and masks [n, r, P, P], pooled over the windows [n, r] that count.

    Source: Milletari et al. 2016, "V-Net", section 3, without its squares.

    >>> masks = torch.tensor([[[[1.0, 0.0]]]])
    >>> round(float(soft_dice(torch.tensor([[[[50.0, 50.0]]]]), masks, torch.ones(1, 1))), 2)  # 2 / 3 but for the one
    0.25
    """
    rows = counted[..., None, None]
    likely = logits.sigmoid() * rows
    shared, both = (likely * masks).sum(), likely.sum() + (masks * rows).sum()
    return 1 - (2 * shared + 1) / (both + 1)  # one pixel more, for batches without any


def _objects(proposals: Proposals, picture: Tensor) -> Objects:
    height, width = picture.shape[1:]
    edge = proposals.boxes.new_tensor([width, height, width, height])
    boxes = torch.minimum(proposals.boxes.clamp_min(0), edge)
    return Objects(boxes, proposals.scores, proposals.classes.argmax(1), proposals.masks(height, width))
