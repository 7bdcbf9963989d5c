"""Run in a process of its own by the tests of trainings: the server without nets, on a port, for a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from isotrain.look import Looker
from isotrain.serve.limits import Limits
from isotrain.serve.server import make_server

LIMITS = Limits(dataset_bytes=64_000_000)


def app_for(folder: Path) -> FastAPI:
    """The server, whose users are `me` and `you`."""
    return make_server(folder, Looker.of("none", "none", "none", "none"), ("me", "you"), limits=LIMITS)


if __name__ == "__main__":
    app = app_for(Path(sys.argv[1]))
    print(app.state.sessions.link("me"), flush=True)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", timeout_graceful_shutdown=2)
