"""The faces' commands as they are typed, on drawn people: enrolled, named, clustered, exported and forgotten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "faces"))
from drawn_people import found_pictures, save, side_by_side

RUN = [sys.executable, "-c", "from isotrain.app.cli import main; main()"]
ODD = "Robert'); DROP TABLE people;-- <b>\u202e/../x"


@pytest.fixture
def typed(answer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """A command behind `isotrain faces`, typed in a folder of its own with a gallery of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOTRAIN_GALLERY", str(tmp_path / "gallery.db"))
    monkeypatch.delenv("ISOTRAIN_PASSPHRASE", raising=False)
    return lambda *words: answer_of("faces", *words)


@pytest.fixture
def album(tmp_path: Path) -> dict[int, list[Path]]:
    """Two photos of each of six drawn people."""
    return {
        person: [save(picture, tmp_path / "album" / f"{person}-{n}.png") for n, picture in enumerate(pictures)]
        for person, pictures in found_pictures().items()
    }


def done(answer: Any) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def refused(answer: Any, said: str) -> None:
    assert answer.code == 2
    assert said in answer.err and answer.err.count("\n") == 1
    assert "Traceback" not in answer.err


def test_a_life_in_the_gallery(typed: Callable[..., Any], album: dict[int, list[Path]], tmp_path: Path) -> None:
    """Enrolled, recognised among others, listed, exported, forgotten."""
    ada, ben, *others = album.values()
    for name, photos in (("Ada", ada), (ODD, ben)):
        enrolled = done(typed("enroll", name, str(photos[0]), "--consent", "given", "--json"))
        assert enrolled["person"]["faces"] == 1 and enrolled["person"]["consent"]["by"] == name.strip()
    again = done(typed("enroll", "Ada", str(ada[0]), "--json"))
    assert again["added"] == [] and len(again["known"]) == 1  # the same photo is not kept twice
    photo = save(side_by_side(*(torch.tensor(_pixels(p)) for p in (others[0][0], ada[0]))), tmp_path / "two.png")
    seen = done(typed("look", str(photo), "--threshold", "0.95", "--json"))
    names = [face["person"] for face in seen["photos"][0]["faces"]]
    assert names == [None, "Ada"]
    assert all(Path(path).stat().st_size > 0 for path in seen["written"])
    assert set(seen["seconds"]) == {"load", "read", "detect", "landmarks", "align", "represent", "gallery"}
    people = done(typed("list", "--json"))["who"]
    assert [person["name"] for person in people] == ["Ada", ODD.strip()]
    exported = Path(done(typed("export", ODD, "--json"))["written"][0])
    assert exported.parent.parent == Path(".") or exported.parent.parent == tmp_path
    assert json.loads(exported.read_text())["name"] == ODD.strip()
    gone = done(typed("forget", "Ada", "--json"))
    assert (gone["people"], gone["faces"], gone["vectors"], gone["crops"]) == (1, 1, 1, 1) and gone["finished"]
    assert b"Ada" not in (tmp_path / "gallery.db").read_bytes()
    refused(typed("forget", "Ada"), "person 'Ada' is not known")
    after = done(typed("identify", str(photo), "--threshold", "0.95", "--json"))
    assert [face["person"] for face in after["photos"][0]["faces"]] == [None, None]


def _pixels(path: Path) -> Any:
    from isotrain.data.pictures import read_picture

    return read_picture(path).numpy()


def test_verify(typed: Callable[..., Any], album: dict[int, list[Path]]) -> None:
    ada, ben, *_ = album.values()
    same = done(typed("verify", str(ada[0]), str(ada[0]), "--threshold", "0.5", "--json"))
    assert same["same"] and same["similarity"] == pytest.approx(1, abs=1e-5)
    other = done(typed("verify", str(ada[0]), str(ben[0]), "--threshold", "0.99", "--json"))
    assert not other["same"] and other["similarity"] < 0.99


def test_an_album_with_a_broken_picture(
    typed: Callable[..., Any], album: dict[int, list[Path]], tmp_path: Path
) -> None:
    """It is named, skipped and counted; the others are clustered; a cluster gets a name, which is taken back."""
    (tmp_path / "album" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    answer = typed("cluster", "album", "--threshold", "0.8", "--json")
    found = done(answer)
    assert found["faces"] == 12 and [Path(one["photo"]).name for one in found["skipped"]] == ["broken.jpg"]
    assert "broken.jpg" in answer.err
    assert Path(found["written"][0]).stat().st_size > 0
    cluster = next(person["called"] for person in found["who"])
    assert cluster.startswith("#")
    refused(typed("name", cluster, "Cem"), "faces are kept with consent alone")
    named = done(typed("name", cluster, "Cem", "--consent", "household", "--until", "2999-01-01", "--json"))
    assert named["who"][0]["name"] == "Cem" and named["who"][0]["consent"]["until"] == "2999-01-01"
    faces = done(typed("list", "Cem", "--json"))["faces"]
    assert faces and all(Path(face["photo"]).parent.name == "album" for face in faces)
    done(typed("undo", "--json"))
    refused(typed("list", "Cem"), "'Cem' is not known")
    assert done(typed("cluster", "album", "--threshold", "0.8", "--json"))["moved"] == 0


def test_words_for_what_goes_wrong(typed: Callable[..., Any], album: dict[int, list[Path]], tmp_path: Path) -> None:
    ada, ben, *_ = album.values()
    refused(typed("list"), "there is no gallery")
    refused(typed("enroll", "Ada", str(ada[0])), "--consent given")
    both = save(side_by_side(*(torch.tensor(_pixels(p)) for p in (ada[0], ben[0]))), tmp_path / "both.png")
    refused(typed("enroll", "Ada", str(ada[0]), str(both), "--consent", "given"), "--face N")
    refused(typed("list", "Ada"), "'Ada' is not known")  # nothing of it was kept
    done(typed("enroll", "Ada", str(both), "--face", "1", "--consent", "given", "--json"))
    blank = save(torch.full((3, 64, 64), 99, dtype=torch.uint8), tmp_path / "blank.png")
    refused(typed("enroll", "Ben", str(blank), "--consent", "given"), "no face was found")
    refused(typed("verify", str(blank), str(ada[0]), "--threshold", "0.5"), "no face was found")
    refused(typed("look", "absent.jpg"), "absent.jpg does not exist")
    refused(typed("look", str(ada[0]), "--detector", "nothing"), "'nothing'")
    refused(typed("look", str(ada[0]), "--embedder", "nothing.onnx"), "nothing.onnx")
    refused(typed("enroll", "Ben", str(ben[0]), "--consent", "given", "--until", "soon"), "2027-12-31")
    refused(typed("enroll", "Ben", str(ben[0]), "--consent", "sure"), "'sure'")
    refused(typed("enroll", "Ben", str(ben[0]), "--consent", "guardian"), "who agreed for 'Ben'?")
    refused(typed("identify", str(ada[0]), "--threshold", "7"), "from -1 to 1")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(typed("cluster", str(empty)), "holds no picture")


def test_an_encrypted_gallery(
    typed: Callable[..., Any], album: dict[int, list[Path]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ada = next(iter(album.values()))
    monkeypatch.setenv("ISOTRAIN_PASSPHRASE", "right horse")
    done(typed("enroll", "Ada Lovelace", str(ada[0]), "--consent", "given", "--json"))
    assert b"Lovelace" not in (tmp_path / "gallery.db").read_bytes()
    monkeypatch.setenv("ISOTRAIN_PASSPHRASE", "wrong horse")
    refused(typed("list"), "passphrase")
    monkeypatch.delenv("ISOTRAIN_PASSPHRASE")
    refused(typed("list"), "passphrase")
    monkeypatch.setenv("ISOTRAIN_PASSPHRASE", "right horse")
    assert done(typed("list", "--json"))["who"][0]["name"] == "Ada Lovelace"


def test_without_a_gallery_faces_are_still_shown(typed: Callable[..., Any], album: dict[int, list[Path]]) -> None:
    answer = typed("look", str(next(iter(album.values()))[0]), "--steps")
    assert answer.code == 2 and "there is no gallery" in answer.err  # one was named, and it is not there
    os.environ.pop("ISOTRAIN_GALLERY")
    os.environ["XDG_DATA_HOME"] = str(Path.cwd() / "home")
    try:
        answer = typed("look", str(next(iter(album.values()))[0]), "--steps")
    finally:
        del os.environ["XDG_DATA_HOME"]
    assert answer.code == 0 and "Nobody is known yet" in answer.out and "steps.png" in answer.out


@pytest.mark.slow
def test_killed_while_enrolling(album: dict[int, list[Path]], tmp_path: Path) -> None:
    """kill -9 at many moments of `enroll`: the person has all the faces or is not there."""
    photos = [str(photo) for photos in album.values() for photo in photos][:6]
    gallery = tmp_path / "gallery.db"
    words = [*RUN, "faces", "enroll", "Ada", *photos, "--consent", "given", "--json", "--gallery", str(gallery)]
    began = time.monotonic()
    subprocess.run(words, check=True, capture_output=True, cwd=tmp_path)
    whole = time.monotonic() - began
    subprocess.run([*RUN, "faces", "forget", "Ada", "--gallery", str(gallery)], check=True, capture_output=True)
    seen = set()
    for turn in range(8):
        victim = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
        time.sleep(whole * (0.6 + 0.06 * turn))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        listed = subprocess.run(
            [*RUN, "faces", "list", "--json", "--gallery", str(gallery)], check=True, capture_output=True, text=True
        )
        who = json.loads(listed.stdout)["who"]
        assert [(person["name"], person["faces"]) for person in who] in ([], [("Ada", 6)])
        seen.add(bool(who))
        if who:
            subprocess.run([*RUN, "faces", "forget", "Ada", "--gallery", str(gallery)], check=True, capture_output=True)
    assert False in seen


def test_a_damaged_gallery_is_told_even_where_none_was_named(
    answer_of: Callable[..., Any], album: dict[int, list[Path]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISOTRAIN_GALLERY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    broken = tmp_path / "home" / "isotrain" / "gallery.db"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no gallery at all" * 100)
    refused(answer_of("faces", "identify", str(next(iter(album.values()))[0])), "gallery.db")
    assert broken.read_bytes().startswith(b"no gallery")
