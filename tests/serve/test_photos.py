"""Photos: kept anew, found by what they show, looked at in turn; what was cut off is gone or goes on."""

from __future__ import annotations

import io
import stat
import sys
from concurrent.futures import Future, ThreadPoolExecutor
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
from isotrain.serve.uploads_pictures import Encoded


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
        assert names("U\u0308mit") == ["Ümit.png"]  # letter and mark apart, as macOS has them


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
    photos = Photos(tmp_path)
    photo = photos.add(Encoded(b"x", b"x", (1, 1)), "a")
    assert [getattr(photos.undone(), "id", None) for _ in range(4)] == [photo.id] * 3 + [None]


def test_of_deleted_photos_no_byte_is_left(tmp_path: Path) -> None:
    """Not in pages that were rearranged, not in the log; while another program reads, as soon as it has ended."""
    photos = Photos(tmp_path)
    draw = np.random.default_rng(0)
    words = [draw.bytes(60).hex() for _ in range(400)]
    kept = [photos.add(Encoded(b"x", b"x", (1, 1)), name) for name in words]
    for photo in kept:
        photos.seen(photo.place, Sight("", (1, 1), caption={"text": photo.name[::-1], "known": True}), [])
    order = draw.permutation(400)
    for at in order[:300]:
        photos.delete(kept[at].id)
    assert photos.finish_erasing()

    def left() -> set[str]:
        content = b"".join(path.read_bytes() for path in tmp_path.glob("photos.db*"))
        return {word for word in words if word.encode() in content or word[::-1].encode() in content}

    assert left() == {words[at] for at in order[300:]}
    reader = Tables(tmp_path / "photos.db", "photos", "isoP", STEPS)
    with reader.writing():  # holds the file as it was
        reader.rows("SELECT count(*) FROM photos")
    reader.rows("BEGIN")
    reader.rows("SELECT count(*) FROM photos")
    photos._tables.rows("PRAGMA busy_timeout = 50")
    photos.delete(kept[order[300]].id)
    assert not photos.finish_erasing()
    reader.rows("COMMIT")
    reader.close()
    photos.close()
    photos = Photos(tmp_path)  # and the next start knows that something is left to do
    assert photos.finish_erasing() and photos.count() == 99
    assert left() == {words[at] for at in order[301:]}
    photos.close()


def test_a_look_that_fails_keeps_the_photo_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Looker):
        def look(self, *_: Any) -> list[Sight]:
            raise RuntimeError("no memory")

    with served(tmp_path, Broken((), None)) as client:
        answer = send(client, file_of(noise()))
        assert answer.status_code == 200, answer.text
        (photo,) = answer.json()["photos"]
        assert photo["sight"] is None and "no memory" in caplog.text
        eventually(lambda: client.get(f"/api/photos/{photo['id']}").json()["failed"])
        listed = client.get("/api/photos").json()["photos"]
        assert [(one["id"], one["sight"], one["failed"]) for one in listed] == [(photo["id"], None, True)]
        assert client.get(f"/api/photos/{photo['id']}/drawn").status_code == 400
        assert client.delete(f"/api/photos/{photo['id']}").status_code == 200
        assert client.get("/api/photos").json()["photos"] == []


def test_deleted_while_it_waits(tmp_path: Path) -> None:
    """Whoever sent it is told so, and no place on this machine."""
    begun, going = Event(), Event()

    class Slow(Looker):
        def look(self, pictures: Any, *_: Any) -> list[Sight]:
            begun.set()
            going.wait(10)
            return [Sight("", (48, 64)) for _ in pictures]

    with served(tmp_path, Slow((), None)) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(send, client, file_of(noise()))
        assert begun.wait(10)
        second = pool.submit(send, client, file_of(noise(seed=1)), names=("b.png",))
        eventually(lambda: client.app.state.queue.waiting("me"))  # type: ignore[attr-defined]
        waiting = client.get("/api/photos").json()["photos"][0]
        assert waiting["name"] == "b.png" and waiting["sight"] is None and not waiting["failed"]
        client.delete(f"/api/photos/{waiting['id']}")
        going.set()
        assert len(first.result().json()["photos"]) == 1
        told = second.result().json()
        assert told["photos"] == [] and told["refused"] == [{"name": "b.png", "error": "b.png was deleted meanwhile."}]


def test_a_file_that_is_gone_is_no_fault_of_ours(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        photo = send(client, file_of(noise())).json()["photos"][0]["id"]
        for path in (tmp_path / "users" / "me" / "photos").iterdir():
            path.unlink()
        for way in ("picture", "thumbnail"):
            assert client.get(f"/api/photos/{photo}/{way}").status_code == 404
        assert client.delete(f"/api/photos/{photo}").status_code == 200


def test_no_more_photos_than_are_allowed(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(photos=2)) as client:
        first = send(client, file_of(noise())).json()["photos"][0]["id"]
        assert send(client, file_of(noise(seed=1))).status_code == 200
        refused = send(client, file_of(noise(seed=2)))
        assert refused.status_code == 507 and "2 photos" in refused.json()["error"]
        client.delete(f"/api/photos/{first}")
        assert send(client, file_of(noise(seed=2))).status_code == 200


def test_a_full_disk_is_said_and_signs_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(tmp_path) as client:
        state: Any = client.app.state  # type: ignore[attr-defined]
        sessions, photos = state.sessions, state.desks.of(state.sessions.users["me"]).photos
        sessions._tables.rows("UPDATE sessions SET seen = seen - 100")
        sessions._tables.rows("PRAGMA query_only = ON")
        assert client.get("/api/me").status_code == 200 and "not written down" in caplog.text
        sessions._tables.rows("PRAGMA query_only = OFF")
        (pages,) = photos._tables.rows("PRAGMA page_count")[0]
        photos._tables.rows(f"PRAGMA max_page_count = {pages}")
        answers = [send(client, file_of(noise(seed=n)), names=("x" * 190,)) for n in range(20)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused and {answer.status_code for answer in refused} == {507}
        assert all("disk is full" in answer.json()["error"] for answer in refused)
        taken = client.get("/api/photos").json()["photos"]
        assert len(taken) == len(answers) - len(refused)
        assert len(list((tmp_path / "users" / "me" / "photos").iterdir())) == 2 * len(taken)


def test_the_end_of_the_server_is_told_at_once(tmp_path: Path) -> None:
    """Also where nobody waits any more, which must not keep the rest from being closed."""
    begun, going = Event(), Event()

    def look(pictures: Any) -> list[Sight]:
        begun.set()
        going.wait(10)
        return [Sight("", (1, 1)) for _ in pictures]

    def job() -> Job:
        return Job("a", 10**8, lambda: torch.zeros((1, 1, 1), dtype=torch.uint8), lambda sight: 1)

    queue = Queue(look, lambda: False)
    queue.start()
    first = queue.put(job())
    assert begun.wait(10)
    gone, waits, asked = queue.put(job()), queue.put(job()), queue.call(lambda: 1)
    assert gone.cancel()
    queue.end()
    for done in (waits, asked, queue.put(job()), queue.call(lambda: 1)):
        with pytest.raises(BadData, match="the server stops"):
            done.result(0)
    going.set()
    queue.stop()
    assert first.result(0) == 1


def test_tables_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "photos.db", "photos", "isoP", [*STEPS, "CREATE TABLE later (a)"])
    tables.close()
    with pytest.raises(BadData, match="version 3, this isotrain knows 2"):
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
