"""The tasks, by their names on the command line. Their names are known without torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from isotrain.errors import UnknownName

if TYPE_CHECKING:
    from isotrain.tasks.base import Task

TASKS = {
    "classify": "isotrain.tasks.classify:Classify",
    "localise": "isotrain.tasks.localise:Localise",
    "detect": "isotrain.tasks.detect:Detect",
    "masks": "isotrain.tasks.masks:Masks",
    "finder": "isotrain.tasks.finder:FindFaces",
    "landmarks": "isotrain.tasks.landmarks:Landmarks",
    "faces": "isotrain.tasks.faces:Faces",
    "characters": "isotrain.tasks.characters:Characters",
    "translate": "isotrain.tasks.translate:Translate",
    "caption": "isotrain.tasks.caption:Caption",
}


def task_named(name: str) -> type[Task]:
    """The task of that name, imported when it is asked for.

    Raises:
        UnknownName: there is none.
    """
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    module, _, kind = TASKS[name].partition(":")
    found: type[Task] = getattr(import_module(module), kind)
    return found
