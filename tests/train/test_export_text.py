"""Nets that write as ONNX files: onnxruntime writes what torch writes, symbol for symbol, or nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from isotrain.data.letters import Letters
from isotrain.data.samples import Dataset
from isotrain.data.shelf import Shelf
from isotrain.data.symbols import symbols_of
from isotrain.data.synthetic import captioned_dataset, language_dataset
from isotrain.data.text import BEGIN, END, PAD, UNKNOWN
from isotrain.errors import BadOption
from isotrain.nets.caption import open_places
from isotrain.nets.writing import greedy as written
from isotrain.tasks.base import Task
from isotrain.tasks.caption import Caption
from isotrain.tasks.characters import Characters
from isotrain.tasks.sentences import stepping
from isotrain.tasks.translate import Translate
from isotrain.train import exporting
from isotrain.train.exporting_text import WRITING, export_writer
from isotrain.train.onnx_greedy import card_of, greedy

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
SMALL = {"embedded": 16, "hidden": 24}
LONGEST = 40


def learned(task: Task, dataset: Dataset, steps: int, size: int = 32) -> nn.Module:
    """A net that has seen a little, by Adam: what it writes is then no accident of its start."""
    torch.manual_seed(0)
    net = task.net()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    shelf, generator = Shelf(dataset.train, task.load), torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = task.batch(shelf.take(torch.randint(len(shelf), (size,), generator=generator).tolist()), None)
        optimizer.zero_grad()
        task.loss(net(*batch.inputs), batch.targets).backward()
        optimizer.step()
    return net.eval()


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@torch.no_grad()
def by_torch(net: Any, values_bsf: Tensor, blocked_bs: Tensor) -> list[list[int]]:
    memory, state_bkh = net.decoder.begin(values_bsf, blocked_bs)
    never = (PAD, BEGIN, UNKNOWN)
    found = written(stepping(net.decoder), (*memory, state_bkh), BEGIN, END, LONGEST, never=never)
    return [one.symbols for one in found]


@pytest.mark.parametrize(
    ("cell", "attention", "different"),
    [
        ("lstm", "dot", 20),
        ("lstm", "additive", 20),
        ("gru", "dot", 5),
        ("rnn", "additive", 5),
    ],
)
def test_greedy_translations_are_torchs_piece_for_piece(
    tmp_path: Path, cell: str, attention: str, different: int
) -> None:
    dataset = language_dataset(400, 100, 0)
    options = SMALL | {"cell": cell, "attention": attention, "vocabulary": 300}
    task = Translate(Translate.plan(dataset, options))
    net: Any = learned(task, dataset, 60)
    files = export_writer(task, net, tmp_path / "net")
    assert [file.path.name for file in files] == ["encoder.onnx", "decoder.onnx"]
    assert files[0].inputs == {"source": ["batch", "places"]}
    assert files[1].inputs["keys"][:2] == ["batch", "places"]
    assert files[1].outputs["logits"] == ["batch", len(task.target)]
    encoder, decoder = (session(file.path) for file in files)
    card = card_of(decoder)
    assert card["task"] == "translate"
    assert card["writing"] == WRITING
    source = symbols_of(card["source"])  # all that is needed is in the file
    rows = [torch.tensor([*source.encode(sample.text), END]) for sample in dataset.held_out]
    source_bs = pad_sequence(rows, batch_first=True, padding_value=PAD)
    with torch.no_grad():
        expected = by_torch(net, *net.encoder(source_bs))
    assert greedy(encoder, decoder, source_bs.numpy(), LONGEST) == expected
    assert len(set(map(tuple, expected))) >= different  # it has learned to look at what it is given
    (alone,) = greedy(encoder, decoder, rows[3].unsqueeze(0).numpy(), LONGEST)
    assert alone == expected[3]


def test_greedy_captions_are_torchs_word_for_word(tmp_path: Path) -> None:
    dataset = captioned_dataset(40, 10, 0, size=48)
    task = Caption(Caption.plan(dataset, SMALL | {"net": "resnet8"}))
    net: Any = learned(task, dataset, 20, 8)
    encoder, decoder = (session(file.path) for file in export_writer(task, net, tmp_path))
    pictures = task.batch(Shelf(dataset.held_out, task.load).take(range(10)), None).inputs[0]
    with torch.no_grad():
        values_bsf = net.encoder(pictures)
        expected = by_torch(net, values_bsf, open_places(values_bsf))
    assert greedy(encoder, decoder, pictures.numpy(), LONGEST) == expected


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_text_is_read_on_step_by_step(tmp_path: Path, cell: str) -> None:
    options = {"bytes": False, "length": 8, "cell": cell, "embedded": 5, "hidden": 7, "layers": 2, "dropout": 0.1}
    task = Characters({"classes": [], "symbols": Letters.of("abc d").to_card(), **options})
    net = task.net().eval()
    (file,) = export_writer(task, net, tmp_path / "model.onnx")
    assert file.inputs["symbols"] == ["batch", "time"]
    assert file.outputs["logits"] == ["batch", "time", 5]
    assert file.difference is not None
    assert file.difference < 1e-5
    step = session(file.path)
    symbols_bt = np.array([[0, 1, 2, 3, 4, 0], [4, 4, 1, 0, 2, 2], [3, 0, 3, 0, 3, 1]])
    nothing = np.zeros((3, *file.inputs["state_in"][1:]), np.float32)
    whole, last = step.run(None, {"symbols": symbols_bt, "state_in": nothing})
    state = nothing
    for t in range(symbols_bt.shape[1]):
        logits, state = step.run(None, {"symbols": symbols_bt[:, t : t + 1], "state_in": state})
        np.testing.assert_allclose(logits[:, 0], whole[:, t], atol=1e-6)
    np.testing.assert_allclose(state, last, atol=1e-6)
    with torch.no_grad():
        logits_btv, _ = net(torch.from_numpy(symbols_bt), torch.from_numpy(nothing))
    np.testing.assert_allclose(whole, logits_btv.numpy(), atol=1e-6)
    assert card_of(step)["symbols"]["alphabet"] == " abcd"


def test_two_files_are_written_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = language_dataset(20, 0, 0)
    task = Translate(Translate.plan(dataset, SMALL | {"vocabulary": 100}))
    compared: list[int] = []

    def compare(*_: Any) -> float:
        compared.append(1)
        if len(compared) == 2:
            raise BadOption("the ONNX file gives something else: nothing was written.")
        return 0.0

    with pytest.raises(BadOption, match="names their folder"):
        export_writer(task, task.net(), tmp_path / "net.onnx")
    monkeypatch.setattr(exporting, "_compare", compare)
    with pytest.raises(BadOption, match="nothing was written"):
        export_writer(task, task.net(), tmp_path / "net")
    assert not (tmp_path / "net").exists()
