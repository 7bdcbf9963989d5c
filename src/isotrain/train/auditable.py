"""Whose training can be audited: nets that can be written in other variables, and said so before anything is tried."""

from __future__ import annotations

from isotrain.errors import UnknownName
from isotrain.tasks import TASKS

AUDITED = ("classify",)
"""Tasks whose nets take one tensor, compute it without branches and answer with one class of several."""
REASONS = {
    "localise": "its net decides by the size of a picture how often it looks, which cannot be rewritten",
    "detect": "its net takes regions beside the picture",
    "masks": "its net takes windows beside the picture",
    "finder": "its net has several answers, at several sizes",
    "landmarks": "its net has several answers",
    "faces": "its loss belongs to the people, not to the net alone",
    "characters": "its net is recurrent, and keeps a state from step to step",
    "translate": "its net is recurrent, and takes a sentence beside its translation",
    "caption": "its net is recurrent, and takes a picture beside words",
}


def why_not(task: str) -> str | None:
    """Why a task's training cannot be audited; None if it can.

    Raises:
        UnknownName: no such task.

    >>> why_not("classify"), why_not("caption")[:41]
    (None, 'a run of caption cannot be audited: its n')
    """
    if task not in TASKS:
        raise UnknownName("task", task, TASKS)
    if task in AUDITED:
        return None
    return (
        f"a run of {task} cannot be audited: {REASONS[task]}. What can: runs of {', '.join(AUDITED)}; and any model of "
        "your own, by isotrain audit FILE.py:BUILD."
    )
