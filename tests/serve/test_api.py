"""The API as it describes itself: whatever is sent, it answers as it says, and never with a fault of its own."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from serving import BASE, blind, file_of, noise, send, served

from isotrain.serve.limits import Limits
from isotrain.serve.security import HEADERS

EXAMPLES = 6
"""For each of about 20 operations."""


def test_the_description_has_models(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        described = client.get("/api/openapi.json").json()
        answers = {
            (method, path): operation["responses"]["200"]["content"]["application/json"]["schema"]
            for path, methods in described["paths"].items()
            for method, operation in methods.items()
            if "application/json" in operation["responses"].get("200", {}).get("content", {})
        }
        assert answers["get", "/api/photos"] == {"$ref": "#/components/schemas/PhotoPage"}
        assert answers["get", "/api/people"] == {"$ref": "#/components/schemas/People"}
        assert "class" in described["components"]["schemas"]["SightSeen"]["properties"]
        form = described["paths"]["/api/photos"]["post"]["requestBody"]["content"]
        assert list(form) == ["multipart/form-data"]


def test_no_request_is_our_fault(tmp_path: Path) -> None:
    """Schemathesis makes requests from the description, valid ones and others; ids of things that are there too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schemathesis and what it imports
        import schemathesis

        with served(tmp_path, limits=Limits(rate=10_000, burst=10_000)) as client:
            known = send(client, file_of(noise())).json()["photos"][0]["id"]
            schema = schemathesis.openapi.from_dict(client.get("/api/openapi.json").json())
            operations = [found.ok() for found in schema.get_all_operations()]
            ours = [one for one in operations if not re.search("session|trainings|datasets", one.path)]
            assert len(ours) > 14
            asked = sum(ask_at_random(client, operation, known, str(tmp_path)) for operation in ours)
            assert asked > 2 * len(ours)  # where nothing can be chosen, there is little to ask


def ask_at_random(client: Any, operation: Any, known: str, place: str) -> int:
    """Requests of one operation; how many."""
    asked = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )  # fmt: skip
    @given(case=operation.as_strategy(), real=st.booleans())
    def ask(case: Any, real: bool) -> None:
        nonlocal asked
        if real and "photos" in operation.path and "id" in (case.path_parameters or {}) and case.method != "DELETE":
            case.path_parameters["id"] = known
        sent = case.as_transport_kwargs(base_url=BASE)
        sent["headers"] = {**(sent.get("headers") or {}), "X-CSRF-Token": client.headers["X-CSRF-Token"]}
        sent.pop("cookies", None)
        if isinstance(sent.get("files"), list):  # schemathesis makes numbers of files too, which the client cannot send
            parts = [(name, part if isinstance(part, tuple) else (name, part)) for name, part in sent["files"]]
            sent["files"] = [(name, (part[0], _bytes(part[1]), *part[2:])) for name, part in parts]
        answer = client.request(**sent)
        asked += 1
        assert answer.status_code < 500, (case.method, case.formatted_path, answer.text)
        if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
            assert place not in answer.text and set(answer.json()) == {"error"}

    ask()
    return asked


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def test_errors_are_one_line_without_places(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is wrong; a fault of ours has a number, and the rest of it is in the log alone."""
    with served(tmp_path) as client:
        photo = send(client, file_of(noise())).json()["photos"][0]["id"]
        (tmp_path / "users" / "me" / "photos" / f"{photo}.jpg").write_bytes(b"damaged")
        for answer, status in (
            (client.get(f"/api/photos/{photo}/drawn"), 400),
            (client.get(f"/api/photos/{photo}/drawn?layers=x"), 400),
            (client.post("/api/undo"), 400),
            (client.post("/api/people", json={"photo": photo, "face": 1, "name": "A", "consent": True}), 400),
            (client.post("/api/people", json={"photo": "x", "face": 1, "name": "A", "consent": True}), 404),
            (client.post("/api/people", json={"photo": photo, "face": 10**30, "name": "", "consent": True}), 422),
            (client.patch("/api/people/99", json={"name": "x"}), 404),
            (client.get("/api/faces/99/crop"), 404),
            (client.delete("/api/faces/99"), 400),
            (client.get("/api/nowhere"), 404),
            (client.put("/api/photos"), 405),
            (client.post("/api/people", content=b"{"), 422),
        ):
            assert answer.status_code == status, answer.text
            assert set(answer.json()) == {"error"} and str(tmp_path) not in answer.text and "\n" not in answer.text
        client.app.state.looker = None  # type: ignore[attr-defined]
        broken = client.get("/api/me")
        client.app.state.looker = blind()  # type: ignore[attr-defined]
        assert broken.status_code == 500 and "log" in broken.json()["error"] and "None" not in broken.text
        assert broken.json()["error"].split("error ")[1][:8] in caplog.text
        assert all(broken.headers[name] == value for name, value in HEADERS.items())
