"""The drawn people: the same from the same seed, their landmarks where they are drawn, nobody in two parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isotrain.data.people import read_people
from isotrain.data.synthetic import face_photo, face_picture, faces_dataset, write_people
from isotrain.data.synthetic.draws import Part, Twin, generator
from isotrain.data.synthetic.faces import person_name
from isotrain.data.synthetic.head import View, born, landmarks, seen
from isotrain.data.synthetic.portrait import draw_head
from isotrain.errors import BadOption

seeds = st.integers(0, 2**31)


def straight(**changes):
    plain = {
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "scale": 40.0,
        "centre": (100.0, 100.0),
        "smile": 0.0,
        "opened": 0.0,
        "lids": 1.0,
        "light": np.array([0.0, 0.0, 1.0]),
        "ambient": 1.0,
        "clothes": np.zeros(3, np.float32),
    }
    return View(**(plain | changes))


@given(seed=seeds)
def test_a_picture_hangs_on_seed_person_and_place_alone(seed):
    one, again = (face_picture(5, 2, seed, 24) for _ in range(2))
    assert torch.equal(one.picture, again.picture) and torch.equal(one.landmarks, again.landmarks)
    for other in (face_picture(6, 2, seed, 24), face_picture(5, 3, seed, 24), face_picture(5, 2, seed + 1, 24)):
        assert not torch.equal(one.picture, other.picture)


@given(seed=seeds)
def test_a_straight_face_is_symmetric_in_ibugs_order(seed):
    points = landmarks(born(np.random.default_rng(seed)))
    jaw, brows = list(range(16, -1, -1)), list(range(26, 16, -1))
    nose, eyes = [27, 28, 29, 30, 35, 34, 33, 32, 31], [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    mouth = [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    assert np.allclose(points[jaw + brows + nose + eyes + mouth] * [-1, 1, 1], points, atol=1e-9)
    assert points[36, 0] < points[45, 0], "the first eye is the left one of the picture"
    # From top to bottom: brows, eyes, nose, mouth, chin.
    heights = [
        points[part, 1].mean() for part in (slice(17, 27), slice(36, 48), slice(31, 36), slice(48, 68), slice(8, 9))
    ]
    assert heights == sorted(heights)


def test_the_view_turns_the_head_as_it_says():
    points = landmarks(born(np.random.default_rng(0)))
    nose, jaw = 30, [0, 16]

    def against(view):
        places = seen(points, view)
        return places[nose] - places[jaw].mean(0)

    plain = against(straight())
    assert against(straight(yaw=0.4))[0] > plain[0] + 10, "to the right"
    assert against(straight(pitch=0.3))[1] > plain[1] + 10, "down"
    tilted = seen(points, straight(roll=0.3))
    assert tilted[45, 1] > tilted[36, 1] + 5, "clockwise: the eye on the right is lower"


def test_the_eyes_are_drawn_where_the_landmarks_are():
    person = born(generator(Twin.PEOPLE, 0, Part.TRAIN, 1))
    for view in (straight(), straight(yaw=0.4, roll=0.2), straight(pitch=-0.2, centre=(90.5, 110.5))):
        canvas = np.full((200, 200, 3), 0.5, np.float32)
        places = draw_head(person, view, canvas)
        for eye in (slice(36, 42), slice(42, 48)):
            x, y = places[eye].mean(0)
            pupil = canvas[int(y), int(x)]
            assert pupil.max() < 0.2, "the pupil is black"
        assert np.allclose(canvas[2, 2], 0.5), "the background is left alone"


def test_the_box_is_around_the_landmarks():
    for place in range(6):
        face = face_picture(place, place, 1, 64)
        left, top, right, bottom = face.box.tolist()
        assert right - left == pytest.approx(bottom - top, abs=1e-3)
        inside = (face.landmarks > face.box[:2]) & (face.landmarks < face.box[2:])
        assert inside.float().mean() > 0.93
        assert 64 / 1.6 / 1.15 < right - left < 64 / 1.6 * 1.15


def test_nobody_is_in_two_parts():
    ticked = []
    data = faces_dataset(train=7, held_out=4, test=3, size=16, each=2, tick=ticked.append)
    groups = [{sample.group for sample in part} for part in (data.train, data.held_out, data.test)]
    assert [len(group) for group in groups] == [4, 2, 2]
    assert len(set.union(*groups)) == 8 == len(data.classes)
    names = [sample.name for part in (data.train, data.held_out, data.test) for sample in part]
    assert len(set(names)) == 14 == len(ticked)
    for sample in data.train:
        assert data.classes[sample.labels[0]] == sample.group
        assert len(sample.things[0].points) == 68


def test_names_differ():
    assert len({person_name(person) for person in range(1000)}) == 1000


def test_a_photo_has_the_same_people_and_hides_no_face():
    photo = face_photo([0, 1, 2, 3, 4], seed=3, size=200)
    assert photo.picture.shape == (3, 200, 200) and photo.picture.dtype == torch.uint8
    assert photo.boxes.shape == (5, 4) and photo.landmarks.shape == (5, 68, 2)
    from torchvision.ops import box_iou

    overlap = box_iou(photo.boxes, photo.boxes).fill_diagonal_(0)
    assert overlap.max() < 0.1
    again = face_photo([0, 1, 2, 3, 4], seed=3, size=200)
    assert torch.equal(photo.picture, again.picture)
    assert not torch.equal(photo.picture, face_photo([0, 1, 2, 3, 4], seed=3, size=200, place=1).picture)


def test_no_one_in_a_photo():
    photo = face_photo([], size=32)
    assert photo.boxes.shape == (0, 4) and photo.people == ()


def test_a_person_looks_alike_in_its_pictures():
    """Grey pixels of the face's box: pictures of one person are closer than those of two."""
    faces = []
    for person in range(8):
        for place in range(6):
            face = face_picture(person, place, 0, 48)
            left, top, right, bottom = (int(edge) for edge in face.box.tolist())
            crop = face.picture[None, :, top:bottom, left:right].float().mean(1, keepdim=True)
            pixels = torch.nn.functional.interpolate(crop, (16, 16), mode="bilinear", antialias=True).flatten()
            faces.append((pixels - pixels.mean()) / pixels.std())
    alike = torch.stack(faces) @ torch.stack(faces).T / 256
    person = torch.arange(48) // 6
    same = (person[:, None] == person) & ~torch.eye(48, dtype=torch.bool)
    assert alike[same].mean() > alike[person[:, None] != person].mean() + 0.05


def test_a_folder_like_lfws(tmp_path):
    path = write_people(tmp_path, people=6, each=3, pairs=4, folds=2, seed=1, size=32)
    lines = path.read_text().splitlines()
    assert lines[0] == "2\t4" and len(lines) == 1 + 2 * 2 * 4
    people = read_people(tmp_path / "people.txt")
    assert [len(fold) for fold in people] == [3, 3] and {n for fold in people for n in fold.values()} == {3}
    folds = [set(), set()]
    for number, line in enumerate(lines[1:]):
        cells = line.split("\t")
        named = [(cells[0], cells[1]), (cells[0], cells[2])] if len(cells) == 3 else [cells[:2], cells[2:]]
        assert len(cells) == (3 if number % 8 < 4 else 4)
        for name, place in named:
            folds[number // 8].add(name)
            with Image.open(tmp_path / name / f"{name}_{int(place):04d}.png") as picture:
                assert picture.size == (32, 32)
    assert not folds[0] & folds[1]
    assert folds[0] <= set(people[0]) and folds[1] <= set(people[1])
    assert write_people(tmp_path / "dev", people=2, each=2, pairs=3, size=16).read_text().startswith("3\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: face_picture(0, 0, size=8), "size 8"),
        (lambda: face_picture(-1, 0), "0 or more"),
        (lambda: face_picture(0, 0, seed=-1), "seed is -1"),
        (lambda: faces_dataset(each=1), "1 picture"),
        (lambda: face_photo(range(20), size=64), "20 people on 64 pixels"),
    ],
)
def test_options_outside_their_range(make, words):
    with pytest.raises(BadOption, match=words):
        make()


def test_too_few_people_for_the_folds(tmp_path):
    with pytest.raises(BadOption, match="3 people"):
        write_people(tmp_path, people=3, folds=2)
