"""Forgetting for good: nothing of the person is in the files afterwards, whatever happened in between."""

import random
from contextlib import suppress
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from made_up import MODEL, PNG, enroll, face, unit

from isotrain.errors import BadData, UnknownName
from isotrain.gallery import Consent, Group, NewFace, PhotoSource, open_gallery
from isotrain.gallery.sqlite import Sqlite
from isotrain.gallery.vault import Vault

NAME = "Adelheid Quittenbaum"


def distinctive(number=6):
    """Faces of one person, some in photos with others."""
    draw = random.Random(1)
    return [
        NewFace(
            PhotoSource(f"secret place {i}.jpg", draw.randbytes(32).hex()),
            (10, 10, 60, 70),
            0.9,
            unit(50 + i),
            landmarks=np.full((68, 2), 1234.5 + i),
            crop=PNG + draw.randbytes(9_000),
            made={"detector": f"detector of {NAME}"},
        )
        for i in range(number)
    ]


def traces(faces):
    """What must not be found any more: every sort of thing that was written about the person."""
    yield "name", NAME.encode()
    yield "consent", b"the uncle of Adelheid"
    for one in faces:
        yield "path", one.photo.path.encode()
        yield "sha256", one.photo.sha256.encode()
        yield "vector", np.asarray(one.vector, "<f4").tobytes()[:24]
        yield "vector, as PostgreSQL has it", np.asarray(one.vector, "<f4").tobytes()[4:28]
        yield "landmarks", np.asarray(one.landmarks, "<f4").tobytes()[:48]
        yield "crop", one.crop[3000:3040]


def found(folder, faces):
    contents = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return {kind for kind, trace in traces(faces) if any(trace in content for content in contents)}


def populated(gallery, faces):
    """The person, renamed and merged and moved about, among others."""
    enroll(gallery, "Bystander", *(face(f"b{i}") for i in range(30)))
    enroll(gallery, NAME, *faces[:-1], consent=Consent("guardian", "the uncle of Adelheid", date(2024, 1, 1)))
    loose = gallery.add([faces[-1], face("loose")], MODEL)
    gallery.arrange([Group(loose[:1], new=True)])
    gallery.assign(loose[:1], NAME)
    gallery.rename(NAME, "Heidi")
    gallery.rename("Heidi", NAME)
    enroll(gallery, "More", *(face(f"m{i}") for i in range(10)))
    return loose


def digests(path, faces):
    """Digests by which the person and the photos would be found again."""
    database = Sqlite(path, create=False)
    from isotrain.gallery import schema

    vault = schema.opened(database, None, create=False)
    assert isinstance(vault, Vault)
    database.close()
    return [vault.digest("name", NAME.encode()), *(vault.digest("photo", bytes.fromhex(f.photo.sha256)) for f in faces)]


def test_nothing_is_left_in_the_files(tmp_path):
    faces = distinctive()
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery, open_gallery(path) as other:
        populated(gallery, faces)
        assert other.person(NAME).faces == len(faces)  # a second reader, whose log is the same
        assert found(tmp_path, faces) == {kind for kind, _ in traces(faces)}, "the test would not see it"
        known_by = digests(path, faces)
        erased = gallery.forget(NAME)
        assert (erased.people, erased.faces, erased.vectors, erased.crops, erased.photos) == (1, 6, 6, 6, 6)
        assert (erased.consents, erased.steps, erased.shared, erased.finished) == (1, 4, (), True)
        contents = [file.read_bytes() for file in tmp_path.iterdir()]
        assert len(contents) == 3  # the file, its log and the log's index, all still open
        assert found(tmp_path, faces) == set()
        assert not any(digest in content for digest in known_by for content in contents)
        with pytest.raises(BadData, match="nothing to undo"):
            gallery.undo()
        for one in (gallery, other):
            with pytest.raises(UnknownName):
                one.person(NAME)
            assert one.person("Bystander").faces == 30
            assert all(hit.person.name != NAME for hit in one.search(faces[0].vector, k=9, model=MODEL)[0])
    assert found(tmp_path, faces) == set()


def test_nothing_is_left_on_the_server(postgres, postgres_url):
    psycopg = pytest.importorskip("psycopg")
    faces = distinctive()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        (home,) = admin.execute("SHOW data_directory").fetchone()
        base = Path(home) / "base"
        with open_gallery(postgres) as gallery:
            populated(gallery, faces)
            admin.execute("VACUUM ANALYZE")  # what the server does by itself from time to time: it takes samples
            admin.execute("CHECKPOINT")
            # Vectors lie behind two short numbers there; crops and the like are compressed or cut, or not.
            assert found(base, faces) >= {"name", "consent", "path", "vector, as PostgreSQL has it"}
            assert gallery.forget(NAME).finished
            admin.execute("CHECKPOINT")
            assert found(base, faces) == set()
            assert gallery.person("Bystander").faces == 30


def test_photos_with_somebody_else_stay_and_are_named(tmp_path):
    with open_gallery(tmp_path / "gallery.db") as gallery:
        enroll(gallery, "Ada", face("both"), face("alone"))
        enroll(gallery, "Bob", face("both", box=(100, 10, 150, 60)))
        erased = gallery.forget("Ada")
        assert (erased.faces, erased.photos, erased.shared) == (2, 1, ("album/both.jpg",))
        assert gallery.forget("Bob").photos == 1


def test_single_faces_are_erased(place):
    with open_gallery(place) as gallery:
        ids = enroll(gallery, "Ada", face("a"), face("b")).added
        with pytest.raises(BadData, match="no face 12345"):
            gallery.erase([ids[0], 12345])
        assert gallery.erase([ids[0]]).faces == 1
        assert [one.id for one in gallery.faces("Ada")] == [ids[1]]
        assert gallery.table().faces.tolist() == [ids[1]]


@pytest.mark.parametrize("stopped_by", ["vacuum", "checkpoint"])
def test_an_erasing_that_was_cut_off_is_finished_by_the_next_opening(tmp_path, monkeypatch, stopped_by):
    faces, path = distinctive(), tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        populated(gallery, faces)

    class Stopped(Exception):
        pass

    rows = Sqlite.rows

    def cut_off(self, sql, values=()):
        if stopped_by in sql.lower():
            raise Stopped
        return rows(self, sql, values)

    reader = open_gallery(path)  # or closing the last connection would tidy up
    with monkeypatch.context() as patched:
        patched.setattr(Sqlite, "rows", cut_off)
        gallery = open_gallery(path)
        with pytest.raises(Stopped):
            gallery.forget(NAME)
    assert found(tmp_path, faces), "the test would not see it"
    with pytest.raises(UnknownName):
        reader.person(NAME)
    with open_gallery(path):
        assert found(tmp_path, faces) == set()
    gallery.close()
    reader.close()


def test_a_reader_in_the_way_is_said_and_made_up_for(tmp_path, monkeypatch):
    faces, path = distinctive(), tmp_path / "gallery.db"
    reader = open_gallery(path)
    populated(reader, faces)
    monkeypatch.setattr("isotrain.gallery.sqlite.PATIENCE", 0.05)
    with open_gallery(path) as gallery:
        with reader._database.reading():
            assert len(reader._database.rows("SELECT id FROM faces")) == 47
            assert not gallery.forget(NAME).finished
        assert found(tmp_path, faces)
        assert gallery.finish_erasing()
        assert found(tmp_path, faces) == set()
    reader.close()


# --- killed in the middle ---------------------------------------------------------------------------------------


def whole(path, faces):
    """Whether the person is there, all of them or nothing; anything in between fails."""
    with open_gallery(path, create=False) as gallery:
        assert gallery._database.rows("PRAGMA integrity_check") == [("ok",)]
        assert gallery._database.rows("PRAGMA foreign_key_check") == []
        assert gallery.person("Bystander").faces == 3
        here = None
        with suppress(UnknownName):
            here = gallery.person(NAME)
        kept = {one.photo.path for one in gallery.faces(here)} if here else set()
        assert kept == ({one.photo.path for one in faces} if here else set())
        assert len(gallery.table().faces) == 3 + len(kept) == gallery.table().vectors.shape[0]
        photos = gallery._database.rows("SELECT count(*) FROM photos")[0][0]
        assert photos == 3 + len(kept)
    # Whoever is not there has left nothing, whenever the process was killed.
    if here is None:
        assert found(path.parent, faces) == set()
    return here is not None


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("work", ["enroll", "forget"])
def test_killed_at_a_statement_it_is_all_or_nothing(tmp_path, work, every, killed):
    faces = distinctive(2)
    outcomes = []
    for moment in range(1, 200, every):
        folder = tmp_path / f"{moment}"
        folder.mkdir()
        path = folder / "gallery.db"
        with open_gallery(path) as gallery:
            enroll(gallery, "Bystander", *(face(f"b{i}") for i in range(3)))
            if work == "forget":
                enroll(gallery, NAME, *faces)

        def child(path=path, moment=moment):
            import os
            import signal

            gallery = open_gallery(path)
            left = moment

            def count(_):
                nonlocal left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

            gallery._database._connection.set_trace_callback(count)
            enroll(gallery, NAME, *faces) if work == "enroll" else gallery.forget(NAME)

        finished = killed(child)
        outcomes.append(whole(path, faces))
        if finished:
            break
    assert finished and len(outcomes) > 15 / every
    # First as it was, then as it was to be, and never back.
    assert outcomes == sorted(outcomes, reverse=work == "forget") and len(set(outcomes)) == 2


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("work", ["enroll", "forget"])
def test_killed_at_any_moment_it_is_all_or_nothing(tmp_path, work, times, killed):
    faces, path = distinctive(20), tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        enroll(gallery, "Bystander", *(face(f"b{i}") for i in range(3)))
    draw, outcomes = random.Random(0), []
    for _ in range(times):
        with open_gallery(path) as gallery:
            there = any(person.name == NAME for person in gallery.people())
            if there and work == "enroll":
                gallery.forget(NAME)
            elif not there and work == "forget":
                enroll(gallery, NAME, *faces)

        def child():
            gallery = open_gallery(path)
            enroll(gallery, NAME, *faces) if work == "enroll" else gallery.forget(NAME)

        killed(child, after=draw.uniform(0, 0.06))
        outcomes.append(whole(path, faces))
    assert len(outcomes) == times


def test_killed_while_it_is_made(tmp_path, killed):
    draw = random.Random(0)
    for number in range(8):
        path = tmp_path / f"{number}.db"
        killed(lambda path=path: open_gallery(path), after=draw.uniform(0, 0.02))
        with open_gallery(path) as gallery:
            assert enroll(gallery, "Ada", face("a")).person.faces == 1


def test_the_server_forgets_all_or_nothing(postgres, killed):
    faces = distinctive(4)
    with open_gallery(postgres) as gallery:
        enroll(gallery, "Bystander", face("b"))
    draw = random.Random(0)
    for number in range(8):
        work = ("enroll", "forget")[number % 2]
        with open_gallery(postgres) as gallery:
            there = any(person.name == NAME for person in gallery.people())
            if there and work == "enroll":
                gallery.forget(NAME)
            elif not there and work == "forget":
                enroll(gallery, NAME, *faces)

        def child(work=work):
            gallery = open_gallery(postgres)
            enroll(gallery, NAME, *faces) if work == "enroll" else gallery.forget(NAME)

        killed(child, after=draw.uniform(0.01, 0.12))
        with open_gallery(postgres) as gallery:
            here = {person.name: person.faces for person in gallery.people()}
            assert here in ({"Bystander": 1}, {"Bystander": 1, NAME: 4})
            assert gallery._database.rows("SELECT 1 FROM settings WHERE name = 'erasing'") == []
