"""Progress of anything that takes more than a moment, for someone who is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Tick = Callable[[int], None]


class Parts:
    """The parts of something that takes time: called with a part's name it gives that part's tick."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def __call__(self, name: str) -> Tick:
        """The part that begins now."""
        self._bar.update(self._task, description=name)
        return lambda steps: self._bar.update(self._task, advance=steps)

    def say(self, words: str) -> None:
        """Lines above the bar, for who is watching; for nobody else."""
        if words and not self._bar.disable:
            self._bar.console.print(words, markup=False, highlight=False, style="dim")


@contextmanager
def progress_bar(title: str, total: int, show: bool) -> Iterator[Parts]:
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
        yield Parts(bar, bar.add_task("", total=total, title=title))
