"""What a look takes: one photo of a megapixel, warm and cold; a folder; each part.

    python benchmarks/look.py [--parts FOLDER] [--photo FILE] [--runs 7]

Wall-clock time is that of this machine as busy as it is; time of the processor is what one core works. Parts are the
shipped ones, or the runs `classify`, `objects` and `caption` in another folder.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from isotrain.data.pictures import read_picture
from isotrain.data.synthetic import scene_dataset
from isotrain.look import Looker, draw
from isotrain.look.folder import How, look_through

MEGAPIXEL = (1152, 864)


def timed(what: Callable[[], object], runs: int) -> tuple[float, float]:
    """Medians of seconds on the wall and of the processor."""
    walls, works = [], []
    for _ in range(runs):
        wall, work = time.perf_counter(), time.process_time()
        what()
        walls.append(time.perf_counter() - wall)
        works.append(time.process_time() - work)
    return statistics.median(walls), statistics.median(works)


def photos(folder: Path, photo: Path | None) -> list[Path]:
    """A photo of a megapixel that no net but that of faces knows, and drawn shapes as large, which all look through."""
    plain = Image.open(photo).convert("RGB") if photo else Image.effect_noise(MEGAPIXEL, 60).convert("RGB")
    plain.resize(MEGAPIXEL).save(folder / "photo.jpg", quality=92)
    drawn = scene_dataset(1, 1, 1, seed=3).test[0].picture
    assert isinstance(drawn, torch.Tensor)
    Image.fromarray(drawn.permute(1, 2, 0).numpy()).resize((1000, 1000)).save(folder / "drawn.jpg", quality=92)
    return [folder / "photo.jpg", folder / "drawn.jpg"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, help="folder with runs classify, objects, caption")
    parser.add_argument("--photo", type=Path, help="a photo to look at")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = ("classify", "objects", "caption")
    chosen = {name: str(given.parts / name) for name in names} if given.parts else {}
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        looker = Looker.of(**chosen)
        for path in photos(folder, given.photo):
            looker.look([read_picture(path)])  # warm
            rows.append((f"{path.stem}, read, seen and drawn", *timed(lambda p=path: one(looker, p), given.runs)))
            picture = read_picture(path)
            for part in looker.parts:
                rows.append((f"  {part.name}", *timed(lambda p=part, x=picture: p.look([x]), given.runs)))
            if looker.people:
                rows.append(("  faces", *timed(lambda x=picture: looker.people.chain.look([x]), given.runs)))
            (sight,) = looker.look([picture])
            rows.append(("  draw", *timed(lambda x=picture, s=sight: draw(x, s), given.runs)))
        many = folder / "many"
        many.mkdir()
        for place in range(12):
            (many / f"{place}.jpg").write_bytes((folder / ("drawn.jpg" if place % 2 else "photo.jpg")).read_bytes())
        how = How(looker, folder / "out", ("heat", "objects", "faces", "caption"))
        files = sorted(many.iterdir())
        wall, work = timed(lambda: look_through(how, files, lambda *_: None, lambda _: None), 1)
        rows.append(("a photo of a folder of 12", wall / 12, work / 12))
        line = [sys.executable, "-m", "isotrain", "look", str(folder / "photo.jpg"), "--out", str(folder / "cold")]
        line += [word for name, run in chosen.items() for word in (f"--{name}", run)]
        began, before = time.perf_counter(), os.times()
        subprocess.run(line, check=True, capture_output=True)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        rows.append(("the command, cold", time.perf_counter() - began, spent))
    print(f"| {'what':32} | seconds | of the processor |\n|{'-' * 34}|---------|------------------|")
    for what, wall, work in rows:
        print(f"| {what:32} | {wall:7.3f} | {work:16.3f} |")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def one(looker: Looker, path: Path) -> None:
    """All that is done for one photo."""
    picture = read_picture(path)
    (sight,) = looker.look([picture])
    draw(picture, sight)


if __name__ == "__main__":
    main()
