"""A task about pictures: what its net says of one, and how that is drawn."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image
from torch import Tensor, nn

from isotrain.data.samples import Sample
from isotrain.tasks.base import Task


@dataclass(frozen=True)
class Prediction:
    """What a net says of one picture.

    Attributes:
        answer: plain JSON: what `isotrain predict` writes.
        masks: bool [objects, H, W] where the task gives masks, in the order of the answer's objects.
        heat: [classes, h, w] in [0, 1] where the task gives heat maps.
        regions: [P, 5] where the task gives places to look at more closely: box in pixels of the picture, and score.
    """

    answer: dict[str, Any]
    masks: Tensor | None = None
    heat: Tensor | None = None
    regions: Tensor | None = None


class PictureTask(Task):
    """One kind of question about pictures."""

    @abstractmethod
    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        """What the net says of one picture, uint8 [C, H, W] of any size."""

    def predict_sample(self, net: nn.Module, picture: Tensor, sample: Sample) -> Prediction:
        """As `predict`, of a picture that belongs to a sample: where something more is known of it."""
        return self.predict(net, picture)

    @abstractmethod
    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """The picture with the prediction drawn on it."""

    def thumbnail(self, picture: Tensor, prediction: Prediction) -> Image:
        """As `draw`, for a sheet of many: where a drawing would be too small to be read, something plainer."""
        return self.draw(picture, prediction)
