"""How long the chain takes: a photo of 12 megapixels with five faces, a gallery of 10,000; pictures like LFW's.

Example: python benchmarks/faces_chain.py --lfw ../shared/data/lfw

The photo is made of five pictures of LFW, enlarged, on a grey ground with noise; the people of the gallery are random.
Cold: `isotrain faces identify` in a process of its own, imports left out, what it says of its own seconds; warm: the
same chain in one process, median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from isotrain.data.pictures import read_picture
from isotrain.faces.chain import Chain, central
from isotrain.faces.recognise import recognise
from isotrain.gallery import Consent, Group, NewFace, PhotoSource, open_gallery
from isotrain.vision.facemodel import FaceModel
from isotrain.vision.frontal import frontal

SIZE = (3000, 4000)
FACES = 5


def photo_of(files: list[Path]) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    ground = (128 + 12 * torch.randn(1, *SIZE, generator=rng)).clamp(0, 255)
    for place, file in enumerate(files):
        side = 700 + 60 * place
        shown = F.interpolate(read_picture(file)[None].float(), size=(side, side), mode="bicubic")[0].clamp(0, 255)
        left, top = 60 + place * 780, 300 + 400 * (place % 3)
        side = min(side, SIZE[1] - left)
        ground[:, top : top + side, left : left + side] = shown[:, :side, :side]
    return ground.round().to(torch.uint8).expand(3, -1, -1).contiguous()


def fill(path: Path, people: int, dims: int, model: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(people, dims))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    yes = Consent("household", "benchmark", date(2024, 1, 1))
    with open_gallery(path) as gallery:
        gallery.enroll("Nobody", [NewFace(PhotoSource("0", f"{0:064x}"), (0, 0, 9, 9), 1.0, vectors[0])], model, yes)
        some = [
            NewFace(PhotoSource(str(n), f"{n:064x}"), (0, 0, 9, 9), 1.0, vector)
            for n, vector in enumerate(vectors[1:], 1)
        ]
        ids = gallery.add(some, model)
        gallery.arrange([Group([face], new=True) for face in ids], by="machine")


def spread(times: list[float]) -> str:
    return f"{1000 * statistics.median(times):.1f} ms ({1000 * min(times):.1f} to {1000 * max(times):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", type=Path, required=True, help="folder of people with pictures of 250 pixels")
    parser.add_argument("--embedder", type=Path, help="a run folder of faces; the shipped one if left out")
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    files = sorted(given.lfw.glob("*/*_0001.jpg"))
    chain = Chain.of(embedder=given.embedder)
    with tempfile.TemporaryDirectory() as folder:
        photo, gallery = Path(folder) / "photo.jpg", Path(folder) / "gallery.db"
        Image.fromarray(photo_of(files[:: len(files) // FACES][:FACES]).permute(1, 2, 0).numpy()).save(
            photo, quality=90
        )
        fill(gallery, given.people, chain.embedder.dims, chain.embedder.id)
        print(f"photo {SIZE[1]} x {SIZE[0]}, gallery of {given.people:,}, {given.threads} threads")
        wholes, stages = [], []
        with open_gallery(gallery) as people:
            for turn in range(given.rounds + 1):
                for stage in chain.seconds:
                    chain.seconds[stage] = 0.0
                began = time.perf_counter()
                picture = read_picture(photo)
                read = time.perf_counter() - began
                (faces,) = chain.look([picture])
                search = time.perf_counter()
                recognise(people, faces, chain.embedder.id, 0.5)
                ended = time.perf_counter()
                if turn:  # the first warms up
                    wholes.append(ended - began)
                    stages.append({"read": read, **chain.seconds, "gallery": ended - search})
        print(f"warm, {len(faces)} faces found: {spread(wholes)}")
        for stage in stages[0]:
            print(f"  {stage:10} {spread([one[stage] for one in stages])}")
        cold = []
        words = ["faces", "identify", str(photo), "--threshold", "0.5", "--json", "--gallery", str(gallery)]
        words += [] if given.embedder is None else ["--embedder", str(given.embedder)]
        for _ in range(3):
            made = subprocess.run(
                [sys.executable, "-c", "from isotrain.app.cli import main; main()", *words],
                check=True, capture_output=True, text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(given.threads)},
            )  # fmt: skip
            cold.append(json.loads(made.stdout)["seconds"])
        print(f"cold command, without imports: {spread([sum(one.values()) for one in cold])}")
        for stage in cold[0]:
            print(f"  {stage:10} {spread([one[stage] for one in cold])}")
    small = [read_picture(file) for file in files[:128]]
    chain.look(small[:32], central)
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        for start in range(0, len(small), 32):
            chain.look(small[start : start + 32], central)
        rates.append(len(small) / (time.perf_counter() - began))
    between = f"{min(rates):.1f} to {max(rates):.1f}"
    print(f"pictures of 250 pixels, batches of 32: {statistics.median(rates):.1f} a second ({between})")
    torch.set_num_threads(1)
    model, cutter = FaceModel.load(), chain.cutter
    boxes = torch.tensor([[68.2, 68.2, 181.8, 181.8]])
    marked = cutter.landmarker.mark(small[0], boxes)
    warps = []
    for _ in range(30):
        began = time.perf_counter()
        frontal(small[0], marked.points, model, 152)
        warps.append(time.perf_counter() - began)
    print(f"warp of a face to 152 x 152, one thread: {spread(warps[5:])}")


if __name__ == "__main__":
    main()
