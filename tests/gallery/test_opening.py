"""What is no gallery, a newer one, a full or read-only disk: refused in clear words, and left as it was."""

import os
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest
from made_up import enroll, face

from isotrain.errors import BadData, BadOption
from isotrain.gallery import open_gallery, schema
from isotrain.gallery.sqlite import Sqlite


def others(path):
    """An SQLite file of somebody else."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE people (id INTEGER)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(5000)), "no gallery"),
        (lambda path: path.write_text("hello"), "no gallery"),
        (others, "something else"),
    ],
    ids=["picture", "text", "another database"],
)
def test_a_file_that_is_no_gallery_is_refused_and_left_alone(tmp_path, make, words):
    path = tmp_path / "file.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(BadData, match=words):
        open_gallery(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["file.db"]


def test_a_missing_one_is_only_made_when_asked(tmp_path):
    path = tmp_path / "gallery.db"
    with pytest.raises(BadData, match="there is no gallery"):
        open_gallery(path, create=False)
    assert not path.exists()
    path.touch()
    with pytest.raises(BadData, match="there is no gallery"):
        open_gallery(path, create=False)
    with pytest.raises(BadData, match="No such file or directory"):
        open_gallery(tmp_path / "nowhere" / "gallery.db")
    with pytest.raises(BadData, match="cannot be opened"):
        open_gallery(tmp_path)


def test_nobody_else_may_read_it(tmp_path):
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        enroll(gallery, "Ada", face("a"))
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


@pytest.mark.parametrize("odd", [":memory:", "file:x?mode=memory", "100%.db", "a b#c?.db", "ü.db"])
def test_a_path_is_only_ever_a_path(tmp_path, monkeypatch, odd):
    monkeypatch.chdir(tmp_path)
    with open_gallery(odd) as gallery:
        enroll(gallery, "Ada", face("a"))
    assert (tmp_path / odd).stat().st_size > 10_000
    with open_gallery(tmp_path / odd, create=False) as gallery:
        assert gallery.person("Ada")


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_gallery("sqlite:///a%20b.db").close()
    assert (tmp_path / "a b.db").is_file()
    open_gallery(f"sqlite:///{tmp_path}/c.db").close()
    assert (tmp_path / "c.db").is_file()
    for wrong, words in (("mysql://h/d", "not mysql://"), ("sqlite://", "names no file"), ("sqlite:///", "names no")):
        with pytest.raises(BadOption, match=words):
            open_gallery(wrong)


def test_a_server_that_is_not_there_and_its_password_is_not_said():
    pytest.importorskip("psycopg", reason="no psycopg: pip install 'isotrain[faces]'")
    with pytest.raises(BadData, match=r"postgresql://127.0.0.1/faces") as caught:
        open_gallery("postgresql://ada:sesame@127.0.0.1:1/faces")
    assert "sesame" not in str(caught.value)
    with pytest.raises(BadData, match="on PostgreSQL"):
        open_gallery("postgresql://host/db?nonsense=1")


def test_a_newer_one_is_refused(place, monkeypatch):
    def more(database, vault):
        database.rows("ALTER TABLE photos ADD COLUMN taken TEXT")

    with open_gallery(place) as gallery:
        enroll(gallery, "Ada", face("a"))
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, more])
        with open_gallery(place) as gallery:
            assert gallery._database.rows("SELECT taken FROM photos") == [(None,)]
            assert gallery.person("Ada").faces == 1
        open_gallery(place).close()
    with pytest.raises(BadData, match=f"version {len(schema.MIGRATIONS) + 1}.*up to {len(schema.MIGRATIONS)}: update"):
        open_gallery(place)


def test_a_migration_that_fails_changes_nothing(place, monkeypatch):
    def fails(database, vault):
        database.rows("ALTER TABLE photos ADD COLUMN taken TEXT")
        raise RuntimeError

    open_gallery(place).close()
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, fails])
        with pytest.raises(RuntimeError):
            open_gallery(place)
    with open_gallery(place) as gallery:
        enroll(gallery, "Ada", face("a"))
        assert len(gallery._database.rows("SELECT * FROM photos")[0]) == 4


def test_a_damaged_one_says_so(tmp_path):
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        enroll(gallery, "Ada", *(face(f"{number}") for number in range(30)))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * len(content[4096:])
    path.write_bytes(content)
    with pytest.raises(BadData, match="damaged"):
        open_gallery(path)


def test_triggers_of_a_crafted_file_are_not_run(tmp_path):
    path = tmp_path / "gallery.db"
    open_gallery(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON people BEGIN DELETE FROM consents; END")
    connection.close()
    with pytest.raises(BadData, match="triggers or views"):
        open_gallery(path)


def test_a_full_disk_changes_nothing(tmp_path):
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        enroll(gallery, "Ada", face("a"))
        (pages,) = gallery._database.rows("PRAGMA page_count")[0]
        gallery._database.rows(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(BadData, match="disk is full"):
            enroll(gallery, "Bob", *(face(f"b{number}", crop=face("b").crop + bytes(5000)) for number in range(9)))
        assert [person.name for person in gallery.people()] == ["Ada"]
        gallery._database.rows(f"PRAGMA max_page_count = {pages + 100}")
        assert enroll(gallery, "Bob", face("b")).person.faces == 1


def test_a_gallery_that_may_only_be_read(tmp_path):
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        enroll(gallery, "Ada", face("a"))
        gallery._database.rows("PRAGMA query_only = ON")  # SQLite's own word for it, which root has to heed too
        with pytest.raises(BadData, match="may only be read"):
            enroll(gallery, "Bob", face("b"))


def test_a_gallery_whose_file_may_only_be_read(killed):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to the user that root becomes
        path = Path(folder) / "gallery.db"
        with open_gallery(path) as gallery:
            enroll(gallery, "Ada", face("a"))
        path.chmod(0o444)
        Path(folder).chmod(0o555)

        def child():
            if os.geteuid() == 0:
                os.setuid(65534)
            with pytest.raises(BadData, match="may only be read"):
                open_gallery(path)

        assert killed(child)
        Path(folder).chmod(0o700)


def test_a_busy_one_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "gallery.db"
    with open_gallery(path) as busy:
        monkeypatch.setattr("isotrain.gallery.sqlite.PATIENCE", 0.05)
        with open_gallery(path) as gallery, busy._database.writing(), pytest.raises(BadData, match="busy"):
            enroll(gallery, "Ada", face("a"))


def test_what_the_packages_are_called_when_they_are_missing(tmp_path, monkeypatch):
    import sys

    from isotrain.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for place, passphrase in ((tmp_path / "g.db", "secret"), ("postgresql://127.0.0.1/x", None)):
        with pytest.raises(MissingExtra, match=r"isotrain\[faces\]"):
            open_gallery(place, passphrase)


def test_what_goes_wrong_inside_is_not_called_the_users_fault(tmp_path):
    database = Sqlite(tmp_path / "gallery.db", create=True)
    with pytest.raises(sqlite3.OperationalError):
        database.rows("SELECT nonsense")
    database.close()
