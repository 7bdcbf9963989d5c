"""Progress of anything that takes more than a moment, for someone who is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Tick = Callable[[int], None]


@contextmanager
def progress_bar(title: str, total: int, show: bool) -> Iterator[Callable[[str], Tick]]:
    """A bar on stderr when someone is watching; gives a function from a part's name to its tick."""
    console = Console(stderr=True)
    columns = (
        TextColumn("[bold]{task.fields[title]}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("", total=total, title=title)

        def part(name: str) -> Tick:
            bar.update(task, description=name)
            return lambda steps: bar.update(task, advance=steps)

        yield part
