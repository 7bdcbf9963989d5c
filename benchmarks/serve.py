"""The server under load: clients that send photos of a megapixel one after another, and what memory does meanwhile.

    python benchmarks/serve.py [--clients 16] [--seconds 120] [--photo FILE] [--parts shipped,shipped,shipped,shipped]

Prints the time of a photo sent alone, then of photos sent by all clients at once (p50, p95), errors, the server's
resident memory over time, and the bytes of the first page. Runs a server of its own on a folder of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
from PIL import Image

from isotrain.data.synthetic.faces import face_picture
from isotrain.vision.drawing import image_of

MEGAPIXEL = (1152, 864)
RUN = """
import sys
from pathlib import Path
from isotrain.app import serve_run
parts = dict(zip(("classify", "objects", "faces", "caption"), sys.argv[3].split(",")))
serve_run.run(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), ["me"], parts, False, None, False, False)
"""


def a_photo(file: Path | None) -> bytes:
    """A JPEG of a megapixel: a file's, or a drawn face on a larger ground."""
    if file is not None:
        image = Image.open(file).convert("RGB").resize(MEGAPIXEL)
    else:
        image = image_of(face_picture(3, 0, size=160, frame=2.2).picture).resize(MEGAPIXEL)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return content.getvalue()


def resident(process: int) -> float:
    """MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024  # type: ignore[index]


class Client:
    """Sends the photo again and again."""

    def __init__(self, base: str, cookie: dict[str, str], csrf: str, photo: bytes) -> None:
        self._own = httpx.Client(base_url=base, cookies=cookie, headers={"X-CSRF-Token": csrf}, timeout=300)
        self._photo, self.spent, self.errors = photo, list[float](), list[str]()

    def send(self) -> None:
        began = time.perf_counter()
        answer = self._own.post("/api/photos", files={"files": ("a.jpg", self._photo)})
        self.spent.append(time.perf_counter() - began)
        if answer.status_code != 200:
            self.errors.append(f"{answer.status_code} {answer.text[:200]}")

    def until(self, ends: float) -> None:
        while time.monotonic() < ends:
            try:
                self.send()
            except httpx.HTTPError as error:
                self.errors.append(repr(error))


def first_page(client: httpx.Client) -> int:
    """Bytes of the page and of all it names, as far as they go."""
    seen, waiting, total = set[str](), ["/"], 0
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = client.get(path)
        total += len(answer.content)
        if path == "/" or path.endswith(".js"):
            waiting += re.findall(r"""(?:src|href)="(/static/[^"]+)\"""", answer.text)
            waiting += [f"/static/{name}" for name in re.findall(r"""from "\./([\w.]+)\"""", answer.text)]
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--parts", default="shipped,shipped,shipped,shipped")
    parser.add_argument("--port", type=int, default=8477)
    parser.add_argument("--single", type=int, default=8, help="photos sent alone, after two to warm up")
    asked = parser.parse_args()
    photo = a_photo(asked.photo)
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", RUN, folder, str(asked.port), asked.parts]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, env={"OMP_NUM_THREADS": "2", **os.environ})
        try:
            assert server.stdout is not None
            base, _, token = server.stdout.readline().decode().strip().partition("/#token=")
            signing = httpx.Client(base_url=base, timeout=60)
            csrf = signing.post("/api/session", json={"token": token}).json()["csrf"]
            clients = [Client(base, dict(signing.cookies), csrf, photo) for _ in range(asked.clients)]
            for _ in range(asked.single + 2):
                clients[0].send()
            single = statistics.median(clients[0].spent[2:])
            clients[0].spent.clear()
            began, memory = time.monotonic(), list[tuple[float, float]]()
            threads = [threading.Thread(target=client.until, args=(began + asked.seconds,)) for client in clients]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                memory.append((time.monotonic() - began, resident(server.pid)))
                time.sleep(max(0.5, asked.seconds / 60))
            spent = sorted(one for client in clients for one in client.spent)
            errors = [one for client in clients for one in client.errors]
            warm = [mb for at, mb in memory if at > asked.seconds * 0.25]
            half = len(warm) // 2
            early, late = statistics.median(warm[:half]), statistics.median(warm[half:])
            print(
                json.dumps(
                    {
                        "clients": asked.clients, "seconds": asked.seconds, "photos": len(spent), "errors": errors[:5],
                        "single s": round(single, 3), "p50 s": round(spent[len(spent) // 2], 3),
                        "p95 s": round(spent[int(len(spent) * 0.95)], 3),
                        "p95 / single": round(spent[int(len(spent) * 0.95)] / single, 2),
                        "photos/s": round(len(spent) / asked.seconds, 2),
                        "memory MB": [round(mb) for _, mb in memory[:: max(1, len(memory) // 12)]],
                        "memory, second half / first": round(late / early, 4),
                        "first page bytes": first_page(signing), "load": os.getloadavg()[0],
                    },
                    indent=1,
                )
            )  # fmt: skip
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
