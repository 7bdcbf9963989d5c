"""Photo folders on a cluster: what Ray costs, photos a second by one worker and two, listing a million, a killed one.

    .venv/bin/python benchmarks/cluster.py --photos 64 --names 1000000

Photos are made up (noise with discs, one megapixel); a listing is of entries that the disk never had.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import psutil
from PIL import Image, ImageDraw

from isotrain.look.cluster_listing import Listing, photos_in
from machine import REPORTS, described

SIDE = (1000, 1000)


def make_photos(folder: Path, count: int) -> None:
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = draw.integers(0, 255, (50, 50, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(SIDE, Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(picture)
        for _ in range(3):
            x, y, r = draw.integers(100, 900, 3)
            pen.ellipse(
                (x - r // 4, y - r // 4, x + r // 4, y + r // 4), fill=tuple(map(int, draw.integers(0, 255, 3)))
            )
        picture.save(folder / f"{number:06d}.jpg", quality=85)


def run(folder: Path, out: Path, workers: int, parts: list[str], kill: bool = False) -> dict[str, float]:
    """One `isotrain look --cluster`; its seconds, and whether a worker was killed when half was done."""
    command = [sys.executable, "-m", "isotrain", "look", str(folder), "--cluster", "--out", str(out), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--workers", str(workers), "--batch", "4", *parts], stdout=subprocess.PIPE, text=True
    )
    killed = False
    while process.poll() is None:
        if kill and not killed and len(list(out.rglob("[0-9]*.jsonl"))) >= 2:
            for child in psutil.Process(process.pid).children(recursive=True):
                if child.name().startswith("ray::") and "Worker" in " ".join(child.cmdline()):
                    child.kill()
                    killed = True
                    break
        time.sleep(0.05)
    told = json.loads(process.stdout.read()) if process.stdout else {}
    assert process.returncode == 0, "it failed"
    assert not kill or killed, "nothing was killed"
    lines = (out / "photos.jsonl").read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    looking = sum(sum(record["sight"]["seconds"].values()) for record in records if record["sight"])
    return {
        **told["seconds"], "all": time.perf_counter() - began, "photos": len(records), "looking": looking,
        "bytes": sum(map(len, lines)) / len(lines),
    }  # fmt: skip


class Entry:
    """What `os.scandir` gives for a file; a million of them without a million files."""

    def __init__(self, folder: str, number: int) -> None:
        # Names as a disk gives them: in no order.
        self.name = f"{number * 7_919 % 10_000_019:08d}.jpg"
        self.path = f"{folder}/{self.name}"

    def is_dir(self) -> bool:
        return False

    def stat(self, follow_symlinks: bool = True) -> SimpleNamespace:
        return SimpleNamespace(st_size=3_000_000, st_mtime_ns=1_700_000_000_000_000_000)


def listing(names: int) -> dict[str, float]:
    """Processor seconds of listing so many names of one folder, and the largest memory meanwhile."""

    @contextmanager
    def entries(folder: str) -> Iterator[Iterator[Entry]]:
        yield (Entry(folder, number) for number in range(names))

    with tempfile.TemporaryDirectory(prefix="isotrain-names-") as place, patch("os.scandir", entries):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        table = Listing(Path(place) / "listing.db")
        table.add(photos_in(Path("/photos"), Path(place) / "out"))
        listed = time.process_time() - began
        size = (Path(place) / "listing.db").stat().st_size
        began = time.process_time()
        count = sum(1 for _ in table.left())
        read = time.process_time() - began
        assert count == names
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        table.close()
    return {"list": listed, "read": read, "MB more": (after - before) / 1024, "table, bytes a name": size / names}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=["names", "photos"])
    chosen = parser.parse_args()
    lines = ["# Photo folders on a cluster", ""]
    lines += [f"- {name}: {value}" for name, value in described().items()]
    if chosen.only != "photos":
        lines += ["", "| names | processor s to list | to read in order | MB of memory more | bytes a name |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for names in (chosen.names // 10, chosen.names):
            told = listing(names)
            lines.append(
                f"| {names:,} | {told['list']:.1f} | {told['read']:.1f} | "
                f"{told['MB more']:.0f} | {told['table, bytes a name']:.0f} |"
            )
            print(lines[-1], flush=True)
    if chosen.only != "names":
        lines += ["", "| what | s, all | s, Ray's start | s, workers start and look | photos/s looking | kB a photo |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
        with tempfile.TemporaryDirectory(prefix="isotrain-cluster-") as place:
            folder = Path(place) / "photos"
            make_photos(folder, chosen.photos)
            for what, workers, kill in (("1 worker", 1, False), ("2 workers", 2, False), ("2, one killed", 2, True)):
                for number in range(chosen.rounds):
                    told = run(folder, Path(place) / f"{workers} {kill} {number}", workers, [], kill)
                    pace = told["photos"] / told["looking"] * workers
                    lines.append(
                        f"| {what} | {told['all']:.1f} | {told['start']:.1f} | {told['look']:.1f} | "
                        f"{pace:.2f} | {told['bytes'] / 1000:.1f} |"
                    )
                    print(lines[-1], flush=True)
    path = REPORTS / f"cluster-{described()['date']}.md"
    path.write_text("\n".join(lines) + "\n")
    print(path)


if __name__ == "__main__":
    main()
