"""Parallel sentences: lines stay together, duplicates too, and where two files part is found."""

import gzip
import json
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrain.data.parallel import _parted, open_parallel
from isotrain.errors import BadData, BadOption

SOURCE = [f"A sentence number {n}." for n in range(40)]
TARGET = [f"Ein Satz mit der Nummer {n}." for n in range(40)]


@pytest.fixture
def put(tmp_path):
    def write(name, lines):
        content = "".join(f"{line}\n" for line in lines).encode() if isinstance(lines, list) else lines
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return tmp_path / name

    return write


def pairs(data):
    return {int(s.name): (s.text, *s.said) for s in data.train + data.held_out}


def test_files_line_by_line_gzipped_or_not(put):
    source, target = put("train.en.gz", SOURCE), put("train.de", TARGET)
    data = open_parallel(source, target, held_out=0.1)
    assert pairs(data) == {n + 1: (SOURCE[n], TARGET[n]) for n in range(40)}
    assert len(data.held_out) == 4 and not data.notes and not data.test
    assert data.train[0].where == f"{source}, line 1"
    assert data.held_out == open_parallel(source, target, held_out=0.1).held_out
    assert data.held_out != open_parallel(source, target, held_out=0.1, seed=1).held_out


def test_separators_within_a_sentence_and_carriage_returns_do_not_shift_lines(put):
    source = put("a.en", "one\u2028still one\r\ntwo\x85\x0b still two\r\nthree".encode())
    data = open_parallel(source, put("a.de", ["eins", "zwei", "drei"]), held_out=0)
    assert [sample.said for sample in data.train] == [("eins",), ("zwei",), ("drei",)]
    assert data.train[0].text == "one\u2028still one"


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "lines", "form"),
    [
        ("p.tsv", ["a\tb", "c\td"], "tab-separated pairs"),
        ("p.tsv", ["target\tsource", "b\ta", "d\tc"], "tab-separated pairs"),
        ("p.jsonl", ['{"target": "b", "source": "a", "id": "1"}', "", '{"source": "c", "target": "d"}'], "JSON lines"),
        ("p.jsonl", ['{"tgt": "b", "src": "a"}', '{"src": "c", "tgt": "d"}'], "JSON lines, 'src' to 'tgt'"),
        ("p.jsonl", ['{"id": 1, "en": "a", "de": "b"}', '{"de": "d", "en": "c"}'], "JSON lines, 'en' to 'de'"),
        ("p.jsonl", ['{"translation": {"en": "a", "fr": "b"}}', '{"translation": {"fr": "d", "en": "c"}}'], "'fr'"),
    ],
)
def test_one_file_with_both_sides(put, name, lines, form, ending):
    data = open_parallel(put(name + ending, lines), held_out=0)
    assert [(s.text, *s.said) for s in data.train] == [("a", "b"), ("c", "d")]
    assert form in data.format


@given(seed=st.integers(0, 100), share=st.floats(0.05, 0.5))
def test_pairs_of_one_sentence_are_never_torn_apart(tmp_path_factory, seed, share):
    folder = tmp_path_factory.mktemp("pairs")
    source = random.Random(seed).choices(SOURCE[:12], k=60)
    (folder / "a").write_text("".join(f"{line}\n" for line in source))
    (folder / "b").write_text("".join(f"{n}\n" for n in range(60)))
    data = open_parallel(folder / "a", folder / "b", held_out=share, seed=seed)
    assert data.held_out and data.train
    assert not {s.text for s in data.train} & {s.text for s in data.held_out}
    assert len(data.train) + len(data.held_out) == 60


def test_a_file_of_its_own_is_held_out_and_repetitions_are_noted(put):
    source, target = put("train.en", SOURCE), put("train.de", TARGET)
    val = put("val.en", ["New.", SOURCE[3]]), put("val.de", ["Neu.", TARGET[3]])
    data = open_parallel(source, target, val=val)
    assert len(data.train) == 40 and [s.text for s in data.held_out] == ["New.", SOURCE[3]]
    assert data.notes == ("1 of the 2 sentences held out are learned from, too",)


def test_files_beside_that_are_not_named_are_noted_and_not_used(put):
    source, target = put("train.en", SOURCE), put("train.de", TARGET)
    files = {name: put(name, ["x"]) for name in ("val.en", "val.de", "test.en", "dev.en", "dev.de", "dev.fr")}
    data = open_parallel(source, target)
    assert len(data.held_out) == 2
    assert data.notes == tuple(
        f"{files[f'{split}.en']} and {files[f'{split}.de']} not used: only files that are named are"
        for split in ("val", "dev")
    )


def test_unequal_files_are_told_with_their_counts_and_lines(put):
    lines = [*TARGET[:7], "", *TARGET[8:]]
    source, target = put("a.en", SOURCE), put("a.de", lines[:-2])
    with pytest.raises(BadData) as caught:
        open_parallel(source, target)
    message = str(caught.value)
    assert f"{source} has 40 lines, {target} 38" in message
    assert f"{source}:39 'A sentence number 38.'" in message
    assert f"empty on one side only is {target}:8 ({source}: 'A sentence number 7.')" in message
    assert "part near" not in message  # it is simply cut
    with pytest.raises(BadData, match=re.escape(f"The first line without a counterpart is {source}:39")):
        open_parallel(target, source)


@pytest.mark.parametrize("gone", [1, 3])
def test_where_lines_went_missing_is_found_by_the_lengths(put, gone):
    rng = random.Random(5)
    source = ["word " * rng.randint(1, 20) for _ in range(300)]
    target = [line + "x" * rng.randint(0, 6) for line in source]
    for at in (20, 150, 280):
        assert abs(_parted(source, target[:at] + target[at + gone :]) - at) <= 2
        assert abs(_parted(source[:at] + source[at + gone :], target) - at) <= 2
        with pytest.raises(BadData, match="by the lengths of the lines they part near line"):
            open_parallel(put("a", source), put("b", target[:at] + target[at + gone :]))
    assert _parted(source, target[:-gone]) == 300 - gone


def test_empty_and_endless_lines_are_left_out_and_counted(put):
    source, target = SOURCE.copy(), TARGET.copy()
    source[4] = target[6] = source[9] = target[9] = "  "
    source[8] = "x" * 100_000
    target[20] = "y" * 2001
    files = put("a.en", source), put("a.de", target)
    start = time.perf_counter()
    data = open_parallel(*files, held_out=0)
    assert time.perf_counter() - start < 2
    assert sorted(pairs(data)) == [n for n in range(1, 41) if n - 1 not in (4, 6, 8, 9, 20)]
    assert data.notes == (
        f"2 pairs with one side empty left out (the first: {files[0]}, line 5 (beside 'Ein Satz mit der Nummer 4.'))",
        f"1 pair with both sides empty left out ({files[0]}, line 10)",
        "2 pairs with more than 2,000 characters on a side left out "
        f"(the first: {files[0]}, line 9 (100,000 characters))",
    )


def test_half_a_character_is_left_out_and_counted(put):
    rows = [{"source": "a \ud800", "target": "b"}, {"source": "a", "target": "\udfff"}, {"source": "a", "target": "b"}]
    path = put("a.jsonl", [json.dumps(row) for row in rows])
    data = open_parallel(path, held_out=0)
    assert [(s.text, *s.said) for s in data.train] == [("a", "b")]
    assert data.notes == (f"2 pairs with half a character on a side left out (the first: {path}, line 1 (U+D800))",)


def test_an_unequal_file_with_an_endless_line_takes_no_time(put):
    files = put("a", ["x" * 100_000] * 30), put("b", ["x" * 100_000] * 29)
    start = time.perf_counter()
    with pytest.raises(BadData) as caught:
        open_parallel(*files)
    assert time.perf_counter() - start < 2 and len(str(caught.value)) < 1000


def test_what_is_not_utf8_is_named_by_its_byte(put):
    source, target = put("a.en", SOURCE), put("a.de", "eins\nzwölf\n".encode("latin-1"))
    message = (
        f"{target}:2: not UTF-8 text: byte 7 is 0xf6. Save it as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8 a.de"
    )
    with pytest.raises(BadData, match=re.escape(message)):
        open_parallel(source, target)


def test_a_folder_is_told_what_is_there_and_how_to_say_it(put, tmp_path):
    for name in ("val.en", "val.de", "train.de.gz", "train.en.gz"):
        put(name, ["x"])
    said = (
        f"--source {tmp_path}/train.en.gz --target {tmp_path}/train.de.gz (there are train.de.gz, train.en.gz, val.de"
    )
    with pytest.raises(BadData, match=re.escape(said)):
        open_parallel(tmp_path)
    with pytest.raises(BadData, match="is a folder"):
        open_parallel(tmp_path / "val.en", tmp_path)
    put("both.jsonl", ["{}"])
    with pytest.raises(BadData, match=re.escape(f"name the file, --source {tmp_path}/both.jsonl")):
        open_parallel(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="name the two files, --source FILE --target FILE; it has no files"):
        open_parallel(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("a.txt", ["x"], "is one side: name the file with the other, --target FILE"),
        ("a.tsv", ["a\tb", "c"], r"a\.tsv:2: one column \('c'\), two are needed\. Put a tab"),
        ("a.tsv", ["a\tb\tc"], r"a\.tsv:1: more than two columns \('a'\).*cut -f1,2"),
        ("a.tsv", b"", r"a\.tsv has no pair of sentences"),
        ("a.tsv", ["\t", "a\t"], r"no pair of sentences: 1 pair with one side empty left out \(.*line 2.*both sides"),
        ("a.tsv", ["a\tb", "a\tc"], "has one sentence only"),
        ("a.jsonl", ['{"source": "a", "target": "b"}', "{"], r"a\.jsonl:2: no valid JSON \(.*column 2"),
        ("a.jsonl", ['{"source": "a", "target": "b"}', "[" * 100_000], r"a\.jsonl:2: no valid JSON \(brackets within"),
        (
            "a.jsonl",
            ['{"source": "a", "target": ' + "9" * 5000 + "}"],
            r":1: no valid JSON \(a number of more than 4,300",
        ),
        ("a.jsonl", ["[1]"], r"a\.jsonl:1: no object"),
        ("a.jsonl", ['{"a": "1", "b": "2", "c": "3"}'], r":1: which two texts are meant\? There are 'a', 'b', 'c'"),
        ("a.jsonl", ['{"a": 1}'], r":1: which two texts are meant\? There are none"),
        ("a.jsonl", ['{"a": "1", "b": "2"}', '{"a": "1", "b": null}'], r":2: no text 'b', and line 1 has one"),
    ],
)
def test_malformed_files(put, name, lines, message):
    with pytest.raises(BadData, match=message):
        open_parallel(put(name, lines))


def test_absent_files_and_shares(put, tmp_path):
    with pytest.raises(BadData, match="none does not exist"):
        open_parallel(put("a", SOURCE), tmp_path / "none")
    with pytest.raises(BadOption, match=r"a share of 1\.0 cannot be held out"):
        open_parallel(tmp_path / "a", tmp_path / "a", held_out=1.0)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=2, max_size=8, unique_by=lambda p: p[0]))
def test_what_json_lines_hold_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    lines = [json.dumps({"source": a, "target": b}, ensure_ascii=n % 2 == 0) for n, (a, b) in enumerate(texts)]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass", newline="")
    wanted = [(a.strip(), b.strip()) for a, b in texts if a.strip() and b.strip()]
    if not wanted:
        return
    data = open_parallel(path, held_out=0)
    assert [(s.text, *s.said) for s in data.train] == wanted


@pytest.mark.data
def test_multi30k(data_dir):
    folder = data_dir / "multi30k"
    named = [(folder / f"{part}.en.gz", folder / f"{part}.de.gz") for part in ("train", "val")]
    data = open_parallel(*named[0], val=named[1])
    assert (len(data.train), len(data.held_out)) == (29_000, 1014)
    assert data.train[0].said == ("Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",)
