"""Texts, parallel sentences and captions as people have them: each fault is one clear line, or told and left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from isotrain.app.named_data import named
from isotrain.app.run_data import Asked
from isotrain.data.samples import Dataset
from isotrain.errors import BadData, IsotrainError
from isotrain.tasks import task_named
from isotrain.train.rundir import RunFolder

pytest.importorskip("tokenizers")


def opened(task: str, *data: str, **sides: str) -> Dataset:
    """As `isotrain train` opens it."""
    return Asked.of(task, named(task, data, **sides), None, 0, {}).open(task)


def refused(words: str, task: str, *data: str, **sides: str) -> None:
    with pytest.raises(IsotrainError, match=words) as caught:
        opened(task, *data, **sides)
    assert "\n" not in str(caught.value)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISOTRAIN_DATA", raising=False)


def test_parallel_files_of_unequal_length() -> None:
    lines = [f"sentence {place} {'long ' * (place % 7)}" for place in range(40)]
    Path("a.en").write_text("\n".join(lines))
    Path("a.de").write_text("\n".join(lines[:11] + lines[12:]))
    refused(r"a\.en has 40 lines, a\.de 39: .*a\.en:40 .*near line 1[12]", "translate", source="a.en", target="a.de")


def test_empty_lines_and_endless_ones_are_left_out_and_told() -> None:
    Path("a.en").write_text("one\n\nthree\n" + "x" * 100_000 + "\nfive\nsix\n")
    Path("a.de").write_text("eins\nzwei\ndrei\nvier\nfünf\nsechs\n")
    dataset = opened("translate", source="a.en", target="a.de")
    assert sorted(s.text for part in (dataset.train, dataset.held_out) for s in part) == ["five", "one", "six", "three"]
    assert any("a.en, line 2" in note for note in dataset.notes)
    assert any("a.en, line 4" in note for note in dataset.notes)


def test_text_that_is_not_utf8() -> None:
    Path("book.txt").write_bytes(b"caf\xe9 " * 1000)
    refused(r"book\.txt:1: not UTF-8 text: byte 3 is 0xe9.*--bytes", "characters", "book.txt")
    Path("a.en").write_bytes(b"one\ncaf\xe9\n")
    Path("a.de").write_text("eins\nzwei\n")
    refused(r"a\.en:2: not UTF-8 text: byte 7 is 0xe9", "translate", source="a.en", target="a.de")


def test_a_vocabulary_larger_than_the_data_is_as_large_as_the_data_gives() -> None:
    Path("a.tsv").write_text("".join(f"dog {place}\thund {place}\n" for place in range(30)))
    card = task_named("translate").plan(opened("translate", "a.tsv"), {"vocabulary": 50_000})
    task = task_named("translate")(card)
    assert task.net().get_submodule("encoder.embedding").num_embeddings < 100


def test_captions_for_missing_pictures() -> None:
    Path("photos").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (40, 30)).save(f"photos/{name}.png")
    said = "".join(f'{{"file_name": "{name}.png", "caption": "a thing"}}\n' for name in "abcd")
    Path("said.jsonl").write_text(said)
    dataset = opened("caption", "photos", "said.jsonl")
    assert len(dataset.train) + len(dataset.held_out) == 3
    assert any("d.png" in note for note in dataset.notes)
    Path("said.jsonl").write_text(said + "".join(f'{{"file_name": "{n}.png", "caption": "x"}}\n' for n in range(9)))
    refused(r"said\.jsonl.*missing|missing.*said\.jsonl|not (there|in)", "caption", "photos", "said.jsonl")


def test_names_that_are_not_utf8_do_not_keep_a_run_from_being_written() -> None:
    RunFolder("run").write("samples.txt", os.fsdecode(b"caf\xe9.jpg: a cup"))
    assert Path("run/samples.txt").read_text() == "caf\\udce9.jpg: a cup"


@pytest.mark.parametrize("task", ["characters", "translate"])
def test_a_file_with_nothing_in_it(task: str) -> None:
    Path("empty.txt").write_text("")
    sides = {"source": "empty.txt", "target": "empty.txt"} if task == "translate" else {}
    with pytest.raises(BadData, match="empty"):
        opened(task, *([] if sides else ["empty.txt"]), **sides)
