"""Draws a person's head into a picture: filled curves from back to front, then light on an ellipsoid."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from isotrain.data.synthetic.head import Person, Points, View, depth, landmarks, rotation, seen
from isotrain.data.synthetic.texture import Floats

Colour = Floats | Points

REACH = 2.4
"""Units of the head around its centre that are drawn; the shoulders end there or at the picture's edge."""
FINE = 3
"""Pixels are drawn as so many by so many and averaged, so that edges are smooth."""


def draw_head(person: Person, view: View, canvas: Floats) -> Points:
    """Draw a head on a picture [H, W, 3], in place; its landmarks in pixels, [68, 2]."""
    points = landmarks(person, view.smile, view.opened, view.lids)
    places = seen(points, view)
    left, top = (int(np.floor(c - REACH * view.scale)) for c in view.centre)
    side = int(np.ceil(2 * REACH * view.scale)) + 1
    layer = _Layer(side, (left, top), view)
    if person.style == "long":
        wide = person.proportions["width"] * person.proportions["hair_volume"]
        layer.shape(_hull(layer.at(_ring((0, 0.55, -0.45), (wide * 1.15, 1.5, 0.7)))), person.hair * 0.75)
    _shoulders(layer, person, view)
    _behind(layer, person)
    _face(layer, person, points)
    colour = np.asarray(layer.image.reduce(FINE), np.float32) / 255
    alpha = np.asarray(layer.solid.reduce(FINE), np.float32)[..., None] / 255
    # The layer's empty pixels are black: averaging made the colours of the edges darker by their alpha.
    colour = colour / np.maximum(alpha, 1e-3)
    colour = (colour * _light(side, (left, top), view)[..., None]).clip(0, 1)
    high, wide = canvas.shape[:2]
    inside = (slice(max(0, -top), min(side, high - top)), slice(max(0, -left), min(side, wide - left)))
    if inside[0].start < inside[0].stop and inside[1].start < inside[1].stop:
        window = canvas[max(0, top) : min(high, top + side), max(0, left) : min(wide, left + side)]
        window += alpha[inside] * (colour[inside] - window)
    return places


class _Layer:
    """A square picture in finer pixels and what of it is solid, drawn on in head coordinates."""

    def __init__(self, side: int, corner: tuple[int, int], view: View) -> None:
        self.image = Image.new("RGB", (side * FINE, side * FINE))
        self.solid = Image.new("L", self.image.size)
        self.pen = ImageDraw.Draw(self.image, "RGBA")  # mixes by alpha
        self.cutter = ImageDraw.Draw(self.solid)
        self.corner, self.view = corner, view

    def at(self, points: Points) -> Points:
        """Places in the layer's pixels, [..., 2], of points of the head [..., 3]."""
        return np.asarray((seen(points, self.view) - self.corner) * FINE)

    def shape(self, places: Points, colour: Colour) -> None:
        """Fill a polygon [n, 2] in the layer's pixels; it becomes solid."""
        outline = [(float(x), float(y)) for x, y in places]
        self.pen.polygon(outline, fill=_ink(colour))
        self.cutter.polygon(outline, fill=255)

    def fill(self, points: Points, colour: Colour, share: float = 1.0) -> None:
        """Fill the smooth outline through points [n, 3] on the face; a share below 1 lets through what is under it."""
        self.pen.polygon([(float(x), float(y)) for x, y in _curve(self.at(points))], fill=_ink(colour, share))

    def line(self, points: Points, colour: Colour, width: float) -> None:
        """A line through points [n, 3], its width in units of the head."""
        places = _curve(self.at(points), closed=False)
        thick = max(1, round(width * self.view.scale * FINE))
        self.pen.line([(float(x), float(y)) for x, y in places], fill=_ink(colour), width=thick, joint="curve")

    def disc(self, centre: Points, radius: float, colour: Colour) -> None:
        """A disc in the picture's plane around a point [3]."""
        (x, y), r = self.at(centre), radius * self.view.scale * FINE
        self.pen.ellipse((float(x - r), float(y - r), float(x + r), float(y + r)), fill=_ink(colour))


def _ink(colour: Colour, share: float = 1.0) -> tuple[int, int, int, int]:
    red, green, blue = (int(v) for v in (np.asarray(colour).clip(0, 1) * 255).round())
    return red, green, blue, round(255 * share)


def _curve(places: Points, closed: bool = True, steps: int = 6) -> Points:
    """A smooth line through all places [n, 2] (Catmull and Rom's): [about n * steps, 2]."""
    if closed:
        before, here, after, beyond = (np.roll(places, k, 0) for k in (1, 0, -1, -2))
    else:
        padded = np.concatenate([places[:1], places, places[-1:]])
        before, here, after, beyond = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, steps, endpoint=closed is False)[:, None, None]
    curve = here + 0.5 * t * (
        after - before + t * (2 * before - 5 * here + 4 * after - beyond + t * (3 * (here - after) + beyond - before))
    )
    return np.asarray(curve.transpose(1, 0, 2).reshape(-1, 2))


def _hull(places: Points) -> Points:
    from scipy.spatial import ConvexHull

    return np.asarray(places[ConvexHull(places).vertices])


def _ring(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Points:
    """Points all over an ellipsoid, [n, 3]."""
    around, down = np.meshgrid(np.linspace(0, 2 * np.pi, 16, endpoint=False), np.linspace(0.0, np.pi, 9))
    ball = np.stack([np.sin(down) * np.cos(around), -np.cos(down), np.sin(down) * np.sin(around)], -1).reshape(-1, 3)
    return np.asarray(ball * radii + centre)


def _shoulders(layer: _Layer, person: Person, view: View) -> None:
    """Neck and clothes: they turn with the head only in the plane, and only a little."""
    chin = person.proportions["chin"]
    unit = view.scale * FINE
    x, y = layer.at(np.array([0.0, chin * 0.75, -0.2]))
    neck = np.array([[-0.52, -0.4], [0.52, -0.4], [0.58, 1.2], [-0.58, 1.2]]) * unit + [x, y]
    layer.shape(neck, person.skin * 0.72)
    body = np.array(
        [
            [-2.6, 2.6],
            [-2.3, 1.05],
            [-1.2, 0.72],
            [-0.5, 0.55],
            [0, 0.8],
            [0.5, 0.55],
            [1.2, 0.72],
            [2.3, 1.05],
            [2.6, 2.6],
        ]
    )
    layer.shape(body * unit + [x, y], view.clothes)


def _behind(layer: _Layer, person: Person) -> None:
    """Ears, the back of the head, and the hair on it."""
    p = person.proportions
    bald = person.style == "bald"
    volume = 1.0 if bald else p["hair_volume"]
    skull = _ring((0, -0.25, -0.3), (p["width"] * volume, 1.12 * volume, 1.0 * volume))
    layer.shape(_hull(layer.at(skull)), person.skin if bald else person.hair)
    if person.style != "long":
        for side in (-1.0, 1.0):
            turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
            ear = np.column_stack(
                [
                    np.full(8, side * p["width"] * 1.02),
                    p["ears"] * 1.2 * np.sin(turn) - 0.02,
                    p["ears"] * 0.6 * np.cos(turn) - 0.3,
                ]
            )
            ear[:, 0] += side * 0.09 * (np.sin(turn) < 0.9)
            layer.shape(_hull(layer.at(np.concatenate([ear, ear * [0.94, 0.9, 1]]))), person.skin * 0.88)


def _face(layer: _Layer, person: Person, points: Points) -> None:
    p = person.proportions
    across = np.linspace(-1, 1, 13)
    hairline_x = across * p["width"] * 0.94
    hairline_y = -p["forehead"] + p["hairline"] * np.square(across) * 1.5 + 0.35 * across**6
    hairline = np.column_stack([hairline_x, hairline_y, depth(hairline_x, hairline_y) - 0.1 * across**2])
    cheek = np.array(
        [[s * p["cheeks"] * k, y, z] for s in (-1, 1) for k, y, z in ((1, 0.15, 0.4), (0.85, 0.5, 0.5), (1, -0.3, 0.3))]
    )
    layer.shape(_hull(layer.at(np.concatenate([points[:17], hairline, cheek]))), person.skin)
    for side in (-1, 1):  # cheeks, a little red
        turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        x, y = side * 0.55 + 0.2 * np.cos(turn), 0.25 + 0.17 * np.sin(turn)
        layer.fill(np.column_stack([x, y, depth(x, y)]), person.skin * [1.0, 0.82, 0.8], 0.35)
    if person.beard:
        low, lips = points[2:15], points[[54, 53, 51, 49, 48]] + [0, -0.07, 0]
        layer.fill(
            np.concatenate([low * [0.97, 1, 1], lips * [1.5, 1, 1]]),
            person.hair * 0.9,
            min(1.0, 0.35 + 0.7 * person.beard),
        )
    dark = person.skin * 0.6
    for mole in person.moles:
        layer.disc(np.array([mole[0], mole[1], depth(mole[0], mole[1])]), float(mole[2]), person.skin * 0.45)
    if person.folds > 0.3:
        for side in (-1, 1):
            x = side * (np.array([0.9, 1.25, 1.3]) * p["nose_width"] + [0.03, 0.07, 0.12])
            y = p["nose_y"] + np.array([-0.02, 0.18, 0.34])
            layer.line(np.column_stack([x, y, depth(x, y) + 0.05]), person.skin * (1 - 0.35 * person.folds), 0.03)
        if person.folds > 0.6:
            x = np.linspace(-0.4, 0.4, 5)
            for high in (-0.72, -0.82):
                layer.line(
                    np.column_stack([x, np.full(5, high), depth(x, high)]),
                    person.skin * (1 - 0.25 * person.folds),
                    0.02,
                )
    _nose(layer, person, points)
    _eyes(layer, person, points)
    outer, inner = points[48:60], points[60:68]
    layer.fill(outer, person.lips)
    layer.fill(inner, np.array([0.25, 0.08, 0.08], np.float32))
    if inner[6, 1] - inner[2, 1] > 0.06:  # teeth, where the mouth is open
        teeth = np.concatenate([inner[:5], inner[[5, 7]] * [1, 0, 1] + [0, inner[2, 1] + 0.045, 0]])
        layer.fill(teeth, np.array([0.93, 0.91, 0.86], np.float32))
    layer.line(inner[:5], dark * 0.7, 0.018)
    if person.style in ("fringe", "long"):
        top = hairline[1:-1]
        reach = (0.30 if person.style == "fringe" else 0.12) * (1 - 0.6 * np.square(across[1:-1]))
        low = top + np.column_stack([0 * reach, reach, 0.05 + 0 * reach])
        layer.shape(layer.at(np.concatenate([top - [0, 0.12, 0], low[::-1]])), person.hair)


def _nose(layer: _Layer, person: Person, points: Points) -> None:
    bridge, wings = points[27:31], points[31:36]
    lit = float((rotation(layer.view).T @ layer.view.light)[0])  # which side of the nose is in the shadow
    for side, wing in ((-1, wings[0]), (1, wings[4])):
        shade = 0.82 - 0.14 * side * -lit if side * lit < 0 else 0.95
        layer.shape(layer.at(np.stack([bridge[0], bridge[1], bridge[3], wing])), person.skin * shade)
    layer.fill(wings, person.skin * 0.7)
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    tip = bridge[3] + np.column_stack(
        [0.55 * person.proportions["nose_width"] * np.cos(turn), 0.075 * np.sin(turn) + 0.04, 0 * turn - 0.03]
    )
    layer.fill(tip, person.skin * 1.04)
    for wing in (wings[1], wings[3]):
        layer.disc(wing + np.array([0, -0.01, 0]), 0.035, person.skin * 0.35)


def _eyes(layer: _Layer, person: Person, points: Points) -> None:
    p = person.proportions
    for eye, brow in ((points[36:42], points[17:22]), (points[42:48], points[22:27])):
        layer.fill(eye, np.array([0.95, 0.94, 0.92], np.float32))
        middle = eye.mean(0)
        height = float(eye[4:, 1].mean() - eye[1:3, 1].mean()) / 2
        radius = min(0.085, height * 1.25)
        layer.disc(middle, radius, person.iris)
        layer.disc(middle, radius * 0.5, np.zeros(3, np.float32))
        layer.disc(middle + np.array([-0.02, -0.02, 0]), radius * 0.2, np.ones(3, np.float32))
        layer.line(eye[:4], person.skin * 0.3, 0.03)
        layer.line(eye[[3, 4, 5, 0]], person.skin * 0.62, 0.015)
        layer.line(eye[:4] + np.array([0, -0.055, 0]), person.skin * 0.72, 0.02)
        colour = person.hair + (1 - person.brows) * 0.6 * (person.skin - person.hair)
        layer.line(brow, colour, 2 * p["brow_thick"])


def _light(side: int, corner: tuple[int, int], view: View) -> Floats:
    """What the light does to each pixel of the layer: [side, side]."""
    down, across = np.mgrid[:side, :side].astype(np.float32) + 0.5
    x = (across + corner[0] - view.centre[0]) / (1.25 * view.scale)
    y = (down + corner[1] - view.centre[1] + 0.15 * view.scale) / (1.7 * view.scale)
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0.05))
    length = np.sqrt(x**2 + y**2 + z**2)
    facing = (x * view.light[0] + y * view.light[1] + z * view.light[2]) / length
    return np.asarray(view.ambient + (1 - view.ambient) * 1.25 * np.maximum(facing, 0), np.float32)
