"""Trainings of the server: begun, watched, stopped, resumed, taken away; found again after kills of anything."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from trainings_served import app_for

from isotrain.errors import BadData
from isotrain.serve.datasets import Datasets
from isotrain.serve.datasets_unpacked import Room
from isotrain.serve.jobs import Job
from isotrain.serve.jobs_process import PID, locked, note_myself, pid_in, started
from isotrain.serve.trainings_work import EXPORT, JOB, RUN
from isotrain.train.live import points
from isotrain.train.rundir import RunFolder, load_run

PATIENCE = 240.0
"""Seconds until a test gives up; a machine at rest takes a tenth of them."""
TEXT = "".join(
    f"the {a} cat sees the {b} dog and a bird.\n" for a in ("old", "red", "big") for b in range(120)
).encode()


def until(true: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise TimeoutError("it did not come about")


@pytest.fixture
def me(tmp_path: Path) -> Iterator[TestClient]:
    app = app_for(tmp_path)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post("/api/session", json={"token": app.state.sessions.link("me")})
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        yield client


def test_from_an_upload_to_a_model_and_its_report(me: TestClient, tmp_path: Path) -> None:
    sent = me.post("/api/datasets", data={"task": "characters"}, files=[("files", ("book.txt", TEXT))])
    assert sent.status_code == 201 and sent.json()["samples"]["train"] > 100, sent.text
    data = sent.json()["id"]
    assert [one["id"] for one in me.get("/api/datasets").json()["datasets"]] == [data]
    wrong = me.post("/api/trainings", json={"task": "classify", "dataset": data})
    assert wrong.status_code == 409 and "checked for characters" in wrong.json()["error"]

    asked = {"task": "characters", "dataset": data, "minutes": 0.03, "name": "<b>My\nbook</b>"}
    begun = me.post("/api/trainings", json=asked).json()
    assert begun["state"] in ("waiting", "running") and begun["name"] == "<b>Mybook</b>"
    here = f"/api/trainings/{begun['id']}"
    in_use = me.delete(f"/api/datasets/{data}")
    assert in_use.status_code == 409 and "learns from this data" in in_use.json()["error"]
    assert "is kept when it is done" in me.get(f"{here}/model").json()["error"]

    told = me.get(f"{here}/events").text  # until the end
    steps = [int(step) for step in re.findall(r"^id: (\d+)$", told, re.MULTILINE)]
    assert steps == sorted(set(steps)) and steps
    assert json.loads(told.rstrip().rpartition("data: ")[2])["state"] == "done"
    assert me.get(f"{here}/events", headers={"Last-Event-ID": f"{steps[-1]}-done"}).status_code == 204
    training = me.get(here).json()
    assert training["state"] == "done" and training["scores"]["held-out"] and training["step"] == steps[-1]

    packed = me.get(f"{here}/model")
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        archive.extractall(tmp_path / "taken")
        assert str(tmp_path).encode() not in b"".join(archive.read(n) for n in archive.namelist() if n.endswith("json"))
    task, _, card = load_run(next((tmp_path / "taken").iterdir()))
    assert task.name == "characters" and card["data"]["source"] == "book.txt"
    without_torch = me.get(f"{here}/model?format=onnx")
    assert '.onnx"' in without_torch.headers["content-disposition"]
    session = pytest.importorskip("onnxruntime").InferenceSession(without_torch.content)
    assert session.get_inputs() and str(tmp_path).encode() not in without_torch.content
    page = me.get(f"{here}/report")
    assert "&lt;b&gt;Mybook&lt;/b&gt;" in page.text and "<b>My" not in page.text
    assert "sandbox" in page.headers["content-security-policy"]
    assert not re.search(r"""(?:src|href)=(?!["'](?:data:|#))""", page.text) and str(tmp_path) not in page.text
    assert "curve.png" in training["pictures"]
    assert me.get(f"{here}/pictures/curve.png").content.startswith(b"\x89PNG")
    assert me.get(f"{here}/pictures/card.json").status_code == 404
    audit = me.post(f"{here}/audit")
    assert audit.status_code == 409 and "characters cannot be audited" in audit.json()["error"]
    assert me.get(f"{here}/audit").json()["state"] is None

    folder = tmp_path / "users/me/trainings" / begun["id"]
    shutil.rmtree(folder / EXPORT)
    with ThreadPoolExecutor() as pool:  # deleted while it is exported
        export = pool.submit(me.get, f"{here}/model?format=onnx")
        until(lambda: any(folder.glob(f"{EXPORT}-*-job/out.json")))
        assert me.delete(here).status_code == 204 and me.get(here).status_code == 404
        assert export.result().status_code == 404 and "deleted" in export.result().json()["error"]
    assert list((tmp_path / "users/me/trainings").iterdir()) == []
    assert me.delete(f"/api/datasets/{data}").status_code == 204


@pytest.mark.slow
def test_an_audit_of_a_training_ends_in_a_verdict_and_a_report(me: TestClient, tmp_path: Path) -> None:
    id = me.post("/api/trainings", json={"task": "classify", "minutes": 0.05}).json()["id"]
    here = f"/api/trainings/{id}"
    early = me.post(f"{here}/audit")
    assert early.status_code == 409 and "it is audited when it is done" in early.json()["error"]
    until(lambda: me.get(here).json()["state"] == "done")
    assert me.post(f"{here}/audit").json()["state"] in ("waiting", "running")
    unfinished = me.get(f"{here}/audit/report")
    assert unfinished.status_code == 409 and "there is no report" in unfinished.json()["error"]
    found = until(lambda: (now := me.get(f"{here}/audit").json())["state"] in ("done", "failed") and now)
    assert found["state"] == "done", found["error"]
    gaps = found["gaps"]
    adam = next(name for name in gaps if name.startswith("adam"))  # with its rate
    assert set(gaps) == {adam, "riemannian"} and found["verdict"]
    # What the engine claims it keeps, and Adam does not.
    assert len(gaps["riemannian"]) >= 3 and max(gaps["riemannian"].values()) < 1e-9
    assert max(gaps[adam].values()) > 1e-3
    page = me.get(f"{here}/audit/report")
    assert page.status_code == 200 and found["verdict"][:20] in page.text and str(tmp_path) not in page.text


def test_stopped_it_has_saved_and_of_two_one_waits(me: TestClient, tmp_path: Path) -> None:
    first, second = (me.post("/api/trainings", json={"task": "characters", "minutes": 60}).json() for _ in range(2))
    home = tmp_path / "users/me/trainings"
    run = home / first["id"] / RUN
    until(lambda: len(points(run)) > 2)
    assert me.get(f"/api/trainings/{second['id']}").json()["state"] == "waiting"
    assert me.post(f"/api/trainings/{second['id']}/stop").json()["state"] == "stopped"  # it never began
    pid = pid_in(home / first["id"] / JOB)
    assert pid is not None and os.getpgid(pid) == pid != os.getpgid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    assert me.post(f"/api/trainings/{first['id']}/resume").status_code == 409
    assert me.post(f"/api/trainings/{first['id']}/stop").json()["state"] == "stopping"
    until(lambda: me.get(f"/api/trainings/{first['id']}").json()["state"] == "stopped")
    assert started(pid) is None
    done = RunFolder(run).read_checkpoint()["done"]
    assert done >= points(run)[-1]["step"]

    assert me.post(f"/api/trainings/{first['id']}/resume").json()["state"] == "waiting"
    until(lambda: points(run)[-1]["step"] > done)
    pid = pid_in(home / first["id"] / JOB)
    assert pid is not None
    assert me.delete(f"/api/trainings/{first['id']}").status_code == 204
    assert started(pid) is None and [path.name for path in home.iterdir()] == [second["id"]]


def test_a_fault_of_the_data_fails_at_once_and_says_why(me: TestClient, tmp_path: Path) -> None:
    data = me.post("/api/datasets", data={"task": "characters"}, files=[("files", ("book.txt", TEXT))]).json()["id"]
    (tmp_path / f"users/me/datasets/{data}/data/book.txt").write_bytes(b"\xff\xfe\xfd")
    id = me.post("/api/trainings", json={"task": "characters", "dataset": data, "minutes": 1}).json()["id"]
    failed = until(lambda: (now := me.get(f"/api/trainings/{id}").json())["state"] == "failed" and now)
    assert "UTF-8" in failed["error"] and str(tmp_path) not in failed["error"]


class Server:
    """A real server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        script = Path(__file__).with_name("trainings_served.py")
        command = [sys.executable, str(script), str(folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        token = self.process.stdout.readline().strip()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)
        until(self._up)
        self.client.headers["X-CSRF-Token"] = self.client.post("/api/session", json={"token": token}).json()["csrf"]

    def _up(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def half_an_upload(self) -> socket.socket:
        """The first half of a zip on its way, and no more."""
        head = (
            f"POST /api/datasets HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: 3000000\r\n"
            f"Cookie: isotrain_session={self.client.cookies['isotrain_session']}\r\n"
            f"X-CSRF-Token: {self.client.headers['X-CSRF-Token']}\r\n"
            "Content-Type: multipart/form-data; boundary=xyz\r\n\r\n"
            '--xyz\r\nContent-Disposition: form-data; name="files"; filename="a.zip"\r\n\r\n'
        )
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(head.encode() + os.urandom(1_000_000))
        return connection


def test_kill_9_of_the_server_and_of_a_training_lose_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path)
    id = server.client.post("/api/trainings", json={"task": "characters", "minutes": 60}).json()["id"]
    folder = tmp_path / "users/me/trainings" / id
    until(lambda: len(points(folder / RUN)) > 2)
    seen: list[int] = []
    with server.client.stream("GET", f"/api/trainings/{id}/events") as stream:
        for line in stream.iter_lines():
            seen += [int(line[4:])] if line.startswith("id: ") else []
            if len(seen) > 2:
                break
    pid = pid_in(folder / JOB)
    assert pid is not None
    uploading = server.half_an_upload()
    server.kill()
    uploading.close()
    assert started(pid) is not None  # the training does not need the server

    server = Server(tmp_path)
    try:
        assert server.client.get(f"/api/trainings/{id}").json()["state"] == "running"
        assert pid_in(folder / JOB) == pid  # adopted
        assert server.client.get("/api/datasets").json() == {"datasets": []}
        datasets = tmp_path / "users/me/datasets"
        assert not datasets.exists() or list(datasets.iterdir()) == []

        os.kill(pid, signal.SIGSTOP)  # so that a checkpoint cannot come between
        before = points(folder / RUN)[-1]["step"]
        os.kill(pid, signal.SIGKILL)
        other = until(lambda: (now := pid_in(folder / JOB)) not in (None, pid) and now)
        assert started(other) is not None
        with server.client.stream(
            "GET", f"/api/trainings/{id}/events", headers={"Last-Event-ID": str(seen[-1])}
        ) as stream:
            for line in stream.iter_lines():
                seen += [int(line[4:])] if line.startswith("id: ") else []
                if seen[-1] > before:
                    break
        assert seen == sorted(set(seen))
        assert json.loads((folder / "work.json").read_text())["attempts"] == 1
        assert server.client.delete(f"/api/trainings/{id}").status_code == 204
        assert started(other) is None and not folder.exists()
    finally:
        server.kill()


def test_a_process_is_known_by_its_start_not_by_its_number_alone(tmp_path: Path) -> None:
    note_myself(tmp_path)
    assert pid_in(tmp_path) == os.getpid()
    known = json.loads((tmp_path / PID).read_text())
    (tmp_path / PID).write_text(json.dumps({**known, "started": "another boot 12"}))
    assert pid_in(tmp_path) is None  # the number is in use, by another
    assert not locked(tmp_path)


def test_the_passphrase_of_the_galleries_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training reads foreign data; what its process does not know, it cannot give away."""
    asked: list[dict[str, str]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *given: Any, **more: Any) -> None:
            asked.append(more["env"])
            super().__init__(*given, **more)

    monkeypatch.setenv("ISOTRAIN_PASSPHRASE", "correct horse")
    monkeypatch.setattr(subprocess, "Popen", Noted)
    job = Job(tmp_path / "job", tmp_path)
    job.start(["data", "list"], threads=1)
    assert job.wait(60) == 0
    shelf = Datasets(tmp_path, Room(files=10, pixels=10**6))
    with pytest.raises(BadData):
        shelf._checked("characters", ["."], tmp_path)
    assert len(asked) == 2 and not any("correct horse" in one.values() for one in asked)


def test_other_users_have_no_part_in_it(tmp_path: Path) -> None:
    app = app_for(tmp_path)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        ids = {}
        for user in ("me", "you"):
            answer = client.post("/api/session", json={"token": app.state.sessions.link(user)})
            client.headers["X-CSRF-Token"] = answer.json()["csrf"]
            if user == "me":
                ids["training"] = client.post("/api/trainings", json={"task": "characters", "minutes": 60}).json()["id"]
        for way in ("", "/events", "/model", "/report", "/audit", "/pictures/curve.png"):
            assert client.get(f"/api/trainings/{ids['training']}{way}").status_code == 404
        for way in ("stop", "resume", "audit"):
            assert client.post(f"/api/trainings/{ids['training']}/{way}").status_code == 404
        assert client.delete(f"/api/trainings/{ids['training']}").status_code == 404
        assert client.get("/api/trainings").json() == {"trainings": []}
