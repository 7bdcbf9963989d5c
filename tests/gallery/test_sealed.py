"""A gallery with a passphrase: nothing about people is readable without it, and it works like any other."""

import sqlite3

import numpy as np
import pytest
from made_up import MODEL, enroll, face

from isotrain.errors import BadData, BadOption
from isotrain.gallery import open_gallery, vault

SECRET = "correct horse"

pytestmark = pytest.mark.usefixtures("cheap_scrypt")


@pytest.fixture
def sealed(place):
    with open_gallery(place, SECRET) as gallery:
        enroll(gallery, "Adelheid", face("secret place"), face("other"))
    return place


def test_it_works_like_any_other(sealed):
    with open_gallery(sealed, SECRET) as gallery:
        assert gallery.sealed
        person = gallery.person("Adelheid")
        assert person.name == "Adelheid" and person.consent.how == "signed form"
        first = gallery.faces("Adelheid")[0]
        assert first.photo.path == "album/secret place.jpg"
        assert np.array_equal(first.landmarks, face("secret place").landmarks)
        assert gallery.crop(first.id) == face("secret place").crop
        assert enroll(gallery, "Adelheid", face("other"), face("new")).known
        for exact in (True, False):
            hit = gallery.search(face("new").vector, model=MODEL, exact=exact)[0][0]
            assert hit.person.name == "Adelheid" and hit.similarity == pytest.approx(1, abs=1e-6)
        gallery.rename("Adelheid", "Heidi")
        assert gallery.undo().what == "rename"
        assert gallery.forget("Adelheid").faces == 3


def test_nothing_about_people_is_readable(tmp_path):
    path = tmp_path / "gallery.db"
    gallery = open_gallery(path, SECRET)
    enroll(gallery, "Adelheid", face("secret place"))
    contents = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    gallery.close()
    one = face("secret place")
    for trace in (
        b"Adelheid",
        b"Ada herself",
        b"signed form",
        b"secret place",
        b"by hand",
        one.photo.sha256.encode(),
        bytes.fromhex(one.photo.sha256),
        one.vector.tobytes()[:16],
        one.landmarks.tobytes(),
        one.crop[8:24],
        SECRET.encode(),
    ):
        assert trace not in contents, trace
    assert MODEL.encode() in contents  # which is said not to be sealed


@pytest.mark.parametrize(("passphrase", "words"), [("wrong", "does not open"), (None, "is encrypted: give its")])
def test_without_the_passphrase_it_stays_shut_and_as_it_was(tmp_path, passphrase, words):
    path = tmp_path / "gallery.db"
    with open_gallery(path, SECRET) as gallery:
        enroll(gallery, "Adelheid", face("a"))
    before = path.read_bytes()
    with pytest.raises(BadOption, match=words) as caught:
        open_gallery(path, passphrase)
    assert "wrong" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_passphrase_for_a_gallery_without_one(place):
    open_gallery(place).close()
    with pytest.raises(BadOption, match="is not encrypted"):
        open_gallery(place, SECRET)


def test_an_empty_passphrase_is_none_and_makes_nothing(tmp_path):
    with pytest.raises(BadOption, match="passphrase is empty"):
        open_gallery(tmp_path / "gallery.db", "")
    with open_gallery(tmp_path / "gallery.db") as gallery:
        assert not gallery.sealed


def test_the_passphrase_can_be_changed(sealed):
    with open_gallery(sealed, SECRET) as gallery:
        gallery.change_passphrase("battery staple")
        with pytest.raises(BadOption, match="empty"):
            gallery.change_passphrase("")
    with pytest.raises(BadOption, match="does not open"):
        open_gallery(sealed, SECRET)
    with open_gallery(sealed, "battery staple") as gallery:
        assert gallery.person("Adelheid").faces == 2


@pytest.mark.parametrize("column", ["people.name", "photos.about", "vectors.vector", "crops.png", "faces.landmarks"])
def test_what_was_tampered_with_does_not_unseal(tmp_path, column):
    path = tmp_path / "gallery.db"
    with open_gallery(path, SECRET) as gallery:
        (face_id,) = enroll(gallery, "Adelheid", face("a")).added
    table, name = column.split(".")
    with sqlite3.connect(path) as connection:
        (written,) = connection.execute(f"SELECT {name} FROM {table}").fetchone()
        connection.execute(f"UPDATE {table} SET {name} = ?", (written[:-1] + bytes([written[-1] ^ 1]),))
    connection.close()
    with open_gallery(path, SECRET) as gallery, pytest.raises(BadData, match="does not unseal"):
        gallery.people(), gallery.crop(face_id), gallery.faces("Adelheid"), gallery.table()


def test_a_name_does_not_pass_for_a_path():
    opened = vault.new_vault(SECRET)
    assert opened.unseal("name", opened.seal("name", b"Ada")) == b"Ada"
    with pytest.raises(BadData):
        opened.unseal("path", opened.seal("name", b"Ada"))
    assert opened.seal("name", b"Ada") != opened.seal("name", b"Ada")


def test_a_crafted_cost_is_refused():
    written = vault.new_vault(SECRET).written(SECRET).replace(b'"n": 16', b'"n": 1073741824')
    with pytest.raises(BadData, match="scrypt cost"):
        vault.opened_vault(written, SECRET, "gallery.db")
    for damaged in (b"", b"{}", b"[1]", b'{"scrypt": 1}'):
        with pytest.raises(BadData, match="damaged"):
            vault.opened_vault(damaged, SECRET, "gallery.db")


def test_a_real_passphrase_costs_time_and_memory(monkeypatch):
    monkeypatch.undo()
    assert vault.COST["n"] * vault.COST["r"] * 128 >= 2**27
    opened = vault.new_vault(SECRET)
    again = vault.opened_vault(opened.written(SECRET), SECRET, "gallery.db")
    assert again.unseal("name", opened.seal("name", b"Ada")) == b"Ada"
