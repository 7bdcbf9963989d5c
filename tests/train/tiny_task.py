"""A task small enough to train in a moment, with everything a task has: noise in its batches, dropout, a batch norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.likelihood import Categorical
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores
from isotrain.tasks.looking import PictureTask, Prediction


class Bright(PictureTask):
    """Which half of a picture of 1 x 4 x 4 is brighter."""

    name = "bright"
    score = "accuracy"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        return {"classes": list(dataset.classes), **options}

    def net(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(96, 8),
            nn.Tanh(),
            nn.Linear(8, 2),
        )

    @property
    def likelihood(self) -> Likelihoods:
        return Categorical()

    def load(self, sample: Sample) -> Any:
        assert isinstance(sample.picture, Tensor)
        return sample.picture, sample.labels[0], sample.name

    def batch(self, loaded: Sequence[Any], generator: torch.Generator | None) -> Batch:
        x = torch.stack([picture for picture, _, _ in loaded]).float() / 255
        if generator is not None:
            x = x + 0.01 * torch.randn(x.shape, generator=generator)
        return Batch((x,), {"labels": torch.tensor([y for _, y, _ in loaded])}, [name for _, _, name in loaded])

    def loss(self, output: Any, targets: Mapping[str, Tensor]) -> Tensor:
        return F.cross_entropy(output, targets["labels"])

    def evaluate(self, net: nn.Module, shelf: Shelf[Any], tick: Tick | None = None) -> Scores:
        batch = self.batch(shelf.take(range(len(shelf))), None)
        if tick:
            tick(len(shelf))
        return {"accuracy": float((net(*batch.inputs).argmax(1) == batch.targets["labels"]).float().mean())}

    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        return Prediction({"class": self.classes[int(net(picture[None] / 255).argmax())]})

    def draw(self, picture: Tensor, prediction: Prediction) -> Image.Image:
        return Image.fromarray(picture[0].numpy())

    def example(self) -> tuple[Tensor, ...]:
        return (torch.rand(2, 1, 4, 4),)


def bright(number: int = 60, seed: int = 0) -> Dataset:
    """Samples of it: two parts to train on for each held out."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (number, 1, 4, 4), generator=generator, dtype=torch.uint8)
    labels = (pictures[:, 0, :, :2].float().sum((1, 2)) < pictures[:, 0, :, 2:].float().sum((1, 2))).long()
    samples = [Sample(p, (int(y),), name=f"p{i}") for i, (p, y) in enumerate(zip(pictures, labels, strict=True))]
    third = number // 3
    return Dataset(("left", "right"), samples[third:], samples[:third], source="bright", format="generated")
