"""Grey scenes as a camera might have kept them: in other light, blurred, noisy, or coded."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def developed(canvases_nhw: Tensor, rng: np.random.Generator) -> Tensor:
    """Scenes [n, S, S] in [0, 255] as a camera might have kept them: contrast, brightness, bend, blur, noise, JPEG."""
    n = len(canvases_nhw)

    def draws(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (n, 1, 1)).astype(np.float32))

    middle = canvases_nhw.mean((1, 2), keepdim=True)
    x_nhw = ((canvases_nhw - middle) * torch.exp2(draws(-1.2, 0.4)) + middle + draws(-45, 45)).clamp(0, 255)
    x_nhw = 255 * (x_nhw / 255).pow(torch.exp2(draws(-0.6, 0.6)))
    for place in np.flatnonzero(rng.random(n) < 0.3):
        size = x_nhw.shape[-1]
        small = int(size * rng.uniform(0.4, 0.8))
        x = F.interpolate(x_nhw[None, None, place], (small, small), mode="bilinear", antialias=True)
        x_nhw[place] = F.interpolate(x, (size, size), mode="bilinear")[0, 0]
    for place in np.flatnonzero(rng.random(n) < 0.35):
        noise = rng.standard_normal(x_nhw.shape[1:], np.float32)
        x_nhw[place] += torch.from_numpy(noise) * float(rng.uniform(1, 12))
    x_nhw = x_nhw.clamp(0, 255)
    for place in np.flatnonzero(rng.random(n) < 0.35):
        x_nhw[place] = _coded(x_nhw[place], int(rng.integers(15, 85)))
    return x_nhw


def _coded(x_hw: Tensor, quality: int) -> Tensor:
    """What JPEG leaves of a picture in [0, 255]."""
    content = io.BytesIO()
    Image.fromarray(x_hw.round().to(torch.uint8).numpy()).save(content, "jpeg", quality=quality)
    return torch.from_numpy(np.array(Image.open(content), np.float32))
