"""The readers of CIFAR-10's binary files and of text."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from isotrain.data.cifar import cifar10
from isotrain.data.text import characters, encoded, vocabulary, words
from isotrain.data.textfiles import read_utf8
from isotrain.errors import BadData


def records(count: int, label: int = 3) -> bytes:
    rows = np.zeros((count, 3073), dtype=np.uint8)
    rows[:, 0], rows[:, 1] = label, 255  # the first pixel is red
    return rows.tobytes()


def test_cifar(tmp_path):
    for name, count in (("data_batch_1.bin", 4), ("data_batch_2.bin", 2), ("test_batch.bin", 3)):
        (tmp_path / name).write_bytes(records(count))
    (x, y), (held_x, _) = cifar10(tmp_path)
    assert x.shape == (6, 3, 32, 32) and held_x.shape[0] == 3 and y.tolist() == [3] * 6
    assert x[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(("content", "said"), [(b"12", "no whole number"), (records(1, 10), "label 10")])
def test_cifar_from_elsewhere(tmp_path, content, said):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(BadData, match=said):
        cifar10(tmp_path)


def test_no_cifar(tmp_path):
    with pytest.raises(BadData, match=r"data_batch_1.bin is not in"):
        cifar10(tmp_path)


def test_text(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("Ein Hund läuft.".encode()))
    text = read_utf8(tmp_path / "a.txt.gz")
    numbers, alphabet = characters(text)
    assert "".join(alphabet[n] for n in numbers) == text
    spoken = words(text)
    known = vocabulary([spoken], 100)
    assert spoken == ["ein", "hund", "läuft", "."] and sorted(known.values()) == [4, 5, 6, 7]
    rows = encoded([spoken, ["unbekannt"]], known, 6, ends=True)
    assert rows[0].tolist() == [1, known["ein"], known["hund"], known["läuft"], known["."], 2]
    assert rows[1].tolist() == [1, 3, 2, 0, 0, 0] and rows.dtype == torch.long


def test_text_that_is_none(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadData, match="UTF-8"):
        read_utf8(tmp_path / "a.txt")
    with pytest.raises(BadData, match="cannot be read"):
        read_utf8(tmp_path / "none.txt")
