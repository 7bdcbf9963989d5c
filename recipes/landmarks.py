"""The landmark net that comes with isotrain: trained on ytfaces by the default optimizer, then made small.

Example: python recipes/landmarks.py --data ../shared/data/ytfaces

About half an hour on one core. The same seed and torch give the same weights if no --minutes cut it short.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from shipping import ship

from isotrain.app.named_data import Named
from isotrain.app.train_command import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with training/, test/ and their tables of landmarks")
    parser.add_argument("--out", type=Path, default=Path("runs/landmarks"), help="run folder")
    parser.add_argument("--epochs", type=float, default=130)
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--optimizer", default="riemannian")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-ship", action="store_true", help="leave the shipped weights as they are")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = {"epochs": given.epochs, "seed": given.seed, "optimizer": given.optimizer}
    if given.minutes is not None:
        chosen["minutes"] = given.minutes
    done = train("landmarks", Named(given.data), given.out, chosen, 0.08, {}, resume=False, overwrite=True, quiet=False)
    print(json.dumps({"steps": done["steps"], "seconds": done["seconds"], "scores": done["scores"]}, indent=1))
    if not given.no_ship:
        print("shipped:", ship(given.out, "landmarks", "YouTube Faces frames with 68 landmarks: the shared 800"))


if __name__ == "__main__":
    main()
