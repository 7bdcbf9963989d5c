"""A net written as ONNX: onnxruntime alone gives what torch gives, or nothing is written."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align, roi_pool

from isotrain.errors import BadOption, MissingExtra
from isotrain.train.exporting import export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
CARD = {"task": "classify", "classes": ["cat", "dog"]}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(self.first(pictures)).relu().mean((2, 3))))


class Regions(nn.Module):
    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.classes = nn.Linear(4 * 9, 2)
        self.boxes = nn.Linear(4 * 9, 4)

    def forward(self, pictures: Tensor, regions: Tensor) -> dict[str, Tensor]:
        maps = self.first(pictures)
        pooled = (
            roi_align(maps, regions, (3, 3), 0.5, 2) if self.pool == "align" else roi_pool(maps, regions, (3, 3), 0.5)
        )
        return {"classes": self.classes(pooled.flatten(1)), "boxes": self.boxes(pooled.flatten(1))}


def run(path: Path, *inputs: Tensor) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.run(None, {e.name: t.numpy() for e, t in zip(session.get_inputs(), inputs, strict=True)})
    return {e.name: torch.from_numpy(a) for e, a in zip(session.get_outputs(), given, strict=True)}


def test_a_plain_net(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net, path = Small(), tmp_path / "deep" / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exported = export_onnx(net, (torch.rand(2, 3, 8, 8),), path, CARD)
    assert capfd.readouterr() == ("", "")
    assert exported.difference is not None
    assert exported.difference < 1e-4
    assert exported.inputs == {"pictures": ["batch", 3, 8, 8]}
    assert list(exported.outputs) == ["output"]
    assert exported.bytes == path.stat().st_size
    pictures = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(run(path, pictures)["output"], net(pictures), atol=1e-5, rtol=0)
    (entry,) = onnx.load(path).metadata_props
    assert json.loads(entry.value) == CARD
    assert json.loads(json.dumps(exported.to_dict()))["path"] == str(path)
    assert [file.name for file in path.parent.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("pool", ["align", "max"])
def test_a_net_of_regions(tmp_path: Path, pool: str, capfd: pytest.CaptureFixture[str]) -> None:
    net, path = Regions(pool), tmp_path / "net.onnx"
    regions = torch.tensor([[0, 1.0, 2, 12, 9], [1, 3, 3, 9, 15]])
    exported = export_onnx(net, (torch.rand(2, 3, 16, 16), regions), path, CARD)
    assert capfd.readouterr() == ("", "")
    assert exported.inputs == {"pictures": ["batch", 3, 16, 16], "regions": ["regions_rows", 5]}
    assert list(exported.outputs) == ["classes", "boxes"]
    pictures, more = torch.rand(4, 3, 16, 16), torch.tensor([[3, 0, 0, 15, 15.0], [2, 1, 1, 5, 5], [0, 4, 4, 9, 15]])
    for name, tensor in net(pictures, more).items():
        torch.testing.assert_close(run(path, pictures, more)[name], tensor, atol=1e-5, rtol=0)


class Fixed(nn.Module):
    """Works for as many samples as it was traced with."""

    def forward(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        return roi_align(pictures, boxes, (2, 2), 1.0, 2).view(int(pictures.shape[0]), -1)


def test_a_net_that_fits_one_batch_alone_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    boxes = torch.tensor([[0, 1.0, 2, 6, 7], [1, 3, 3, 7, 7]])
    with pytest.raises(BadOption, match=r"of shape \[2, 36\], torch \[6, 12\]|does not run on 6 samples"):
        export_onnx(Fixed(), (torch.rand(2, 3, 8, 8), boxes), tmp_path / "net.onnx", CARD)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_regions_of_each_picture_are_free_in_number(tmp_path: Path) -> None:
    class Each(nn.Module):
        def forward(self, pictures_nchw: Tensor, boxes_nr4: Tensor) -> Tensor:
            return pictures_nchw.mean((1, 2, 3))[:, None] * boxes_nr4.sum(2)

    inputs = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4)
    exported = export_onnx(Each(), inputs, tmp_path / "net.onnx", CARD)
    assert exported.inputs == {"pictures": ["batch", 3, 8, 8], "boxes": ["batch", "boxes_each", 4]}


def test_names_are_those_of_the_net_without_their_shapes(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def forward(self, pictures_nchw: Tensor) -> Tensor:
            return 2 * pictures_nchw

    exported = export_onnx(Plain(), (torch.rand(2, 3, 8, 8),), tmp_path / "net.onnx", CARD)
    assert list(exported.inputs) == ["pictures"]


class Drawing(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((1, 2, 3)) + torch.rand(())


class Spectrum(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return torch.linalg.svdvals(pictures).sum((1, 2))


@pytest.mark.parametrize(("net", "words"), [(Drawing(), "off from torch"), (Spectrum(), "cannot be written as ONNX")])
def test_nothing_is_written_that_is_not_the_net(tmp_path: Path, net: nn.Module, words: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"the old one")
    with pytest.raises(BadOption, match=words):
        export_onnx(net, (torch.rand(2, 3, 8, 8),), path, CARD)
    assert path.read_bytes() == b"the old one"


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadOption, match=r"should end in \.onnx"):
        export_onnx(Small(), (torch.rand(2, 3, 8, 8),), tmp_path / "net.pt", CARD)
    (tmp_path / "file").touch()
    with pytest.raises(BadOption, match="cannot be written"):
        export_onnx(Small(), (torch.rand(2, 3, 8, 8),), tmp_path / "file" / "net.onnx", CARD, check=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match="onnxruntime: pip install"):
        export_onnx(Small(), (torch.rand(2, 3, 8, 8),), tmp_path / "net.onnx", CARD)
