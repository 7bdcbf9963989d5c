"""What the parts that are run folders have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from isotrain.look.familiar import Knowing, weights_of
from isotrain.look.parts import WEIGHTS, Part, Tell
from isotrain.tasks.base import Task


class RunPart(Part):
    """A part that is a run of a task.

    Args:
        run: its folder.
        task: of it.
        net: in evaluation mode.
        card: of it, whole.
        tell: is told where nobody measured what the net learned from.
    """

    name = ""

    def __init__(self, run: Path, task: Task, net: nn.Module, card: dict[str, Any], tell: Tell) -> None:
        self.run, self.task, self.net = run, task, net
        self.knowing = Knowing(run, task, net, self.name)
        familiar = self.knowing.familiar
        bound = "" if familiar is None else f"+{familiar.bound:.6g}"
        self.identity = f"{task.name}:{weights_of(run)}{bound}"
        shipped = run.parent == WEIGHTS
        self.about = {
            "part": self.name, "from": "shipped" if shipped else str(run), "task": task.name, "classes": task.classes,
            "learned from": familiar.what if familiar is not None else _source(card),
            "tells what it does not know": familiar is not None, "weights": weights_of(run),
        }  # fmt: skip
        if familiar is None:
            tell(f"{run}: {self.knowing.untold}: it has no familiar.safetensors (docs/look.md says how to make it).")


def _source(card: dict[str, Any]) -> str:
    data = card.get("data")
    return str(data.get("source") or data.get("format") or "") if isinstance(data, dict) else ""
