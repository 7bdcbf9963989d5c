"""Plain text: nothing is lost between stretches and parts, and what cannot be read is said with its byte."""

import gzip
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrain.data.textfiles import lines_of, open_text
from isotrain.errors import BadData, BadOption


def parts(data):
    return data.train, data.held_out, data.test


def together(samples):
    return "".join(sample.text[:-1] for sample in samples) + samples[-1].text[-1]


@given(seed=st.integers(0, 1000), number=st.integers(200, 3000), length=st.integers(1, 9))
def test_stretches_follow_one_another_and_parts_share_nothing(tmp_path_factory, seed, number, length):
    text = "".join(random.Random(seed).choices("ab\n\x01ü", k=number - 1)) + "z"
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    data = open_text(path, length=length)
    cuts = [0, int(0.9 * number), int(0.95 * number), number]
    for samples, start, end in zip(parts(data), cuts, cuts[1:], strict=False):
        read = together(samples)
        assert text[start:end].startswith(read) and end - start - len(read) < length
        for place, sample in enumerate(samples):
            assert len(sample.text) == length + 1
            assert int(sample.name) == start + place * length
            assert sample.where == f"{path}, character {sample.name}"


def test_bytes_are_characters_of_their_numbers(tmp_path):
    content = bytes(random.Random(0).choices(range(256), k=2000))
    (tmp_path / "a.bin").write_bytes(content)
    data = open_text(tmp_path / "a.bin", unit="bytes", length=10)
    assert together(data.train).encode("latin-1") == content[: len(data.train) * 10 + 1]
    assert data.train[3].where == f"{tmp_path / 'a.bin'}, byte 30"
    assert data.format == "text: 2,000 bytes of 256 kinds"


def test_a_folder_is_read_in_the_order_of_names_and_gz_unpacked(tmp_path):
    (tmp_path / "10.txt").write_text("c" * 60, encoding="utf-8")
    (tmp_path / "2.txt.gz").write_bytes(gzip.compress(b"b" * 60))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "a.TXT").write_bytes(b"\xef\xbb\xbf" + b"d" * 60)
    (tmp_path / ".hidden.txt").write_text("x")
    (tmp_path / "notes.md").write_text("x")
    data = open_text(tmp_path, length=4)
    whole = "b" * 60 + "\n" + "c" * 60 + "\n" + "d" * 60
    assert data.format == "text: 182 characters of 4 kinds in 3 files"
    assert together(data.train) == whole[:161]
    at_64 = data.train[16]
    assert at_64.text == "cccc" + "c" and at_64.where == f"{tmp_path / '10.txt'}, character 3"


def test_a_name_is_looked_up(tmp_path, monkeypatch):
    (tmp_path / "plays").mkdir()
    (tmp_path / "plays" / "a.txt").write_text("abc" * 100)
    monkeypatch.setenv("ISOTRAIN_DATA", str(tmp_path))
    assert len(open_text("plays", length=5).train) == 53


def test_what_is_not_utf8_is_named_by_its_byte(tmp_path):
    path = tmp_path / "a.txt"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + b"one\ntwo\nna\xefve" + b"\n" * 100)
        with pytest.raises(BadData, match=re.escape(f"{path}:3: not UTF-8 text: byte {10 + len(mark)} is 0xef.")):
            open_text(path, length=2)
    with pytest.raises(BadData, match="Save it as UTF-8, or learn its bytes: --bytes"):
        open_text(path, length=2)
    assert open_text(path, unit="bytes", length=2).train


@pytest.mark.parametrize(
    ("content", "length", "message"),
    [
        (b"", 4, "is empty"),
        (b"x", 4, "has 1 characters.*too few for a stretch of 4.*Use a longer text"),
        (b"x" * 160, 64, r"has 160 characters, of which 8 are held out.*Use a longer text, 1,320 or more\.$"),
        (b"x" * 180, 64, r"has 180 characters, of which 9 are held out.*at most 8 \(-o length=8\)"),
        (b"x" * 1000, 128, r"has 1,000 characters, of which 50 are held out.*at most 49 \(-o length=49\)"),
    ],
)
def test_a_text_that_is_too_short(tmp_path, content, length, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(BadData, match=message):
        open_text(tmp_path / "a.txt", length=length)


def test_the_length_that_a_message_proposes_works(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 1000)
    assert all(parts(open_text(tmp_path / "a.txt", length=49)))


@given(length=st.integers(1, 500))
def test_the_longer_text_that_a_message_proposes_is_long_enough(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(b"x")
    with pytest.raises(BadData) as caught:
        open_text(path, length=length)
    path.write_bytes(b"x" * int(re.search(r"a longer text, ([\d,]+) or more", str(caught.value))[1].replace(",", "")))
    assert all(parts(open_text(path, length=length)))


@given(number=st.integers(2, 400), length=st.integers(1, 70))
def test_a_text_as_one_part_has_every_symbol_in_it(tmp_path_factory, number, length):
    text = "".join(random.Random(number).choices("abc", k=number))
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(text)
    data = open_text(path, length=length, whole=True)
    assert not data.train and not data.held_out and together(data.test) == text
    assert all(len(sample.text) == length + 1 for sample in data.test[:-1]) and len(data.test[-1].text) > 1


def test_one_symbol_is_nothing_to_score(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(BadData, match=r"a\.txt has one symbol alone, 'x': nothing follows it"):
        open_text(tmp_path / "a.txt", whole=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "one\ntwo\n".encode("utf-16-le"),
            ":1: a byte of zeros, which no text has (UTF-16LE without a byte order mark?)",
        ),
        (
            "one\ntwo\n".encode("utf-16-be"),
            ":1: a byte of zeros, which no text has (UTF-16BE without a byte order mark?)",
        ),
        (
            b"one\ntwo\0three four\n",
            ":2: a byte of zeros, which no text has (UTF-16, or no text at all?). Save it as UTF-8, or l",
        ),
    ],
)
def test_a_byte_of_zeros_is_refused(tmp_path, content, message):
    path = tmp_path / "a.txt"
    path.write_bytes(content * 100)
    with pytest.raises(BadData, match=re.escape(f"{path}{message}")) as caught:
        open_text(path, length=8)
    assert str(caught.value).endswith("or learn its bytes: --bytes.")
    assert open_text(path, unit="bytes", length=8).train


def test_files_that_are_not_there_or_broken(tmp_path):
    with pytest.raises(BadData, match=r"nowhere\.txt does not exist"):
        open_text(tmp_path / "nowhere.txt")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(BadData, match=r"has no \.txt file to read \(1 \.pdf\)"):
        open_text(tmp_path)
    for content in (b"no gzip", gzip.compress(b"abc" * 999)[:-10], gzip.compress(b"a" * 99)[:12] + b"\xff" * 20):
        (tmp_path / "b.gz").write_bytes(content)
        with pytest.raises(BadData, match=r"b\.gz cannot be read: "):
            open_text(tmp_path / "b.gz")


def test_options_outside_their_range(tmp_path):
    for options in ({"length": 0}, {"unit": "words"}):
        with pytest.raises(BadOption, match="the length is 1 or more, the unit characters or bytes"):
            open_text(tmp_path, **options)


def test_only_line_feeds_end_lines():
    assert lines_of("") == []
    assert lines_of("\n") == [""]
    assert lines_of("a\x0bb\x85c\x1cd\u2029e\rf\n\n") == ["a\x0bb\x85c\x1cd\u2029e\rf", ""]
