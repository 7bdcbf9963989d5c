"""What the nets that `isotrain look` comes with answer, of pictures of their own kind and of others.

    python benchmarks/look_known.py --data ../shared/data

Shares of pictures that each part answers: held-out ones of CIFAR-10, new drawn scenes and captioned pictures, photos of
coco_mini, noise. A minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from isotrain.data.opened import open_dataset
from isotrain.data.pictures import read_picture
from isotrain.data.synthetic import scene_dataset
from isotrain.data.synthetic.captioned import captioned_dataset
from isotrain.look import Looker
from machine import table


def row(looker: Looker, name: str, pictures: Sequence[Tensor]) -> list[str]:
    """Shares answered, and how many objects were told of."""
    seen = [sight.document() for sight in looker.look(pictures)]
    known = [not any(words.startswith("objects") for words in one["unknown"]) for one in seen]
    shares = [[one["class"]["known"] for one in seen], known, [one["caption"]["known"] for one in seen]]
    told = sum(len(one["objects"]) for one in seen)
    return [f"{name} ({len(seen)})", *(f"{sum(share) / len(seen):.0%}" for share in shares), str(told)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds cifar10 and coco_mini")
    given = parser.parse_args()
    looker = Looker.of(faces="none", tell=print)
    generator = torch.Generator().manual_seed(0)
    photos = sorted((given.data / "coco_mini").glob("*2017/*.jpg"))
    kinds = {
        "CIFAR-10, test": [read_picture(s.picture) for s in open_dataset(given.data / "cifar10", "labels").test[:200]],
        "drawn scenes": [cast(Tensor, s.picture) for s in scene_dataset(0, 0, 100, seed=9).test],
        "captioned drawings": [cast(Tensor, s.picture) for s in captioned_dataset(0, 0, 100, seed=9).test],
        "photos of coco_mini": [read_picture(path, reduce=True) for path in photos],
        "noise": [
            torch.randint(0, 256, (3, 200 + 40 * k, 300), generator=generator, dtype=torch.uint8) for k in range(12)
        ],
    }
    head = ["pictures", "class answered", "objects answered", "caption answered", "objects told"]
    print(table(head, [row(looker, name, pictures) for name, pictures in kinds.items()]))


if __name__ == "__main__":
    main()
