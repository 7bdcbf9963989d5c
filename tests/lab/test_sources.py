"""Data files: read when they are what they say, refused by name when they are not."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotrain.data.idx import mnist, read_idx
from isotrain.data.sources import batched, find
from isotrain.errors import BadData


def idx(array: np.ndarray, code: int) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize(("code", "kind"), [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_every_type_of_the_format(tmp_path: Path, code: int, kind: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(kind)
    (tmp_path / "a").write_bytes(idx(array, code))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array, code)))
    for name in ("a", "a.gz"):
        assert read_idx(tmp_path / name).tolist() == array.tolist()


@pytest.mark.parametrize("name", ["any", "any.gz", "any.npz", "any.pt"])
@given(content=st.binary(max_size=40))
def test_no_bytes_do_harm(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    with pytest.raises(BadData, match="any"):
        find(str(path)) if path.suffix in (".npz", ".pt") else read_idx(path)


def test_a_cut_file_is_noticed(tmp_path: Path) -> None:
    whole = idx(np.zeros((4, 2), np.uint8), 8)
    for end in range(len(whole)):
        (tmp_path / "a").write_bytes(whole[:end])
        with pytest.raises(BadData):
            read_idx(tmp_path / "a")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self):
            return (pytest.fail, ("code of the file was run",))

    torch.save({"x": Harm(), "y": torch.zeros(1)}, tmp_path / "d.pt")
    np.savez(tmp_path / "d.npz", x=np.array([Harm()], dtype=object), y=np.zeros(1))
    for name in ("d.pt", "d.npz"):
        with pytest.raises(BadData, match="without running code"):
            find(str(tmp_path / name))


def test_arrays_come_back(tmp_path: Path) -> None:
    torch.save({"x": torch.rand(4, 3), "y": torch.arange(4)}, tmp_path / "d.pt")
    (x, y), held_out = find(str(tmp_path / "d.pt"))
    assert x.shape == (4, 3)
    assert y.dtype is torch.int64
    assert held_out is None


@pytest.mark.parametrize("wrong", [{"x": torch.rand(3, 2)}, {"x": torch.rand(3, 2), "y": torch.rand(2)}, [1], {}])
def test_other_contents_are_refused(tmp_path: Path, wrong: object) -> None:
    torch.save(wrong, tmp_path / "d.pt")
    with pytest.raises(BadData, match=r"d\.pt"):
        find(str(tmp_path / "d.pt"))


def test_minibatches_are_a_permutation() -> None:
    pairs = batched((torch.arange(10), torch.arange(10)), 3, seed=1)
    assert [len(x) for x, _ in pairs] == [3, 3, 3]
    assert len({int(v) for x, _ in pairs for v in x}) == 9
    assert all(torch.equal(x, y) for x, y in pairs)
    assert [len(x) for x, _ in batched((torch.arange(2), torch.arange(2)), 5)] == [2]


@pytest.mark.data
def test_the_real_mnist(data_dir: Path) -> None:
    (x, y), (held_x, held_y) = mnist(data_dir / "mnist")
    assert (len(x), len(held_x)) == (60_000, 10_000)
    assert y[:5].tolist() == [5, 0, 4, 1, 9]
    assert float(x.max()) == 1.0
    assert len(held_y) == 10_000
