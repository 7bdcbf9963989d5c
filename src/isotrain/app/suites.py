"""`isotrain compare --suite`: the contest, and what memory is for."""

from __future__ import annotations

from pathlib import Path

from isotrain.app.completing import SUITES
from isotrain.app.telling import print_json
from isotrain.errors import BadOption, UnknownName


def known(suite: str, memory: dict[str, str | bool | None]) -> None:
    """That a suite is one, and takes what is asked of it.

    Args:
        suite: its name.
        memory: options of `memory` alone -> their values; "" or None where they were not given.

    Raises:
        UnknownName: there is none of that name.
        BadOption: an option is another's.
    """
    if suite not in SUITES:
        raise UnknownName("suite", suite, SUITES)
    for name, value in memory.items():
        if value not in ("", None) and suite != "memory":
            raise BadOption(f"{name} {value} is for --suite memory.")


def contest(
    names: tuple[list[str], list[str]], seeds: int, quick: bool, results: Path | None, out: list[Path], as_json: bool
) -> None:
    """The contest."""
    from isotrain.lab.suite.race import race

    result = race(results or Path("runs/contest"), *names, seeds, quick, progress=not as_json)
    written = [result.save(path) for path in out]
    if as_json:
        print_json(result)
    else:
        from isotrain.app.tables import show_contest

        show_contest(result, written)


def memory(
    names: tuple[list[str], list[str]],
    ways: tuple[list[str], list[int], bool | None],
    seeds: int,
    steps: int | None,
    quick: bool,
    results: Path | None,
    out: list[Path],
    as_json: bool,
) -> None:
    """The memory suite, its runs in folder `results`."""
    from isotrain.lab.suite.memory import remember

    folder = results or Path("runs/memory")
    cells, lengths, chrono = ways
    result = remember(folder, *names, cells, lengths, seeds, steps, quick, progress=not as_json, chrono=chrono)
    written = [result.save(path) for path in out]
    if as_json:
        print_json(result)
    else:
        from isotrain.app.tables import show_memory

        show_memory(result, written)


def numbers(text: str) -> list[int]:
    """Whole numbers between commas.

    Raises:
        BadOption: one of them is none.

    >>> numbers("24, 48")
    [24, 48]
    """
    try:
        return [int(number) for number in text.split(",") if number.strip()]
    except ValueError as error:
        raise BadOption(f"--lengths {text} should be whole numbers between commas, like 24,48.") from error
