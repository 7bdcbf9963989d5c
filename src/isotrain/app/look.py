"""The command `look`. Its words alone: nothing heavy is imported here; see `isotrain.app.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isotrain.app.faces import Ask, At
from isotrain.app.telling import AsJson, tell
from isotrain.errors import BadOption

Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Files, or folders, which become an album.")]
TOGETHER = 16
"""Photos that a worker of a cluster looks at together."""
PART = "`shipped`, `none`, "


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(look)


def look(
    photos: Photos,
    classify: Annotated[
        str, typer.Option(help=f"The class: {PART}a run folder of classify or localise, or a model.onnx.")
    ] = "shipped",
    objects: Annotated[
        str, typer.Option(help=f"Objects: {PART}a run folder of masks or detect, or a detector.onnx.")
    ] = "shipped",
    faces: Annotated[str, typer.Option(help=f"Faces: {PART}a run folder of faces, or a model.onnx.")] = "shipped",
    caption: Annotated[
        str, typer.Option(help=f"The caption: {PART}a run folder of caption, or the folder of its exported files.")
    ] = "shipped",
    gallery: At = None,
    passphrase: Ask = False,
    threshold: Annotated[
        float | None, typer.Option(help="Similarity from which on a face is somebody's. [default: calibrated]")
    ] = None,
    layers: Annotated[
        str, typer.Option(help="What is drawn, between commas: heat, objects, faces, caption.")
    ] = "heat,objects,faces,caption",
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is written. [default: runs/look]", show_default=False)
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="A folder of any size, by Ray on all cores: records, one line a photo.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="With --cluster: processes. [default: one a core]", show_default=False)
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="With --cluster: a running cluster of Ray, host:port.", show_default=False)
    ] = None,
    batch: Annotated[int, typer.Option(help="With --cluster: photos looked at together.")] = TOGETHER,
    as_json: AsJson = False,
) -> None:
    """What photos show: class, objects, the people you know, a caption. A folder becomes a searchable album.

    Nothing leaves this machine. A part that does not know a kind of picture says so.

    Example: `isotrain look photo.jpg`

    Raises:
        BadOption: a threshold that is no similarity, or options of a cluster without one.
    """
    parts = {"classify": classify, "objects": objects, "faces": faces, "caption": caption}
    known = {"place": gallery, "ask": passphrase, "create": False}
    if threshold is not None and not -1 <= threshold <= 1:
        raise BadOption(f"--threshold {threshold}: a similarity is -1 to 1.")
    if not cluster and (workers is not None or address is not None or batch != TOGETHER):
        raise BadOption("--workers, --address and --batch go with --cluster: name it too, or leave them out.")
    if cluster:
        from isotrain.app.look_cluster import look_on_cluster

        place = out or Path("runs/look-cluster")
        done = look_on_cluster(photos, parts, known, threshold, place, workers, address, batch, as_json)
        tell(done, "show_look_on_cluster", as_json, "isotrain.app.look_tables")
        return
    from isotrain.app.look_command import look as run

    found = run(photos, parts, known, threshold, layers, out or Path("runs/look"), as_json)
    tell(found, "show_look", as_json, "isotrain.app.look_tables")
