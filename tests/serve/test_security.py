"""Who is answered: links that work once, sessions, foreign hosts and sites, haste and slowness."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parent))
from serving import BASE, Process, blind, everything, file_of, noise, send, served, sign_in

from isotrain.app.serve_run import public_address
from isotrain.errors import BadData, BadOption
from isotrain.serve import limits_heads
from isotrain.serve.held import hold
from isotrain.serve.limits import Limits, Rates
from isotrain.serve.security import COOKIE, PAGE_POLICY, Address
from isotrain.serve.server import make_server
from isotrain.serve.users import IDLE_SECONDS, LINK_SECONDS, SESSION_SECONDS, Sessions


def test_a_link_signs_in_once_and_the_sign_out_ends_it(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        assert client.get("/api/me").json()["user"] == "me"
        link = client.app.state.sessions.link("me")  # type: ignore[attr-defined]
        first, second = (client.post("/api/session", json={"token": link}) for _ in range(2))
        assert first.status_code == 200 and second.status_code == 401 and "--link" in second.json()["error"]
        cookie = first.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/")) and "Secure" not in cookie
        client.headers["X-CSRF-Token"] = first.json()["csrf"]
        assert client.delete("/api/session").status_code == 204
        client.cookies.set(COOKIE, cookie.split("=", 1)[1].split(";")[0])
        assert client.get("/api/me").status_code == 401


def test_everything_needs_a_session(tmp_path: Path) -> None:
    """Every route of the description but the sign-in, whatever its method."""
    with served(tmp_path) as client:
        paths = client.get("/api/openapi.json").json()["paths"]
        client.cookies.clear()
        asked = 0
        for path, methods in paths.items():
            for method in methods:
                if (path, method) in (("/api/session", "post"), ("/healthz", "get")):
                    continue
                assert client.request(method, path.replace("{id}", "1")).status_code == 401, (method, path)
                asked += 1
        assert asked > 15 and client.get("/api/openapi.json").status_code == 401
        assert client.get("/api/nowhere").status_code == 401 and client.get("/healthz").json() == {"ok": True}


def test_what_changes_something_needs_the_sessions_own_token(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        other = served_csrf(client)
        for token in ("", "0" * 64, other):
            client.headers["X-CSRF-Token"] = token
            assert client.delete("/api/photos/1").status_code == 403
            assert client.post("/api/undo").status_code == 403


@pytest.mark.parametrize("other", ["odd=a b", "b@d=1", 'q="1; 2"', "=; ;;", "ü=1", 'json={"a": 1}'])
def test_odd_cookies_of_other_programs_do_not_sign_out(tmp_path: Path, other: str) -> None:
    """Every program on the same host shares them, whatever its port."""
    with served(tmp_path) as client:
        own = f"{COOKIE}={client.cookies[COOKIE]}"
        client.cookies.clear()
        for cookie in (f"{other}; {own}", f"{own}; {other}"):
            assert client.get("/api/me", headers={"Cookie": cookie.encode()}).status_code == 200


def served_csrf(client: TestClient) -> str:
    """The token of another session of the same user."""
    other = TestClient(client.app, base_url=BASE)
    sign_in(other, client.app.state.sessions.link("me"))  # type: ignore[attr-defined]
    return str(other.headers["X-CSRF-Token"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:8421"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost:8421"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://127.0.0.1:8421"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "http://127.0.0.1:8421"}, 400),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 400),
    ],
    ids=str,
)
def test_other_sites_and_other_names_are_refused(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    """400: it has come through, and there is nothing to undo."""
    with served(tmp_path) as client:
        assert client.post("/api/undo", headers=headers).status_code == status


def test_the_headers_of_every_answer(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        for answer in (client.get("/healthz"), client.get("/"), client.get("/api/me"), client.get("/x")):
            assert answer.headers["content-security-policy"] == PAGE_POLICY
            assert answer.headers["x-content-type-options"] == "nosniff" and "server" not in answer.headers
            assert not [name for name in answer.headers if name.startswith("access-control")]
        assert client.get("/api/me").headers["cache-control"] == "no-store"
        for path in ("/docs", "/redoc", "/openapi.json", "/static/%2e%2e/server.py", "/static/..%2fserver.py"):
            assert client.get(path).status_code == 404
        preflight = client.options("/api/photos", headers={"Access-Control-Request-Method": "POST"})
        assert preflight.status_code == 405


def test_behind_a_proxy_with_tls(tmp_path: Path) -> None:
    address = Address.of("https://photos.example")
    with served(tmp_path, address=address) as client:
        link = client.app.state.sessions.link("me")  # type: ignore[attr-defined]
        ours = {"Host": "photos.example", "Origin": "https://photos.example"}
        answer = client.post("/api/session", json={"token": link}, headers=ours)
        assert answer.status_code == 200 and "Secure" in answer.headers["set-cookie"]
        wrong = {"Host": "photos.example", "Origin": "http://photos.example"}
        assert client.post("/api/session", json={"token": link}, headers=wrong).status_code == 403


def test_secrets_are_not_in_the_files_and_sessions_survive_the_end(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        secret, csrf = client.cookies[COOKIE], client.headers["X-CSRF-Token"]
        unused = client.app.state.sessions.link("me")  # type: ignore[attr-defined]
        for name, content in everything(tmp_path).items():
            assert secret.encode() not in content and unused.encode() not in content, name
            assert csrf.encode() not in content, name
    app = make_server(tmp_path, blind())
    with TestClient(app, base_url=BASE, cookies={COOKIE: secret}) as client:
        assert client.get("/api/me").json()["csrf"] == csrf
        sign_in(client, unused)
    app = make_server(tmp_path, blind(), users=["somebody-else"])
    with TestClient(app, base_url=BASE, cookies={COOKIE: secret}) as client:
        assert client.get("/api/me").status_code == 401


def test_links_and_sessions_end(tmp_path: Path) -> None:
    now = 1e9
    sessions = Sessions(tmp_path, ["me"], clock=lambda: now)
    late, link = sessions.link("me"), sessions.link("me")
    signed = sessions.sign_in(link)
    assert signed is not None and sessions.user_of(signed[0]) is not None
    now += LINK_SECONDS + 1
    assert sessions.sign_in(late) is None
    for _ in range(SESSION_SECONDS // (IDLE_SECONDS - 1) - 1):  # used, it goes on
        now += IDLE_SECONDS - 1 - LINK_SECONDS
        assert sessions.user_of(signed[0]) is not None
    now = 1e9 + SESSION_SECONDS + 1
    assert sessions.user_of(signed[0]) is None
    other = sessions.sign_in(sessions.link("me"))
    now += IDLE_SECONDS + 1
    assert other is not None and sessions.user_of(other[0]) is None
    sessions.close()


def test_names_of_users(tmp_path: Path) -> None:
    for names in (["../x"], ["a/b"], [""], ["-a"], ["a" * 33], ["Me", "me"], [], ["a\0"], ["é"]):
        with pytest.raises(BadOption, match="user"):
            Sessions(tmp_path / "data", names)


def test_users_do_not_see_each_other(tmp_path: Path) -> None:
    with served(tmp_path, users=["ada", "ben"], user="ada") as client:
        photo = send(client, file_of(noise())).json()["photos"][0]["id"]
        sign_in(client, client.app.state.sessions.link("ben"))  # type: ignore[attr-defined]
        assert client.get("/api/photos").json()["photos"] == []
        for way in ("", "/picture", "/thumbnail", "/drawn"):
            assert client.get(f"/api/photos/{photo}{way}").status_code == 404
        assert client.delete(f"/api/photos/{photo}").status_code == 404


def test_haste_is_slowed_down(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(rate=0.001, burst=5, attempts=3)) as client:
        answers = [client.get("/api/me") for _ in range(7)]
        assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 100


def test_guessing_links_is_slowed_down_and_locks_nobody_out(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(attempts=3)) as client:
        tried = [client.post("/api/session", json={"token": f"{n}"}).status_code for n in range(5)]
        assert tried == [401] * 3 + [429] * 2
        sign_in(client, client.app.state.sessions.link("me"))  # type: ignore[attr-defined]


def test_rates_refill_and_stay_small() -> None:
    now = 0.0
    rates = Rates(2.0, 3.0, clock=lambda: now)
    assert [rates.wait("a") > 0 for _ in range(4)] == [False] * 3 + [True]
    now = 0.5
    assert [rates.wait("a") > 0 for _ in range(2)] == [False, True]
    for n in range(Rates.KNOWN + 50):
        rates.wait(f"{n}")
    assert len(rates._buckets) == Rates.KNOWN


def test_a_folder_belongs_to_one_server(tmp_path: Path) -> None:
    with served(tmp_path), pytest.raises(BadData, match="served already"):
        make_server(tmp_path, blind())
    hold(tmp_path).close()


def test_networks_need_tls() -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "some.host"):
        with pytest.raises(BadOption, match="--without-tls"):
            public_address(host, 1, None, without_tls=False)
    assert public_address("192.168.1.5", 1, None, True) == ("http://192.168.1.5:1", ["192.168.1.5"])
    assert public_address("127.0.0.1", 1, "https://a.example/", False) == ("https://a.example", [])
    with pytest.raises(BadOption, match="--address"):
        public_address("0.0.0.0", 1, None, True)


def test_slow_clients_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that never ends, and a body that stands still; both connections are closed, and nothing is left."""
    import threading

    import uvicorn

    monkeypatch.setattr(limits_heads, "HEAD_SECONDS", 0.5)
    app = make_server(tmp_path, blind(), limits=Limits(patience=0.5))
    server = uvicorn.Server(uvicorn.Config(app, http=limits_heads.Patient, ws="none", log_level="critical", port=0))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        link = app.state.sessions.link("me")
        sent = f'{{"token": "{link}"}}'.encode()
        post = b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
        for words, answer in (
            (b"GET / HTTP/1.1\r\nHost: ", b""),
            (post + b"9\r\n\r\n{", b"HTTP/1.1 408"),
            (post + f"{len(sent)}\r\n\r\n".encode() + sent, b"HTTP/1.1 200"),
        ):
            with socket.create_connection(listening.getsockname(), timeout=10) as client:
                client.sendall(words)
                began = time.monotonic()
                assert client.recv(12).startswith(answer[:12]), words
                assert time.monotonic() - began < 5
        assert not list((tmp_path / "spool").iterdir())
    finally:
        server.should_exit = True
        thread.join(20)


def test_a_link_from_another_process_and_a_port_that_is_taken(tmp_path: Path) -> None:
    from isotrain.app.serve_run import _listening, new_link

    with pytest.raises(BadOption, match="no server runs"):
        new_link(tmp_path, "me")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadOption, match=f"port {port} of 127.0.0.1 is taken"):
            _listening("127.0.0.1", port)
    with Process(tmp_path, port) as process:
        link = new_link(tmp_path, "me")
        sign_in(process.client, link.partition("#token=")[2])
        with pytest.raises(BadOption, match="no user 'you'"):
            new_link(tmp_path, "you")
