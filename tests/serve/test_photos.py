"""Photos: kept anew, found by what they show, looked at in turn; what was cut off is gone or goes on."""

from __future__ import annotations

import io
import stat
import sys
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from serving import eventually, file_of, noise, send, served

from isotrain.errors import BadData
from isotrain.look import Looker, Sight
from isotrain.serve.database import Tables
from isotrain.serve.limits import Limits
from isotrain.serve.photos import STEPS, Photos
from isotrain.serve.queue import TOGETHER, Job, Queue


def test_exif_turns_the_photo_and_is_gone(tmp_path: Path) -> None:
    """A photo taken upright lies in its file: it stands, and neither place nor script of its EXIF is served."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "<script>alert(1)</script>"
    exif.get_ifd(0x8825)[1] = "N"
    sent = file_of(noise(40, 90), "JPEG", exif=exif, comment=b"secret place")
    assert b"<script>" in sent and b"secret place" in sent
    with served(tmp_path) as client:
        photo = send(client, sent).json()["photos"][0]
        assert (photo["width"], photo["height"]) == (40, 90) and photo["sight"]["size"] == [90, 40]
        for kind in ("picture", "thumbnail", "drawn"):
            answer = client.get(f"/api/photos/{photo['id']}/{kind}")
            assert answer.status_code == 200
            assert b"<script>" not in answer.content and b"secret place" not in answer.content
            shown = Image.open(io.BytesIO(answer.content))
            assert shown.width * 90 == shown.height * 40 and not shown.getexif() and "comment" not in shown.info


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    with served(tmp_path / "data") as client:
        send(client, file_of(noise()))
        for path in (tmp_path / "data").rglob("*"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_large_photos_are_kept_smaller_and_too_large_ones_refused(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(stored=100, pixels=300 * 300, file_bytes=100_000)) as client:
        scans = b"\xff\xd8\xff" * 40_000
        answer = send(
            client, file_of(noise(100, 200), "JPEG"), file_of(np.zeros((301, 300, 3), np.uint8)), scans
        ).json()
        assert [(p["width"], p["height"]) for p in answer["photos"]] == [(100, 50)]
        assert ["pixels" in one["error"] or "MB" in one["error"] for one in answer["refused"]] == [True, True]


def test_search_goes_through_class_objects_caption_name(tmp_path: Path) -> None:
    cat = {"name": "cat", "probability": 1, "known": True, "why": None, "others": [], "heat": None}
    said = iter(
        [
            Sight("", (48, 64), cat, [{"name": "Ring", "score": 1, "box": [0, 0, 1, 1], "outline": []}]),
            Sight("", (48, 64), None, None, None, {"text": "100% a red_square", "known": True, "why": None}),
        ]
    )

    class Told(Looker):
        def look(self, pictures: Any, *_: Any) -> list[Sight]:
            return [next(said) for _ in pictures]

    with served(tmp_path, Told((), None)) as client:
        for name in ("a.png", "Ümit.png"):
            answer = send(client, file_of(noise()), names=(name,))
            assert answer.status_code == 200, answer.text

        def names(q: str) -> list[str]:
            return [photo["name"] for photo in client.get("/api/photos", params={"q": q}).json()["photos"]]

        assert names("") == ["Ümit.png", "a.png"]
        assert names("CAT ring") == names("rin") == ["a.png"] and names("cat square") == []
        assert names("d_s") == names("0% RED") == names("ümit") == ["Ümit.png"]
        assert names("%") == ["Ümit.png"] and names("' OR 1=1 --") == []


def test_pages_of_photos(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        ids = [photo["id"] for photo in send(client, *[file_of(noise(seed=n)) for n in range(5)]).json()["photos"]]
        first = client.get("/api/photos?limit=2").json()
        rest = client.get(f"/api/photos?limit=3&after={first['next']}").json()
        assert [photo["id"] for photo in first["photos"] + rest["photos"]] == ids[::-1] and rest["next"] is None
        assert client.delete(f"/api/photos/{ids[2]}").json() == {"id": ids[2], "faces_kept": 0}
        for way in ("", "/picture", "/thumbnail", "/drawn"):
            assert client.get(f"/api/photos/{ids[2]}{way}").status_code == 404
        assert client.get(f"/api/photos?after={ids[2]}").status_code == 404
        assert len(list((tmp_path / "users" / "me" / "photos").iterdir())) == 8
        assert b"2.png" not in (tmp_path / "users" / "me" / "photos.db-wal").read_bytes()


def test_what_was_cut_off_is_swept_or_goes_on(tmp_path: Path) -> None:
    """A file without a row goes; a row without a sight is looked at by the next start."""
    with served(tmp_path) as client:
        kept = send(client, file_of(noise())).json()["photos"][0]["id"]
    folder = tmp_path / "users" / "me" / "photos"
    for name in (".x.jpg.abc", "0" * 32 + ".jpg", f".{kept}.jpg.half"):
        (folder / name).write_bytes(b"half")
    tables = Tables(folder.parent / "photos.db", "photos", "isoP", STEPS)
    tables.rows("UPDATE photos SET sight = NULL")
    tables.close()
    with served(tmp_path) as client:
        assert {path.name for path in folder.iterdir()} == {f"{kept}.jpg", f"{kept}.small.jpg"}
        eventually(lambda: client.get(f"/api/photos/{kept}").json()["sight"])


def test_a_photo_that_ends_the_process_is_left_alone(tmp_path: Path) -> None:
    """Handed out three times and never come back."""
    from isotrain.serve.uploads_pictures import Encoded

    photos = Photos(tmp_path)
    photo = photos.add(Encoded(b"x", b"x", (1, 1)), "a")
    assert [getattr(photos.undone(), "id", None) for _ in range(4)] == [photo.id] * 3 + [None]


def test_tables_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "photos.db", "photos", "isoP", [*STEPS, "CREATE TABLE later (a)"])
    tables.close()
    with pytest.raises(BadData, match="version 2, this isotrain knows 1"):
        Photos(tmp_path)
    (tmp_path / "photos.db").write_bytes(b"something else" * 100)
    with pytest.raises(BadData, match="photos"):
        Photos(tmp_path)


def test_users_take_turns(tmp_path: Path) -> None:
    """A second user's photo does not wait for all of the first one's."""
    seen: list[list[int]] = []
    going = Event()

    def look(pictures: Any) -> list[Sight]:
        going.wait(10)
        seen.append([int(picture[0, 0, 0]) for picture in pictures])
        return [Sight("", (1, 1)) for _ in pictures]

    def job(user: str, number: int) -> Job:
        return Job(user, 1, lambda: torch.full((1, 1, 1), number, dtype=torch.uint8), lambda sight: number)

    queue = Queue(look, lambda: False)
    queue.start()
    waiting: list[Future[Any]] = [queue.put(job("a", number)) for number in range(20)]
    waiting.append(queue.put(job("b", 100)))
    going.set()
    assert [done.result(10) for done in waiting] == [*range(20), 100]
    order = [number for batch in seen for number in batch]
    assert order.index(100) <= TOGETHER + 1 and max(map(len, seen)) <= TOGETHER
    assert [number for number in order if number < 100] == list(range(20))
    queue.stop()


def test_one_photo_that_cannot_be_looked_at_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    begun, going = Event(), Event()

    def look(pictures: Any) -> list[Sight]:
        begun.set()
        going.wait(10)
        if any(int(picture[0, 0, 0]) == 1 for picture in pictures):
            raise RuntimeError("no memory")
        return [Sight("", (1, 1)) for _ in pictures]

    queue = Queue(look, lambda: False)
    queue.start()
    waiting = [
        queue.put(Job("a", 1, lambda n=n: torch.full((1, 1, 1), n, dtype=torch.uint8), lambda sight, n=n: n))  # type: ignore[misc]
        for n in (0, 1, 2, 3)
    ]
    cancelled = waiting[-1].cancel() if begun.wait(10) else False
    going.set()
    assert waiting[0].result(10) == 0 and waiting[2].result(10) == 2
    with pytest.raises(RuntimeError):
        waiting[1].result(10)
    assert cancelled or waiting[3].result(10) == 3
    queue.stop()
