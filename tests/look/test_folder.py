"""`isotrain look` on files and folders: each photo once, whatever happens in between; bad input in one line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from made_parts import labelled, pictures, save, write_run
from PIL import Image

from isotrain.app.cli import main
from isotrain.look.album import album
from isotrain.look.kept import FILE
from isotrain.look.looker import Looker


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


Typed = Callable[..., Answer]
ODD = "<img src=x onerror=alert(1)> ' \" & \u00fc.png"


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typed:
    """`isotrain look` with a class alone, in a folder of its own."""
    write_run(tmp_path / "run", "classify", labelled(), sure=1, net="resnet8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ISOTRAIN_GALLERY", raising=False)
    usual = {"--classify": "run", "--objects": "none", "--faces": "none", "--caption": "none", "--out": "out"}

    def run(*words: str, **options: str) -> Answer:
        given = usual | {f"--{name}": value for name, value in options.items()}
        line = ["isotrain", "look", *words, *(part for pair in given.items() for part in pair)]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return Answer(int(stop.value.code or 0), streams.out, streams.err)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for place, picture in enumerate(pictures(4, 40)):
        save(picture, folder / ("sub/deeper" if place == 3 else ".") / f"{place}.png")
    save(pictures(1, 40, seed=9)[0], folder / ODD)
    return folder


def refused(answer: Answer, *said: str) -> None:
    assert answer.code == 2 and answer.out == ""
    last = answer.err.strip().splitlines()[-1]
    assert all(words in last for words in said), answer.err
    assert "Traceback" not in answer.err


def test_one_photo(typed: Typed, photos: Path) -> None:
    found = typed(str(photos / "0.png"), "--json").json
    (photo,) = found["photos"]
    assert photo["class"]["name"] == "dog" and photo["objects"] is photo["faces"] is photo["caption"] is None
    assert all(Path(path).stat().st_size > 0 for path in found["written"])
    assert json.loads(Path("out/look.json").read_text())["photos"] == found["photos"]
    shown = typed(str(photos / "0.png"))
    assert shown.code == 0 and "dog" in shown.out and "cannot tell" in shown.out


def test_a_folder_goes_on_where_it_was(typed: Typed, photos: Path) -> None:
    first = typed(str(photos), "--json").json
    assert (first["looked"], first["kept"]) == (5, 0) and first["written"][0] == "out/index.html"
    again = typed(str(photos), "--json").json
    assert (again["looked"], again["kept"]) == (0, 5) and again["photos"] == first["photos"]
    save(pictures(1, 50, seed=3)[0], photos / "1.png")  # changed
    (photos / "2.png").unlink()  # gone
    next(Path("out/drawn").iterdir()).unlink()  # its drawing is gone: looked at again, unless it is that of 2.png
    third = typed(str(photos), "--json").json
    assert third["looked"] in (1, 2) and third["looked"] + third["kept"] == 4
    assert not any("2.png" in photo["photo"] for photo in third["photos"])
    assert len(list(Path("out/drawn").iterdir())) == len(list(Path("out/thumbnails").iterdir())) == 4
    assert len(typed(str(photos / "0.png"), "--json").json["photos"]) == 1  # and the others are still kept
    assert typed(str(photos), "--json").json["kept"] == 4
    write_run(Path("run"), "classify", labelled(), sure=2, net="resnet8")
    other = typed(str(photos), "--json").json
    assert other["looked"] == 4 and other["photos"][0]["class"]["name"] == "ship"
    assert typed(str(photos), "--json", layers="caption").json["looked"] == 4


def test_cut_off_in_the_middle(typed: Typed, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before is kept, whole batches of it."""
    from isotrain.look import folder

    monkeypatch.setattr(folder, "TOGETHER", 2)
    put, calls = folder.put_drawn, []

    def failing(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return put(*given)

    monkeypatch.setattr(folder, "put_drawn", failing)
    assert typed(str(photos)).code == 130
    monkeypatch.setattr(folder, "put_drawn", put)
    found = typed(str(photos), "--json").json
    assert (found["looked"], found["kept"]) == (3, 2)


def test_pictures_of_every_kind(typed: Typed, tmp_path: Path) -> None:
    """Those that can be read are looked at, the others are named; EXIF turns a photo."""
    folder = tmp_path / "odd"
    folder.mkdir()
    picture = Image.fromarray(pictures(1, 64)[0].permute(1, 2, 0).numpy())
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray((torch.arange(4096).view(64, 64).numpy() * 16).astype("uint16")).save(folder / "sixteen.png")
    picture.save(folder / "moving.gif", save_all=True, append_images=[picture.rotate(90)])
    picture.resize((1, 1)).save(folder / "dot.png")
    picture.resize((20_000, 10)).save(folder / "strip.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.crop((0, 0, 64, 32)).save(folder / "turned.jpg", exif=exif)
    picture.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:400])
    (folder / "text.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture by its name: not looked at")
    answer = typed(str(folder), "--json")
    found = answer.json
    assert len(found["photos"]) == 6
    assert sorted(Path(one["photo"]).name for one in found["skipped"]) == ["cut.jpg", "text.png"]
    assert "cut.jpg" in answer.err and "text.png" in answer.err
    sizes = {Path(photo["photo"]).name: photo["size"] for photo in found["photos"]}
    assert sizes["turned.jpg"] == [64, 32] and sizes["dot.png"] == [1, 1] and sizes["strip.png"] == [10, 20_000]


def test_words_for_what_goes_wrong(typed: Typed, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    refused(typed("empty"), "empty holds no picture")
    refused(typed("absent.jpg"), "absent.jpg does not exist")
    refused(typed("broken.jpg"), "broken.jpg cannot be read")
    photo = str(photos / "0.png")
    refused(typed(photo, layers="heat,warmth"), "'warmth'")
    refused(typed(photo, classify="absent"), "absent is not there")
    refused(typed(photo, caption="run"), "is a run of classify")
    refused(typed(photo, gallery="absent.db"), "no gallery at absent.db")
    refused(typed(photo, out="broken.jpg/x"), "cannot be written")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / FILE).write_bytes(b"no data base at all" * 99)
    refused(typed(photo, out="strange"), FILE)
    other = sqlite3.connect(tmp_path / "strange.db")
    other.execute("CREATE TABLE mine (a)")
    other.close()
    (tmp_path / "theirs").mkdir()
    os.rename(tmp_path / "strange.db", tmp_path / "theirs" / FILE)
    refused(typed(photo, out="theirs"), "not isotrain's")


def test_one_photo_that_a_part_fails_at_is_left_out(
    typed: Typed, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others are looked at; a thin picture is none of them."""
    Image.new("RGB", (2000, 1)).save(photos / "thin.png")
    found = typed("photos", "--json", faces="shipped")
    assert found.json["skipped"] == [] and any("thin" in one["photo"] for one in found.json["photos"])
    look = Looker.look

    def broken(self: Looker, pictures: Any, *more: Any) -> Any:
        if any(picture.shape[1] == 1 for picture in pictures):
            raise RuntimeError("no room for it\nand more")
        return look(self, pictures, *more)

    monkeypatch.setattr(Looker, "look", broken)
    found = typed("photos", "--json", out="other").json
    assert [one["why"] for one in found["skipped"]] == ["no room for it"] and len(found["photos"]) > 2


def test_the_album_follows_the_folder_down_to_nothing(typed: Typed, photos: Path) -> None:
    names = sorted(path for path in photos.rglob("*") if path.is_file())
    assert typed("photos").code == 0
    for path in names[1:]:
        path.unlink()
    assert typed("photos").code == 0
    page = Path("out/index.html").read_text(encoding="utf-8")
    (left,) = json.loads(Path("out/look.json").read_text())["photos"]
    assert "1 photo." in page and Path(left["photo"]).name == names[0].name
    names[0].unlink()
    assert typed("photos").code == 0
    assert "0 photos." in Path("out/index.html").read_text(encoding="utf-8")
    assert json.loads(Path("out/look.json").read_text())["photos"] == [] and not list(Path("out/drawn").iterdir())


def test_drawings_are_no_photos(typed: Typed, photos: Path) -> None:
    """Where they are written beside the photos."""
    counts = [len(typed("photos", "--json", out="photos").json["photos"]) for _ in range(2)]
    assert counts[0] == counts[1]


def test_options_that_would_do_nothing_are_refused(typed: Typed, photos: Path) -> None:
    for name, value in (("workers", "2"), ("address", "127.0.0.1:1"), ("batch", "3")):
        refused(typed("photos", **{name: value}), "--cluster")
    for value in ("nan", "5", "-1.1"):
        refused(typed("photos", threshold=value), "-1 to 1")


def test_a_folder_that_cannot_be_read_takes_nothing_away(
    typed: Typed, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the photos in it would count as deleted."""
    before = len(typed("photos", "--json").json["photos"])
    listed = os.scandir

    def closed(path: Any) -> Any:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", closed)
        refused(typed("photos"), "sub cannot be read")
    found = typed("photos", "--json").json
    assert (found["kept"], found["looked"]) == (before, 0)


def test_what_is_no_file_is_not_waited_for(typed: Typed, photos: Path) -> None:
    os.mkfifo(photos / "pipe.jpg")
    found = typed("photos", "--json").json
    assert ["is no file" in one["why"] for one in found["skipped"]] == [True]


def test_people_are_named_with_consent_alone(typed: Typed, tmp_path: Path) -> None:
    """Named where the gallery knows them; whoever is forgotten, or whose consent has ended, is not named again."""
    skimage = pytest.importorskip("skimage.data")
    from isotrain.data.pictures import read_picture
    from isotrain.faces.chain import Chain
    from isotrain.faces.keeping import new_face
    from isotrain.gallery import Consent, open_gallery

    photo = save(torch.from_numpy(skimage.astronaut()).permute(2, 0, 1), tmp_path / "two" / "eileen.png")
    save(pictures(1, 64)[0], tmp_path / "two" / "nobody.png")
    chain = Chain.of()
    (faces,) = chain.look([read_picture(photo)])
    best = max(faces, key=lambda face: face.score)

    def people() -> list[Any]:
        found = typed("two", "--json", faces="shipped", gallery="people.db").json
        assert b"Eileen" in Path("out", FILE).read_bytes() or not any(
            face["person"] for photo in found["photos"] for face in photo["faces"]
        )
        return [found["looked"], *(face["person"] for photo in found["photos"] for face in photo["faces"])]

    with open_gallery(tmp_path / "people.db", create=True) as gallery:
        made = [new_face(photo, read_picture(photo), best, chain)]
        gallery.enroll("Eileen", made, chain.embedder.id, consent=Consent("given", by="Eileen", on=date.today()))
    first = people()
    assert first[0] == 2 and "Eileen" in first[1:]
    assert people()[0] == 0
    with open_gallery(tmp_path / "people.db") as gallery:
        gallery.rename("Eileen", "Eileen Collins")
    second = people()
    assert second[0] == 1 and "Eileen Collins" in second  # only the photo with faces
    with open_gallery(tmp_path / "people.db") as gallery:
        gallery.forget("Eileen Collins")
    gone = people()
    assert gone[0] == 1 and not any(gone[1:])
    for name in ("look.json", "index.html", FILE):
        assert b"Eileen" not in Path("out", name).read_bytes()
    ended = date.today() - timedelta(days=400)
    with open_gallery(tmp_path / "people.db") as gallery:
        agreed = Consent("given", by="Eileen", on=ended, until=ended)
        gallery.enroll("Eileen", made, chain.embedder.id, consent=agreed, today=ended)
    assert not any(people()[1:])


def test_the_album_holds_no_address_and_no_foreign_markup(typed: Typed, photos: Path) -> None:
    assert typed(str(photos)).code == 0
    page = Path("out/index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "\\u003cimg src=x" in page
    assert "http" not in page.replace("http-equiv", "") and "//" not in page.split("<body>")[1].split("<script>")[0]
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert len(data) == 5 and all((Path("out") / row["t"]).is_file() for row in data)
    assert ODD in {row["n"] for row in data} and "sub/deeper/3.png" in {row["n"] for row in data}
    assert album("a</title><script>", []).count("<script") == 2
    assert (Path("out") / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="no chromium here")
def test_the_album_in_a_browser(typed: Typed, photos: Path, tmp_path: Path) -> None:
    """Searched, filtered and leafed through by keyboard, without a word on the console."""
    pytest.importorskip("playwright.sync_api")
    assert typed(str(photos)).code == 0
    code = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "browse_album.py"), str(tmp_path / "out" / "index.html")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert code.returncode == 0, code.stderr
    assert json.loads(code.stdout) == {
        "all": 5, "searched": 1, "count": "1 of 5 photos", "filtered": 5, "opened": True, "second": True,
        "closed": True, "focus": True, "wide": False, "said": [],
    }  # fmt: skip
