"""`isotrain serve`: its words. Nothing heavy is imported here; see `isotrain.app.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Part = "`shipped`, `none`, a run folder or an ONNX file."


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(serve)


def serve(
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where photos, people and trainings are kept. [default: isotrain/serve in the user's data folder]",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8421,
    user: Annotated[list[str] | None, typer.Option(help="Who may sign in; may be repeated. [default: me]")] = None,
    link: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print a new link for a user of the server that runs, and nothing else."),
    ] = None,
    classify: Annotated[str, typer.Option(help=f"The class: {Part}")] = "shipped",
    objects: Annotated[str, typer.Option(help=f"The objects: {Part}")] = "shipped",
    faces: Annotated[str, typer.Option(help=f"The faces: {Part}")] = "shipped",
    caption: Annotated[str, typer.Option(help=f"The caption: {Part}")] = "shipped",
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase",
            help="Ask for the galleries' passphrase; or give it in $ISOTRAIN_PASSPHRASE. New ones are "
            "encrypted with it.",
        ),
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Under which browsers see the server, where that is another: `https://photos.example` "
            "of a proxy in front of it.",
        ),
    ] = None,
    without_tls: Annotated[
        bool,
        typer.Option(
            "--without-tls", help="Listen on a network without TLS all the same: everybody on the way can read all."
        ),
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """A web page and a REST API for photos, people and trainings, on this machine alone.

    Each user signs in by a link that works once; it is printed at the start.

    Example: `isotrain serve --user ada --user ben --open`
    """
    from isotrain.app.serve_run import new_link, run

    if link is not None:
        typer.echo(new_link(folder, link))
        return
    parts = {"classify": classify, "objects": objects, "faces": faces, "caption": caption}
    run(folder, host, port, user or ["me"], parts, passphrase, address, without_tls, open_page)
