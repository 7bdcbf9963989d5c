"""What a picture shows, one class of several, by a residual net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.pictures import read_picture
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData
from isotrain.likelihood.base import Likelihood
from isotrain.likelihood.categorical import Categorical
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Scores
from isotrain.tasks.classify_card import card_for, fitted
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.scores.classification import accuracy, calibration_error, class_accuracies, confusion
from isotrain.tasks.variation import cut_out, shifted

CHUNK = 128
"""Pictures looked at together where nothing is learned."""
TOP = 5
"""Classes that a prediction names, and that the second accuracy looks among."""


class Seen(NamedTuple):
    """A sample as it is kept: its picture in the net's size, uint8 [C, H, W]."""

    picture: Tensor
    label: int
    name: str


class Classify(PictureTask):
    """One class of several for each picture."""

    name: ClassVar[str] = "classify"
    score: ClassVar[str] = "accuracy"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """The card for pictures of one class each.

        Options:
            net: one of `isotrain.nets.resnet.NETS`; default resnet20 for pictures up to 64 pixels, resnet18 above.
            size: of the net's pictures, one number for a square or height and width. Default: the pictures' own size
                if they are all alike and small, else a square.
            mirror: exchange left and right at random. Default: for coloured pictures; grey ones are often signs, which
                it makes others.
            shift: pixels a picture is moved by at random. Default: an eighth of the size for coloured pictures (4 of
                32, the paper's), a fourteenth for grey ones (2 of 28).
            cutout: side in pixels of a square taken out at random; default 0, none.
            stochastic_depth: how often the last block's branch is dropped, or the first's and the last's; default 0.
            pretrained: weights to start from, a file or "cache" (torchvision's).

        Raises:
            BadData: no pictures, one class, a picture without a class or with several, a class that is not learned
                from, pictures all of one colour.
            BadOption: an option is outside its range.
            UnknownName: an option or a net is not known.
        """
        return card_for(dataset, options)

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.height, self.width = map(int, card["size"])
        self.channels = int(card["channels"])

    def net(self) -> nn.Module:
        """A ResNet."""
        from isotrain.nets.resnet import ResNet

        card = self.card
        return ResNet(card["net"], len(self.classes), card["mean"], card["spread"], card["stochastic_depth"])

    def begin(self, net: nn.Module) -> None:
        """Load the pretrained weights that the card names, if it does: once, before the first step of a run.

        Raises:
            BadOption: there is no such file.
            BadCheckpoint: it holds another net's weights.
        """
        if self.card["pretrained"] is not None:
            from isotrain.nets.pretrained import load_pretrained
            from isotrain.nets.resnet import ResNet

            assert isinstance(net, ResNet), "the net is this task's"
            load_pretrained(net, self.card["pretrained"])

    @property
    def likelihood(self) -> Likelihood:
        """One class of several."""
        return Categorical()

    def load(self, sample: Sample) -> Seen:
        """The picture in the net's size."""
        if len(sample.labels) != 1:
            raise BadData(f"{sample.where or sample.name}: one class is needed, there are {len(sample.labels)}.")
        picture = read_picture(sample.picture, reduce=True)
        return Seen(fitted(picture, self.channels, self.height, self.width), sample.labels[0], sample.name)

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Pictures, shifted, mirrored and cut out at random as the card says."""
        pictures = torch.stack([seen.picture for seen in loaded])
        if generator is not None:
            shift = int(self.card["shift"])
            pictures = shifted(pictures, (shift, shift), bool(self.card["mirror"]), generator)
        inputs = pictures.float().div_(255)
        if generator is not None and self.card["cutout"]:
            inputs = cut_out(inputs, int(self.card["cutout"]), torch.tensor(self.card["mean"]), generator)
        labels = torch.tensor([seen.label for seen in loaded])
        return Batch((inputs,), {"labels": labels}, [seen.name for seen in loaded])

    def loss(self, output: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(output, targets["labels"])

    def evaluate(self, net: nn.Module, shelf: Shelf[Seen], tick: Tick | None = None) -> Scores:
        """Accuracy, top-5 accuracy of more than five classes, loss, calibration, and which classes are taken for which.

        Raises:
            BadData: there is no sample, or one cannot be read.
        """
        logits_nk, labels_n = self._answers(net, shelf, tick)
        probabilities_nk = logits_nk.softmax(1)
        counts_kk = confusion(logits_nk.argmax(1), labels_n, len(self.classes))
        scores: Scores = {"accuracy": accuracy(logits_nk, labels_n)}
        if len(self.classes) > TOP:
            scores[f"top {TOP} accuracy"] = accuracy(logits_nk, labels_n, TOP)
        return scores | {
            "loss": float(F.cross_entropy(logits_nk, labels_n)),
            "calibration error": calibration_error(probabilities_nk, labels_n),
            "accuracy by class": dict(zip(self.classes, class_accuracies(counts_kk), strict=True)),
            "confusion": counts_kk.tolist(),
        }

    @torch.no_grad()
    def weigh(self, net: nn.Module, shelf: Shelf[Seen], size: int) -> float:
        """Share of wrong answers; equal ones are told apart by the loss.

        Not the loss itself: a net that has fitted its training samples is sure of its errors too, and its loss held out
        rises while more and more of its answers are right.
        """
        logits_nk, labels_n = self._answers(net, shelf, None)
        return 1 - accuracy(logits_nk, labels_n) + 1e-4 * min(1.0, float(F.cross_entropy(logits_nk, labels_n)))

    @torch.no_grad()
    def _answers(self, net: nn.Module, shelf: Shelf[Seen], tick: Tick | None) -> tuple[Tensor, Tensor]:
        """Logits [n, K] and labels [n] of all samples."""
        if not len(shelf):
            raise BadData("there are no pictures to score.")
        device = next(net.parameters()).device
        logits, labels = [], []
        for start in range(0, len(shelf), CHUNK):
            batch = self.batch(shelf.take(range(start, min(start + CHUNK, len(shelf)))), None)
            logits.append(net(batch.inputs[0].to(device)).cpu())
            labels.append(batch.targets["labels"])
            if tick is not None:
                tick(len(labels[-1]))
        return torch.cat(logits), torch.cat(labels)

    @torch.no_grad()
    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        """The likeliest classes with their probabilities."""
        shown = fitted(picture, self.channels, self.height, self.width)[None].float() / 255
        probabilities = net(shown.to(next(net.parameters()).device))[0].softmax(0).cpu()
        values, places = probabilities.topk(min(TOP, len(self.classes)))
        found = [
            {"class": self.classes[place], "probability": value}
            for place, value in zip(places.tolist(), values.tolist(), strict=True)
        ]
        return Prediction({**found[0], "classes": found})

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """The picture with the likeliest classes and a bar for each under it."""
        from isotrain.tasks.classify_drawing import captioned

        return captioned(picture, [(one["class"], one["probability"]) for one in prediction.answer["classes"]])

    def example(self) -> tuple[Tensor, ...]:
        """Two pictures of noise."""
        generator = torch.Generator().manual_seed(0)
        return (torch.rand(2, self.channels, self.height, self.width, generator=generator),)
