"""Several programs and threads at one gallery."""

import os
import threading

import numpy as np
import pytest
from made_up import GIVEN, MODEL, enroll, face, unit

from isotrain.gallery import open_gallery


def at_once(number, work):
    """Run work(i) in processes of their own, all at the same time."""
    children = []
    for i in range(number):
        child = os.fork()
        if child == 0:
            try:
                work(i)
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * number


def test_several_processes_write_at_once(place):
    processes, rounds = 4, 6
    open_gallery(place).close()

    def work(i):
        with open_gallery(place) as gallery:
            for j in range(rounds):
                enroll(gallery, "Everybody", face(f"{i} {j}"), face("the same"))
                enroll(gallery, f"Only {i}", face(f"only {i} {j}"))
            if i == 0:
                gallery.forget("Only 0")

    at_once(processes, work)
    with open_gallery(place) as gallery:
        found = {person.name: person.faces for person in gallery.people()}
        assert found == {
            "Everybody": processes * rounds + 1,
            **{f"Only {i}": rounds for i in range(1, processes)},
        }
        assert len(gallery.table().faces) == len(gallery.table().vectors) == sum(found.values())


def test_several_processes_make_it_at_once(tmp_path):
    for number in range(5):
        path = tmp_path / f"{number}.db"

        def work(i, path=path):
            with open_gallery(path) as gallery:
                enroll(gallery, f"{i}", face(f"{i}"))

        at_once(4, work)
        with open_gallery(path) as gallery:
            assert sorted(person.name for person in gallery.people()) == ["0", "1", "2", "3"]


def test_threads_share_one(place):
    with open_gallery(place) as gallery:
        enroll(gallery, "Ada", face("a"))
        faults = []

        def work(i):
            try:
                for j in range(5):
                    gallery.enroll(f"{i}", [face(f"{i} {j}")], MODEL, GIVEN, today=GIVEN.on)
                    hit = gallery.search(face("a").vector, model=MODEL)[0][0]
                    assert hit.person.name == "Ada"
                    assert gallery.people()
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        assert sum(person.faces for person in gallery.people()) == 21


def test_what_another_program_writes_is_found_and_what_it_erases_is_not(place):
    with open_gallery(place) as mine, open_gallery(place) as other:
        first = enroll(mine, "Ada", face("a"))
        assert mine.search(face("a").vector, model=MODEL)[0][0].person.name == "Ada"
        enroll(other, "Bob", face("b"))
        assert mine.search(face("b").vector, model=MODEL)[0][0].person.name == "Bob"
        other.rename("Bob", "Rob")
        assert mine.search(face("b").vector, model=MODEL)[0][0].person.name == "Rob"
        other.forget("Ada")
        assert [hit.person.name for hit in mine.search(face("a").vector, k=5, model=MODEL)[0]] == ["Rob"]
        enroll(other, "Cid", face("c"))  # as many as before, and others
        assert [hit.person.name for hit in mine.search(face("c").vector, k=1, model=MODEL)[0]] == ["Cid"]
        assert first.added[0] not in mine.table().faces
        other.represent("new:2", dict(zip(mine.table().faces.tolist(), unit(3, 2, dims=8), strict=True)))
        assert np.array_equal(mine.table().vectors, unit(3, 2, dims=8))
        assert mine.search(unit(3, 2, dims=8)[1], model="new:2")[0][0].person.name == "Cid"


@pytest.mark.parametrize("exact", [True, False])
def test_an_empty_gallery_is_searched_for_nothing(place, exact):
    with open_gallery(place) as gallery:
        assert gallery.search(unit(1, 3), model=MODEL, exact=exact) == [[], [], []]
        assert gallery.people() == [] and len(gallery.table().faces) == 0
        enroll(gallery, "Ada", face("a"))
        gallery.forget("Ada")
        assert gallery.search(unit(1, 1), k=3, model=MODEL, exact=exact) == [[]]
