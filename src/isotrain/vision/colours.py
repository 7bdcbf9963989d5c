"""Colour spaces for grouping regions: each sees past other accidents of light. Values in [0, 255]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def grey(rgb: Floats) -> Floats:
    """Intensity: [H, W, 1] of [H, W, 3]."""
    return rgb @ np.array([[0.299], [0.587], [0.114]], np.float32)


def hsv(rgb: Floats) -> Floats:
    """Hue, saturation and value, [H, W, 3]. Hue is not changed by shadow nor by highlights.

    >>> hsv(np.array([[[0, 255, 0]]], np.float32))
    array([[[ 85., 255., 255.]]], dtype=float32)
    """
    most, least = rgb.max(-1), rgb.min(-1)
    spread = np.maximum(most - least, 1e-6)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sixth = np.where(
        most == red,
        (green - blue) / spread % 6,
        np.where(most == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    hue = np.where(most == least, 0, sixth) * (255 / 6)
    return np.stack([hue, 255 * (most - least) / np.maximum(most, 1e-6), most], -1).astype(np.float32)


def lab(rgb: Floats) -> Floats:
    """CIE L*a*b* of sRGB under D65, L* times 2.55, a* and b* shifted by 128, [H, W, 3]: near to what eyes tell apart.

    >>> lab(np.array([[[255, 255, 255]]], np.float32)).round()
    array([[[255., 128., 128.]]], dtype=float32)
    """
    levels = rgb / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float32
    )
    xyz = linear @ (to_xyz / to_xyz.sum(1, keepdims=True)).T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([(116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128], -1).astype(np.float32)


def rgi(rgb: Floats) -> Floats:
    """Red and green in parts of the sum, and intensity, [H, W, 3]: the first two do not see shadows."""
    total = np.maximum(rgb.sum(-1, keepdims=True), 1e-6)
    return np.concatenate([255 * rgb[..., :2] / total, grey(rgb)], -1).astype(np.float32)


def hue(rgb: Floats) -> Floats:
    """Hue alone, [H, W, 1]."""
    return hsv(rgb)[..., :1]


SPACES = {"hsv": hsv, "lab": lab, "rgi": rgi, "hue": hue, "grey": grey}
