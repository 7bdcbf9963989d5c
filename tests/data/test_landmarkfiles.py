"""Landmark files: a hand-made point comes out where the picture has it; faults are named with their line."""

import pytest
import torch
from PIL import Image

from isotrain.data.landmarkfiles import read_landmarks, read_pts
from isotrain.errors import BadData

PTS = "version: 1\nn_points:  3\n{\n1 1\n2.5 3\n4 1e1\n}\n"


def picture(path):
    Image.new("L", (4, 4)).save(path)


def test_pts_counts_from_one_and_from_centres(tmp_path):
    path = tmp_path / "a.pts"
    for text in (PTS, "\ufeff" + PTS.replace("\n", "\r\n"), PTS.replace("1 1", " 1,\t1 ")):
        path.write_bytes(text.encode())
        # The centre of the first pixel is 1, 1 in the file and 0.5, 0.5 here.
        assert read_pts(path, 3).tolist() == [[0.5, 0.5], [2.0, 2.5], [3.5, 9.5]]


def test_a_folder_of_pts(tmp_path):
    for name in ("b10", "b2", "[x]"):
        (tmp_path / f"{name}.pts").write_text(PTS)
        picture(tmp_path / f"{name}.png")
    found = read_landmarks(tmp_path, points=3)
    assert [one.picture.name for one in found] == ["[x].png", "b2.png", "b10.png"]
    assert read_landmarks(tmp_path / "b2.pts", points=3)[0].points.shape == (3, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 1\n", "between a line {"),
        (PTS.replace("3\n{", "5\n{"), "a.pts:2: 5 points are announced, a face has 3"),
        (PTS.replace("1 1\n", ""), "a.pts: 2 points, 3 are needed"),
        (PTS.replace("1 1", "1"), "a.pts:4: '1' is not x and y"),
        (PTS.replace("1 1", "1 q"), "a.pts:4: 'q' is no number"),
        (PTS.replace("1 1", "1 nan"), "a.pts:4: a landmark is infinite or not"),
    ],
)
def test_faults_of_pts(tmp_path, text, words):
    (tmp_path / "a.pts").write_text(text)
    with pytest.raises(BadData, match=words):
        read_pts(tmp_path / "a.pts", 3)


def test_pts_without_pictures_are_counted(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.pts").write_text(PTS)
    picture(tmp_path / "b.jpg")
    with pytest.raises(BadData, match=r"a.pts: no picture .* 2 are missing in all, so also .*c.pts"):
        read_landmarks(tmp_path, points=3)


def test_a_folder_without_pts(tmp_path):
    with pytest.raises(BadData, match=r"has no \.pts file"):
        read_landmarks(tmp_path)


@pytest.mark.parametrize("heading", ["", ",0,1,2,3\n", "image_name,x0,y0,x1,y1\r\n"])
def test_a_table_counts_from_zero(tmp_path, heading):
    (tmp_path / "test").mkdir()
    picture(tmp_path / "test" / "a.jpg")
    path = tmp_path / "test_frames_keypoints.csv"
    path.write_text(heading + "a.jpg,0,0,2.5,7\n")
    (one,) = read_landmarks(path, points=2)
    assert one.points.tolist() == [[0.5, 0.5], [3.0, 7.5]] and one.points.dtype == torch.float32
    assert one.where.endswith(f".csv:{1 + bool(heading)}") and one.picture == tmp_path / "test" / "a.jpg"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no line with landmarks"),
        (",0,1,2,3\n", "no line with landmarks"),
        ("a.jpg,1,2,3\n", "t.csv:1: 4 cells, 5 are needed"),
        ("a.jpg,1,2,3,4\na.jpg,1,2,x,4\n", "t.csv:2: 'x' is no number"),
        ("a.jpg,1,2,3,inf\n", "t.csv:1: a landmark is infinite"),
        ("a.jpg,1,2,3,4\nb.jpg,1,2,3,4\nc.jpg,1,2,3,4\n", r"t.csv:2 \(b.jpg\): no such picture in .* 2 are missing"),
    ],
)
def test_faults_of_a_table(tmp_path, text, words):
    picture(tmp_path / "a.jpg")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadData, match=words):
        read_landmarks(tmp_path / "t.csv", points=2)


@pytest.mark.data
def test_the_real_tables(data_dir):
    found = read_landmarks(data_dir / "ytfaces" / "test_frames_keypoints.csv")
    assert len(found) == 200 and found[0].points.shape == (68, 2)
