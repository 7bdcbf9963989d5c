"""How a command tells what it found: as JSON alone on stdout, or in a table.

Nothing heavy is imported here; see `isotrain.app.cli`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from isotrain.lab.report import Result

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else.")]


def print_json(result: Result) -> None:
    """A result of the laboratory, as JSON alone."""
    typer.echo(json.dumps(result.to_dict(), allow_nan=False))


def tell(document: dict[str, Any], table: str, as_json: bool, tables: str = "isotrain.app.seeing_tables") -> None:
    """What a command found: as JSON, or by the function `table` of a module of tables."""
    if as_json:
        # What is not finite is null: it is no JSON otherwise.
        text = json.dumps(json.loads(json.dumps(document), parse_constant=lambda _: None), allow_nan=False)
        typer.echo(text)
        return
    show: Callable[[dict[str, Any]], None] = getattr(import_module(tables), table)
    show(document)


def say(words: str) -> None:
    """A word to the user, beside the result."""
    print(f"isotrain: {' '.join(words.split())}", file=sys.stderr)
