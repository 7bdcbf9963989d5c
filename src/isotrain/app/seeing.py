"""The commands for tasks: train, evaluate, predict, export, and those for data. Here are their words alone.

Nothing heavy is imported here; see `isotrain.app.cli`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from isotrain.errors import UnknownName

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `isotrain train` left.")]
Data = Annotated[
    str | None, typer.Argument(metavar="DATA", help="Folder of labelled pictures, or a name of `isotrain data list`.")
]
Rank = Annotated[
    int | None,
    typer.Option(min=1, help="Region nets: cut their fully connected layers down to this rank (truncated SVD)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else.")]

data_app = typer.Typer(
    name="data",
    help="Look at data before it is learned from.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    for command in (train, evaluate, predict, export):
        app.command()(command)
    app.add_typer(data_app)


def train(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="`classify`, `localise`, `detect`, `masks`, `faces`, `landmarks` or `finder`."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of labelled pictures; the format is found out. Left out: generated data, to try it.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. [default: runs/TASK]", show_default=False)] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="`riemannian`, or another by name: `adam`, `sgd@0.1`. [default: riemannian]")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="How often to go through the data. [default: 30]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long, however many epochs are left.")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples in a step. [default: the task's]")] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the net, the batches, what is held out. [default: 0]")] = None,
    held_out: Annotated[
        float | None,
        typer.Option(help="Share of the samples to hold out, if the data has no such part. [default: 0.1]"),
    ] = None,
    net: Annotated[str | None, typer.Option(help="Another net than the task's own choice, by name.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of a picture's side, as the net sees it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, bit for bit.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    option: Annotated[
        list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="An option of the task. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a task on your pictures, without tuning, and leave a run folder.

    The folder holds the weights, the scores, the curve and example pictures; nothing of it has to be chosen.

    Example: `isotrain train classify photos/`

    To try it, on generated data, for a minute: `isotrain train detect`. After an interruption: the same again, with
    `--resume`.
    """
    from isotrain.app.run_data import options_of
    from isotrain.app.train_command import train as run

    plan = {"optimizer": optimizer, "epochs": epochs, "minutes": minutes, "batch": batch, "seed": seed}
    options = options_of(option or [])
    options |= {key: value for key, value in (("net", net), ("size", size)) if value is not None}
    document = run(
        task,
        data,
        Path("runs") / task if out is None else out,
        {key: value for key, value in plan.items() if value is not None},
        held_out,
        options,
        resume,
        overwrite,
        quiet=as_json,
    )
    tell(document, "show_training", as_json)


def evaluate(
    run: Run,
    data: Data = None,
    split: Annotated[
        str | None,
        typer.Option(help="`held-out`, `test` or `train`. [default: held-out; of other data: test, or all of it]"),
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

    On other data: `isotrain evaluate runs/detect more-photos/`

    Faces, on pairs of people: `isotrain evaluate runs/faces --pairs pairs.txt people/`. RUN may be a model.onnx, or
    `shipped`. What the pairs teach about thresholds is kept with the run.
    """
    if pairs is not None:
        from isotrain.app.faces_pairs import evaluate_pairs

        found = evaluate_pairs(run, pairs, data, out, keep=True, quiet=as_json)
        tell(found, "show_pairs", as_json, "isotrain.app.faces_tables")
        return
    from isotrain.app.evaluate_command import evaluate as score

    tell(score(run, data, split, depth, rank, quiet=as_json), "show_scores", as_json)


def predict(
    run: Run,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Files, or folders of them.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for drawings and predictions.json. [default: RUN/predictions]")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Residual nets: keep so many blocks.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Regions to look at: csv or COCO results json. [default: the task's own]")
    ] = None,
    rank: Rank = None,
    features: Annotated[
        bool, typer.Option("--features", help="`detect`: also the regions' feature vectors, as safetensors.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What a trained net says of pictures: drawn on them, and as JSON.

    Example: `isotrain predict runs/detect photo.jpg`

    Of a run of `localise` also regions.csv, regions for `train detect -o regions=FILE`.
    """
    from isotrain.app.predict_command import How
    from isotrain.app.predict_command import predict as ask

    how = How(depth, rank, regions, features)
    tell(ask(run, pictures, out, how, quiet=as_json), "show_predictions", as_json)


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="The format: `onnx`.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The file. [default: RUN/model.onnx]")] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Compare with torch before anything is written.")
    ] = True,
    rank: Rank = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained net for use without torch; of faces also how its crops are made, for `--embedder model.onnx`.

    Example: `isotrain export runs/classify --to onnx`
    """
    _known(to)
    from isotrain.train.exporting import export_onnx
    from isotrain.train.rundir import load_run

    task, net, card = load_run(run)
    if rank is not None:
        from isotrain.app.smaller import compressed

        net = compressed(task, net, rank)
    path = run / "model.onnx" if out is None else out
    exported = export_onnx(task.exported(net), task.example(), path, {"task": card["task"], **task.card}, check)
    if card["task"] == "faces":
        from isotrain.app.files import put
        from isotrain.faces.pipelines import sidecar_of

        put(path.with_suffix(".json"), sidecar_of(run.resolve().name, task.card).encode())
    tell({"kind": "export", "run": str(run), **exported.to_dict()}, "show_export", as_json)


@data_app.command("check")
def data_check(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of labelled pictures.")],
    as_json: AsJson = False,
) -> None:
    """What is wrong with a data set: file, line, what and how to mend it.

    Boxes that are empty, inverted or outside, mixed-up formats, unreadable and duplicate pictures, pictures in two
    parts.

    Exit code 1 if something keeps the data from being learned from.

    Example: `isotrain data check photos/`
    """
    from isotrain.app.data_command import check

    document = check(folder, quiet=as_json)
    tell(document, "show_faults", as_json)
    _fail(bool(document["errors"]))


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """The public sets: where each comes from, its licence, how its folder looks, whether it is here.

    Nothing is downloaded. Sets are looked for in the folder named by $ISOTRAIN_DATA.

    Example: `isotrain data list`
    """
    from isotrain.app.data_command import listed

    tell(listed(), "show_sets", as_json)


@data_app.command("make")
def data_make(
    task: Annotated[str, typer.Argument(metavar="TASK", help="`classify`, `localise`, `detect` or `masks`.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    train: Annotated[int, typer.Option(help="Samples to learn from.")] = 400,
    held_out: Annotated[int, typer.Option(help="Samples to choose by.")] = 100,
    test: Annotated[int, typer.Option(help="Samples to test on.")] = 100,
    seed: Annotated[int, typer.Option(help="Draws everything.")] = 0,
    option: Annotated[
        list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="An option of the twin. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write generated data: coloured shapes, or digits among clutter, with what a task learns from.

    Class folders for `classify`, COCO's layout for the others. The same seed gives the same pictures.

    Example: `isotrain data make detect scenes/ --train 400`

    Digits of all sizes: `isotrain data make localise clutter/ -o "scales=[0.2, 0.8]"`
    """
    from isotrain.app.data_command import make
    from isotrain.app.run_data import options_of

    made = make(task, folder, (train, held_out, test), seed, options_of(option or []), quiet=as_json)
    tell(made, "show_made", as_json)


# What a command raises by itself would be told in its help.


def _known(to: str) -> None:
    if to != "onnx":
        raise UnknownName("format", to, ["onnx"])


def _fail(bad: bool) -> None:
    if bad:
        raise typer.Exit(1)


def tell(document: dict[str, Any], table: str, as_json: bool, tables: str = "isotrain.app.seeing_tables") -> None:
    """What a command found: as JSON, or by the function `table` of a module of tables."""
    if as_json:
        # What is not finite is null: it is no JSON otherwise.
        text = json.dumps(json.loads(json.dumps(document), parse_constant=lambda _: None), allow_nan=False)
        typer.echo(text)
        return
    show: Callable[[dict[str, Any]], None] = getattr(import_module(tables), table)
    show(document)
