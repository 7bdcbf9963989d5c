"""`isotrain data fits`: whether a task can be learned from data, and all that is wrong with it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isotrain.app.telling import AsJson, tell


def data_fits(
    task: Annotated[str, typer.Argument(metavar="TASK", help="As for `isotrain train`.")],
    data: Annotated[list[str] | None, typer.Argument(metavar="DATA", help="As for `isotrain train`.")] = None,
    source: Annotated[str | None, typer.Option(help="`translate`: file of sentences, a line each.")] = None,
    target: Annotated[str | None, typer.Option(help="`translate`: file of their translations.")] = None,
    as_json: AsJson = False,
) -> None:
    """Whether a task can be learned from data: it is checked, and opened as `train` would open it.

    Exit code 1 if it cannot; the reason is told.

    Example: `isotrain data fits detect photos/`
    """
    document = fits(task, data or [], source, target, quiet=as_json)
    tell(document, "show_fit", as_json, "isotrain.app.data_fits")
    _fail(document["why"] is not None)


def fits(task: str, data: list[str], source: str | None, target: str | None, quiet: bool) -> dict[str, Any]:
    """What a task would make of data, as JSON can hold it; "why" is None if it can be learned from.

    Args:
        task: its name.
        data: as for `train`.
        source: of translate, the sentences.
        target: their translations.
        quiet: no progress.

    Raises:
        BadData: it is not there, or of none of the known formats.
        BadOption: nothing is named, or what the task does not take.
        UnknownName: no such task.
    """
    from isotrain.app.data_command import check
    from isotrain.app.named_data import named
    from isotrain.app.run_data import Asked
    from isotrain.data.opened import open_dataset
    from isotrain.errors import BadData
    from isotrain.tasks import task_named

    kind = task_named(task)
    asked = Asked.of(task, named(task, data, source, target), None, 0, {})
    checked = check(data, source, target, task, quiet)
    document: dict[str, Any] = {
        "kind": "data fits", "task": task, "format": checked["format"], "classes": checked.get("classes", []),
        "samples": None, "notes": [], "errors": checked["errors"], "faults": checked["faults"], "why": None,
    }  # fmt: skip
    try:
        if task == "faces":  # finding and aligning them is a part of the training
            dataset = open_dataset(data[0], "people", held_out=0.0)
        else:
            dataset = asked.open(task)
            kind.plan(dataset, asked.options)
    except BadData as error:
        return document | {"why": str(error)}
    parts = {name: len(getattr(dataset, name)) for name in ("train", "held_out", "test")}
    found = {"format": dataset.format, "classes": list(dataset.classes), "samples": parts, "notes": list(dataset.notes)}
    if checked["errors"]:
        first = checked["faults"][0]
        found["why"] = f"{first['where']}: {first['what']}. {first['fix']}"
    return document | found


def show_fit(document: dict[str, Any]) -> None:
    """For people."""
    from rich.console import Console

    console = Console(highlight=False)
    for fault in document["faults"]:
        console.print(f"{fault['severity']}: {fault['where']}: {fault['what']}. {fault['fix']}", markup=False)
    if document["why"] is not None:
        console.print(f"{document['task']} cannot be learned from it: {document['why']}", markup=False)
        return
    sizes = document["samples"]
    console.print(
        f"{document['task']} can be learned from it: {document['format']}, {sizes['train']:,} samples to learn from, "
        f"{sizes['held_out']:,} held out, {sizes['test']:,} to test on.",
        markup=False,
    )


def _fail(bad: bool) -> None:
    if bad:
        raise typer.Exit(1)
