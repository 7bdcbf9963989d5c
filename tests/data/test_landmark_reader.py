"""Faces with landmarks as data sets: ytfaces' tables and splits, .pts beside pictures; faults by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from isotrain.data.opened import open_dataset, read_source
from isotrain.errors import BadData

POINTS = 68


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (100, 80), (90, 80, 70)).save(path)


def row(name: str, first: float = 10.0) -> str:
    """A line of a table: points from left to right, each a tenth of a pixel further."""
    return ",".join([name, *(f"{first + n / 10:g},{20 + n / 5:g}" for n in range(POINTS))])


HEADING = "," + ",".join(str(n) for n in range(2 * POINTS))


def table(root: Path, split: str, names: list[str], heading: bool = True) -> Path:
    """ytfaces: training/NAME.jpg beside training_frames_keypoints.csv."""
    for name in names:
        picture(root / split / name)
    path = root / f"{split}_frames_keypoints.csv"
    path.write_text("\n".join([HEADING] * heading + [row(name) for name in names]) + "\n")
    return path


def pts(path: Path, points: int = POINTS) -> None:
    lines = "\n".join(f"{11 + n / 10:g} {21 + n / 5:g}" for n in range(points))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"version: 1\nn_points: {POINTS}\n{{\n{lines}\n}}\n")


def test_tables_of_two_splits(tmp_path):
    table(tmp_path, "training", [f"Ada_Elm_{n}.jpg" for n in (10, 20)] + ["Ben_Fir_30.jpg"])
    table(tmp_path, "test", ["Cleo_Ivy_1.jpg"])
    data = open_dataset(str(tmp_path), "landmarks", held_out=0.0)
    assert data.classes == ("face",) and "landmarks" in data.format
    assert (len(data.train), len(data.held_out), len(data.test)) == (3, 0, 1)
    assert [sample.group for sample in data.train] == ["Ada_Elm", "Ada_Elm", "Ben_Fir"]
    (thing,) = data.train[0].things
    points = torch.tensor(thing.points)
    assert points.shape == (POINTS, 2)
    # The table counts whole pixels from 0: their centres lie half a pixel further.
    torch.testing.assert_close(points[0], torch.tensor([10.5, 20.5]))
    assert thing.box == pytest.approx((*points.amin(0).tolist(), *points.amax(0).tolist()))
    assert data.train[0].where.endswith("training_frames_keypoints.csv:2")
    assert data.train[0].picture == tmp_path / "training" / "Ada_Elm_10.jpg"


def test_frames_of_one_film_are_held_out_together(tmp_path):
    names = [f"{who}_{n}.jpg" for who in ("Ada_Elm", "Ben_Fir", "Cleo_Ivy", "Dan_Oak") for n in range(5)]
    table(tmp_path, "training", names)
    data = open_dataset(str(tmp_path), "landmarks", held_out=0.25)
    learned, kept = ({sample.group for sample in part} for part in (data.train, data.held_out))
    assert len(kept) >= 1 and not learned & kept and len(learned | kept) == 4
    assert len(data.train) + len(data.held_out) == 20


def test_a_table_without_heading_and_without_a_folder_of_its_own(tmp_path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    (tmp_path / "faces.csv").write_text(row("a.png") + "\n\n" + row("b.png", 30) + "\n")
    for source in (tmp_path, tmp_path / "faces.csv"):
        data = open_dataset(str(source), "landmarks", held_out=0.0)
        assert [sample.name for sample in data.train] == ["a.png", "b.png"]
        assert data.train[1].things[0].points[0] == pytest.approx((30.5, 20.5))
        assert data.train[1].where.endswith("faces.csv:3")
        assert data.train[0].group == ""


def test_points_beside_pictures(tmp_path):
    for name in ("x/image_1", "x/image_2", "y/other"):
        pts(tmp_path / f"{name}.pts")
        picture(tmp_path / f"{name}.png")
    data = open_dataset(str(tmp_path), "landmarks", held_out=0.0)
    assert len(data.train) == 3 and data.test == []
    assert data.train[0].things[0].points[0] == pytest.approx((10.5, 20.5))  # these count from 1
    assert [sample.group for sample in data.train] == ["image", "image", ""]
    assert all(sample.where.endswith(".pts") for sample in data.train)


def test_a_table_that_is_no_landmarks_is_left_to_others(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,cat\n")
    with pytest.raises(BadData, match="has no landmarks to learn from"):
        open_dataset(str(tmp_path), "landmarks", held_out=0.0)


def bad(line: str):
    def write(root: Path) -> None:
        path = table(root, "training", ["a_1.jpg", "a_2.jpg"])
        path.write_text(path.read_text() + line + "\n")

    return write


def missing(root: Path) -> None:
    table(root, "training", ["a_1.jpg", "a_2.jpg"])
    (root / "training" / "a_2.jpg").unlink()


def two_eyes(root: Path) -> None:
    pts(root / "a.pts", POINTS - 1)
    picture(root / "a.png")


def alone(root: Path) -> None:
    pts(root / "a.pts")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (bad(row("a_1.jpg").replace("20.2", "left")), r"training_frames_keypoints\.csv:4: 'left' is no number"),
        (bad(row("a_1.jpg").replace("20.2", "nan")), r"training_frames_keypoints\.csv:4: a landmark is infinite"),
        (bad(row("a_1.jpg") + ",7"), r"training_frames_keypoints\.csv:4: 138 cells, 137 are needed"),
        (bad(row("nobody.jpg")), r"training_frames_keypoints\.csv:4 \(nobody\.jpg\): no such picture"),
        (missing, r"training_frames_keypoints\.csv:3 \(a_2\.jpg\): no such picture"),
        (two_eyes, r"a\.pts: 67 points, 68 are needed"),
        (alone, r"a\.pts: no picture of this name is beside it"),
    ],
    ids=["word", "nan", "too many", "unknown", "missing", "pts too few", "pts alone"],
)
def test_faults_are_named_with_file_and_line(tmp_path, write, said):
    write(tmp_path)
    with pytest.raises(BadData, match=said):
        open_dataset(str(tmp_path), "landmarks", held_out=0.0)
    faults = read_source(str(tmp_path), "landmarks").faults
    assert len(faults) == 1 and faults[0].severity == "error"


@pytest.mark.data
def test_ytfaces(data_dir):
    if not (data_dir / "ytfaces").is_dir():
        pytest.skip("no ytfaces in the folder of real data")
    data = open_dataset(str(data_dir / "ytfaces"), "landmarks")
    assert (len(data.train) + len(data.held_out), len(data.test)) == (800, 200)
    assert not {s.group for s in data.train} & {s.group for s in data.held_out}
