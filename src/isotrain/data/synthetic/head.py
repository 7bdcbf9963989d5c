"""A drawn person: proportions and colours, the 68 landmarks in three dimensions, and where a view puts them.

Head coordinates: x to the right of the picture, y down, z towards the viewer, the origin between the ears, the unit
half the width of an average head. A view is orthographic: turned, scaled and shifted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isotrain.data.synthetic.texture import Floats

Points = NDArray[np.float64]

SKINS = np.array([[0.97, 0.84, 0.75], [0.93, 0.76, 0.62], [0.80, 0.60, 0.44], [0.58, 0.39, 0.27], [0.36, 0.23, 0.17]])
HAIRS = np.array(
    [
        [0.09, 0.07, 0.07],
        [0.26, 0.16, 0.10],
        [0.45, 0.29, 0.16],
        [0.83, 0.68, 0.40],
        [0.62, 0.27, 0.12],
        [0.72, 0.72, 0.72],
    ]
)
IRISES = np.array([[0.25, 0.15, 0.08], [0.42, 0.28, 0.13], [0.30, 0.45, 0.30], [0.30, 0.48, 0.68], [0.12, 0.10, 0.10]])
BOX = 2.27
"""Side of a face's box in units of the head: 2.7 times the distance of the eyes, as in LFW."""
CENTRE = np.array([0.0, 0.2, 0.5])
"""The point of the head that the box is centred on: on the nose."""

# What tells people apart, each with its mean and spread over people.
PROPORTIONS: dict[str, tuple[float, float]] = {
    "width": (1.0, 0.06),
    "chin": (1.25, 0.10),  # its y
    "jaw": (0.75, 0.16),  # exponent of the jaw's curve: small is square, large is pointed
    "forehead": (0.98, 0.10),  # height of the hairline over the origin
    "hairline": (0.25, 0.16),  # how much lower it is at the temples
    "eyes_apart": (0.42, 0.035),
    "eye_width": (0.17, 0.017),
    "eye_height": (0.075, 0.016),
    "eye_tilt": (0.0, 0.10),
    "eye_y": (-0.28, 0.035),
    "brow_y": (-0.52, 0.04),
    "brow_arch": (0.07, 0.035),
    "brow_tilt": (0.0, 0.10),
    "brow_thick": (0.055, 0.022),
    "nose_y": (0.33, 0.05),
    "nose_width": (0.19, 0.035),
    "nose_depth": (1.12, 0.08),
    "mouth_y": (0.70, 0.04),
    "mouth_width": (0.34, 0.045),
    "upper_lip": (0.070, 0.022),
    "lower_lip": (0.095, 0.026),
    "cheeks": (0.86, 0.05),
    "ears": (0.24, 0.05),
    "hair_volume": (1.12, 0.06),
}


@dataclass(frozen=True)
class Person:
    """What a person is born with, the same in every picture.

    Attributes:
        proportions: values of `PROPORTIONS`.
        skin: colour, [3].
        hair: colour, [3].
        iris: colour, [3].
        lips: colour, [3].
        style: "bald", "short", "fringe" or "long".
        beard: how dense, 0 for none.
        brows: how dark against the hair, [0, 1].
        folds: depth of the lines beside the mouth and on the forehead, [0, 1].
        moles: x, y of marks on the skin and their radii, [m, 3].
    """

    proportions: dict[str, float]
    skin: Floats
    hair: Floats
    iris: Floats
    lips: Floats
    style: str
    beard: float
    brows: float
    folds: float
    moles: Points


@dataclass(frozen=True)
class View:
    """How a head is seen in one picture.

    Attributes:
        yaw: radians, positive turns the face to the right of the picture.
        pitch: radians, positive looks down.
        roll: radians, positive tilts the head clockwise.
        scale: pixels of one unit of the head.
        centre: x, y in pixels of the point `CENTRE`.
        smile: corners of the mouth up, [-1, 1].
        opened: mouth open, [0, 1].
        lids: eyes open, about 1.
        light: direction the light comes from, [3], of length 1.
        ambient: share of the light that comes from everywhere.
        clothes: colour, [3].
    """

    yaw: float
    pitch: float
    roll: float
    scale: float
    centre: tuple[float, float]
    smile: float
    opened: float
    lids: float
    light: Points
    ambient: float
    clothes: Floats


def born(rng: np.random.Generator) -> Person:
    """A person at random."""
    proportions = {
        name: float(mean + spread * np.clip(rng.standard_normal(), -2.2, 2.2))
        for name, (mean, spread) in PROPORTIONS.items()
    }
    proportions["brow_thick"] = max(0.02, proportions["brow_thick"])
    tone = rng.uniform(0, len(SKINS) - 1)
    low = min(int(tone), len(SKINS) - 2)
    skin = SKINS[low] + (tone - low) * (SKINS[low + 1] - SKINS[low]) + rng.uniform(-0.03, 0.03, 3)
    hair = HAIRS[rng.integers(len(HAIRS))] * rng.uniform(0.8, 1.2)
    marks = int(rng.integers(0, 5))
    places = np.stack(
        [rng.uniform(-0.7, 0.7, marks), rng.uniform(-0.1, 0.95, marks), rng.uniform(0.018, 0.05, marks)], 1
    )
    return Person(
        proportions,
        np.asarray(skin.clip(0, 1), np.float32),
        np.asarray(hair.clip(0, 1), np.float32),
        np.asarray(IRISES[rng.integers(len(IRISES))], np.float32),
        np.asarray((skin * [0.85, 0.5, 0.5] + rng.uniform(0, 0.15) * np.array([1, 0, 0.1])).clip(0, 1), np.float32),
        ("bald", "short", "short", "fringe", "fringe", "long", "long")[rng.integers(7)],
        float(max(0.0, rng.uniform(-1.0, 0.8))),
        float(rng.uniform(0.3, 1.0)),
        float(rng.uniform(0, 1)),
        places,
    )


def depth(x: Points | float, y: Points | float) -> Any:
    """z of the front of the head at x, y: an ellipsoid's, flatter in the middle."""
    inside = 1 - np.square(np.asarray(x) / 1.12) - np.square((np.asarray(y) - 0.1) / 1.75)
    return 0.85 * np.sqrt(np.maximum(inside, 0.02)) - 0.05


def landmarks(person: Person, smile: float = 0.0, opened: float = 0.0, lids: float = 1.0) -> Points:
    """The 68 landmarks in iBUG's order, in head coordinates: [68, 3]."""
    p = person.proportions
    drop = 0.16 * opened
    turn = np.linspace(-np.pi / 2, np.pi / 2, 17)
    jaw_y = -0.15 + (p["chin"] + drop + 0.15) * np.cos(turn) ** p["jaw"]
    jaw_x = p["width"] * np.sin(turn)
    jaw = np.stack([jaw_x, jaw_y, -0.35 + 0.85 * np.cos(turn)], 1)

    along = np.linspace(0, 1, 5)
    brow_x = p["eyes_apart"] + np.linspace(0.36, -0.24, 5)
    brow_y = p["brow_y"] - p["brow_arch"] * np.sin(np.pi * along * 0.8 + 0.3) + p["brow_tilt"] * (0.5 - along) * 0.6
    left_brow = np.stack([-brow_x, brow_y, depth(brow_x, brow_y) + 0.06], 1)

    bridge_y = np.linspace(p["eye_y"] + 0.04, p["nose_y"] - 0.10, 4)
    bridge_z = np.linspace(depth(0.0, p["eye_y"]) + 0.02, p["nose_depth"], 4)
    bridge = np.stack([np.zeros(4), bridge_y, bridge_z], 1)
    wing_x = np.linspace(-1, 1, 5) * p["nose_width"]
    wing_y = p["nose_y"] + 0.05 * (1 - np.abs(np.linspace(-1, 1, 5)))
    wing_z = depth(0.0, p["nose_y"]) + 0.04 + 0.14 * (1 - np.abs(np.linspace(-1, 1, 5)))
    wings = np.stack([wing_x, wing_y, wing_z], 1)

    corner = np.array([[-1, 0], [-0.4, -1], [0.4, -1], [1, 0], [0.4, 0.75], [-0.4, 0.75]])  # the left of the picture
    eye = corner * [p["eye_width"], p["eye_height"] * lids]
    eye[:, 1] -= p["eye_tilt"] * -eye[:, 0]
    left_eye = np.column_stack([eye[:, 0] - p["eyes_apart"], eye[:, 1] + p["eye_y"], np.zeros(6)])
    left_eye[:, 2] = depth(left_eye[:, 0], left_eye[:, 1]) - 0.03

    wide = p["mouth_width"] * (1 + 0.18 * smile)
    lip_x = np.array([-1, -0.62, -0.24, 0, 0.24, 0.62, 1, 0.62, 0.26, 0, -0.26, -0.62])
    up, low = p["upper_lip"], p["lower_lip"]
    lip_y = np.array([0, -0.75, -1.0, -0.85, -1.0, -0.75, 0, 0.72, 0.98, 1.0, 0.98, 0.72])
    heights = np.where(lip_y < 0, -lip_y * -up, lip_y * low) + np.where(lip_y > 0, drop, 0.0)
    inner_x = np.array([-0.86, -0.28, 0, 0.28, 0.86, 0.28, 0, -0.28])
    inner_y = np.array([0, -0.012, -0.012, -0.012, 0, 0.012 + drop, 0.012 + drop, 0.012 + drop])
    mouth_x = np.concatenate([lip_x, inner_x]) * wide
    mouth_y = p["mouth_y"] + np.concatenate([heights, inner_y]) - 0.09 * smile * np.square(mouth_x / wide)
    mouth_y += np.where(np.isin(np.arange(20), (0, 6, 12, 16)), drop / 2, 0.0)
    mouth = np.column_stack([mouth_x, mouth_y, depth(mouth_x, mouth_y) + 0.05])

    def mirrored(points: Points, order: list[int]) -> Points:
        return points[order] * [-1, 1, 1]

    right_brow = mirrored(left_brow, [4, 3, 2, 1, 0])
    right_eye = mirrored(left_eye, [3, 2, 1, 0, 5, 4])
    return np.concatenate([jaw, left_brow, right_brow, bridge, wings, left_eye, right_eye, mouth])


def rotation(view: View) -> Points:
    """Of the head: pitch, then yaw, then roll, [3, 3]."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (view.yaw, view.pitch, view.roll))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(roll @ yaw @ pitch)


def seen(points: Points, view: View) -> Points:
    """Places in the picture, pixels, of points of the head [..., 3]: [..., 2]."""
    turned = (points - CENTRE) @ rotation(view).T
    return np.asarray(turned[..., :2] * view.scale + view.centre)


def box(view: View) -> tuple[float, float, float, float]:
    """The face's box: a square of `BOX` units around the nose, whatever the pose."""
    half = BOX / 2 * view.scale
    x, y = view.centre
    return x - half, y - half, x + half, y + half
