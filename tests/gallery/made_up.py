"""Faces that nobody has."""

from __future__ import annotations

import hashlib
from datetime import date

import numpy as np

from isotrain.gallery import Consent, NewFace, PhotoSource

MODEL, DIMS = "tiny:0123abcd", 16
PNG = b"\x89PNG\r\n\x1a\n"
GIVEN = Consent("given", by="Ada herself", on=date(2024, 1, 1), how="signed form")


def unit(seed, number=None, dims=DIMS):
    vectors = np.random.default_rng(seed).standard_normal((number or 1, dims)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors if number else vectors[0]


def photo(name):
    return PhotoSource(f"album/{name}.jpg", hashlib.sha256(str(name).encode()).hexdigest(), (300, 400))


def face(name, seed=None, box=(10, 10, 50, 60), **more):
    """A face in the photo of that name; its vector is random, and known by the seed."""
    seed = int.from_bytes(hashlib.sha256(f"{name}{box}".encode()).digest()[:4]) if seed is None else seed
    words = {
        "landmarks": np.arange(8, dtype=np.float32).reshape(4, 2),
        "crop": PNG + hashlib.sha256(f"crop {name}".encode()).digest() * 8,
        "made": {"detector": "by hand"},
        **more,
    }
    return NewFace(photo(name), box, 0.9, unit(seed), **words)


def enroll(gallery, name, *faces, consent=GIVEN):
    return gallery.enroll(name, faces, MODEL, consent, today=date(2024, 6, 1))
