"""The `isotrain` command.

Nothing heavy is imported here: torch comes in with the command that needs it, so that `--help` answers at
once. Results go to stdout, everything else to stderr. A fault of the user's is one line and exit code 2.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from isotrain.app import faces, seeing
from isotrain.errors import BadOption, IsotrainError, UnknownName
from isotrain.version import __version__

if TYPE_CHECKING:
    from isotrain.lab.report import Result

app = typer.Typer(
    name="isotrain",
    help="Train a network without tuning it, and get the same result however you wrote it down.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Optimizers = Annotated[
    str, typer.Option(help="Names between commas; a rate of your own after an @: `sgd,adam@3e-3,riemannian`.")
]
Data = Annotated[
    str | None,
    typer.Option(
        help="`digits`, `mnist`, a folder, an .npz or .pt file with x and y, or FILE.py:FUNCTION giving "
        "batches. "
        "Left out: `batches` of the model's own file."
    ),
]
Seed = Annotated[int, typer.Option(help="Draws the model, the runs and the changes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else.")]
Batch = Annotated[int, typer.Option(min=1, help="Samples in a minibatch, for data that is not in batches yet.")]
Dtype = Annotated[str, typer.Option(help="Arithmetic: `float64`, `float32`, or `own` for the model's own.")]
Model = Annotated[str, typer.Argument(metavar="FILE.py:BUILD", help="Your file and the function that makes the model.")]
SUITES = ("standard", "memory")
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"isotrain {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    steps: Annotated[int, typer.Option(min=2, help="Steps of each run.")] = 300,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.png and report.json.")] = Path("runs/demo"),
    as_json: AsJson = False,
) -> None:
    """The lecture's experiment: one small network written down six ways, trained by five optimizers.

    About a minute, on the digits that come with scikit-learn.

    Example: `isotrain demo`
    """
    from isotrain.lab.demo import demo as run

    result = run(steps=steps, seed=seed, progress=not as_json)
    written = [result.save(out / f"report.{kind}") for kind in ("html", "png", "json")]
    if as_json:
        _print_json(result)
    else:
        from isotrain.app.tables import show_demo

        show_demo(result, written)


@app.command()
def audit(
    model: Model,
    data: Data = None,
    optimizers: Optimizers = "sgd,adam,riemannian",
    changes: Annotated[str, typer.Option(help="Names between commas, or `all` that your model can absorb.")] = "all",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 200,
    batch: Batch = 100,
    seed: Seed = 0,
    dtype: Dtype = "float64",
    out: Annotated[
        list[Path] | None, typer.Option(help="Where to write: .html, .png or .json; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How much does your training depend on how the network was written down?

    The model is rewritten in other coordinates, function unchanged, and every version is trained.

    Example: `isotrain audit examples/audit_my_model.py:build --optimizers sgd,adam,riemannian --out
    audit.html`
    """
    from isotrain.app.userfile import handed_over
    from isotrain.lab.audit import audit as run

    build, batches, _ = handed_over(model, data, batch, seed)
    result = run(
        build,
        batches,
        _names(optimizers),
        changes if changes == "all" else _names(changes),
        steps,
        seed,
        _dtype(dtype),
        progress=not as_json,
    )
    written = [result.save(path) for path in out or []]
    if as_json:
        _print_json(result)
    else:
        from isotrain.app.tables import show_audit

        show_audit(result, written)


@app.command()
def compare(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[FILE.py:BUILD]", help="Your file and the function that makes the model."),
    ] = None,
    data: Data = None,
    optimizers: Annotated[
        str | None,
        typer.Option(
            help="Names between commas; a rate of your own after an @: `sgd,adam@3e-3,riemannian`. "
            "[default: sgd,adam,riemannian; with --suite all of its own]"
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="`standard`: the contest, ten problems, rivals at their best rates. `memory`: what recurrent nets "
            "remember, and over how many steps."
        ),
    ] = None,
    problems: Annotated[str, typer.Option(help="With --suite: some of its problems, between commas.")] = "",
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="With --suite: runs of each optimizer at its best rate. [default: 3; of memory 1]"),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="With --suite: one seed, few steps, few rivals; of memory short lengths.")
    ] = False,
    cells: Annotated[str, typer.Option(help="With --suite memory: some of `rnn`, `lstm`, `gru`, between commas.")] = "",
    lengths: Annotated[
        str, typer.Option(help="With --suite memory: steps to remember over, between commas. [default: 24,48,100,200]")
    ] = "",
    chrono: Annotated[
        bool | None,
        typer.Option(
            "--chrono/--no-chrono",
            help="With --suite memory: with chrono initialisation alone, or without. [default: both]",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="With --suite: where its runs are kept, to go on from. [default: runs/contest, runs/memory]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each run (200 unless --epochs is given).")] = None,
    epochs: Annotated[float | None, typer.Option(help="Instead of steps: how often to go through the data.")] = None,
    batch: Batch = 100,
    seed: Seed = 0,
    dtype: Dtype = "own",
    out: Annotated[
        list[Path] | None, typer.Option(help="Where to write: .html, .png, .json; of a suite .md too. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Optimizers side by side on your model: loss by step and by second, final scores, memory.

    Example: `isotrain compare examples/audit_my_model.py:build --optimizers adam,muon,riemannian --epochs 5`

    The contest: `isotrain compare --suite standard --quick --out contest.html`. Interrupted, it goes on where it was.

    What memory is for: `isotrain compare --suite memory --problems copy,adding --cells gru --out memory.html`.

    Raises:
        BadOption: neither a file nor a suite is named.
    """
    if suite is not None:
        _known_suite(suite, {"--cells": cells, "--lengths": lengths, "--chrono": chrono})
        chosen = _names(problems), _names(optimizers or "")
        if suite == "memory":
            ways = _names(cells), _numbers(lengths), chrono
            _memory(chosen, ways, seeds or 1, steps, quick, results, out or [], as_json)
        else:
            _contest(chosen, seeds or 3, quick, results, out or [], as_json)
        return
    if model is None:
        raise BadOption("compare needs FILE.py:BUILD, or --suite standard, or --suite memory.")
    from isotrain.app.userfile import handed_over
    from isotrain.lab.compare import compare as run

    build, batches, held_out = handed_over(model, data, batch, seed)
    names = _names(optimizers or "sgd,adam,riemannian")
    result = run(build, batches, names, steps, epochs, held_out, seed, _dtype(dtype), progress=not as_json)
    written = [result.save(path) for path in out or []]
    if as_json:
        _print_json(result)
    else:
        from isotrain.app.tables import show_compare

        show_compare(result, written)


def _known_suite(suite: str, memory: dict[str, str | bool | None]) -> None:
    if suite not in SUITES:
        raise UnknownName("suite", suite, SUITES)
    for name, value in memory.items():
        if value not in ("", None) and suite != "memory":
            raise BadOption(f"{name} {value} is for --suite memory.")


def _contest(
    names: tuple[list[str], list[str]], seeds: int, quick: bool, results: Path | None, out: list[Path], as_json: bool
) -> None:
    from isotrain.lab.suite.race import race

    result = race(results or Path("runs/contest"), *names, seeds, quick, progress=not as_json)
    written = [result.save(path) for path in out]
    if as_json:
        _print_json(result)
    else:
        from isotrain.app.tables import show_contest

        show_contest(result, written)


def _memory(
    names: tuple[list[str], list[str]],
    ways: tuple[list[str], list[int], bool | None],
    seeds: int,
    steps: int | None,
    quick: bool,
    results: Path | None,
    out: list[Path],
    as_json: bool,
) -> None:
    from isotrain.lab.suite.memory import remember

    folder = results or Path("runs/memory")
    cells, lengths, chrono = ways
    result = remember(folder, *names, cells, lengths, seeds, steps, quick, progress=not as_json, chrono=chrono)
    written = [result.save(path) for path in out]
    if as_json:
        _print_json(result)
    else:
        from isotrain.app.tables import show_memory

        show_memory(result, written)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in _names(text)]
    except ValueError as error:
        raise BadOption(f"--lengths {text} should be whole numbers between commas, like 24,48.") from error


def _dtype(name: str) -> Any:
    import torch

    known = {"float64": torch.float64, "float32": torch.float32, "own": None}
    if name not in known:
        raise BadOption(f"--dtype {name!r} is none of {', '.join(known)}.")
    return known[name]


def _print_json(result: Result) -> None:
    typer.echo(json.dumps(result.to_dict(), allow_nan=False))


seeing.register(app)
faces.register(app)

# Typer carries its own copy of click in some versions and imports click in others; both give the base class of
# every fault in what was typed this name.
TYPED_WRONG = cast(
    "type[typer.BadParameter]", next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")
)


def main() -> None:
    """Run the command; the user's faults end in one line on stderr and exit code 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="isotrain", standalone_mode=False)
        if code == INTERRUPTED:  # typer has caught it
            raise KeyboardInterrupt
    except IsotrainError as error:
        code = _refuse(str(error))
    except TYPED_WRONG as error:
        code = _refuse(f"{error.format_message()} See isotrain --help.")
    except (KeyboardInterrupt, typer.Abort):
        print("isotrain: interrupted.", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout went away (`| head`), which is no fault of anyone's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(words: str) -> int:
    print(f"isotrain: {' '.join(words.split())}", file=sys.stderr)
    return 2
