"""`isotrain data check` of texts, translations and captions: every fault, each with its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)


def found(answer) -> list[tuple[str, str, str]]:
    return [(fault["severity"], fault["where"], fault["what"]) for fault in answer.json["faults"]]


def picture(path: str, shade: int) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    pixels = torch.randint(0, 256, (60, 60, 3), generator=torch.Generator().manual_seed(shade), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)


def test_a_text(answer_of):
    Path("book.txt").write_bytes(b"one\nna\xefve\nthree\n\xff\xfe\nfive\0\n")
    answer = answer_of("data", "check", "book.txt", "--json")
    assert answer.code == 1
    assert found(answer) == [
        ("error", "book.txt:2", "not UTF-8 text: byte 6 is 0xef"),
        ("error", "book.txt:4", "not UTF-8 text: byte 16 is 0xff"),
        ("error", "book.txt:5", "a byte of zeros, which no text has (UTF-16, or no text at all?)"),
    ]
    shown = answer_of("data", "check", "book.txt")
    assert "book.txt:4: not UTF-8 text" in shown.out and "1 files, 5 lines" in shown.out
    assert "or learn its bytes: --bytes" in shown.out and "3 errors, 0 warnings." in shown.out


def test_texts_in_a_folder(answer_of):
    Path("books").mkdir()
    Path("books/a.txt").write_text("A book.\n")
    assert found(answer_of("data", "check", "books", "--json")) == []
    Path("books/b.txt").write_text("")
    answer = answer_of("data", "check", "books", "--json")
    assert answer.code == 1 and found(answer) == [("error", "books/b.txt:1", "empty")]
    assert answer.json["counts"] == {"files": 2, "lines": 1, "characters": 8}


def test_translations_line_by_line(answer_of):
    Path("a.en").write_text("A dog.\n\nTwo cats.\n\n" + "x" * 3000 + "\n")
    Path("a.de").write_text("Ein Hund.\nLeer?\nZwei Katzen.\n\nLang.\n")
    answer = answer_of("data", "check", "--source", "a.en", "--target", "a.de", "--json")
    assert answer.code == 0  # it can be learned from: these lines are left out
    assert found(answer) == [
        ("warning", "a.en:2", "pair with one side empty (beside 'Leer?')"),
        ("warning", "a.en:4", "pair with both sides empty"),
        ("warning", "a.en:5", "pair with more than 2,000 characters on a side (3,000 characters)"),
    ]
    assert answer.json["counts"] == {"pairs": 5, "to learn from": 2}
    assert answer_of("data", "check", "a.en", "a.de", "--json").json == answer.json


def test_translations_that_part(answer_of):
    Path("a.en").write_text("".join(f"{'word ' * (n % 7 + 1)}\n" for n in range(40)))
    Path("a.de").write_bytes(b"".join(b"Wort " * (n % 7 + 1) + b"\n" for n in range(40) if n != 11) + b"\xff\n\n")
    answer = answer_of("data", "check", "--source", "a.en", "--target", "a.de", "--json")
    assert answer.code == 1
    (_, wrong, _), (_, parted, what) = found(answer)
    assert (wrong, parted) == ("a.de:40", "a.de:41")
    assert "a.en has 40 lines, a.de 41" in what and "The first line without a counterpart is a.de:41" in what


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("a.tsv", ["A dog.\tEin Hund.", "alone", "a\tb\tc", "Two.\tZwei."], ["a.tsv:2", "a.tsv:3"]),
        (
            "a.jsonl",
            [
                '{"source": "A", "target": "B"}',
                "{",
                "[1]",
                '{"source": "A"}',
                '{"source": "", "target": "B"}',
                '{"source": "A", "target": "\\ud800"}',
                "[" * 100_000,
            ],
            ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4", "a.jsonl:7", "a.jsonl:5", "a.jsonl:6"],
        ),
    ],
)
def test_tables_of_translations(answer_of, name, lines, expected):
    Path(name).write_text("\n".join(lines) + "\n")
    answer = answer_of("data", "check", name, "--json")
    assert answer.code == 1 and [where for _, where, _ in found(answer)] == expected


def test_captions_and_pictures(answer_of):
    for number in range(4):
        picture(f"photos/{number}.jpg", number)
    Path("photos/4.jpg").write_bytes(Path("photos/0.jpg").read_bytes())
    Path("photos/5.jpg").write_bytes(b"no picture")
    rows = [{"file_name": f"{n}.jpg", "caption": f"Picture {n}."} for n in (0, 1, 2, 4, 5, 9)]
    rows += [{"file_name": "1.jpg", "caption": " "}, {"file_name": "1.jpg", "caption": "x" * 3000}]
    lines = [*map(json.dumps, rows), "{", '{"file_name": "2.jpg"}']
    Path("said.jsonl").write_text("\n".join(lines) + "\n")
    answer = answer_of("data", "check", "photos", "said.jsonl", "--json")
    assert answer.code == 1
    assert found(answer) == [
        ("error", "said.jsonl:9", "no valid JSON (Expecting property name enclosed in double quotes, column 2)"),
        ("error", "said.jsonl:10", "no picture or no caption"),
        ("error", "said.jsonl:5", found(answer)[2][2]),
        ("warning", "said.jsonl:6", "picture '9.jpg' is missing"),
        ("warning", "said.jsonl:7", "empty caption"),
        ("warning", "said.jsonl:8", "caption of 3,000 characters, more than 2,000"),
        ("warning", "3.jpg", "picture without a caption"),
        ("warning", "said.jsonl:4", "picture 4.jpg has the same pixels as 0.jpg"),
    ]
    assert "5.jpg" in found(answer)[2][2]
    assert answer.json["counts"] == {"pictures": 5, "captions": 5, "train": 5}


def test_captions_that_no_file_can_hold(answer_of):
    picture("photos/a.jpg", 1), picture("photos/b.jpg", 2), picture("c.jpg", 3)
    rows = [("a.jpg", "A \ud800."), ("a.jpg", "A."), ("../c.jpg", "C."), ("b" * 5000, "B."), ("b.jpg", "B.")]
    lines = [json.dumps({"file_name": name, "caption": text}) for name, text in rows]
    Path("said.jsonl").write_text("\n".join(["[" * 100_000, *lines]) + "\n")
    answer = answer_of("data", "check", "photos", "said.jsonl", "--json")
    told = found(answer)
    assert [where for _, where, _ in told] == [f"said.jsonl:{line}" for line in (1, 4, 5, 2)]
    assert told[-1] == ("warning", "said.jsonl:2", "caption with half a character (U+D800)")
    assert "too deep" in told[0][2] and max(len(what) for *_, what in told) < 300


def test_captions_are_found_out_and_mostly_missing_pictures_are_an_error(answer_of):
    picture("photos/a.jpg", 1)
    Path("photos/a.txt").write_text("A picture.\n")
    assert answer_of("data", "check", "photos", "--json").json["format"] == "captions beside pictures"
    for name in ("b", "c"):
        Path(f"photos/{name}.txt").write_text("Gone.\n")
    answer = answer_of("data", "check", "photos", "--task", "caption", "--json")
    assert answer.code == 1
    assert [(severity, where) for severity, where, _ in found(answer)] == [
        ("error", "photos/b.txt:1"),
        ("error", "photos/c.txt:1"),
    ]


@pytest.mark.parametrize("task", ["classify", "characters", "translate", "caption", "detect"])
def test_what_data_make_writes_is_found_out_and_has_no_fault(answer_of, task):
    assert answer_of("data", "make", task, "made", "--train", "60", "--held-out", "4", "--test", "4").code == 0
    files = [["made"], ["--source", "made/train.en", "--target", "made/train.xx"]][task == "translate"]
    if task == "translate":
        sides = sorted(str(path) for path in Path("made").glob("train.*"))
        files = ["--source", sides[0], "--target", sides[1]]
    answer = answer_of("data", "check", *files, "--json")
    assert answer.code == 0 and answer.json["errors"] == 0
    counted = answer.json.get("counts") or answer.json["splits"]
    kinds = {"characters": "characters", "translate": "pairs", "caption": "captions"}
    assert kinds.get(task, "train") in counted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "data check takes DATA"),
        ("a b c", "data check takes DATA"),
        ("--target b", "data check takes DATA"),
        ("absent.txt", "absent.txt does not exist"),
        ("here --task classify other", "classify takes one DATA: other is a second one"),
        ("here --task classes", "task 'classes' is not known"),
        ("here.txt other --task characters", "a text is one file or folder: other is a second one"),
    ],
)
def test_what_cannot_be_checked(answer_of, words, said):
    Path("here").mkdir()
    Path("here.txt").write_text("a\n")
    answer = answer_of("data", "check", *words.split())
    assert answer.code == 2 and said in answer.err
