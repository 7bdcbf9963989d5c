"""What `isotrain predict` needs and takes for a run, by its task; what another task's options are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isotrain.errors import BadOption

SEARCH = ("--beam", "--length-penalty", "--n-best")
NEEDS = {"characters": ("--prompt TEXT",), "translate": ("--text SENTENCE", "--input FILE")}
"""What says what to answer, of which one is needed; of the tasks that are not here: pictures."""
MORE = {
    "characters": ("--length", "--temperature", "--top-k", "--seed", "--gates", "--out"),
    "translate": (*SEARCH, "--pictures", "--out"),
    "caption": (*SEARCH, "--out"),
}
"""What more may be said."""
PICTURES = "PICTURE..."
LOOKING = ("--out", "--depth", "--regions", "--rank", "--features")
"""What more may be said of pictures."""


def checked(run: str, task: str, given: Mapping[str, Any]) -> None:
    """That a task can use all it is given, and is given what it needs.

    Args:
        run: for messages.
        task: its name.
        given: option or argument -> its value; None, False or nothing where it was not given.

    Raises:
        BadOption: it cannot, or it is not.

    >>> checked("runs/translate", "translate", {"--text": ["A dog."], "--prompt": None})
    """
    needs, more = NEEDS.get(task, (PICTURES,)), MORE.get(task, LOOKING)
    names = [need.split(" ")[0] for need in needs]
    asked = [name for name, value in given.items() if value is not None and value is not False and value != []]
    takes = f"{task} takes {' or '.join(needs)}, and {', '.join(more)}"
    odd = [name for name in asked if name not in (*names, *more)]
    if odd:
        what = f"{given[odd[0]][0]}" if odd[0] == PICTURES else odd[0]
        raise BadOption(f"{what} is nothing that {run}, a run of {task}, can use: {takes}.")
    if not set(names) & set(asked):
        raise BadOption(f"{run} is a run of {task} and needs {' or '.join(needs)}: {takes}.")
    if task == "characters" and "--out" in asked and "--gates" not in asked:
        raise BadOption(f"--out {given['--out']} is the folder of the picture that --gates draws: give both.")
    if len(names) == 2 and set(names) <= set(asked):
        raise BadOption(f"{names[0]} and {names[1]}: one of them.")
