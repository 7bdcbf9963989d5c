"""The commands for tasks: train, evaluate and export. Here are their words alone; `predict` has a file of its own.

Nothing heavy is imported here; see `isotrain.app.cli`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from isotrain.app import completing
from isotrain.app.predicting import predict
from isotrain.app.seeing_data import data_app
from isotrain.app.telling import AsJson, tell
from isotrain.errors import BadOption, UnknownName

Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The folder that `isotrain train` left.", autocompletion=completing.runs),
]
Data = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA",
        help="Folder of labelled pictures, a text, ...: as for `train`; or a name of `isotrain data list`.",
    ),
]
Source = Annotated[str | None, typer.Option(help="`translate`: file of sentences, a line each.")]
Target = Annotated[str | None, typer.Option(help="`translate`: file of their translations, as many lines.")]
Rank = Annotated[
    int | None,
    typer.Option(min=1, help="Region nets: cut their fully connected layers down to this rank (truncated SVD)."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    for command in (train, evaluate, predict, export):
        app.command()(command)
    app.add_typer(data_app)


def train(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="`classify`, `localise`, `detect`, `masks`, `faces`, `landmarks`, `finder`; `caption`; `characters`, "
            "`translate`.",
            autocompletion=completing.tasks,
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of labelled pictures (of `caption` also the file of captions), a text, or a table of "
            "sentences and translations; the format is found out. Left out: generated data, to try it.",
        ),
    ] = None,
    source: Source = None,
    target: Target = None,
    val_source: Annotated[
        str | None, typer.Option(help="`translate`: sentences to hold out, if they have a file of their own.")
    ] = None,
    val_target: Annotated[str | None, typer.Option(help="`translate`: file of their translations.")] = None,
    bytes_: Annotated[
        bool, typer.Option("--bytes", help="`characters`: learn bytes, of any file, instead of characters.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder. [default: runs/TASK]", show_default=False)] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="`riemannian`, or another by name: `adam`, `sgd@0.1`. [default: riemannian]",
            autocompletion=completing.optimizers,
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="How often to go through the data. [default: the task's]")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long, however many epochs are left.")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples in a step. [default: the task's]")] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the net, the batches, what is held out. [default: 0]")] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            help="Share of the samples to hold out, if the data has no such part. [default: 0.1, translate 0.05]"
        ),
    ] = None,
    net: Annotated[str | None, typer.Option(help="Another net than the task's own choice, by name.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of a picture's side, as the net sees it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, bit for bit.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write what TensorBoard shows, into OUT/tensorboard.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="Processes that train together, on the same curve. [default: 1]")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="An option of the task. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a task on your pictures or texts, without tuning, and leave a run folder.

    The folder holds the weights, the scores, the curve and example pictures; nothing of it has to be chosen.

    Example: `isotrain train classify photos/`

    Texts: `isotrain train characters book.txt`; `isotrain train translate --source train.en --target train.de`, or with
    both in one table, `isotrain train translate pairs.tsv`; `isotrain train caption photos/ captions.json`.

    To try it, on generated data, for a minute: `isotrain train detect`. After an interruption: the same again, with
    `--resume`.
    """
    if processes is not None and processes != 1 and "RANK" not in os.environ:  # torchrun's processes are started
        from isotrain.train.launch import launch

        return launch(processes, sys.argv[1:])

    from isotrain.app.named_data import named
    from isotrain.app.run_data import options_of
    from isotrain.app.train_command import train as run

    plan = {"optimizer": optimizer, "epochs": epochs, "minutes": minutes, "batch": batch, "seed": seed}
    options = options_of(option or [])
    also = (("net", net), ("size", size), ("bytes", bytes_ or None))
    options |= {key: value for key, value in also if value is not None}
    document = run(
        task,
        named(task, data or [], source, target, val_source, val_target),
        Path("runs") / task if out is None else out,
        {key: value for key, value in plan.items() if value is not None},
        held_out,
        options,
        resume,
        overwrite,
        quiet=as_json,
        board=tensorboard,
    )
    if document:  # of several processes, the first speaks
        tell(document, "show_training", as_json)


def evaluate(
    run: Run,
    data: Data = None,
    source: Source = None,
    target: Target = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="`held-out`, `test` or `train`. [default: held-out; of other data: test, or all of it]",
            autocompletion=completing.splits,
        ),
    ] = None,
    depth: Annotated[
        bool, typer.Option("--depth", help="Residual nets: also what dropping, repeating and swapping blocks costs.")
    ] = False,
    rank: Rank = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Faces: LFW's protocols on a file of pairs (pairs.txt, or a table), pictures below DATA."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --pairs: folder of the report. [default: RUN]", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The field's standard scores of a run, on its own samples or on other data.

    Example: `isotrain evaluate runs/classify`

    On other data: `isotrain evaluate runs/detect more-photos/`, `isotrain evaluate runs/characters other.txt`,
    `isotrain evaluate runs/translate --source test.en --target test.de`

    Faces, on pairs of people: `isotrain evaluate runs/faces --pairs pairs.txt people/`. RUN may be a model.onnx, or
    `shipped`. What the pairs teach about thresholds is kept with the run.
    """
    if pairs is not None:
        from isotrain.app.faces_pairs import evaluate_pairs

        found = evaluate_pairs(run, pairs, _only(data), out, keep=True, quiet=as_json)
        tell(found, "show_pairs", as_json, "isotrain.app.faces_tables")
        return
    from isotrain.app.evaluate_command import evaluate as score
    from isotrain.app.named_data import named
    from isotrain.train.rundir import RunFolder

    given = named(RunFolder(run).card()["task"], data or [], source, target)
    tell(score(run, given, split, depth, rank, quiet=as_json), "show_scores", as_json)


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="The format: `onnx`.", autocompletion=completing.formats)] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="The file, or a folder, with a model card. [default: RUN/model.onnx, or RUN]")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Compare with torch before anything is written.")
    ] = True,
    rank: Rank = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained net for use without torch; of faces also how its crops are made, for `--embedder model.onnx`.

    What writes is exported as a step: `characters` as model.onnx; `translate` and `caption` as encoder.onnx and
    decoder.onnx.

    Example: `isotrain export runs/classify --to onnx`

    Into a folder: `isotrain export runs/translate --out translator/`
    """
    _known(to)
    from isotrain.app.export_command import export as run_export

    document = run_export(run, out, check, rank)
    tell(document, "show_export", as_json)


# What a command raises by itself would be told in its help.


def _known(to: str) -> None:
    if to != "onnx":
        raise UnknownName("format", to, ["onnx"])


def _only(data: list[str] | None) -> str | None:
    if data and len(data) > 1:
        raise BadOption(f"--pairs takes one folder of pictures, {data[1]} is a second one.")
    return data[0] if data else None
