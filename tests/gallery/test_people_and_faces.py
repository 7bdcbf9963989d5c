"""Enrolling, looking up, arranging and undoing: on SQLite and on PostgreSQL alike."""

from datetime import date

import numpy as np
import pytest
from made_up import DIMS, GIVEN, MODEL, PNG, enroll, face, photo, unit

from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.gallery import Consent, Group, NewFace, PhotoSource, open_gallery

NASTY = [
    "Robert'); DROP TABLE people;--",
    'x" OR ""="',
    "%s %(a)s ? :name $1 {} {KEY}",
    "nul\0byte",
    "\u202eright to left\u200f",
    "👩‍👩‍👧‍👦 family",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "x" * 10_000,
    "'",
    "--",
    "NULL",
    "\x1b[2Jcleared",
]


@pytest.fixture
def gallery(place):
    with open_gallery(place) as opened:
        yield opened


def state(gallery):
    """Everything that can be arranged, to compare before and after."""
    table = gallery.table()
    return gallery.people(), table.people.tolist(), table.by_hand.tolist(), table.faces.tolist()


def test_what_is_enrolled_comes_back(gallery):
    one, two = face("one"), face("two", landmarks=None, crop=None)
    done = enroll(gallery, "Ada", one, two)
    assert (len(done.added), done.known) == (2, ())
    assert done.person == gallery.person("Ada") == gallery.person(done.person.id) == gallery.person(done.person)
    assert (done.person.name, done.person.faces, done.person.consent) == ("Ada", 2, GIVEN)
    first, second = gallery.faces("Ada")
    assert first.photo == one.photo and first.box == (10, 10, 50, 60) and first.score == 0.9
    assert (first.by, first.model, first.made) == ("hand", MODEL, {"detector": "by hand"})
    assert np.array_equal(first.landmarks, one.landmarks) and second.landmarks is None
    assert gallery.crop(first.id) == one.crop and gallery.crop(second.id) is None
    assert np.array_equal(gallery.table().vectors, np.stack([one.vector, two.vector]))
    assert gallery.face(second.id).photo == two.photo


def test_it_is_still_there_when_opened_again(place):
    with open_gallery(place) as gallery:
        before = enroll(gallery, "Ada", face("one")).person
    with open_gallery(place, create=False) as gallery:
        assert gallery.people() == [before]


def test_the_same_face_again_is_not_kept_twice(gallery):
    first = enroll(gallery, "Ada", face("one")).added
    moved = NewFace(PhotoSource("elsewhere.jpg", photo("one").sha256), (12, 9, 51, 62), 0.8, unit(5))
    again = enroll(gallery, "Ada", face("one"), moved, face("new"), consent=None)
    assert again.known == first and len(again.added) == 1
    assert gallery.person("Ada").faces == 2
    twice = enroll(gallery, "Ada", face("other"), face("other"), consent=None)
    assert len(twice.added) == 1 and not twice.known


@pytest.mark.parametrize("name", NASTY, ids=range(len(NASTY)))
def test_a_name_is_only_ever_a_name(gallery, name):
    enroll(gallery, "Bystander", face("b"))
    enroll(gallery, name, face(name))
    assert gallery.person(name).name == name
    assert [person.faces for person in gallery.people()] == [1, 1]
    with pytest.raises(UnknownName) as caught:
        gallery.person("nobody like that")
    assert all(character.isprintable() for character in str(caught.value)) and len(str(caught.value)) < 600
    assert gallery.rename(name, "Bob").name == "Bob"
    assert gallery.undo().what == "rename"
    assert gallery.forget(name).people == 1
    assert [person.name for person in gallery.people()] == ["Bystander"]


def test_names_are_found_exactly_after_composition_and_trimming(gallery):
    enroll(gallery, " Zoe\u0308 ", face("one"))
    assert gallery.person("Zoë").name == "Zoë"
    for other in ("zoë", "Zoe", "Zoë Z", "Zo%", "Z_ë"):
        with pytest.raises(UnknownName, match="Zoë"):
            gallery.person(other)


@pytest.mark.parametrize("name", ["", "  \t\u3000", "x" * 10_001, "half \ud83d"])
def test_what_is_no_name(gallery, name):
    with pytest.raises(BadOption):
        enroll(gallery, name, face("one"))
    assert not gallery.people() and not len(gallery.table().faces)


def wrong_faces():
    good = face("good")
    yield "length", NewFace(good.photo, good.box, 0.5, good.vector * 2)
    yield "length", NewFace(good.photo, good.box, 0.5, good.vector * np.nan)
    yield "box", NewFace(good.photo, (5, 5, 5, 9), 0.5, good.vector)
    yield "box", NewFace(good.photo, (5, 5, np.inf, 9), 0.5, good.vector)
    yield "score", NewFace(good.photo, good.box, 1.5, good.vector)
    yield "PNG", NewFace(good.photo, good.box, 0.5, good.vector, crop=b"GIF89a")
    yield "landmarks", NewFace(good.photo, good.box, 0.5, good.vector, landmarks=[[1, 2, 3]])
    yield "shape", NewFace(good.photo, good.box, 0.5, unit(1, dims=DIMS + 1))


@pytest.mark.parametrize(("word", "wrong"), list(wrong_faces()))
def test_one_wrong_face_and_none_is_enrolled(gallery, word, wrong):
    with pytest.raises(BadData, match=word):
        enroll(gallery, "Ada", face("fine"), wrong)
    assert not gallery.people() and gallery.model is None and not len(gallery.table().faces)


def test_no_face_is_nothing_to_enrol(gallery):
    with pytest.raises(BadData, match="no face to enrol as 'Ada'"):
        enroll(gallery, "Ada")


def test_vectors_of_another_model_are_refused_by_both_names(gallery):
    enroll(gallery, "Ada", face("one"))
    for use in (
        lambda: gallery.enroll("Ada", [face("two")], "other:99"),
        lambda: gallery.add([face("two")], "other:99"),
        lambda: gallery.search(unit(1), model="other:99"),
    ):
        with pytest.raises(BadData, match=r"'other:99'.*'tiny:0123abcd'"):
            use()
    with pytest.raises(BadData, match=r"17 numbers.* 16"):
        gallery.search(unit(1, dims=17), model=MODEL)
    assert gallery.person("Ada").faces == 1


def test_every_face_is_represented_anew_or_none(gallery):
    ids = enroll(gallery, "Ada", face("one"), face("two")).added
    new = dict(zip(ids, unit(7, 2, dims=5), strict=True))
    with pytest.raises(BadData, match=str(ids[1])):
        gallery.represent("new:1", {ids[0]: new[ids[0]]})
    assert gallery.model == MODEL
    gallery.represent("new:1", new)
    assert gallery.model == "new:1"
    assert np.array_equal(gallery.table().vectors, unit(7, 2, dims=5))
    assert gallery.search(unit(7, 2, dims=5)[1], model="new:1", of="faces")[0][0].face == ids[1]


# --- consent ----------------------------------------------------------------------------------------------------


def test_nobody_is_enrolled_without_a_consent_that_stands(gallery):
    with pytest.raises(BadOption, match="nobody has agreed that 'Ada'"):
        enroll(gallery, "Ada", face("one"), consent=None)
    ended = Consent("given", "Ada", date(2020, 1, 1), until=date(2024, 5, 31))
    with pytest.raises(BadOption, match="ended on 2024-05-31"):
        enroll(gallery, "Ada", face("one"), consent=ended)
    assert not gallery.people()


def test_consents_are_recorded_and_end(gallery):
    short = Consent("guardian", "Ada's mother", date(2024, 1, 1), until=date(2024, 12, 31))
    enroll(gallery, "Ada", face("one"), consent=short)
    enroll(gallery, "Bob", face("two"))
    assert not gallery.expired(date(2024, 12, 31))
    assert [person.name for person in gallery.expired(date(2025, 1, 1))] == ["Ada"]
    with pytest.raises(BadOption, match="ended"):
        gallery.enroll("Ada", [face("three")], MODEL, today=date(2025, 1, 1))
    gallery.enroll("Ada", [face("three")], MODEL, Consent("given", "Ada", date(2025, 1, 1)), today=date(2025, 1, 1))
    assert not gallery.expired(date(2025, 1, 1))
    assert [consent.by for consent in gallery.consents("Ada")] == ["Ada's mother", "Ada"]


def test_purge_forgets_those_whose_consent_has_ended(gallery):
    enroll(gallery, "Ada", face("one"), consent=Consent("given", "A", date(2024, 1, 1), until=date(2024, 7, 1)))
    enroll(gallery, "Bob", face("two"))
    assert gallery.purge(date(2024, 7, 1)).people == 0
    erased = gallery.purge(date(2024, 7, 2))
    assert (erased.people, erased.faces, erased.consents, erased.finished) == (1, 1, 1, True)
    assert [person.name for person in gallery.people()] == ["Bob"]


@pytest.mark.parametrize(
    "words",
    [
        {"basis": "because"},
        {"by": " "},
        {"until": date(2023, 1, 1)},
    ],
)
def test_what_is_no_consent(words):
    with pytest.raises(BadOption):
        Consent(**{"basis": "given", "by": "Ada", "on": date(2024, 1, 1), **words})


# --- arranging --------------------------------------------------------------------------------------------------


def test_faces_of_an_album_are_clustered_named_and_all_of_it_undone(gallery):
    ids = gallery.add([face("a"), face("b"), face("c"), face("d")], MODEL)
    assert gallery.add([face("b"), face("e")], MODEL) == [ids[1], ids[-1] + 1]
    assert [found.id for found in gallery.faces()] == [*ids, ids[-1] + 1]
    states = [state(gallery)]

    one, two = gallery.arrange([Group(ids[:2], new=True), Group(ids[2:3], new=True)])
    assert (one.name, one.faces, two.faces) == (None, 2, 1)
    assert gallery.people(named=False) == [one, two] and gallery.people(named=True) == []
    states.append(state(gallery))

    with pytest.raises(BadOption, match="nobody has agreed"):
        gallery.rename(one, "Ada")
    assert state(gallery) == states[-1]
    assert gallery.rename(one, "Ada", GIVEN, today=date(2024, 6, 1)).id == one.id
    assert gallery.consents("Ada") == [GIVEN]
    states.append(state(gallery))

    gallery.assign([ids[3]], "Ada")
    assert [found.by for found in gallery.faces("Ada")] == ["machine", "machine", "hand"]
    states.append(state(gallery))

    gallery.merge(two, "Ada")
    assert gallery.person(two.id).id == one.id and gallery.person("Ada").faces == 4
    states.append(state(gallery))

    gallery.assign([ids[0]], None)
    assert gallery.face(ids[0]).person is None and gallery.face(ids[0]).by == "hand"  # and no machine puts it back

    for expected, what in zip(reversed(states), ["assign", "merge", "assign", "rename", "arrange"], strict=True):
        assert gallery.undo().what == what
        assert state(gallery) == expected
    with pytest.raises(BadData, match="nothing to undo"):
        gallery.undo()


def test_what_a_hand_did_no_machine_changes(gallery):
    by_hand = enroll(gallery, "Ada", face("a")).added
    loose = gallery.add([face("b"), face("b", box=(100, 10, 150, 60))], MODEL)
    before = state(gallery)
    with pytest.raises(BadData, match=f"face {by_hand[0]} was put where it is by hand"):
        gallery.arrange([Group([*by_hand, loose[0]], new=True)])
    with pytest.raises(BadData, match=f"faces {loose[0]}, {loose[1]} are of one photo"):
        gallery.assign(loose, "Ada", by="machine")
    with pytest.raises(BadData, match="put twice"):
        gallery.arrange([Group([loose[0]], new=True), Group([loose[0]], new=True)])
    with pytest.raises(BadData, match="no face 999"):
        gallery.assign([999], "Ada")
    with pytest.raises(UnknownName):
        gallery.assign(loose[:1], "Bob")
    assert state(gallery) == before
    assert gallery.assign(loose, "Ada").faces == 3


def test_a_face_of_a_cluster_can_be_enrolled_but_not_one_of_somebody(gallery):
    ids = gallery.add([face("a")], MODEL)
    gallery.arrange([Group(ids, new=True)])
    assert enroll(gallery, "Ada", face("a")).known == tuple(ids)
    assert gallery.faces("Ada")[0].by == "hand"
    with pytest.raises(BadData, match=r"cannot be enrolled as 'Bob'.*'Ada'"):
        enroll(gallery, "Bob", face("a"))
    assert [person.name for person in gallery.people()] == ["Ada"]


def test_two_who_are_one(gallery):
    enroll(gallery, "Ada", face("a"))
    enroll(gallery, "Countess", face("b"), consent=Consent("given", "C", date(2024, 2, 2)))
    with pytest.raises(BadOption, match="called 'Ada' already"):
        gallery.rename("Countess", "Ada")
    merged = gallery.merge("Countess", "Ada")
    assert (merged.faces, merged.also, gallery.person("Countess").id) == (2, ("Countess",), merged.id)
    assert [consent.by for consent in gallery.consents("Ada")] == ["Ada herself", "C"]
    with pytest.raises(BadOption, match="one person already"):
        gallery.merge("Countess", "Ada")
    enroll(gallery, "Lovelace", face("c"))
    last = gallery.merge("Ada", "Lovelace")
    assert last.also == ("Ada", "Countess") and last.faces == 3
    gallery.undo()
    assert gallery.person("Countess").id == merged.id
    gallery.merge("Ada", "Lovelace")
    erased = gallery.forget("Countess")
    assert (erased.people, erased.faces, erased.consents) == (3, 3, 3)
    assert gallery.people() == []


def test_undo_does_not_give_back_a_name_that_is_taken(gallery):
    enroll(gallery, "Ada", face("a"))
    gallery.rename("Ada", "Bea")
    enroll(gallery, "Ada", face("b"))
    before = state(gallery)
    with pytest.raises(BadData, match="somebody else has now"):
        gallery.undo()
    assert state(gallery) == before


def test_undo_keeps_a_person_to_whom_faces_came_since(gallery):
    ids = gallery.add([face("a")], MODEL)
    (cluster,) = gallery.arrange([Group(ids, new=True)])
    gallery.rename(cluster, "Ada", GIVEN, today=date(2024, 6, 1))
    enroll(gallery, "Ada", face("b"), consent=None)
    gallery.undo()
    gallery.undo()
    assert gallery.person(cluster.id).faces == 1


# --- access -----------------------------------------------------------------------------------------------------


def test_export_tells_all_that_is_kept(gallery, tmp_path):
    import json

    name = "../Ada\n<b>"
    given = enroll(gallery, name, face("a"), face("b", crop=None)).added
    enroll(gallery, "Bob", face("c"))
    gallery.merge("Bob", name)
    path = gallery.export(name, tmp_path / "out" / "ada")
    told = json.loads(path.read_text())
    assert told["name"] == name and told["also called"] == ["Bob"] and len(told["consents"]) == 2
    assert told["consents"][0] == {
        "basis": "given", "by": "Ada herself", "on": "2024-01-01", "until": None, "how": "signed form"
    }  # fmt: skip
    first = told["faces"][0]
    assert first["photo"] == {"path": "album/a.jpg", "sha256": photo("a").sha256, "size": [300, 400]}
    assert np.array_equal(np.array(first["vector"], np.float32), face("a").vector)
    assert first["landmarks"] == face("a").landmarks.tolist()
    assert [step["what"] for step in told["steps of the journal"]] == ["merge"]
    assert (path.parent / first["crop"]).read_bytes() == face("a").crop
    assert {file.name for file in path.parent.iterdir()} == {
        "person.json", f"face-{given[0]}.png", f"face-{given[1] + 1}.png"
    }  # fmt: skip
    assert told["faces"][1]["crop"] is None
    with pytest.raises(BadOption, match="holds something already"):
        gallery.export(name, path.parent)
    with pytest.raises(UnknownName):
        gallery.export("Zed", tmp_path / "zed")
    assert PNG == (path.parent / first["crop"]).read_bytes()[:8]


def test_ids_are_never_used_again(gallery):
    first = enroll(gallery, "Ada", face("a"))
    gallery.forget("Ada")
    second = enroll(gallery, "Bob", face("b"))
    assert second.person.id > first.person.id and second.added[0] > first.added[0]
    for use in (lambda: gallery.person(first.person), lambda: gallery.face(first.added[0])):
        with pytest.raises(BadData, match="never there"):
            use()


def test_a_photo_that_cannot_be_read(tmp_path):
    with pytest.raises(BadData, match=r"nowhere.jpg"):
        PhotoSource.of(tmp_path / "nowhere.jpg")
    with pytest.raises(BadData, match="sha256"):
        PhotoSource("x.jpg", "abc")
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert PhotoSource.of(tmp_path / "a.jpg").sha256.startswith("ba7816bf")
