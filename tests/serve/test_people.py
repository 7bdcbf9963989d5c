"""People of the server: named with consent, photos follow, forgotten without a trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from serving import eventually, everything, faces_only, people, send, served

from isotrain.errors import BadData, BadOption
from isotrain.serve import people as desk_module

ODD = "Zoë '); DROP TABLE people;-- <b>\u202e"


def named(client: Any) -> dict[str, list[str | None]]:
    """By photo: the names in it."""
    photos = client.get("/api/photos").json()["photos"]
    return {photo["id"]: [face["person"] for face in photo["sight"]["faces"]] for photo in photos}


def enrol(client: Any, photo: str, name: str, **more: Any) -> Any:
    return client.post("/api/people", json={"photo": photo, "face": 1, "name": name, "consent": True, **more})


def test_names_follow_in_every_photo(tmp_path: Path) -> None:
    """Named in one photo, known in the other; renamed, merged, split, undone: the photos follow each time."""
    ada, ben = people(2)
    with served(tmp_path, faces_only()) as client:
        a1, a2, b1 = (photo["id"] for photo in send(client, ada[0], ada[1], ben[0]).json()["photos"])
        refused = enrol(client, a1, "Ada", consent=False)
        assert refused.status_code == 400 and "consent" in refused.json()["error"]
        assert enrol(client, a1, "Ada", basis="guardian").status_code == 400  # and who that is, is not said
        first = enrol(client, a1, "Ada", by="her mother", basis="guardian", until="2999-01-01").json()
        assert first["consent"]["by"] == "her mother" and first["faces"][0]["photo"] == a1
        assert named(client) == {a1: ["Ada"], a2: ["Ada"], b1: [None]}
        second = enrol(client, b1, ODD).json()
        assert second["name"] == ODD.strip() and named(client)[b1] == [ODD.strip()]
        assert [p["id"] for p in client.get("/api/photos", params={"q": "zoë"}).json()["photos"]] == [b1]
        assert client.get(f"/api/faces/{second['faces'][0]['id']}/crop").content.startswith(b"\x89PNG")
        client.patch(f"/api/people/{first['id']}", json={"name": "Ada L"})
        assert named(client)[a2] == ["Ada L"]
        taken = client.patch(f"/api/people/{first['id']}", json={"name": ODD})
        assert taken.status_code == 400 and "merge" in taken.json()["error"]
        merged = client.post(f"/api/people/{second['id']}/merge", json={"into": first["id"]}).json()
        assert len(merged["faces"]) == 2 and named(client)[b1] == ["Ada L"]
        assert client.post("/api/undo").json() == {"undone": "merge", "faces": 1, "people": 1}
        assert named(client)[b1] == [ODD.strip()]
        enrol(client, a2, "Ada L")
        faces = client.get("/api/people").json()["people"][0]["faces"]
        assert [face["photo"] for face in faces] == [a1, a2]
        parted = {"faces": [faces[1]["id"]], "name": "Eve"}
        assert client.post(f"/api/people/{first['id']}/split", json=parted).status_code == 400
        eve = client.post(f"/api/people/{first['id']}/split", json=parted | {"consent": True}).json()
        assert eve["name"] == "Eve" and named(client)[a2] == ["Eve"]
        assert client.post(f"/api/people/{second['id']}/split", json=parted).status_code == 400  # not hers
        assert client.post("/api/undo").json()["undone"] == "split"
        assert [one["name"] for one in client.get("/api/people").json()["people"]] == ["Ada L", ODD.strip()]
        assert client.delete(f"/api/photos/{a2}").json()["faces_kept"] == 1
        assert client.get("/api/people").json()["people"][0]["faces"][1]["photo"] is None


def test_forgetting_leaves_nothing(tmp_path: Path) -> None:
    """Neither name, crop nor vector is in any byte below the data folder; another person's stay."""
    import numpy as np

    ada, ben = people(2)
    name, other = "Adelheid-Quixotte", "Benedict-Zyx"
    with served(tmp_path, faces_only()) as client:
        a1, a2, b1 = (photo["id"] for photo in send(client, ada[0], ada[1], ben[0]).json()["photos"])
        person = enrol(client, a1, name).json()
        enrol(client, b1, other)
        desk = client.app.state.desks.of(client.app.state.sessions.users["me"])  # type: ignore[attr-defined]
        crop = desk.gallery.crop(person["faces"][0]["id"])
        vector = np.asarray(desk._vectors[1][0], "<f4").tobytes()
        before = b"".join(everything(tmp_path).values())
        # A crop lies in pages of the file that need not be neighbours.
        pieces = [crop[at : at + 64] for at in range(0, len(crop) - 64, 64)]
        assert name.encode() in before and vector[:64] in before and sum(piece in before for piece in pieces) > 20
        gone = client.delete(f"/api/people/{person['id']}").json()
        assert (gone["faces"], gone["vectors"], gone["finished"]) == (1, 1, True) and set(gone["photos"]) == {a1, a2}
        after = b"".join(everything(tmp_path).values())
        assert other.encode() in after
        for trace in (name.encode(), name.casefold().encode(), vector[:64], *pieces):
            assert trace not in after
        assert named(client) == {a1: [None], a2: [None], b1: [other]}
        assert client.delete(f"/api/people/{person['id']}").status_code == 404
        assert client.get(f"/api/faces/{person['faces'][0]['id']}/crop").status_code == 404


def desk_of(client: Any) -> Any:
    return client.app.state.desks.of(client.app.state.sessions.users["me"])


def test_a_consent_that_ends_ends_all(tmp_path: Path) -> None:
    """From that day on nobody is called so, though not a byte is gone yet; then all of it is, without being asked."""
    ada, ben = people(2)
    name, other = "Adelheid-Quixotte", "Benedict-Zyx"
    with served(tmp_path, faces_only()) as client:
        a1, a2, b1 = (photo["id"] for photo in send(client, ada[0], ada[1], ben[0]).json()["photos"])
        person = enrol(client, a1, name, until="2999-01-01").json()
        enrol(client, b1, other, until="2999-01-01")
        desk = desk_of(client)
        desk.gallery._database.rows(
            "UPDATE consents SET given = '2001-01-01', until = '2001-12-31' WHERE person = ?", (person["id"],)
        )
        assert named(client) == {a1: [None], a2: [None], b1: [other]}
        assert [one["name"] for one in client.get("/api/people").json()["people"]] == [other]
        assert client.get("/api/photos", params={"q": name}).json()["photos"] == []
        third = send(client, ada[0]).json()["photos"][0]  # the same face again: nobody's
        assert [face["person_id"] for face in third["sight"]["faces"]] == [None]
        assert name.encode() in b"".join(everything(tmp_path).values())
        desk._tidied = float("-inf")  # as after ten minutes
        client.app.state.queue.wake()
        eventually(lambda: not desk.gallery.expired())
        eventually(lambda: name.encode() not in b"".join(everything(tmp_path).values()))
        assert desk.photos.unlink(person["id"]) == [] and named(client)[b1] == [other]


def test_forgetting_on_a_full_disk_is_finished_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person is gone at once, from photos too; their last bytes when there is room; nobody is told otherwise."""
    ada, ben = people(2)
    with served(tmp_path, faces_only()) as client:
        a1, b1 = (photo["id"] for photo in send(client, ada[0], ben[0]).json()["photos"])
        first, second = (enrol(client, photo, name).json() for photo, name in ((a1, "Adelheid"), (b1, "Benedict")))
        desk = desk_of(client)

        def full() -> bool:
            raise BadData("gallery.db: the disk is full. Nothing was changed: make room.")

        for tables in (desk.gallery._database, desk.photos._tables):
            with monkeypatch.context() as patched:
                patched.setattr(tables, "shred", full)
                person = first if tables is desk.gallery._database else second
                gone = client.delete(f"/api/people/{person['id']}")
                assert gone.status_code == 200 and gone.json()["finished"] is False
                assert desk.photos.unlink(person["id"]) == []
        assert named(client) == {a1: [None], b1: [None]}
        desk._tidied = float("-inf")
        desk.tidy()
        assert desk.gallery._eraser.finish() and desk.photos._tables.rows("SELECT * FROM erasing") == []
        after = b"".join(everything(tmp_path).values())
        assert b"Adelheid" not in after and b"Benedict" not in after


def test_vectors_of_strangers_are_never_on_the_disk(tmp_path: Path) -> None:
    import numpy as np

    with served(tmp_path, faces_only()) as client:
        send(client, people(1)[0][0])
        desk = client.app.state.desks.of(client.app.state.sessions.users["me"])  # type: ignore[attr-defined]
        vector = np.asarray(desk._vectors[1][0], "<f4").tobytes()
        assert all(vector[:64] not in content for content in everything(tmp_path).values())


def test_photos_out_of_memory_follow_in_the_idle_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a new start, and where there are more faces than are held."""
    (ada,) = people(1)
    with served(tmp_path, faces_only()) as client:
        a1, a2 = (photo["id"] for photo in send(client, ada[0], ada[1]).json()["photos"])
    monkeypatch.setattr(desk_module, "REMEMBERED", 1)
    with served(tmp_path, faces_only()) as client:
        enrol(client, a1, "Ada")
        eventually(lambda: named(client) == {a1: ["Ada"], a2: ["Ada"]})


def test_a_refused_change_leaves_nothing_to_do(tmp_path: Path) -> None:
    """Or anybody could have all photos looked at again and again."""
    with served(tmp_path, faces_only()) as client:
        a1 = send(client, people(1)[0][0]).json()["photos"][0]["id"]
        enrol(client, a1, "Ada")
        assert client.post("/api/people/1/merge", json={"into": 1}).status_code == 400
        desk = client.app.state.desks.of(client.app.state.sessions.users["me"])  # type: ignore[attr-defined]
        assert desk.photos.stale() == []


def test_an_encrypted_gallery(tmp_path: Path) -> None:
    with served(tmp_path, faces_only(), passphrase="correct horse") as client:
        a1 = send(client, people(1)[0][0]).json()["photos"][0]["id"]
        enrol(client, a1, "Adelheid-Quixotte")
        assert named(client)[a1] == ["Adelheid-Quixotte"]
        assert all(b"Adelheid" not in content for content in everything(tmp_path).values())
    with pytest.raises(BadOption, match="passphrase"):
        with served(tmp_path, faces_only(), passphrase="wrong"):
            pass
