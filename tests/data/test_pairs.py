"""Lists of pairs and of people: read as LFW writes them, each fault named with its line, missing pictures counted."""

import numpy as np
import pytest
from PIL import Image

from isotrain.data.pairs import read_pairs
from isotrain.data.people import people_pictures, read_people
from isotrain.data.synthetic import write_people
from isotrain.errors import BadData

PICTURES = {"Ada": 3, "Ben Birch": 2, "Cleo": 2}


@pytest.fixture
def folder(tmp_path):
    for name, number in PICTURES.items():
        (tmp_path / name).mkdir()
        for place in range(1, number + 1):
            Image.new("L", (4, 4)).save(tmp_path / name / f"{name}_{place:04d}.jpg")
    return tmp_path


def written(folder, text, name="pairs.txt"):
    (folder / name).write_bytes(text.encode())
    return folder / name


def shown(pairs):
    return [
        (pairs.pictures[a].name, pairs.pictures[b].name, bool(same))
        for a, b, same in zip(pairs.first, pairs.second, pairs.same, strict=True)
    ]


ONE = "2\nAda\t1\t2\nAda\t2\t3\nAda\t1\tCleo\t2\nCleo\t1\tBen Birch\t1\n"
ONE_READ = [
    ("Ada_0001.jpg", "Ada_0002.jpg", True),
    ("Ada_0002.jpg", "Ada_0003.jpg", True),
    ("Ada_0001.jpg", "Cleo_0002.jpg", False),
    ("Cleo_0001.jpg", "Ben Birch_0001.jpg", False),
]


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        "\ufeff" + ONE.replace("\n", "\r\n"),
        ONE.replace("\t", " \t") + "\n\n",
        "2\nAda 1  2\nAda   2 3 \nAda 1 Cleo 2\nCleo\t1\tBen Birch\t1",
    ],
    ids=["as LFW", "mark and Windows lines", "spaces around", "spaces instead of tabs"],
)
def test_view_1(folder, text):
    pairs = read_pairs(written(folder, text))
    assert shown(pairs) == ONE_READ
    assert pairs.folds == 0 and len(pairs) == 4 and list(pairs.lines) == [2, 3, 4, 5]
    assert len(pairs.pictures) == len(set(pairs.pictures)) == 6


def test_view_2_has_folds(folder):
    text = "2\t1\nAda\t1\t2\nAda\t1\tCleo\t1\nCleo\t1\t2\nCleo\t2\tAda\t3\n"
    pairs = read_pairs(written(folder, text))
    assert pairs.folds == 2 and list(pairs.fold) == [0, 0, 1, 1]
    assert list(pairs.same) == [True, False, True, False]


@pytest.mark.parametrize("heading", ["", "first,second,same\n"])
def test_a_table(folder, heading):
    text = heading + 'Ada/Ada_0001.jpg,Ada/Ada_0002.jpg,Yes\n"Ben Birch/Ben Birch_0001.jpg",Cleo/Cleo_0001,different\n'
    pairs = read_pairs(written(folder, text, "mine.csv"))
    assert shown(pairs) == [ONE_READ[0], ("Ben Birch_0001.jpg", "Cleo_0001.jpg", False)]
    folded = (
        heading.strip()
        + (",fold\n" if heading else "")
        + "Ada/Ada_0001,Ada/Ada_0002,1,0\nAda/Ada_0001,Cleo/Cleo_0001,0,1\n"
    )
    pairs = read_pairs(written(folder, folded, "mine.csv"))
    assert pairs.folds == 2 and list(pairs.fold) == [0, 1]


def test_pictures_may_lie_elsewhere_and_end_otherwise(folder, tmp_path_factory):
    path = written(tmp_path_factory.mktemp("lists"), "1\nAda\t1\t2\nAda\t1\tCleo\t1\n")
    (folder / "Ada" / "Ada_0001.jpg").rename(folder / "Ada" / "Ada_0001.PNG")
    pairs = read_pairs(path, folder)
    assert pairs.pictures[0] == folder / "Ada" / "Ada_0001.PNG"


BAD = {
    "no header": ("Ada\t1\t2\n", "pairs.txt:1: the first line"),
    "a word for a header": ("many\nAda\t1\t2\n", "pairs.txt:1: the number of folds or pairs is 'many'"),
    "two cells": ("1\nAda\t1\nAda\t1\tCleo\t1\n", "pairs.txt:2: 'Ada\\\\t1' is no pair"),
    "five cells": ("1\nAda\t1\t2\nAda\t1\tCleo\t1\t4\n", "pairs.txt:3: .* is no pair"),
    "no number": ("1\nAda\tone\t2\nAda\t1\tCleo\t1\n", "pairs.txt:2: the number of a picture is 'one'"),
    "number 0": ("1\nAda\t0\t2\nAda\t1\tCleo\t1\n", "pairs.txt:2: the number of a picture is '0'"),
    "with itself": ("1\nAda\t2\t2\nAda\t1\tCleo\t1\n", "pairs.txt:2: a picture is paired with itself"),
    "two people of one name": ("1\nAda\t1\t2\nAda\t1\tAda\t2\n", "pairs.txt:3: a pair of two people names 'Ada' twice"),
    "cut": ("2\nAda\t1\t2\nAda\t2\t3\nAda\t1\tCleo\t2\n", "announces 1 x 2 x 2 = 4 pairs, there are 3"),
    "too many": (ONE + "Ada\t1\t3\n", "= 4 pairs, there are 5"),
    "shifted": ("1\nAda\t1\t2\nAda\t1\t3\n", "pairs.txt:2: 2 of the 2 pairs"),
    "above the folder": ("1\n../x\t1\t2\nAda\t1\tCleo\t1\n", "pairs.txt:2: '../x' is not the name"),
    "empty": ("\n \n", "is empty"),
    "a table of words": ("a,b,same\nAda/Ada_0001,Ada/Ada_0002,perhaps\n", "pairs.txt:2: .* is not path,path,same"),
    "only a heading": ("a,b,same person?\n", "no pair behind"),
    "a gap in the folds": ("Ada/Ada_0001,Ada/Ada_0002,1,0\nAda/Ada_0001,Ada/Ada_0003,1,2\n", "is empty"),
    "an immense fold": ("Ada/Ada_0001,Ada/Ada_0002,1,99999999999\n", "without a gap"),
    "folds here and there": ("Ada/Ada_0001,Ada/Ada_0002,1,0\nAda/Ada_0001,Ada/Ada_0003,1\n", "pairs.txt:2: the fold"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_faults_are_named_with_their_line(folder, text, words):
    with pytest.raises(BadData, match=words):
        read_pairs(written(folder, text))


def test_missing_pictures_are_all_counted(folder):
    text = "3\nAda\t1\t2\nAda\t1\t9\nDan\t1\t2\nAda\t9\tCleo\t2\nCleo\t1\tBen Birch\t1\nCleo\t7\tDan\t1\n"
    with pytest.raises(BadData, match=r"pairs.txt:3: 4 pictures are not in .*, needed by 4 pairs") as caught:
        read_pairs(written(folder, text))
    for part in ("Ada/Ada_0009 (line 3)", "Dan/Dan_0001 (line 4)", "Dan/Dan_0002 (line 4)", "Cleo/Cleo_0007 (line 7)"):
        assert part in str(caught.value)
    pairs = read_pairs(folder / "pairs.txt", leave_out_missing=True)
    assert len(pairs) == 2 and pairs.left_out == 4 and list(pairs.lines) == [2, 6]


def test_one_missing_picture_is_one(folder):
    with pytest.raises(BadData, match=r"pairs.txt:2: 1 picture is not in .*, needed by 1 pair: Ada/Ada_0008"):
        read_pairs(written(folder, "1\nAda\t1\t8\nAda\t1\tCleo\t1\n"))


def test_nothing_left(folder):
    with pytest.raises(BadData, match="no pair has both"):
        read_pairs(written(folder, "1\nAda\t1\t8\nAda\t1\tCleo\t8\n"), leave_out_missing=True)


def test_no_such_list(tmp_path):
    with pytest.raises(BadData, match=r"pairs\.txt cannot be read"):
        read_pairs(tmp_path / "pairs.txt")


def test_people_of_a_folder(folder):
    (folder / ".hidden").mkdir()
    (folder / "empty").mkdir()
    Image.new("L", (4, 4)).save(folder / "Ada" / "Ada_0010.jpg")
    people = people_pictures(folder)
    assert list(people) == ["Ada", "Ben Birch", "Cleo"]
    assert [path.name for path in people["Ada"]] == [f"Ada_{n:04d}.jpg" for n in (1, 2, 3, 10)]


def test_a_folder_of_nobody(tmp_path):
    with pytest.raises(BadData, match="has no folder with pictures"):
        people_pictures(tmp_path)
    with pytest.raises(BadData, match="is no folder"):
        people_pictures(tmp_path / "not")


def test_people_txt(tmp_path):
    two = written(tmp_path, "2\r\n1\r\nAda\t3\r\n2\r\nBen\t1\r\nCleo\t2\r\n", "people.txt")
    assert read_people(two) == [{"Ada": 3}, {"Ben": 1, "Cleo": 2}]
    one = written(tmp_path, "\ufeff2\nAda 3\nBen\t1\n", "peopleDevTrain.txt")
    assert read_people(one) == [{"Ada": 3, "Ben": 1}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "people.txt:1: the first line"),
        ("Ada\t3\n", "people.txt:1: the first line"),
        ("2\nAda\t3\n", "people.txt:1: 2 people are announced, there are 1"),
        ("1\nAda\t3\nBen\t1\n", "people.txt:3: there are more lines"),
        ("1\nAda\tx\n", "people.txt:2: how many pictures there are of 'Ada' is 'x'"),
        ("2\nAda\t3\nAda\t1\n", "people.txt:3: 'Ada' stands in line 2"),
        ("1\nAda\t3\t4\n", "people.txt:2: 'Ada 3 4' is not a name"),
        ("2\n1\nAda\t3\nBen\t1\n", "people.txt:4: the number of people of fold 2"),
        ("3\n1\nAda\t3\n1\nBen\t3\n", "3 folds are announced in line 1, there are 2"),
    ],
)
def test_faults_of_people_txt(tmp_path, text, words):
    with pytest.raises(BadData, match=words):
        read_people(written(tmp_path, text, "people.txt"))


def test_the_twin_is_read(tmp_path):
    pairs = read_pairs(write_people(tmp_path, people=4, each=2, pairs=3, folds=2, size=16))
    assert pairs.folds == 2 and len(pairs) == 12 and pairs.same.sum() == 6
    assert np.array_equal(pairs.fold, [0] * 6 + [1] * 6)


@pytest.mark.data
def test_the_real_list(data_dir):
    pairs = read_pairs(data_dir / "lfw" / "pairsDevTrain.txt")
    assert len(pairs) == 2200 and pairs.same.sum() == 1100 and pairs.folds == 0
    assert len(people_pictures(data_dir / "lfw")) == 2449
