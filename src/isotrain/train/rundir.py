"""The folder a training run leaves behind, and takes up again.

    card.json           what makes the task again, the plan, the data, the version that wrote it
    model.safetensors   the weights that were kept
    scores.json         what they score on the held-out samples, and on the test samples if there are any
    curve.csv           step, epoch, seconds, loss; score of the held-out samples where it was taken
    live.jsonl          points of the curve as they come, a line each, for who watches (live.py)
    checkpoint.pt       all that is needed to go on from the last one saved, read without pickle
    samples.txt         of tasks that write: what they wrote at each look
    pictures/           the curve, and predictions on held-out samples
    README.md           a model card (modelcard.py), to pass on with the weights

Each file is written aside and renamed: a full disk or a kill leaves the one before.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.aside import write_aside
from isotrain.errors import BadCheckpoint, BadOption
from isotrain.tasks import task_named
from isotrain.tasks.base import Task
from isotrain.version import __version__

VERSION = 1
CARD, WEIGHTS, SCORES, CURVE, CHECKPOINT, PICTURES, SHOWN = (
    "card.json", "model.safetensors", "scores.json", "curve.csv", "checkpoint.pt", "pictures", "samples.txt",
)  # fmt: skip


class RunFolder:
    """Reads and writes the files of one run.

    Args:
        path: the folder; made when something is first written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def taken(self) -> bool:
        """Whether there is a run in it already."""
        return (self.path / CARD).exists() or (self.path / CHECKPOINT).exists()

    def write(self, name: str, content: bytes | str) -> Path:
        """Put a file into the folder, aside first.

        Raises:
            BadOption: the place cannot be written (a full disk, no right to); what was there before is still there.
        """
        target = self.path / name
        try:
            # A file's name that is no UTF-8 is text with half characters in it: they are written as \udce9.
            write_aside(target, content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        except OSError as error:
            raise BadOption(
                f"{target} cannot be written: {error.strerror or error}. What was saved before is untouched: make "
                "room, then go on with --resume."
            ) from error
        return target

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        """Put a JSON file into the folder; numbers that are not finite become null."""
        return self.write(name, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")

    def write_card(self, task: Task, plan: dict[str, Any], data: dict[str, Any]) -> None:
        """What makes the task again, and what it was trained on."""
        self.write_json(
            CARD,
            {
                "isotrain_run": VERSION, "isotrain": __version__, "task": task.name, "card": task.card, "plan": plan,
                "data": data,
            },
        )  # fmt: skip

    def card(self) -> dict[str, Any]:
        """The card of the run.

        Raises:
            BadCheckpoint: there is none, it is cut off, or it is of another version.
        """
        path = self.path / CARD
        if not path.is_file():
            raise BadCheckpoint(f"{self.path} holds no run: it has no {CARD}. `isotrain train TASK --out` makes one.")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise BadCheckpoint(f"{path} cannot be read ({error}): the run is damaged, train it again.") from error
        version = found.get("isotrain_run") if isinstance(found, dict) else None
        if version != VERSION:
            raise BadCheckpoint(
                f"{path} is of version {version}, this isotrain ({__version__}) reads version {VERSION}: use the "
                f"isotrain that wrote it{_by(found)}, or train again."
            )
        if not {"task", "card", "plan", "data"} <= set(found):
            raise BadCheckpoint(f"{path} is incomplete: the run is damaged, train it again.")
        return dict(found)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty if it is not there.

        Raises:
            BadCheckpoint: it cannot be read.
        """
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise BadCheckpoint(f"{path} cannot be read ({error}): the run is damaged, train it again.") from error
        return found if isinstance(found, dict) else {}

    def write_weights(self, net: nn.Module) -> Path:
        """The net's weights and buffers, as safetensors."""
        from safetensors.torch import save

        return self.write(WEIGHTS, save({name: t.detach().contiguous() for name, t in net.state_dict().items()}))

    def read_weights(self, net: nn.Module) -> None:
        """Put the kept weights into a net.

        Raises:
            BadCheckpoint: they are missing, cut off, or another net's.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.path / WEIGHTS
        if not path.is_file():
            raise BadCheckpoint(f"{self.path} has no {WEIGHTS}: its training did not end; go on with --resume.")
        try:
            found = load(path.read_bytes())
        except (SafetensorError, ValueError, OSError) as error:
            raise BadCheckpoint(f"{path} cannot be read ({error}): it is damaged, train again.") from error
        _fit(net, found, path)

    def write_checkpoint(self, state: dict[str, Any]) -> None:
        """All that is needed to go on."""
        content = io.BytesIO()
        torch.save({"isotrain_checkpoint": VERSION, **state}, content)
        self.write(CHECKPOINT, content.getvalue())

    def read_checkpoint(self) -> dict[str, Any]:
        """The last checkpoint, read without pickle.

        Raises:
            BadCheckpoint: there is none, it is cut off, or of another version.
        """
        path = self.path / CHECKPOINT
        if not path.is_file():
            raise BadCheckpoint(f"{self.path} has no {CHECKPOINT} to go on from: train without --resume.")
        try:
            found = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # a broken file makes torch raise almost anything
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BadCheckpoint(f"{path} cannot be read ({reason}): it is damaged, train again.") from error
        if not isinstance(found, dict) or found.get("isotrain_checkpoint") != VERSION:
            raise BadCheckpoint(f"{path} is no checkpoint of version {VERSION}: train again.")
        return found


def load_run(path: Path | str) -> tuple[Task, nn.Module, dict[str, Any]]:
    """A trained run: its task, its net in evaluation mode with the kept weights, and its whole card.

    Raises:
        BadCheckpoint: the folder holds no run, or one that is damaged or of another version.
        UnknownName: its task is not one of this version's.
    """
    folder = RunFolder(path)
    card = folder.card()
    task = task_named(card["task"])(card["card"])
    net = task.net()
    folder.read_weights(net)
    return task, net.eval(), card


def _fit(net: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    own = net.state_dict()
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in found.items()}:
        odd = sorted(set(own).symmetric_difference(found)) or [n for n in own if own[n].shape != found[n].shape]
        raise BadCheckpoint(f"{path} does not fit the net its card describes (first at '{odd[0]}'): it is damaged.")
    net.load_state_dict(found)


def _by(card: Any) -> str:
    return f" ({card['isotrain']})" if isinstance(card, dict) and card.get("isotrain") else ""


def _finite(thing: Any) -> Any:
    if isinstance(thing, float):
        return thing if thing == thing and abs(thing) != float("inf") else None
    if isinstance(thing, dict):
        return {key: _finite(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [_finite(value) for value in thing]
    return thing
