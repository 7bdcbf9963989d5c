"""The `isotrain` command.

Nothing heavy is imported here: torch comes in with the command that needs it, so that `--help` answers at
once. Results go to stdout, everything else to stderr. A fault of the user's is one line and exit code 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from isotrain.app import completing, faces, look, run_commands, seeing, serve
from isotrain.app.telling import print_json
from isotrain.errors import BadOption, IsotrainError
from isotrain.seeds import checked_seed
from isotrain.version import __version__

app = typer.Typer(
    name="isotrain",
    help="Train a network without tuning it, and get the same result however you wrote it down.",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Optimizers = Annotated[
    str,
    typer.Option(
        help="Names between commas; a rate of your own after an @: `sgd,adam@3e-3,riemannian`.",
        autocompletion=completing.optimizers,
    ),
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
Model = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:BUILD", help="Your file and the function that makes the model; or the folder of a run."
    ),
]
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
    checked_seed(seed, "--seed ")
    from isotrain.lab.demo import demo as run

    result = run(steps=steps, seed=seed, progress=not as_json)
    written = [result.save(out / f"report.{kind}") for kind in ("html", "png", "json")]
    if as_json:
        print_json(result)
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

    Of a run that is there, its net on its data: `isotrain audit runs/classify --steps 40 --out audit.html`
    """
    checked_seed(seed, "--seed ")
    from isotrain.lab.audit import audit as run
    from isotrain.lab.report import require_ending

    for path in out or []:
        require_ending(path)

    if Path(model).is_dir():
        from isotrain.app.run_commands import run_to_audit

        build, batches = run_to_audit(Path(model), data, batch, seed)
    else:
        from isotrain.app.userfile import handed_over

        build, batches, _ = handed_over(model, data, batch, seed)
    result = run(
        build,
        batches,
        names_of(optimizers),
        changes if changes == "all" else names_of(changes),
        steps,
        seed,
        _dtype(dtype),
        progress=not as_json,
    )
    written = [result.save(path) for path in out or []]
    if as_json:
        print_json(result)
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
            "[default: sgd,adam,riemannian; with --suite all of its own]",
            autocompletion=completing.optimizers,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="`standard`: the contest, ten problems, rivals at their best rates. `memory`: what recurrent nets "
            "remember, and over how many steps.",
            autocompletion=completing.suites,
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
        from isotrain.app.suites import contest, known, memory, numbers

        known(suite, {"--cells": cells, "--lengths": lengths, "--chrono": chrono})
        chosen = names_of(problems), names_of(optimizers or "")
        if suite == "memory":
            ways = names_of(cells), numbers(lengths), chrono
            memory(chosen, ways, seeds or 1, steps, quick, results, out or [], as_json)
        else:
            contest(chosen, seeds or 3, quick, results, out or [], as_json)
        return
    if model is None:
        raise BadOption("compare needs FILE.py:BUILD, or --suite standard, or --suite memory.")
    checked_seed(seed, "--seed ")
    from isotrain.app.userfile import handed_over
    from isotrain.lab.compare import compare as run
    from isotrain.lab.report import require_ending

    for path in out or []:
        require_ending(path)
    build, batches, held_out = handed_over(model, data, batch, seed)
    names = names_of(optimizers or "sgd,adam,riemannian")
    result = run(build, batches, names, steps, epochs, held_out, seed, _dtype(dtype), progress=not as_json)
    written = [result.save(path) for path in out or []]
    if as_json:
        print_json(result)
    else:
        from isotrain.app.tables import show_compare

        show_compare(result, written)


def names_of(text: str) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _dtype(name: str) -> Any:
    import torch

    known = {"float64": torch.float64, "float32": torch.float32, "own": None}
    if name not in known:
        raise BadOption(f"--dtype {name!r} is none of {', '.join(known)}.")
    return known[name]


seeing.register(app)
faces.register(app)
look.register(app)
serve.register(app)
app.command()(run_commands.report)

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
        sys.stdout.flush()
    except IsotrainError as error:
        code = _refuse(str(error))
    except TYPED_WRONG as error:
        code = _refuse(f"{error.format_message()} See isotrain --help.")
    except (KeyboardInterrupt, typer.Abort):
        print("isotrain: interrupted.", file=sys.stderr)
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as stop:
        if not _hung_up(stop):
            raise
        # The reader of our stdout went away (`| head`), which is no fault of anyone's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _hung_up(stop: BaseException | None) -> bool:
    """Whether a broken pipe is why we stop: typer and rich make an exit with code 1 of it."""
    while stop is not None and not isinstance(stop, BrokenPipeError):
        stop = stop.__context__
    return stop is not None


def _refuse(words: str) -> int:
    print(f"isotrain: {' '.join(words.split())}", file=sys.stderr)
    return 2
