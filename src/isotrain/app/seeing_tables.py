"""What the task commands found, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Document = dict[str, Any]
MOST = 20
"""Rows of a table of samples or faults; --json has them all."""


def show_training(document: Document) -> None:
    """Scores, a row each, and where everything is."""
    spent = document["seconds"]
    time = f"{spent:.0f} s" if spent < 120 else f"{spent / 60:.1f} min"
    console = new_console(f"{document['task']}: {document['steps']} steps in {time}")
    _show_scores(console, document)
    for note in document["notes"]:
        console.print(note[:1].upper() + note[1:] + ".", markup=False)
    console.print("Written: " + ", ".join(document["written"]), markup=False, soft_wrap=True)


def show_scores(document: Document) -> None:
    """Scores, a row each; then what the blocks are worth, if it was asked for."""
    number, split = document["samples"], document["split"]
    which = f"all {number}" if split == "all" else f"{number} {split}"
    samples = f"{which} samples of {document['data']['source']}"
    console = new_console(f"{document['task']} on {samples}")
    _show_scores(console, document)
    if "depth" in document:
        _show_depth(console, document["depth"])
        console.print("Written: " + ", ".join(document["written"]), markup=False, soft_wrap=True)


def show_predictions(document: Document) -> None:
    """A line a picture."""
    found = document["predictions"]
    console = new_console(f"{document['task']}: {len(found)} picture{'s' * (len(found) != 1)}")
    table = new_table()
    for column in ("picture", "answer", "drawn"):
        table.add_column(column, overflow="fold")
    for answer in found[:MOST]:
        table.add_row(*map(escape, (answer["picture"], summary(answer), answer["drawn"])))
    console.print(table)
    _more(console, len(found))
    console.print(f"Written: {document['written']}", markup=False, soft_wrap=True)


def show_export(document: Document) -> None:
    """What each file takes and gives."""
    for file in document.get("files", [document]):
        console = new_console(f"{file['path']}: {file['bytes'] / 1e6:.1f} MB")
        table = new_table()
        for column in ("", "name", "shape"):
            table.add_column(column)
        for side in ("inputs", "outputs"):
            for name, shape in file[side].items():
                table.add_row(side[:-1], name, " x ".join(map(str, shape)))
        console.print(table)
        off = file["difference"]
        compared = f"onnxruntime and torch differ by {off or 0:.1e} at most."
        console.print("Not compared with torch." if off is None else compared)


def show_faults(document: Document) -> None:
    """Faults, the worst first."""
    found = document["faults"]
    beside = f" and {document['beside']}" if document.get("beside") else ""
    console = new_console(f"{document['source']}{beside}: {document['format']}")
    if "splits" in document:
        _show_pictures(console, document)
    else:
        counts = ", ".join(f"{count:,} {what}" for what, count in document["counts"].items())
        console.print(f"{counts}.", markup=False)
    for fault in found[:MOST]:
        colour = "red" if fault["severity"] == "error" else "yellow"
        console.print(f"[{colour}]{fault['severity']:7}[/] ", end="")
        console.print(f"{fault['where']}: {fault['what']}. {fault['fix']}", markup=False, soft_wrap=True)
    _more(console, len(found))
    console.print(
        f"{document['errors']} errors, {len(found) - document['errors']} warnings." if found else "No fault found.",
        style="bold",
    )


def _show_pictures(console: Console, document: Document) -> None:
    table = new_table()
    for column in ("", "pictures", "objects", "masks"):
        table.add_column(column, justify="right" if column else "left")
    for split, counts in document["splits"].items():
        table.add_row(split, *(str(counts[column]) for column in ("pictures", "objects", "masks")))
    console.print(table)
    sizes = ", ".join(f"{name} {width} x {height}" for name, (height, width) in document["sizes"].items())
    console.print(f"{len(document['classes'])} classes. Pictures, width x height: {sizes or 'none'}.", markup=False)


def show_made(document: Document) -> None:
    """How much was made, and where it is."""
    console = new_console(document["format"])
    sizes = ", ".join(f"{number} {part.replace('_', ' ')}" for part, number in document["samples"].items() if number)
    console.print(f"{sizes}. Written: {', '.join(document['written'])}", markup=False, soft_wrap=True)


def show_sets(document: Document) -> None:
    """The public sets, a few lines each."""
    console = new_console("Public sets")
    for row in document["sets"]:
        here = "[green]here[/]" if row["found"] else "[dim]not here[/]"
        console.print(f"\n[bold]{row['name']}[/]  {', '.join(row['tasks'])}  {row['size']}  {here}")
        for line in (row["home"], f"licence: {row['licence']}", f"{row['name']}/ holds {row['layout']}"):
            console.print(f"  {line}", markup=False, soft_wrap=True)
    home = document["home"]
    where = f"Looked for in {home}." if home else "Set ISOTRAIN_DATA to a folder that holds them, each under its name."
    console.print(f"\n{where} Nothing is downloaded: fetch a set from its page, under its licence.", markup=False)


def summary(answer: Mapping[str, Any]) -> str:
    """An answer in a few words: its objects by number, or its classes by probability.

    >>> summary({"objects": [{"class": "cat"}, {"class": "dog"}, {"class": "cat"}]})
    '2 cat, 1 dog'
    >>> summary({"class": "cat", "probability": 0.913})
    'cat 0.9130'
    """
    objects = answer.get("objects")
    if isinstance(objects, Sequence) and not isinstance(objects, str):
        names = [str(thing.get("class", "object")) for thing in objects]
        return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "nothing"
    told = [value for value in answer.values() if isinstance(value, str | int | float)]
    return " ".join(figure(value) for value in told[:3])


def figure(value: Any) -> str:
    """A score for a table: what is between 0 and 1 with four digits.

    >>> figure(0.98765), figure(12), figure(1234.5), figure(None)
    ('0.9877', '12', '1234', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) <= 1 else f"{value:.4g}"


def _show_scores(console: Console, document: Document) -> None:
    """A row a score, a column a part of the data; scores by class in a table of their own, what is in words below."""
    parts: dict[str, dict[str, Any]] = document["scores"]
    table = new_table()
    table.add_column("")
    for part in parts:
        table.add_column(part, justify="right")
    classes: dict[str, dict[str, Any]] = {}
    words: dict[str, str] = {}
    for name in dict.fromkeys(name for scores in parts.values() for name in scores):
        values = [scores.get(name) for scores in parts.values()]
        if all(isinstance(value, str) for value in values) and len(set(values)) == 1:
            words[name.replace("_", " ")] = values[0] or ""
        elif all(value is None or isinstance(value, int | float | str) for value in values):
            style = "bold" if name == document["score"] else None
            table.add_row(escape(name.replace("_", " ")), *map(escape, map(figure, values)), style=style)
        for part, scores in parts.items():
            if isinstance(scores.get(name), Mapping):
                by = scores[name]
                label = name.replace("_", " ") if len(parts) == 1 else f"{name.replace('_', ' ')}, {part}"
                for key, value in by.items():
                    if isinstance(value, int | float) or value is None:
                        classes.setdefault(str(key), {})[label] = value
    if table.row_count:
        console.print(table)
    if classes:
        _show_classes(console, classes)
    for name, said in words.items():
        console.print(f"{name}: {said}", markup=False, soft_wrap=True)


def _show_depth(console: Console, depth: Document) -> None:
    """What each block is worth, then what is left of the score with fewer."""
    table = new_table()
    for column in ("block", "stage", "moves by", "dropped", "repeated", "swapped with next"):
        table.add_column(column, justify="right")
    for row in depth["blocks"]:
        scores = (figure(row[change]) for change in ("movement", "dropped", "repeated", "swapped"))
        table.add_row(str(row["block"]), str(row["stage"] + 1), *scores)
    console.print(f"Accuracy {figure(depth['score'])} with every block once; after a change of one:")
    console.print(table)
    kept = ", ".join(f"{number}: {figure(score)}" for number, score in depth["depths"].items())
    console.print(f"With so many blocks kept (predict --depth): {kept}.", markup=False)


def _show_classes(console: Console, classes: Mapping[str, Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(label for row in classes.values() for label in row))
    table = new_table()
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in list(classes.items())[:MOST]:
        table.add_row(escape(name), *(figure(row.get(column)) for column in columns))
    console.print(table)
    _more(console, len(classes))


def _more(console: Console, number: int) -> None:
    if number > MOST:
        console.print(f"... and {number - MOST} more: --json has them all.", style="dim")


def new_console(title: str) -> Console:
    """A console on which the title stands already."""
    console = Console(highlight=False)
    console.print(title, style="bold", markup=False, soft_wrap=True)
    return console


def new_table() -> Table:
    """A table without columns yet."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
