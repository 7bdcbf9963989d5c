"""The 68 landmarks of a face whose box is known, by a small net that looks twice: the second time upright and centred.

Letters: n faces, K = 68 landmarks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from isotrain.data.pictures import in_channels, read_picture
from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, UnknownName
from isotrain.likelihood.bernoulli import Bernoulli
from isotrain.likelihood.huber import Huber
from isotrain.nets.landmarks import STEP, LandmarkNet
from isotrain.progress import Tick
from isotrain.tasks.base import Batch, Card, Likelihoods, Prediction, Scores, Task
from isotrain.tasks.variation import coarse, covered, recoloured, rescanned
from isotrain.vision import views
from isotrain.vision.landmarks import MIRRORED, NUMBER, eye_centres, interocular, mean_error

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
FROM_BOX = (0.0, 0.06, 0.9)
"""Where the square of a face lies in a detector's box, in its sides: across and down from the middle, and its side."""
LOOKS = 2
CHUNK = 64


class Seen(NamedTuple):
    """A sample as it is kept: a window uint8 [1, KEPT, KEPT] about its face, and its landmarks in it, [68, 2]."""

    window: Tensor
    points: Tensor
    name: str


class Landmarks(Task):
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
            raise UnknownName("option of landmarks", option, ())
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
        """Places that are off by a little or, seldom, by much; and whether to trust them."""
        return {"points": Huber(event_dims=2, masked=True), "trust": Bernoulli()}

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
            view, mirrored, seen = _varied(view, square, generator)
            points = torch.where(mirrored[:, None, None], points[:, list(MIRRORED)], points)
        grid = views.grid_of(view, SIZE, KEPT, KEPT)
        inputs = F.grid_sample(windows, grid, padding_mode="border", align_corners=False)
        if generator is not None:
            inputs = rescanned(recoloured(inputs, generator), generator)
            inputs = coarse(covered(inputs, generator), generator)
        targets = {"points": (_into(points, view, SIZE) / SIZE - 0.5) / STEP, "seen": seen}
        return Batch((inputs,), targets, [one.name for one in loaded])

    def loss(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Smooth L1 of the places of faces that are seen, and whether they turned out right."""
        seen = targets["seen"]
        apart = F.smooth_l1_loss(output["points"], targets["points"], reduction="none").sum((1, 2))
        error = mean_error(output["points"].detach(), targets["points"])
        right = seen & (error < TRUSTED)
        trust = F.binary_cross_entropy_with_logits(output["trust"], right.to(apart.dtype))
        return (apart * seen).sum() / seen.sum().clamp_min(1) + trust

    @torch.no_grad()
    def mark(self, net: nn.Module, picture: Tensor, squares: Tensor, looks: int = LOOKS) -> tuple[Tensor, Tensor]:
        """Landmarks of faces in a picture.

        Args:
            net: in evaluation mode.
            picture: uint8 [C, H, W].
            squares: [n, 3] about the faces, as `square_of` and `square_in` give them.
            looks: how often to look, each time at the square of the landmarks found before, turned upright.

        Returns:
            Places [n, 68, 2] in pixels, and in [0, 1] how much they are to be trusted [n].
        """
        device = next(net.parameters()).device
        view = _views(squares, SIZE, ROOM)
        grey = in_channels(picture, 1)
        points, trust = torch.zeros(len(squares), NUMBER, 2), torch.zeros(len(squares))
        for look in range(looks if len(squares) else 0):
            if look:
                view = _views(square_of(points), SIZE, ROOM, _tilt(points))
            answers = [net(part.to(device)) for part in _cut(grey, view, SIZE).split(CHUNK)]
            inside = torch.cat([answer["points"] for answer in answers]).cpu() * STEP + 0.5
            points = _out_of(inside * SIZE, view, SIZE)
            trust = torch.cat([answer["trust"] for answer in answers]).cpu().sigmoid()
        return points, trust

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
        """The landmarks, joined by lines."""
        from isotrain.vision.facedrawing import draw_landmarks

        return draw_landmarks(picture, torch.tensor(prediction.answer["points"])[None])

    def example(self) -> tuple[Tensor, ...]:
        """Two pictures of noise."""
        return (torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)),)


def square_of(points: Tensor) -> Tensor:
    """The square of faces with landmarks [n, 68, 2]: its middle and its side, [n, 3].

    The side is the larger of the landmarks' height and width where the face is upright, the middle that of the box
    around them there: the square of a face that is turned is the same square.

    >>> points = torch.zeros(1, 68, 2)
    >>> points[0, 0], points[0, 16] = torch.tensor([10.0, 5.0]), torch.tensor([30.0, 5.0])
    >>> points[0, 17:] = torch.tensor([20.0, 5.0])
    >>> points[0, 1:16] = torch.tensor([20.0, 15.0])
    >>> square_of(points).tolist()
    [[20.0, 10.0, 20.0]]
    """
    tilt = _tilt(points)
    cos, sin = tilt.cos()[:, None], tilt.sin()[:, None]
    x, y = points[..., 0], points[..., 1]
    across, down = cos * x + sin * y, cos * y - sin * x
    low = torch.stack((across.amin(1), down.amin(1)), 1)
    high = torch.stack((across.amax(1), down.amax(1)), 1)
    u, v = ((low + high) / 2).unbind(1)
    cos, sin = cos[:, 0], sin[:, 0]
    return torch.stack((cos * u - sin * v, sin * u + cos * v, (high - low).amax(1)), 1)


def square_in(boxes: Tensor) -> Tensor:
    """The square of faces in a detector's boxes [n, 4]: its middle and its side, [n, 3]."""
    side = (boxes[:, 2:] - boxes[:, :2]).mean(1)
    middle = (boxes[:, 2:] + boxes[:, :2]) / 2
    across, down, share = FROM_BOX
    return torch.stack((middle[:, 0] + across * side, middle[:, 1] + down * side, share * side), 1)


def _tilt(points: Tensor) -> Tensor:
    """By how much the eyes are turned, radians [n]; 0 where they lie on one another."""
    left, right = eye_centres(points).unbind(1)
    apart = right - left
    return torch.where(interocular(points) > 0, torch.atan2(apart[:, 1], apart[:, 0]), 0.0)


def _views(squares: Tensor, size: int, room: float, tilt: Tensor | None = None) -> Tensor:
    """Views [n, 5] (see `isotrain.vision.views`) that show squares, with room about them, in `size` pixels."""
    x, y, side = squares.unbind(1)
    tilt = torch.zeros_like(x) if tilt is None else tilt
    return torch.stack((x, y, size / (room * side.clamp_min(1.0)), tilt, torch.ones_like(x)), 1)


def _cut(picture: Tensor, view: Tensor, size: int) -> Tensor:
    """The views of a grey picture, its edges repeated beyond it: [n, 1, size, size] in [0, 1]."""
    return views.cut(views.halves(picture), view, size, torch.full((1,), 0.5))


def views_matrices(view: Tensor, size: int) -> Tensor:
    """From places in the picture to places in windows, [n, 2, 3]."""
    x, y, scale, angle, mirror = view.unbind(1)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack((torch.stack((mirror * cos, mirror * sin), 1), torch.stack((-sin, cos), 1)), 1)
    middle = torch.stack((x, y), 1)[:, :, None]
    return torch.cat((rows, size / 2 - rows @ middle), 2)


def _into(points: Tensor, view: Tensor, size: int) -> Tensor:
    """Places [n, K, 2] of the picture as they lie in the windows."""
    matrix = views_matrices(view, size)
    return points @ matrix[:, :, :2].mT + matrix[:, None, :, 2]


def _out_of(points: Tensor, view: Tensor, size: int) -> Tensor:
    """Places [n, K, 2] in the windows as they lie in the picture."""
    matrix = views_matrices(view, size)
    return (points - matrix[:, None, :, 2]) @ torch.linalg.inv(matrix[:, :, :2]).mT


def _varied(view: Tensor, square: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Views varied, which of them are mirrored, and which still show the face."""
    n = len(view)
    draws = 2 * torch.rand(6, n, generator=generator) - 1
    seen = torch.rand(n, generator=generator) >= STRAY
    side = square[:, 2]
    far = torch.where(seen, MOVED, 0.6) * side
    x = view[:, 0] + draws[0] * far + torch.where(seen, 0.0, 0.5) * side * draws[4].sign()
    y = view[:, 1] + draws[1] * far
    scale = view[:, 2] * (SCALED * draws[2] + torch.where(seen, 0.0, 0.9) * draws[5]).exp()
    mirrored = draws[4] > 0
    angle = TURNED * draws[3] * draws[3].abs() + torch.where(seen, 0.0, math.pi) * draws[2]
    return torch.stack((x, y, scale, angle, torch.where(mirrored, -1.0, 1.0)), 1), mirrored, seen
