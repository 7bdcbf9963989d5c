"""kill -9 in the middle of an upload and of an enrolment: what was answered is there, nothing is half-written."""

from __future__ import annotations

import io
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from serving import Process, eventually, file_of, noise, people, send

from isotrain.gallery import open_gallery


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_killed_in_the_middle_of_uploads(tmp_path: Path) -> None:
    """Some uploads were answered, some run, one is half sent."""
    port, answered = free_port(), []
    content = file_of(noise(400, 600))
    with Process(tmp_path, port) as process:
        cookie, csrf = dict(process.client.cookies), process.client.headers["X-CSRF-Token"]

        def keep_sending(number: int) -> None:
            with httpx.Client(base_url=process.client.base_url, cookies=cookie, headers={"X-CSRF-Token": csrf}) as own:
                while True:
                    answer = own.post("/api/photos", files={"files": (f"{number}.png", content)}, timeout=60)
                    answered.extend(photo["id"] for photo in answer.json()["photos"])

        def sending(number: int) -> None:
            with suppress(httpx.TransportError):
                keep_sending(number)

        threads = [threading.Thread(target=sending, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        with socket.create_connection(("127.0.0.1", port)) as half:
            lines = (
                "POST /api/photos HTTP/1.1", f"Host: 127.0.0.1:{port}", f"X-CSRF-Token: {csrf}",
                f"Cookie: isotrain_session={cookie['isotrain_session']}", f"Content-Length: {len(content) * 2}",
                "Content-Type: multipart/form-data; boundary=b", "", "--b",
                'Content-Disposition: form-data; name="files"; filename="half.png"', "", "",
            )  # fmt: skip
            half.sendall("\r\n".join(lines).encode() + content[: len(content) // 2])
            eventually(lambda: len(answered) >= 4, 60)
            process.kill()
        for thread in threads:
            thread.join(60)
    folder = tmp_path / "users" / "me" / "photos"
    (folder / f".{'0' * 32}.jpg.xyz").write_bytes(content[:99])  # as if cut off between two writes
    with Process(tmp_path, port) as process:

        def all_looked_at() -> Any:
            photos = process.client.get("/api/photos?limit=200").json()["photos"]
            return photos if 2 * len(photos) == len(list(folder.iterdir())) else None

        photos = eventually(all_looked_at)
        there = {photo["id"] for photo in photos}
        assert set(answered) <= there and len(there) <= len(answered) + 3
        assert "half.png" not in {photo["name"] for photo in photos}
        for photo in photos:
            picture = process.client.get(f"/api/photos/{photo['id']}/picture").content
            Image.open(io.BytesIO(picture)).load()
        assert not list((tmp_path / "spool").iterdir())
        process.kill(signal.SIGTERM)
        assert "Traceback" not in process.errors


def test_killed_in_the_middle_of_an_enrolment(tmp_path: Path) -> None:
    """Everybody whose enrolment was answered is there, whole; who was not is there whole, or not at all."""
    port, answered = free_port(), []
    ada, ben = people(2)
    with Process(tmp_path, port, faces="shipped") as process:
        photos = send(process.client, ada[0], ben[0], ada[1]).json()["photos"]

        def enrolling() -> None:
            with suppress(httpx.TransportError):
                for photo, name in zip(photos, ("Ada", "Ben", "Ada"), strict=True):
                    asked = {"photo": photo["id"], "face": 1, "name": name, "consent": True}
                    assert process.client.post("/api/people", json=asked).status_code == 200
                    answered.append(name)

        thread = threading.Thread(target=enrolling)
        thread.start()
        eventually(lambda: answered, 60)
        time.sleep(0.05)
        process.kill()
        thread.join(60)
    with open_gallery(tmp_path / "users" / "me" / "gallery.db", create=False) as gallery:
        kept = {person.name: person for person in gallery.people()}
        assert set(answered) <= set(kept) <= {"Ada", "Ben"}
        for person in kept.values():
            assert person.consent is not None and person.faces >= answered.count(str(person.name))
            assert all(gallery.crop(face.id) for face in gallery.faces(person.id))
    with Process(tmp_path, port, faces="shipped") as process:

        def follows() -> bool:
            seen = process.client.get("/api/photos").json()["photos"]
            names = {photo["id"]: photo["sight"]["faces"][0]["person"] for photo in seen}
            return names[photos[0]["id"]] == names[photos[2]["id"]] == "Ada"

        eventually(follows, 60)
