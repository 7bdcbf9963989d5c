"""What a recipe leaves behind: a run made small and without anybody's name, put among the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from isotrain.aside import write_aside
from isotrain.train.rundir import CARD, WEIGHTS

SHIPPED = Path(__file__).parent.parent / "src" / "isotrain" / "weights"


def ship(run: Path, name: str, source: str, but: str | None = None) -> Path:
    """Write a run's card and weights, in half precision, to the folder `name` of the shipped weights.

    Args:
        run: its folder.
        name: of the part of the chain.
        source: what it was learned from, in place of a path.
        but: what the names of weights begin with that are left out, and the card's classes with them: a representation
            is shipped without outputs for the people it has learned from.
    """
    card = json.loads((run / CARD).read_text(encoding="utf-8"))
    card["data"] = {**card["data"], "source": source}
    weights = load_file(run / WEIGHTS)
    if but is not None:
        card["card"]["classes"] = []
        weights = {key: value for key, value in weights.items() if not key.startswith(but)}
    half = {key: value.half() if value.dtype is torch.float32 else value for key, value in weights.items()}
    target = SHIPPED / name
    write_aside(target / WEIGHTS, save(half))
    write_aside(target / CARD, (json.dumps(card, indent=1) + "\n").encode())
    return target
