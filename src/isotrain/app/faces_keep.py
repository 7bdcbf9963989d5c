"""`isotrain faces enroll`, `cluster`, `name`, `move`, `undo`, `list`, `forget`, `purge` and `export`: the gallery."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isotrain.app.faces_drawing import LIKENESS, clusters_of
from isotrain.app.faces_look import Means, gallery_at, seen
from isotrain.app.files import put
from isotrain.app.telling import say
from isotrain.data.pictures import read_picture
from isotrain.errors import BadOption
from isotrain.faces.albums import arrange
from isotrain.faces.keeping import from_left, new_face, the_face
from isotrain.gallery import Consent, Erased, Gallery, Person
from isotrain.progress import progress_bar

SHOWN = 40
"""Clusters in the picture of an album, the largest."""
KEPT_AT_ONCE = 64
"""Photos of an album whose faces are written together: what an interruption costs."""


def enroll(
    name: str,
    photos: list[Path],
    face: int | None,
    agreed: dict[str, str | None],
    chosen: dict[str, Any],
    gallery: dict[str, Any],
    quiet: bool,
) -> dict[str, Any]:
    """Put the faces of photos to a name: all of them or none.

    Raises:
        BadData: a photo cannot be read, or does not show the one face that is meant.
        BadOption: there is no consent.
    """
    with gallery_at(gallery) as people:
        known = {person.name for person in people.people(named=True)}
        consent = _consent(name, agreed, asked=name.strip() not in known)
        means = Means.of(chosen)
        faces = []
        with progress_bar("enroll", len(photos), not quiet) as part:
            tick = part(name)
            for path in photos:
                picture = read_picture(path, reduce=True)
                (found,) = means.chain.look([picture])
                faces.append(new_face(path, picture, the_face(path, from_left(found), face, say), means.chain))
                tick(1)
        done = people.enroll(name, faces, means.chain.embedder.id, consent)
    return {
        "kind": "enroll", "person": _person(done.person), "added": list(done.added), "known": list(done.known),
        "model": means.chain.embedder.id,
    }  # fmt: skip


def cluster(
    album: list[Path],
    chosen: dict[str, Any],
    gallery: dict[str, Any],
    threshold: float | None,
    far: float,
    out: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    """Put the faces of an album into the gallery and cluster all that is there.

    Raises:
        BadData: no photo can be read, or the gallery's vectors are another model's.
        BadOption: there is no threshold.
    """
    means = Means.of(chosen)
    least = means.threshold(threshold, far)
    skipped: list[dict[str, str]] = []
    looked = 0
    with gallery_at(gallery) as people:
        waiting = []
        for path, picture, faces in seen(album, means.chain, "cluster", quiet, skipped):
            looked += 1
            waiting += [new_face(path, picture, face, means.chain) for face in faces]
            if waiting and looked % KEPT_AT_ONCE == 0:
                people.add(waiting, means.chain.embedder.id)
                waiting = []
        if waiting:
            people.add(waiting, means.chain.embedder.id)
        done = arrange(people, least)
        everybody = people.people()
        written = []
        if everybody:
            folder = Path("runs/faces") if out is None else out
            rows = sorted(everybody, key=lambda person: -person.faces)[:SHOWN]
            page = clusters_of([(called(person), _crops(people, person)) for person in rows])
            written.append(put(folder / "album.png", page))
    return {
        "kind": "cluster", "photos": looked, "skipped": skipped, **asdict(done), "threshold": least,
        "who": [_person(person) for person in everybody], "written": written,
    }  # fmt: skip


def rename(who: str, name: str, agreed: dict[str, str | None], gallery: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """Name a cluster, rename a person, or join two.

    Raises:
        UnknownName: nobody is called so.
        BadOption: a first name without a consent.
    """
    with gallery_at(gallery) as people:
        person = people.person(_who(who))
        same = [other for other in people.people(named=True) if other.name == name.strip() and other.id != person.id]
        if same:
            done = people.merge(person.id, same[0].id)
        else:
            done = people.rename(person.id, name, _consent(name, agreed, asked=person.name is None))
    return {"kind": "name", "who": [_person(done)]}


def move(faces: list[int], to: str | None, gallery: dict[str, Any]) -> dict[str, Any]:
    """Put faces to a person by hand, or to nobody.

    Raises:
        BadData: there is no such face.
        UnknownName: nobody is called so.
    """
    with gallery_at(gallery) as people:
        done = people.assign(faces, None if to is None else people.person(_who(to)).id)
    return {"kind": "move", "faces moved": faces, "who": [] if done is None else [_person(done)]}


def undo(gallery: dict[str, Any]) -> dict[str, Any]:
    """Take back the last step.

    Raises:
        BadData: there is none.
    """
    with gallery_at(gallery) as people:
        return {"kind": "undo", **asdict(people.undo())}


def listed(who: str | None, gallery: dict[str, Any]) -> dict[str, Any]:
    """Everybody, or somebody with every face.

    Raises:
        UnknownName: nobody is called so.
    """
    with gallery_at(gallery) as people:
        if who is None:
            everybody = people.people()
            gone = [called(person) for person in people.expired()]
            return {
                "kind": "list", "who": [_person(person) for person in everybody], "model": people.model,
                "encrypted": people.sealed, "consent ended": gone,
            }  # fmt: skip
        person = people.person(_who(who))
        faces = [
            {
                "face": face.id, "photo": face.photo.path, "box": list(face.box), "by": face.by, "added": face.added,
                "made": dict(face.made),
            }
            for face in people.faces(person.id)
        ]  # fmt: skip
        return {"kind": "list", "who": [_person(person)], "faces": faces}


def forget(who: str, gallery: dict[str, Any]) -> dict[str, Any]:
    """Erase somebody for good.

    Raises:
        UnknownName: nobody is called so.
    """
    with gallery_at(gallery) as people:
        return _erased(people.forget(_who(who)), "forget")


def purge(gallery: dict[str, Any]) -> dict[str, Any]:
    """Forget everybody whose consent has ended."""
    with gallery_at(gallery) as people:
        return _erased(people.purge(), "purge")


def export(who: str, out: Path | None, gallery: dict[str, Any]) -> dict[str, Any]:
    """Write all that is kept about somebody.

    Raises:
        UnknownName: nobody is called so.
        BadOption: the folder holds something already.
    """
    with gallery_at(gallery) as people:
        person = people.person(_who(who))
        # A name may hold anything, a slash too: it is no path.
        plain = "".join(c if c.isalnum() or c in " -_." else "_" for c in called(person)).strip(" .")[:80]
        path = people.export(person.id, Path(plain or f"person-{person.id}") if out is None else out)
    return {"kind": "export", "who": [_person(person)], "written": [str(path)]}


def called(person: Person) -> str:
    """What somebody is called on the command line: the name, or the number of a cluster without one."""
    return person.name if person.name is not None else f"#{person.id}"


def _who(text: str) -> str | int:
    """A name, or the number behind a #."""
    return int(text[1:]) if text.startswith("#") and text[1:].isdecimal() else text


def _consent(name: str, agreed: dict[str, str | None], asked: bool) -> Consent | None:
    """The consent that was typed, or is asked for where a new name needs one and somebody sits there."""
    basis = agreed["basis"]
    if basis is None:
        if any(agreed[key] is not None for key in ("by", "until")):
            raise BadOption("--by and --until belong to a consent: give --consent too.")
        if not asked:
            return None
        if not sys.stdin.isatty():
            raise BadOption(
                f"{name!r} is new: faces are kept with consent alone. Say on what ground: --consent given, guardian, "
                "or household (nobody was asked, the gallery serves a household only)."
            )
        import typer

        if not typer.confirm(f"Did {name} agree that their face is kept here?", err=True):
            raise BadOption(f"nothing was kept of {name!r}: there is no consent.")
        basis = "given"
    return Consent.of(name, basis, agreed["by"], agreed["until"])


def _person(person: Person) -> dict[str, Any]:
    consent = person.consent
    return {
        "id": person.id, "name": person.name, "called": called(person), "faces": person.faces, "added": person.added,
        "also": list(person.also),
        "consent": None if consent is None else consent.document(),
    }  # fmt: skip


def _erased(erased: Erased, kind: str) -> dict[str, Any]:
    return {"kind": kind, **asdict(erased), "shared": list(erased.shared)}


def _crops(people: Gallery, person: Person) -> list[bytes]:
    crops = (people.crop(face.id) for face in people.faces(person.id)[:LIKENESS])
    return [crop for crop in crops if crop is not None]
