"""The commands for data: check, list and make. Here are their words alone.

Nothing heavy is imported here; see `isotrain.app.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isotrain.app import completing
from isotrain.app.data_fits import data_fits
from isotrain.app.telling import AsJson, tell

data_app = typer.Typer(
    name="data",
    help="Look at data before it is learned from.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

data_app.command("fits")(data_fits)


@data_app.command("check")
def data_check(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of labelled pictures; a text; a table of sentences and translations; pictures and the file of "
            "their captions.",
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Instead of DATA: file of sentences, a line each.")] = None,
    target: Annotated[str | None, typer.Option(help="File of their translations.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="The task it is for. [default: found out]",
            show_default=False,
            autocompletion=completing.tasks,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What is wrong with a data set: file, line, what and how to mend it.

    Boxes that are empty, inverted or outside, mixed-up formats, unreadable and duplicate pictures, pictures in two
    parts; lines that are not UTF-8, or have no counterpart; captions without a picture.

    Exit code 1 if something keeps the data from being learned from.

    Example: `isotrain data check photos/`

    Texts: `isotrain data check book.txt`, `isotrain data check --source train.en --target train.de`,
    `isotrain data check photos/ captions.json`
    """
    from isotrain.app.data_command import check

    document = check(data or [], source, target, task, quiet=as_json)
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
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="`classify`, `localise`, `detect`, `masks`, `finder`, `faces`, `caption`, `characters` or "
            "`translate`.",
            autocompletion=completing.made,
        ),
    ],
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
    """Write generated data, with what a task learns from: coloured shapes, digits among clutter, text.

    Class folders for `classify` and `faces` (a folder a person, all of them drawn), COCO's layout for other
    pictures; a text from a grammar; sentences in English and in a made-up language, line by line. The same seed
    gives the same data.

    Example: `isotrain data make detect scenes/ --train 400`

    Digits of all sizes: `isotrain data make localise clutter/ -o "scales=[0.2, 0.8]"`

    Sentences and their translations: `isotrain data make translate language/ --train 4000`
    """
    from isotrain.app.data_command import make
    from isotrain.app.run_data import options_of

    made = make(task, folder, (train, held_out, test), seed, options_of(option or []), quiet=as_json)
    tell(made, "show_made", as_json)


# What a command raises by itself would be told in its help.


def _fail(bad: bool) -> None:
    if bad:
        raise typer.Exit(1)
