"""What is told of a run that is there: its report, and how much its training depends on coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from isotrain.app.telling import AsJson, tell
from isotrain.errors import BadCheckpoint, BadOption, CannotRewrite


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `isotrain train` left.")],
    out: Annotated[Path | None, typer.Option(help="The page. [default: RUN/report.html]", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """One page about a run: its curve, scores, plan, data and pictures, all in one file.

    Example: `isotrain report runs/classify --out report.html`
    """
    from isotrain.app.files import put
    from isotrain.train.run_report import run_report

    written = put(run / "report.html" if out is None else out, run_report(run).encode())
    tell({"kind": "report", "run": str(run), "written": written}, "show_report", as_json, "isotrain.app.run_commands")


def show_report(document: dict[str, Any]) -> None:
    """For people."""
    typer.echo(f"Written: {document['written']}")


def run_to_audit(run: Path, data: str | None, batch: int, seed: int) -> tuple[Any, Iterable[tuple[Any, Any]]]:
    """The net of a run, and its training data, as `isotrain.lab.audit` takes them.

    Pictures are scaled to spread 1 before the net, not in it: a net that undoes every change of its inputs at its
    entrance has nothing to show.

    Args:
        run: its folder.
        data: None: a run is audited on its own.
        batch: samples in a step.
        seed: of what is varied in them.

    Raises:
        BadCheckpoint: the folder holds no run.
        BadOption: other data is named.
        CannotRewrite: this task's nets cannot be written in other variables.
    """
    from torch import Tensor, nn

    from isotrain.app.run_data import asked_by
    from isotrain.data.shelf import Shelf
    from isotrain.nets.standardize import Standardize
    from isotrain.tasks import task_named
    from isotrain.train.auditable import why_not
    from isotrain.train.batches import Batches
    from isotrain.train.rundir import RunFolder

    if data is not None:
        raise BadOption(f"--data {data}: a run is audited on its own data.")
    folder = RunFolder(run)
    card = folder.card()
    why = why_not(card["task"])
    if why is not None:
        raise CannotRewrite(why)
    task = task_named(card["task"])(card["card"])
    dataset = asked_by(folder).open(card["task"])
    if not dataset.train:
        raise BadCheckpoint(f"{run}: its data has no samples to learn from any more.")
    batches = Batches(task, Shelf(dataset.train, task.load), min(batch, len(dataset.train)), seed)
    scale = next((m for m in task.net().modules() if isinstance(m, Standardize)), nn.Identity())

    def build() -> dict[str, Any]:
        net = task.net()
        for owner in list(net.modules()):
            for name, part in list(owner.named_children()):
                if isinstance(part, Standardize):
                    setattr(owner, name, nn.Identity())

        def loss(output: Any, labels: Tensor) -> Tensor:
            return task.loss(output, {"labels": labels})

        return {"model": net, "loss": loss, "likelihood": task.likelihood}

    def stream() -> Iterator[tuple[Any, Any]]:
        step = 0
        while True:
            one = batches[step]
            yield scale(one.inputs[0]), one.targets["labels"]
            step += 1

    return build, stream()
