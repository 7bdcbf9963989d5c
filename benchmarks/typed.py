"""Figures made by the commands that a user would type, their answers kept, and a dated report of them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import REPORTS, ROOT, described, heading, table

ISOTRAIN = Path(sys.executable).parent / "isotrain"
Answers = list[dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        what: is measured.
        aim: of the issue.
        commands: typed after one another; `{here}` is the figure's own folder, `{runs}` all figures', `{data}`
            that of the real data.
        found: what the commands' answers come to, and whether it reaches the aim.
        before: what has to lie in the figure's folder first.
    """

    what: str
    aim: str
    commands: tuple[str, ...]
    found: Callable[[Answers], tuple[str, bool]]
    before: Callable[[Path, Path], None] = lambda here, data: None


def measured(runs: Path, name: str, figure: Figure, data: Path) -> tuple[Answers, float]:
    """The answers of a figure's commands, typed or kept, and the minutes they took."""
    here = runs / name
    if not (here / "0.json").exists():
        figure.before(here, data)
    answers = []
    for place, command in enumerate(figure.commands):
        kept = here / f"{place}.json"
        if not kept.exists():
            print(f"{name}: isotrain {command}", file=sys.stderr)
            words = [ISOTRAIN, *shlex.split(command.format(here=here, data=data, runs=runs)), "--json"]
            if command.startswith("train"):
                words.append("--overwrite")
            began = time.monotonic()
            done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
            answer = json.loads(done.stdout) | {"minutes_of_command": (time.monotonic() - began) / 60}
            here.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(answer))
        answers.append(json.loads(kept.read_text()))
    return answers, sum(answer["minutes_of_command"] for answer in answers)


def report(page: str, title: str, figures: Mapping[str, Figure], needs: str, description: str | None) -> None:
    """The command line of a page of figures.

    Args:
        page: name of the report, and of the folder in runs/ where answers are kept.
        title: above the report.
        figures: by name.
        needs: what the folder of real data holds.
        description: of the command.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FIGURE", help="which; all, if none is named")
    parser.add_argument("--list", action="store_true", help="say which there are")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name:9}{figure.what}: {figure.aim}" for name, figure in figures.items()))
        return
    if strange := set(asked.names) - set(figures):
        parser.error(f"no figure {', '.join(sorted(strange))}; there are {', '.join(figures)}")
    home = os.environ.get("ISOTRAIN_DATA")
    if not home:
        parser.error(f"set ISOTRAIN_DATA to the folder of {needs}")
    data, rows = Path(home), []
    for name in asked.names or figures:
        figure = figures[name]
        answers, minutes = measured(ROOT / "runs" / page, name, figure, data)
        found, reached = figure.found(answers)
        typed = "; ".join(
            f"`isotrain {c.format(here='here', data='$ISOTRAIN_DATA', runs='runs')}`" for c in figure.commands
        )
        rows.append([figure.what, figure.aim, found, "yes" if reached else "**no**", f"{minutes:.0f}", typed])
        print(f"{figure.what}: {found} ({figure.aim})")
    facts = described()
    written = table(["what", "aim", "found", "reached", "minutes", "commands"], rows)
    path = REPORTS / f"{page}-{facts['date']}.md"
    path.write_text(heading(title, facts) + "\n" + written + "\n")
    print(f"Written: {path}", file=sys.stderr)
