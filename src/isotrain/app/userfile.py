"""A file of the user's: `model.py:build`, and the data it or the command line names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from isotrain.data.sources import batched, find
from isotrain.errors import BadBuild, BadData
from isotrain.lab.problem import call, where


def handed_over(model: str, data: str | None, batch: int, seed: int) -> tuple[Any, Iterable[Any], Iterable[Any] | None]:
    """The user's `build`, the batches to train on, and batches held out if there are some.

    Raises:
        BadBuild: the file or the function is not there, or the file fails.
        BadData: no data is named and the file defines no `batches`.
    """
    path, _, name = model.partition(":")
    module = load(Path(path))
    build = function(module, name or "build", path)
    if data is None:
        if not hasattr(module, "batches"):
            raise BadData(f"no data: give --data (digits, mnist, a file), or define batches() in {path}.")
        held_out = call(module.held_out, "held_out", seed) if hasattr(module, "held_out") else None
        return build, call(module.batches, "batches", seed), held_out
    file, colon, giver = data.partition(":")
    if colon and file.endswith(".py"):
        return build, call(function(load(Path(file)), giver, file), giver, seed), None
    training, unseen = find(data)
    return (
        build,
        batched(training, batch, seed),
        None if unseen is None else batched(unseen, len(unseen[0]), seed),
    )


def load(path: Path) -> Any:
    """Run a Python file and give back its module. Its own folder is on the path, as if it had been started.

    Raises:
        BadBuild: not there, not a Python file, or its code fails.
    """
    if not path.is_file():
        raise BadBuild(f"{path} does not exist.")
    if path.suffix != ".py":
        raise BadBuild(f"{path} is not a Python file: give FILE.py:BUILD.")
    spec = importlib.util.spec_from_file_location(f"isotrain_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pickling and dataclasses look for the classes of the file
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise BadBuild(f"{path}, line {error.lineno}: {error.msg}.") from error
    except Exception as error:
        raise BadBuild(f"{path} fails when it is run{where(error)}: {type(error).__name__}: {error}") from error
    return module


def function(module: Any, name: str, path: str) -> Any:
    """Something the file defines, by name.

    Raises:
        BadBuild: it does not; the nearest name is suggested.
    """
    if hasattr(module, name):
        return getattr(module, name)
    defined = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    near = get_close_matches(name, defined, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BadBuild(f"{path} does not define {name!r}.{hint} It defines: {', '.join(defined) or 'no function'}.")
