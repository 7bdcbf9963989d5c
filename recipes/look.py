"""The three nets that `isotrain look` comes with beside those for faces: a class, objects with masks, a caption.

    python recipes/look.py --data ../shared/data        all three, about 55 minutes of one core
    python recipes/look.py --data ../shared/data class  one of them

Each is trained by the commands that a user would type, by the default optimizer and with nothing tuned, then made small
and put among the shipped weights, with what it knows its own kind of pictures by. The class is one of CIFAR-10's ten,
learned from 2,700 of its pictures; objects and captions are of generated pictures of coloured shapes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shipping import SHIPPED, ship

from isotrain.app.run_data import asked_by
from isotrain.data.samples import Dataset
from isotrain.data.synthetic import scene_dataset
from isotrain.look.familiar import learn_familiar
from isotrain.train.rundir import RunFolder

SCENES = 3000
"""Generated scenes that the objects' net is asked what it makes of, so that it knows its own kind: more than it learned
from, as a description has as many directions as 800 pictures can hardly fill.
"""


@dataclass(frozen=True)
class Net:
    """One of the nets.

    Attributes:
        name: of its part of a look, and its folder among the shipped weights.
        source: what it was learned from, as its card says it.
        commands: typed after one another; `{here}` is its own folder, `{data}` that of the real data.
        what: the pictures are that it knows, in words.
        quantile: share of held-out pictures of its kind that it has to know.
    """

    name: str
    source: str
    commands: tuple[str, ...]
    what: str
    quantile: float


NETS = {
    net.name: net
    for net in (
        Net(
            "classify",
            "CIFAR-10: 2,700 of the first 4,000 pictures of its first training batch",
            ("train classify {data}/cifar10 --epochs 100 -o 'stochastic_depth=[0.1, 0.1]' --out {here}/run",),
            "CIFAR-10's photos of 32 x 32 pixels",
            0.97,
        ),
        Net(
            "objects",
            "generated scenes of coloured shapes: isotrain data make masks --train 800",
            ("data make masks {here}/scenes --train 800", "train masks {here}/scenes --out {here}/run"),
            "drawn shapes",
            0.93,
        ),
        Net(
            "caption",
            "generated pictures of one coloured shape or two: isotrain data make caption --train 4000",
            (
                "data make caption {here}/scenes --train 4000 --held-out 300 --test 300",
                "train caption {here}/scenes --epochs 6 --out {here}/run",
            ),
            "drawn shapes",
            0.95,
        ),
    )
}


def made(net: Net, folder: Path, data: Path) -> Path:
    """The run of a net, made by its commands; what the folder holds already is gone on with or kept."""
    here = folder / net.name
    run = here / "run"
    for command in net.commands:
        target = here / "scenes" if command.startswith("data make") else run / "scores.json"
        if target.exists():
            continue
        words = shlex.split(command.format(here=here, data=data))
        if command.startswith("train") and (run / "checkpoint.pt").exists():
            words.append("--resume")
        subprocess.run([sys.executable, "-m", "isotrain", *words], check=True)
    return run


def learned(net: Net, run: Path) -> Dataset:
    """What the net is to know its kind of pictures by."""
    if net.name == "objects":
        return scene_dataset(SCENES, SCENES // 4, 0, seed=1)
    folder = RunFolder(run)
    return asked_by(folder).open(folder.card()["task"])


def main() -> None:
    """Train what is not trained yet, and ship it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NET", help=f"of {', '.join(NETS)}; all when none is named")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/look-parts"), help="folder of the runs")
    parser.add_argument("--no-ship", action="store_true", help="leave the shipped weights as they are")
    given = parser.parse_args()
    if strange := set(given.names) - set(NETS):
        parser.error(f"no net {', '.join(sorted(strange))}; there are {', '.join(NETS)}")
    for name in given.names or NETS:
        run = made(NETS[name], given.out, given.data.resolve())
        print(name, json.loads((run / "scores.json").read_text(encoding="utf-8"))["scores"])
        if not given.no_ship:
            net = NETS[name]
            target = ship(run, str(Path("look") / name), net.source)
            dataset = learned(net, run)
            learn_familiar(target, dataset.train, dataset.held_out, net.quantile, net.what)
            print("shipped:", target.relative_to(SHIPPED))


if __name__ == "__main__":
    main()
