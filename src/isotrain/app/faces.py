"""The commands for faces: look, enroll, identify, verify, cluster, and those of the gallery. Their words alone.

Nothing heavy is imported here; see `isotrain.app.cli`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from isotrain.app import telling
from isotrain.app.telling import AsJson

tell = partial(telling.tell, tables="isotrain.app.faces_tables")
faces_app = typer.Typer(
    name="faces",
    help="Find, align and recognise faces, on this machine alone.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Files, or folders of them.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the person, or #7 for cluster 7.")]
At = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        help="A file, or postgresql://user:password@host/database. [default: $ISOTRAIN_GALLERY, or gallery.db in the "
        "user's data folder]",
        show_default=False,
    ),
]
Ask = Annotated[
    bool,
    typer.Option(
        "--passphrase", help="Ask for the passphrase of an encrypted gallery. $ISOTRAIN_PASSPHRASE serves too."
    ),
]
Detector = Annotated[str, typer.Option(help="`shipped`, `lbp`, a run folder of finder, or a file.onnx (YuNet).")]
Landmarks = Annotated[str, typer.Option(help="`shipped`, or a run folder of landmarks.")]
Embedder = Annotated[
    Path | None, typer.Option(help="A run folder of faces, or a model.onnx. [default: shipped]", show_default=False)
]
FaceModel = Annotated[
    Path | None, typer.Option(help="A 3D face, file.obj. [default: the average face]", show_default=False)
]
Longest = Annotated[
    int | None,
    typer.Option(min=32, help="Pixels of the longer side that faces are looked for at; more finds smaller ones."),
]
Threshold = Annotated[
    float | None, typer.Option(help="Similarity from which on it is the same person. [default: calibrated]")
]
Far = Annotated[float, typer.Option(help="Share of strangers that may be taken for somebody: 0.1, 0.01 or 0.001.")]
Out = Annotated[Path | None, typer.Option(help="Folder for pictures. [default: runs/faces]", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(faces_app)


@faces_app.command()
def look(
    photos: Photos,
    gallery: At = None,
    passphrase: Ask = False,
    detector: Detector = "shipped",
    landmarks: Landmarks = "shipped",
    embedder: Embedder = None,
    face_model: FaceModel = None,
    longest: Longest = None,
    threshold: Threshold = None,
    far: Far = 1e-3,
    out: Out = None,
    steps: Annotated[
        bool, typer.Option("--steps", help="Also a picture of every step of the 3D alignment, for each face.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find every face, show it aligned, and name the people the gallery knows.

    Example: `isotrain faces look photo.jpg`
    """
    from isotrain.app.faces_look import look as run

    chain = _chain(detector, landmarks, embedder, face_model, longest)
    tell(run(photos, chain, _gallery(gallery, passphrase), threshold, far, out, steps, as_json), "show_look", as_json)


@faces_app.command()
def identify(
    photos: Photos,
    gallery: At = None,
    passphrase: Ask = False,
    detector: Detector = "shipped",
    landmarks: Landmarks = "shipped",
    embedder: Embedder = None,
    face_model: FaceModel = None,
    longest: Longest = None,
    threshold: Threshold = None,
    far: Far = 1e-3,
    as_json: AsJson = False,
) -> None:
    """Who is in photos: a name for each face, or a stranger. Nothing is written.

    Example: `isotrain faces identify party/`
    """
    from isotrain.app.faces_look import identify as run

    chain = _chain(detector, landmarks, embedder, face_model, longest)
    tell(run(photos, chain, _gallery(gallery, passphrase), threshold, far, as_json), "show_look", as_json)


@faces_app.command()
def verify(
    first: Annotated[Path, typer.Argument(metavar="PHOTO", help="With one face.")],
    second: Annotated[Path, typer.Argument(metavar="PHOTO", help="With one face.")],
    detector: Detector = "shipped",
    landmarks: Landmarks = "shipped",
    embedder: Embedder = None,
    face_model: FaceModel = None,
    longest: Longest = None,
    threshold: Threshold = None,
    far: Far = 1e-3,
    as_json: AsJson = False,
) -> None:
    """Whether two photos show the same person. No gallery is needed.

    Example: `isotrain faces verify passport.jpg door.jpg`
    """
    from isotrain.app.faces_look import verify as run

    chain = _chain(detector, landmarks, embedder, face_model, longest)
    tell(run(first, second, chain, threshold, far, as_json), "show_verified", as_json)


@faces_app.command()
def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the person.")],
    photos: Photos,
    consent: Annotated[
        str | None,
        typer.Option(
            help="`given`, `guardian` or `household` (nobody was asked, the gallery serves a household only)."
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Who agreed. [default: the person, or the household]", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The last day on which the faces may be kept.")
    ] = None,
    face: Annotated[
        int | None, typer.Option(min=1, help="Which face of a photo with several, counted from the left.")
    ] = None,
    gallery: At = None,
    passphrase: Ask = False,
    detector: Detector = "shipped",
    landmarks: Landmarks = "shipped",
    embedder: Embedder = None,
    face_model: FaceModel = None,
    longest: Longest = None,
    as_json: AsJson = False,
) -> None:
    """Put the faces of photos to a name, all of them or none, with the person's consent.

    Example: `isotrain faces enroll "Ada" ada1.jpg ada2.jpg --consent given`
    """
    from isotrain.app.faces_keep import enroll as run

    chain = _chain(detector, landmarks, embedder, face_model, longest)
    how = {"basis": consent, "by": by, "until": until}
    tell(run(name, photos, face, how, chain, _gallery(gallery, passphrase), as_json), "show_enrolled", as_json)


@faces_app.command()
def cluster(
    album: Photos,
    gallery: At = None,
    passphrase: Ask = False,
    detector: Detector = "shipped",
    landmarks: Landmarks = "shipped",
    embedder: Embedder = None,
    face_model: FaceModel = None,
    longest: Longest = None,
    threshold: Threshold = None,
    far: Far = 1e-2,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Put the faces of an album into the gallery, alike ones together; names made by hand stay.

    Two faces of a photo are never one person. Clusters are numbered: name one with `isotrain faces name`.

    Example: `isotrain faces cluster album/`
    """
    from isotrain.app.faces_keep import cluster as run

    chain = _chain(detector, landmarks, embedder, face_model, longest)
    tell(run(album, chain, _gallery(gallery, passphrase), threshold, far, out, as_json), "show_clustered", as_json)


@faces_app.command("name")
def name_(
    who: Name,
    name: Annotated[str, typer.Argument(metavar="NEW", help="The new name; an existing one joins the two.")],
    consent: Annotated[str | None, typer.Option(help="`given`, `guardian` or `household`: for a first name.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Who agreed. [default: the person, or the household]", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="The last day the faces may be kept.")] = None,
    gallery: At = None,
    passphrase: Ask = False,
    as_json: AsJson = False,
) -> None:
    """Name a cluster, rename a person, or join two.

    Example: `isotrain faces name "#7" "Ada" --consent household`
    """
    from isotrain.app.faces_keep import rename as run

    how = {"basis": consent, "by": by, "until": until}
    tell(run(who, name, how, _gallery(gallery, passphrase, create=False), as_json), "show_people", as_json)


@faces_app.command()
def move(
    faces: Annotated[list[int], typer.Argument(metavar="FACE...", help="Numbers of faces, as `list NAME` tells them.")],
    to: Annotated[str | None, typer.Option(help="The person, or #7. [default: nobody]", show_default=False)] = None,
    gallery: At = None,
    passphrase: Ask = False,
    as_json: AsJson = False,
) -> None:
    """Put faces to a person by hand, or to nobody: no clustering changes that again.

    Example: `isotrain faces move 12 13 --to "Ada"`
    """
    from isotrain.app.faces_keep import move as run

    tell(run(faces, to, _gallery(gallery, passphrase, create=False)), "show_people", as_json)


@faces_app.command()
def undo(gallery: At = None, passphrase: Ask = False, as_json: AsJson = False) -> None:
    """Take back the last clustering, naming, joining or moving.

    Example: `isotrain faces undo`
    """
    from isotrain.app.faces_keep import undo as run

    tell(run(_gallery(gallery, passphrase, create=False)), "show_undone", as_json)


@faces_app.command("list")
def list_(
    who: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Somebody, to see every face.")] = None,
    gallery: At = None,
    passphrase: Ask = False,
    as_json: AsJson = False,
) -> None:
    """Who is in the gallery: faces, consent and until when; or somebody's faces one by one.

    Example: `isotrain faces list`
    """
    from isotrain.app.faces_keep import listed as run

    tell(run(who, _gallery(gallery, passphrase, create=False)), "show_people", as_json)


@faces_app.command()
def forget(
    who: Name,
    gallery: At = None,
    passphrase: Ask = False,
    as_json: AsJson = False,
) -> None:
    """Erase somebody for good: names, consents, faces, vectors, crops and links. Photos themselves are never touched.

    Example: `isotrain faces forget "Ada"`
    """
    from isotrain.app.faces_keep import forget as run

    tell(run(who, _gallery(gallery, passphrase, create=False)), "show_erased", as_json)


@faces_app.command()
def purge(gallery: At = None, passphrase: Ask = False, as_json: AsJson = False) -> None:
    """Forget everybody whose consent has ended.

    Example: `isotrain faces purge`
    """
    from isotrain.app.faces_keep import purge as run

    tell(run(_gallery(gallery, passphrase, create=False)), "show_erased", as_json)


@faces_app.command()
def export(
    who: Name,
    out: Annotated[Path | None, typer.Option(help="A new folder. [default: the name]", show_default=False)] = None,
    gallery: At = None,
    passphrase: Ask = False,
    as_json: AsJson = False,
) -> None:
    """Write all that is kept about somebody: person.json and the crops.

    Example: `isotrain faces export "Ada" --out ada/`
    """
    from isotrain.app.faces_keep import export as run

    tell(run(who, out, _gallery(gallery, passphrase, create=False)), "show_exported", as_json)


def _chain(
    detector: str, landmarks: str, embedder: Path | None, face_model: Path | None, longest: int | None
) -> dict[str, Any]:
    """What makes a chain; made where torch is there."""
    return {
        "detector": detector, "landmarks": landmarks, "embedder": embedder, "face_model": face_model,
        "longest": longest,
    }  # fmt: skip


def _gallery(place: str | None, ask: bool, create: bool = True) -> dict[str, Any]:
    """What opens a gallery."""
    return {"place": place, "ask": ask, "create": create}
