"""The 68 landmarks of a face whose box is known, by a small net that looks twice: the second time upright and centred.

Letters: n faces, K = 68 landmarks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.pictures import alike, crops_in_channels, in_channels, read_picture
from isotrain.data.samples import Dataset, Sample, evenly
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, UnknownName
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.categorical import Categorical
from isotrain.nets.landmarks import CELL, LandmarkNet, cells_of, places_of
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Scores
from isotrain.tasks.looking import PictureTask, Prediction
from isotrain.tasks.variation import coarse, covered, recoloured, rescanned
from isotrain.vision import views
from isotrain.vision.faceshape import beside, nearest_usual, shapes, shifted, square_of, tilt_of
from isotrain.vision.landmarks import MIRRORED, NUMBER, mean_error, mirrored
from isotrain.vision.similarity import apply, cut, inverse

SIZE = 96
"""Pixels of the net's picture."""
ROOM = 1.5
"""Side of the net's picture, in sides of a face's square (`square_of`)."""
KEPT, KEPT_ROOM = 160, 2.5
"""Pixels of a training sample's window, and its side in squares of the face."""
TURNED, SCALED, MOVED = math.radians(40), 0.25, 0.12
"""How far a training picture is turned, scaled (log) and moved (in squares of the face), at most."""
STRAY = 0.12
"""Share of training pictures that show no face, or too little of one."""
TRUSTED = 0.1
"""Mean error, over the distance of the eyes, up to which landmarks are to be trusted."""
GOOD = 0.05
"""Mean error up to which they are called right in the scores."""
FROM_BOX = (0.0, 0.2, 0.93)
"""Where the square of a face lies in a detector's box, in its sides: across and down from the middle, and its side.

Medians over LFW's own boxes (the middle 113.6 pixels of its pictures).
"""
LOOKS = 2
COUNTED, LEAST_COUNTED = 256, 16
"""Training faces on which the labels' habits are counted, at most and at least."""
CHUNK = 64


class Seen(NamedTuple):
    """A sample as it is kept: a window uint8 [1, KEPT, KEPT] about its face, and its landmarks in it, [68, 2]."""

    window: Tensor
    points: Tensor
    name: str


class Landmarks(PictureTask):
    """Landmarks of faces."""

    name: ClassVar[str] = "landmarks"
    score: ClassVar[str] = "right"

    @classmethod
    def plan(cls, dataset: Dataset, options: Mapping[str, Any]) -> Card:
        """A card for pictures of faces with landmarks.

        Raises:
            BadData: no face has landmarks, or not 68.
            UnknownName: an option; there are none.
        """
        for option in options:
            raise UnknownName("option of landmarks", option, ("none",))
        if not dataset.train:
            raise BadData(f"{dataset.source or 'the dataset'} has no faces to learn from.")
        card: Card = {"classes": ["face"], "mean": [0.5], "spread": [0.25]}
        some = torch.stack([cls(card).load(sample).window for sample in dataset.train[:64]]).float() / 255
        return {**card, "mean": [float(some.mean())], "spread": [max(float(some.std()), 1e-3)]}

    def net(self) -> nn.Module:
        """A net of heat maps."""
        return LandmarkNet(NUMBER, self.card["mean"][0], self.card["spread"][0])

    @property
    def likelihood(self) -> Likelihoods:
        """One cell of several for each landmark; and whether to trust them."""
        return {"heat": Categorical(-1, ignore_index=-1), "trust": Bernoulli()}

    def load(self, sample: Sample) -> Seen:
        """The window about the face."""
        known = [thing.points for thing in sample.things if thing.points]
        where = sample.where or sample.name
        if len(known) != 1:
            raise BadData(f"{where}: one face with landmarks is needed, there are {len(known)}.")
        points = torch.tensor(known[0])
        if points.shape != (NUMBER, 2):
            raise BadData(f"{where}: {len(points)} landmarks, {NUMBER} are needed.")
        square = square_of(points[None])
        view = _views(square, KEPT, KEPT_ROOM)
        picture = in_channels(read_picture(sample.picture), 1)
        window = _cut(picture, view, KEPT)[0].mul(255).round_().to(torch.uint8)
        return Seen(window, _into(points[None], view, KEPT)[0], sample.name)

    def batch(self, loaded: Sequence[Seen], generator: torch.Generator | None) -> Batch:
        """Faces turned, scaled, moved, mirrored and in another light, some of them out of the picture."""
        n = len(loaded)
        windows = torch.stack([seen.window for seen in loaded]).float() / 255
        points = torch.stack([seen.points for seen in loaded])
        seen = torch.ones(n, dtype=torch.bool)
        square = square_of(points)
        view = _views(square, SIZE, ROOM)
        if generator is not None:
            view, turned, seen = _varied(view, square, generator)
            points = torch.where(turned[:, None, None], points[:, list(MIRRORED)], points)
        grid = views.grid_of(view, SIZE, KEPT, KEPT)
        inputs = F.grid_sample(windows, grid, padding_mode="border", align_corners=False)
        if generator is not None:
            inputs = rescanned(recoloured(inputs, generator), generator)
            inputs = coarse(covered(inputs, generator), generator)
        places = _into(points, view, SIZE) / SIZE
        cells = torch.where(seen[:, None], cells_of(places, SIZE // CELL, generator), -1)
        targets = {"cells": cells, "places": places, "seen": seen}
        return Batch((inputs,), targets, [one.name for one in loaded])

    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the cells of faces that are seen, and whether the landmarks turned out right."""
        heat, trust = output["heat"], output["trust"]
        error = mean_error(places_of(heat.detach())[0], targets["places"])
        right = (targets["seen"] & (error < TRUSTED)).to(trust.dtype)
        where = F.cross_entropy(heat.flatten(0, 1), targets["cells"].flatten(), ignore_index=-1)
        return where + F.binary_cross_entropy_with_logits(trust, right)

    @torch.no_grad()
    def mark(
        self, net: nn.Module, picture: Tensor | Sequence[Tensor], squares: Tensor, looks: int = LOOKS
    ) -> tuple[Tensor, Tensor]:
        """Landmarks of faces in a picture, or in n pictures, one for each.

        Args:
            net: in evaluation mode.
            picture: uint8 [C, H, W], or n of them.
            squares: [n, 3] about the faces, as `square_of` and `square_in` give them.
            looks: how often to look, each time at the square of the landmarks found before, turned upright.

        Returns:
            Places [n, 68, 2] in pixels, and in [0, 1] how much they are to be trusted [n].
        """
        habits = cast(LandmarkNet, net).habits
        points, trust = self._looked(net, picture, squares, looks)
        if len(points) and bool(habits.shape.any()):
            points = nearest_usual(shifted(points, habits.shift), habits.shape, habits.ways)
        return points, trust

    def _looked(
        self, net: nn.Module, picture: Tensor | Sequence[Tensor], squares: Tensor, looks: int
    ) -> tuple[Tensor, Tensor]:
        """Landmarks and trust as the net finds them; at the last look together with those of the mirrored picture."""
        view = _views(squares, SIZE, ROOM)
        ground = picture if isinstance(picture, Tensor) else alike(picture, 1)
        points, trust = torch.zeros(len(squares), NUMBER, 2), torch.zeros(len(squares))
        for look in range(looks if len(squares) else 0):
            if look:
                view = _views(square_of(points), SIZE, ROOM, tilt_of(points))
            windows = _cut(ground, view, SIZE)
            inside, trust = _answers(net, windows)
            if look == looks - 1:
                other, trust_too = _answers(net, windows.flip(3))
                inside, trust = (inside + mirrored(other, 1.0)) / 2, (trust + trust_too) / 2
            points = _out_of(inside * SIZE, view, SIZE)
        return points, trust.sigmoid()

    @torch.no_grad()
    def settle(self, net: nn.Module, shelf: Shelf[Seen]) -> None:
        """Count, on training samples, how far labels lie beside what is found, and which shapes there are.

        Pictures are mirrored in training, so that labels which all lie a little to one side (ytfaces': by 1.3 pixels)
        are met in the middle; what is shifted back here.
        """
        seen = shelf.take(evenly(list(range(len(shelf))), COUNTED))
        truth = torch.stack([one.points for one in seen])
        if len(seen) < LEAST_COUNTED:
            return
        found, _ = self._looked(net, [one.window for one in seen], square_of(truth), LOOKS)
        habits = cast(LandmarkNet, net).habits
        habits.shift.copy_(beside(found, truth).median(0).values)
        every = torch.stack([one.points for one in shelf.take(range(len(shelf)))])
        shape, ways = shapes(every, min(len(habits.ways), len(every) // 4))
        habits.shape.copy_(shape)
        habits.ways.zero_()[: len(ways)] = ways

    def weigh(self, net: nn.Module, shelf: Shelf[Seen], size: int) -> float:
        """Mean error."""
        seen = shelf.take(range(len(shelf)))
        truth = torch.stack([one.points for one in seen])
        found, _ = self.mark(net, [one.window for one in seen], square_of(truth))
        return float(mean_error(found, truth).mean())

    def evaluate(self, net: nn.Module, shelf: Shelf[Seen], tick: Tick | None = None) -> Scores:
        """Mean distance of the landmarks from the true ones, over the distance of the outer corners of the eyes."""
        errors = []
        for place in range(len(shelf)):
            (seen,) = shelf.take([place])
            found, _ = self.mark(net, seen.window, square_of(seen.points[None]))
            errors.append(mean_error(found, seen.points[None]))
            if tick is not None:
                tick(1)
        if not errors:
            raise BadData("there are no faces to score.")
        error = torch.cat(errors)
        return {
            "right": float((error <= GOOD).float().mean()),
            "median error": float(error.median()),
            "mean error": float(error.mean()),
            "failures": float((error > TRUSTED).float().mean()),
        }

    @torch.no_grad()
    def predict(self, net: nn.Module, picture: Tensor) -> Prediction:
        """The landmarks of a face that fills the picture."""
        height, width = picture.shape[1:]
        square = torch.tensor([[width / 2, height / 2, max(height, width) / ROOM]])
        points, trust = self.mark(net, picture, square)
        return Prediction({"points": points[0].tolist(), "trust": float(trust[0])})

    def draw(self, picture: Tensor, prediction: Prediction) -> Image:
        """The landmarks."""
        from isotrain.vision.drawing import draw_points, image_of

        return draw_points(image_of(picture), prediction.answer["points"], [0] * NUMBER)

    def example(self) -> tuple[Tensor, ...]:
        """Two pictures of noise."""
        return (torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)),)


def square_in(boxes: Tensor) -> Tensor:
    """The square of faces in a detector's boxes [n, 4]: its middle and its side, [n, 3]."""
    side = (boxes[:, 2:] - boxes[:, :2]).mean(1)
    middle = (boxes[:, 2:] + boxes[:, :2]) / 2
    across, down, share = FROM_BOX
    return torch.stack((middle[:, 0] + across * side, middle[:, 1] + down * side, share * side), 1)


@torch.no_grad()
def _answers(net: nn.Module, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Places [n, 68, 2] in sides of the windows, and log-odds that they are right [n]."""
    device = next(net.parameters()).device
    answers = [net(part.to(device)) for part in windows.split(CHUNK)]
    places = torch.cat([places_of(answer["heat"])[0] for answer in answers]).cpu()
    return places, torch.cat([answer["trust"] for answer in answers]).cpu()


def _views(squares: Tensor, size: int, room: float, tilt: Tensor | None = None) -> Tensor:
    """Views [n, 5] (see `isotrain.vision.views`) that show squares, with room about them, in `size` pixels."""
    x, y, side = squares.unbind(1)
    tilt = torch.zeros_like(x) if tilt is None else tilt
    return torch.stack((x, y, size / (room * side.clamp_min(1.0)), tilt, torch.ones_like(x)), 1)


def _cut(picture: Tensor | Sequence[Tensor], view: Tensor, size: int) -> Tensor:
    """The views of pictures in grey, their edges repeated beyond them: [n, 1, size, size] in [0, 1]."""
    return crops_in_channels(cut(picture, views_matrices(view, size), size), 1)


def views_matrices(view: Tensor, size: int) -> Tensor:
    """From places in the picture to places in windows, [n, 2, 3]."""
    x, y, scale, angle, mirror = view.unbind(1)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack((torch.stack((mirror * cos, mirror * sin), 1), torch.stack((-sin, cos), 1)), 1)
    middle = torch.stack((x, y), 1)[:, :, None]
    return torch.cat((rows, size / 2 - rows @ middle), 2)


def _into(points: Tensor, view: Tensor, size: int) -> Tensor:
    """Places [n, K, 2] of the picture as they lie in the windows."""
    return apply(views_matrices(view, size), points)


def _out_of(points: Tensor, view: Tensor, size: int) -> Tensor:
    """Places [n, K, 2] in the windows as they lie in the picture."""
    return apply(inverse(views_matrices(view, size)), points)


def _varied(view: Tensor, square: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Views varied, which of them are mirrored, and which still show the face."""
    n = len(view)
    draws = 2 * torch.rand(6, n, generator=generator) - 1
    seen = torch.rand(n, generator=generator) >= STRAY
    seen |= ~seen.any()
    side = square[:, 2]
    far = torch.where(seen, MOVED, 0.6) * side
    x = view[:, 0] + draws[0] * far + torch.where(seen, 0.0, 0.5) * side * draws[4].sign()
    y = view[:, 1] + draws[1] * far
    scale = view[:, 2] * (SCALED * draws[2] + torch.where(seen, 0.0, 0.9) * draws[5]).exp()
    turned = draws[4] > 0
    angle = TURNED * draws[3] * draws[3].abs() + torch.where(seen, 0.0, math.pi) * draws[2]
    return torch.stack((x, y, scale, angle, torch.where(turned, -1.0, 1.0)), 1), turned, seen
