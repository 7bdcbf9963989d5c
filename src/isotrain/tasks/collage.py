"""Scenes to look for faces in: pictures turned, scaled and laid over one another, their labels with them.

Boxes of faces are squares that stay upright when a picture is turned: a face's box says where it is and how large.
What nobody has labelled (the edge of a portrait, where others may stand) is kept as boxes too, to be left out.

Letters: k boxes; a picture is [h, w], grey.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Boxes = NDArray[np.float32]
"""[k, 4]: arrays, as what is done to a few boxes costs torch more to begin than to do."""
LEVELS = 5
"""Halvings of a picture that are kept, for scenes that show it small."""
VISIBLE = 0.6
"""Share of a face inside of the scene below which nobody can say whether it is there."""
WHOLE = 0.9
"""Share of a face in a window below which it is cut."""
CLEAR = 0.15
"""Share of a face that something laid over it may hide."""
TRIES = 5
"""Places tried for a piece before it is left out."""


class Source(NamedTuple):
    """A picture that scenes are made of.

    Attributes:
        levels: uint8 [h, w], then half of both sides, a quarter, ...
        faces: [k, 4] in its pixels.
        unknown: [m, 4], where there may be faces that nobody has labelled.
        name: of the sample.
    """

    levels: list[Tensor]
    faces: Boxes
    unknown: Boxes
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.levels[0].shape[0], self.levels[0].shape[1]


def source_of(picture: Tensor, faces: Boxes, unknown: Boxes, name: str = "") -> Source:
    """A picture uint8 [C, H, W] with its smaller copies.

    >>> [
    ...     list(level.shape)
    ...     for level in source_of(torch.zeros(1, 5, 8, dtype=torch.uint8), *torch.zeros(2, 0, 4)).levels
    ... ]
    [[5, 8], [2, 4], [1, 2]]
    """
    grey = picture.float().mean(0, keepdim=True)
    levels = [grey]
    while len(levels) < LEVELS and min(levels[-1].shape[1:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return Source([level[0].round().to(torch.uint8) for level in levels], faces, unknown, name)


class Pose(NamedTuple):
    """How a picture is laid: `centre` of it comes to lie on `place` of the scene.

    Attributes:
        centre: x, y in the picture.
        place: x, y in the scene.
        scale: pixels of the scene a pixel of the picture.
        angle: radians, clockwise as it is seen.
        mirror: whether left and right are exchanged.
    """

    centre: tuple[float, float]
    place: tuple[float, float]
    scale: float
    angle: float = 0.0
    mirror: bool = False

    @property
    def matrix(self) -> Boxes:
        """[2, 2] from the picture to the scene."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        side = -1.0 if self.mirror else 1.0
        return np.array([[side * cos, -sin], [side * sin, cos]], np.float32) * np.float32(self.scale)

    def points(self, points: Boxes) -> Boxes:
        """Places in the scene of points [..., 2] of the picture."""
        moved: Boxes = (points - np.array(self.centre, np.float32)) @ self.matrix.T + np.array(self.place, np.float32)
        return moved

    def squares(self, boxes: Boxes) -> Boxes:
        """Boxes [k, 4] about the same centres, scaled and not turned.

        >>> Pose((5.0, 5.0), (50.0, 50.0), 2.0, 1.0, True).squares(np.array([[4, 4, 6, 6]], np.float32)).tolist()
        [[48.0, 48.0, 52.0, 52.0]]
        """
        middle = self.points((boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5))
        half = (boxes[:, 2:] - boxes[:, :2]) / 2 * np.float32(self.scale)
        return np.concatenate([middle - half, middle + half], 1)

    def around(self, boxes: Boxes) -> Boxes:
        """Boxes [k, 4] around the turned ones."""
        edges: Boxes = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]]
        corners = self.points(edges.reshape(-1, 4, 2))
        return np.concatenate([corners.min(1), corners.max(1)], 1)


def no_boxes() -> Boxes:
    """[0, 4]."""
    return np.zeros((0, 4), np.float32)


@dataclass
class Scene:
    """What has been laid so far.

    Attributes:
        canvas: float [S, S] in [0, 255].
        faces: [k, 4], may reach beyond the scene.
        unknown: [m, 4].
    """

    canvas: Tensor
    faces: Boxes = field(default_factory=no_boxes)
    unknown: Boxes = field(default_factory=no_boxes)

    def lay(
        self,
        source: Source,
        pose: Pose,
        window: tuple[float, float, float, float] | None = None,
        oval: bool = False,
        tone: tuple[float, float] = (1.0, 0.0),
        least: float = 10.0,
    ) -> bool:
        """Lay a window of a picture over the scene; False if too much of a face would be hidden, and nothing is done.

        Args:
            source: the picture.
            pose: how it lies.
            window: the part that is laid; None for all of it.
            oval: only what is inside the ellipse of the window, with a soft edge.
            tone: factor and shift of its brightness.
            least: side in pixels below which a face is left out of the labels (as unknown).
        """
        size = self.canvas.shape[0]
        height, width = source.size
        left, top, right, bottom = window or (0.0, 0.0, width, height)
        part = np.array([[max(0.0, left), max(0.0, top), min(width, right), min(height, bottom)]], np.float32)
        cover = pose.around(part)
        pixels = _pixels(cover[0], size)
        if pixels[2] <= pixels[0] or pixels[3] <= pixels[1]:
            return True
        if (_share(self.faces, cover) > CLEAR).any():
            return False
        self._draw(source, pose, part[0], oval, tone, pixels)
        shown = _share(source.faces, part)
        self._label(pose.squares(source.faces[shown > WHOLE]), least)
        cut = pose.squares(source.faces[(shown > 0) & (shown <= WHOLE)])
        low, high = np.maximum(source.unknown[:, :2], part[:, :2]), np.minimum(source.unknown[:, 2:], part[:, 2:])
        inside = np.concatenate([low, high], 1)[(high > low).all(1)]
        self.unknown = np.concatenate([self.unknown, cut, pose.around(inside)])
        return True

    def _label(self, faces: Boxes, least: float) -> None:
        size = self.canvas.shape[0]
        whole = np.array([[0.0, 0.0, size, size]], np.float32)
        seen, sides = _share(faces, whole), faces[:, 2] - faces[:, 0]
        sure = (seen >= VISIBLE) & (sides >= least)
        self.faces = np.concatenate([self.faces, faces[sure]])
        self.unknown = np.concatenate([self.unknown, faces[~sure & (seen > 0)]])

    def _draw(
        self,
        source: Source,
        pose: Pose,
        part: Boxes,
        oval: bool,
        tone: tuple[float, float],
        pixels: tuple[int, int, int, int],
    ) -> None:
        left, top, right, bottom = pixels
        y, x = torch.arange(top, bottom) + 0.5 - pose.place[1], torch.arange(left, right) + 0.5 - pose.place[0]
        (a, b), (c, d) = (pose.matrix / pose.scale**2).T.tolist()  # back to the picture
        u_hw = (a * x)[None] + (b * y)[:, None] + pose.centre[0]
        v_hw = (c * x)[None] + (d * y)[:, None] + pose.centre[1]
        level = min(max(0, round(-np.log2(pose.scale) - 0.2)), len(source.levels) - 1)
        texture = source.levels[level]
        high, wide = texture.shape
        step = 2.0 / 2**level
        grid = torch.stack([u_hw * (step / wide) - 1, v_hw * (step / high) - 1], -1)
        sampled = F.grid_sample(
            texture[None, None].float(), grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0, 0]
        low_x, low_y, high_x, high_y = part.tolist()
        half = ((high_x - low_x) / 2, (high_y - low_y) / 2)
        off_x, off_y = (u_hw - (low_x + half[0])).abs_(), (v_hw - (low_y + half[1])).abs_()
        if oval:
            alpha = 6 - 6 * torch.hypot(off_x / half[0], off_y / half[1])
        else:
            alpha = torch.minimum(half[0] - off_x, half[1] - off_y) * pose.scale + 0.5
        under = self.canvas[top:bottom, left:right]
        under.add_(alpha.clamp_(0, 1) * ((sampled * tone[0] + tone[1]).clamp_(0, 255) - under))


def compose(host: Source, others: list[Source], rng: np.random.Generator, size: int) -> Scene:
    """A scene [size, size] about a picture, with pieces of others.

    Half of the scenes with a face show the picture alone, the face at 0.2 to 1 of the side, and something else where
    it ends. The others are collages of small faces, and of parts of pictures without a face, on a ground.
    """
    scene = Scene(_ground(others, rng, size))
    grounds = [source for source in [host, *others] if not len(source.faces)]
    people = [source for source in [host, *others] if len(source.faces)]
    if len(host.faces) and rng.random() < 0.5:
        _portrait(scene, host, rng, size)
        if rng.random() < 0.3:
            _pieces(scene, grounds, people, rng, size, int(rng.integers(1, 4)))
        return scene
    ground = host if not len(host.faces) else grounds[rng.integers(len(grounds))] if grounds else None
    if ground is not None and rng.random() < 0.85:
        _lay_ground(scene, ground, rng, size)
    if len(host.faces):
        _pieces(scene, grounds, [host, *people], rng, size, int(rng.integers(3, 9)))
    elif rng.random() < 0.6:
        _pieces(scene, grounds, people, rng, size, int(rng.integers(1, 6)))
    return scene


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """At random, evenly in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _angle(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(0, 0.2), -0.6, 0.6))


def _tone(rng: np.random.Generator) -> tuple[float, float]:
    return float(np.exp(rng.normal(0, 0.25))), float(rng.normal(0, 15))


def _portrait(scene: Scene, host: Source, rng: np.random.Generator, size: int) -> None:
    box = host.faces[rng.integers(len(host.faces))]
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    side = _between(rng, 0.2 * size, 1.0 * size)
    reach = max(0.0, size - 0.8 * side) / 2  # most of the face is seen
    place = size / 2 + rng.uniform(-reach, reach, 2) * min(1.0, abs(rng.normal(0, 0.6)))
    pose = Pose(
        (x, y), (float(place[0]), float(place[1])), side / float(box[2] - box[0]), _angle(rng), rng.random() < 0.5
    )
    scene.lay(host, pose, tone=_tone(rng))


def _lay_ground(scene: Scene, ground: Source, rng: np.random.Generator, size: int) -> None:
    """A part of a picture that covers the scene, if the picture is large enough for it."""
    height, width = ground.size
    scale = max(_between(rng, 0.35, 1.4), size / min(height, width) * float(rng.uniform(0.6, 1.0)))
    half = size / 2 / scale
    centre = [float(rng.uniform(min(half, side / 2), max(side - half, side / 2))) for side in (width, height)]
    angle = _angle(rng) if rng.random() < 0.3 else 0.0
    pose = Pose((centre[0], centre[1]), (size / 2, size / 2), scale, angle, rng.random() < 0.5)
    scene.lay(ground, pose, tone=_tone(rng))


def _pieces(
    scene: Scene, grounds: list[Source], people: list[Source], rng: np.random.Generator, size: int, number: int
) -> None:
    """Faces and, less often, parts of any picture wherever they are, cut out in the same ways."""
    for _ in range(number):
        face = bool(people) and rng.random() < 0.7
        of = people if people and (face or not grounds or rng.random() < 0.5) else grounds
        source = of[rng.integers(len(of))]
        side = _between(rng, 0.055 * size, 0.5 * size)
        height, width = source.size
        if face:
            box = source.faces[rng.integers(len(source.faces))].tolist()
            own = box[2] - box[0]
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        else:
            own = float(min(_between(rng, 20, 120), min(height, width) * 0.8))
            x, y = float(rng.uniform(own / 2, width - own / 2)), float(rng.uniform(own / 2, height - own / 2))
        margin = own * (0.55 + 0.7 * rng.random(4) ** 2)
        window = (x - margin[0], y - margin[1], x + margin[2], y + margin[3])
        oval, angle, mirror, tone = rng.random() < 0.4, _angle(rng), rng.random() < 0.5, _tone(rng)
        for _ in range(TRIES):
            place = rng.uniform(0.0, size, 2)
            pose = Pose((x, y), (float(place[0]), float(place[1])), side / own, angle, mirror)
            if scene.lay(source, pose, window, oval, tone):
                break


def _ground(others: list[Source], rng: np.random.Generator, size: int) -> Tensor:
    """One tone, a slope or noise of some grain: [size, size]."""
    kind = rng.integers(3)
    if kind == 0:
        return torch.full((size, size), float(rng.uniform(0, 255)))
    if kind == 1:
        ends = torch.from_numpy(rng.uniform(0, 255, (1, 1, 2, 2)).astype(np.float32))
    else:
        cells = int(_between(rng, 3, size))
        ends = torch.from_numpy(
            rng.normal(rng.uniform(60, 190), rng.uniform(5, 60), (1, 1, cells, cells)).astype(np.float32)
        )
    return F.interpolate(ends, (size, size), mode="bilinear", align_corners=True)[0, 0].clamp(0, 255)


def _pixels(box: Boxes, size: int) -> tuple[int, int, int, int]:
    """Whole pixels of a scene that a box touches."""
    left, top = (max(0, int(np.floor(side))) for side in box[:2].tolist())
    right, bottom = (min(size, int(np.ceil(side))) for side in box[2:].tolist())
    return left, top, right, bottom


def _share(boxes: Boxes, cover: Boxes) -> Boxes:
    """Share of each box [k, 4] that lies in `cover` [1, 4]: [k]."""
    sides = np.minimum(boxes[:, 2:], cover[:, 2:]) - np.maximum(boxes[:, :2], cover[:, :2])
    share: Boxes = sides.clip(0).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1).clip(1e-6)
    return share
