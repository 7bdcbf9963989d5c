"""Names for faces, strangers among them; which face of a photo is meant; the gallery clustered."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from isotrain.errors import BadCheckpoint, BadData, BadOption
from isotrain.faces.albums import arrange
from isotrain.faces.calibration import calibrate
from isotrain.faces.chain import Face
from isotrain.faces.keeping import the_face
from isotrain.faces.recognise import read_calibration, recognise, threshold_of, write_calibration
from isotrain.gallery import Consent, Gallery, NewFace, PhotoSource, open_gallery

MODEL = "made-up:1"
YES = Consent("given", "them", date(2024, 1, 1))
ADA, BEN, CEM = np.eye(3, 8)


def near(vector: np.ndarray, off: float = 0.1, seed: int = 0) -> np.ndarray:
    moved = vector + off * np.random.default_rng(seed).normal(size=8) / np.sqrt(8)
    return moved / np.linalg.norm(moved)


def face(vector: np.ndarray, left: float = 0.0, side: float = 80.0, **other: object) -> Face:
    known = {
        "box": (left, 0.0, left + side, side), "score": 0.9, "points": torch.zeros(68, 2), "confidence": 0.9,
        "turned": False, "crop": torch.zeros(1, 8, 8, dtype=torch.uint8), "vector": torch.tensor(vector).float(),
    }  # fmt: skip
    return Face(**{**known, **other})


def kept(vector: np.ndarray, photo: str, left: float = 0.0) -> NewFace:
    import hashlib

    source = PhotoSource(photo, hashlib.sha256(photo.encode()).hexdigest())
    return NewFace(source, (left, 0, left + 9, 9), 1.0, vector)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    with open_gallery(tmp_path / "gallery.db") as opened:
        for name, vector in (("Ada", ADA), ("Ben", BEN)):
            opened.enroll(name, [kept(near(vector, seed=5), f"{name}.jpg")], MODEL, YES)
        yield opened


def test_known_and_strangers(gallery: Gallery) -> None:
    found = recognise(gallery, [face(near(BEN)), face(near(ADA)), face(CEM)], MODEL, 0.6)
    assert [one.name for one in found] == ["Ben", "Ada", None]
    assert found[2].hit is None and found[2].nearest is not None and found[2].nearest.similarity < 0.6


def test_nobody_is_in_a_photo_twice(gallery: Gallery) -> None:
    """Of two faces like Ada the nearer is hers; the other is a stranger, though similar enough."""
    found = recognise(gallery, [face(near(ADA, 0.5, 1)), face(near(ADA, 0.02))], MODEL, 0.5)
    assert [one.name for one in found] == [None, "Ada"]


def test_another_models_vectors_are_refused(gallery: Gallery) -> None:
    with pytest.raises(BadData, match="made-up:2"):
        recognise(gallery, [face(ADA)], "made-up:2", 0.5)


def test_nobody_is_let_in_where_nobody_is_known(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "empty.db") as empty:
        (found,) = recognise(empty, [face(ADA)], MODEL, -1.0)
    assert found.hit is None and found.nearest is None


def test_calibration_is_kept_with_its_embedder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    same = np.arange(4000) < 2000
    calibration = calibrate(rng.normal(np.where(same, 0.6, 0.1), 0.1), same)
    write_calibration(tmp_path, MODEL, calibration, "pairs.txt")
    read = read_calibration(tmp_path, MODEL)
    assert read == calibration
    assert threshold_of(read, None, 1e-2, "run") == calibration.at(1e-2).threshold
    assert threshold_of(read, 0.42, 1e-2, "run") == 0.42
    with pytest.raises(BadCheckpoint, match="other:1"):
        read_calibration(tmp_path, "other:1")
    (tmp_path / "calibration.json").write_text("[1, 2")
    with pytest.raises(BadCheckpoint, match="evaluate --pairs"):
        read_calibration(tmp_path, MODEL)


def test_without_calibration_nobody_guesses(tmp_path: Path) -> None:
    assert read_calibration(tmp_path, MODEL) is None
    with pytest.raises(BadOption, match="--pairs"):
        threshold_of(None, None, 1e-3, "runs/faces")
    with pytest.raises(BadOption, match="-1 to 1"):
        threshold_of(None, 7.0, 1e-3, "runs/faces")


def test_which_face_is_meant() -> None:
    said: list[str] = []
    one, two = face(ADA), face(BEN, left=200.0)
    photo = Path("photo.jpg")
    assert the_face(photo, [one], None, said.append) is one
    assert the_face(photo, [one, two], 2, said.append) is two
    assert said == []
    with pytest.raises(BadData, match=r"shows 2 faces \(1: x 40, 80 pixels, 2: x 240"):
        the_face(photo, [one, two], None, said.append)
    with pytest.raises(BadOption, match="--face 3"):
        the_face(photo, [one, two], 3, said.append)
    with pytest.raises(BadData, match="no face was found"):
        the_face(photo, [], None, said.append)
    doubtful = face(ADA, confidence=0.2)
    with pytest.raises(BadData, match="may be none"):
        the_face(photo, [doubtful], None, said.append)
    assert the_face(photo, [doubtful], 1, said.append) is doubtful
    the_face(photo, [face(ADA, side=16.0)], None, said.append)
    the_face(photo, [face(ADA, turned=True)], None, said.append)
    assert "16 pixels" in said[0] and "turned" in said[1]


def test_an_album_is_clustered_and_hands_are_heeded(gallery: Gallery) -> None:
    """Faces join the named; strangers form a cluster; two in a photo stay two; undo; again is the same."""
    album = [
        kept(near(ADA, seed=1), "a.jpg"), kept(near(CEM, seed=2), "a.jpg", 50.0), kept(near(CEM, seed=3), "b.jpg"),
        kept(near(BEN, seed=4), "c.jpg"), kept(near(BEN, seed=6), "c.jpg", 50.0), kept(np.eye(8)[7], "d.jpg"),
    ]  # fmt: skip
    ids = gallery.add(album, MODEL)
    done = arrange(gallery, 0.6)
    people = {face: gallery.face(face).person for face in ids}
    ada, ben = gallery.person("Ada").id, gallery.person("Ben").id
    assert people[ids[0]] == ada
    assert people[ids[1]] == people[ids[2]] is not None and people[ids[1]] not in (ada, ben)
    assert {people[ids[3]], people[ids[4]]} != {ben} and ben in (people[ids[3]], people[ids[4]])
    assert people[ids[5]] is None
    assert done.faces == 8 and done.moved >= 4
    assert arrange(gallery, 0.6).moved == 0
    gallery.undo()
    assert all(gallery.face(face).person is None for face in ids)
    arrange(gallery, 0.6)
    # What a hand takes out of a cluster is not put back.
    gallery.assign([ids[0]], None, by="hand")
    assert arrange(gallery, 0.6).moved == 0
    assert gallery.face(ids[0]).person is None


def test_clusters_keep_their_number_and_name(gallery: Gallery) -> None:
    ids = gallery.add([kept(near(CEM, seed=2), "a.jpg"), kept(near(CEM, seed=3), "b.jpg")], MODEL)
    arrange(gallery, 0.6)
    cem = gallery.face(ids[0]).person
    assert cem is not None
    gallery.rename(cem, "Cem", YES)
    (more,) = gallery.add([kept(near(CEM, seed=9), "e.jpg")], MODEL)
    arrange(gallery, 0.6)
    assert gallery.face(more).person == cem and gallery.person("Cem").faces == 3


def test_an_empty_gallery_has_nothing_to_arrange(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "empty.db") as empty:
        assert arrange(empty, 0.5).faces == 0
