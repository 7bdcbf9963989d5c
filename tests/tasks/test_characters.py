"""The task of characters: rows that read on, scores, writing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from text_tasks import VERSE, stretches

from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.tasks.characters import Characters, rows_of
from isotrain.train.loop import fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import SHOWN, RunFolder, load_run

OPTIONS = {"hidden": 12, "embedded": 6, "length": 16, "dropout": 0.1}


def task(**options: object) -> Characters:
    return Characters(Characters.plan(stretches(), {**OPTIONS, **options}))


@given(st.integers(1, 60), st.integers(1, 12))
def test_every_row_reads_on(number: int, size: int) -> None:
    order = rows_of(number, size)
    assert sorted(order) == list(range(number))
    width = min(size, number)
    for first, second in zip(order[: number // width * width], order[width : number // width * width], strict=False):
        assert second == first + 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_scores_are_those_of_the_text_read_in_one_go(cell: str) -> None:
    """Four rows or one: with the state carried, only where rows begin is anything not known."""
    made = task(cell=cell)
    torch.manual_seed(0)
    net = made.net().eval()
    samples = stretches().train[:3]  # fewer than four stretches: one row
    with torch.no_grad():
        scores = made.evaluate(net, Shelf(samples, made.load))
        text = VERSE[: int(samples[-1].name) + 17]
        numbers = torch.tensor(made.symbols.encode(text))
        logits, _ = net(numbers[None, :-1])
        expected = torch.nn.functional.cross_entropy(logits[0], numbers[1:])
    assert scores["nats per symbol"] == pytest.approx(float(expected), rel=1e-5)
    assert scores["bits per symbol"] == pytest.approx(float(expected) / math.log(2), rel=1e-5)


def test_a_state_is_handed_on_to_the_row_that_goes_on_and_to_no_other() -> None:
    made = task()
    torch.manual_seed(0)
    net = made.net().eval()
    loaded = [made.load(sample) for sample in stretches().train[:6]]
    batch = made.batch([loaded[0], loaded[2]], None)
    carried = made.carry(batch, net(*made.onward(batch, {})))
    _, state = made.onward(made.batch([loaded[3], loaded[5], loaded[1]], None), carried)
    assert torch.equal(state[0], carried["state"][1])
    assert not state[1].any()
    assert torch.equal(state[2], carried["state"][0])


def test_it_learns_a_verse_and_writes_it_on(tmp_path: Path) -> None:
    dataset = stretches()
    made = Characters(Characters.plan(dataset, {**OPTIONS, "hidden": 32}))
    outcome = fit(made, dataset, RunFolder(tmp_path), Plan(epochs=12, batch=4))
    assert outcome.scores["held-out"]["accuracy"] > 0.9
    again, net, _ = load_run(tmp_path)
    assert isinstance(again, Characters)
    written = "".join(islice(again.write(net, "the cat ", torch.Generator(), temperature=0), 16))
    assert written == "sat on the mat. "
    assert (tmp_path / SHOWN).read_text(encoding="utf-8").startswith("Step ")


def test_a_run_goes_on_bit_for_bit_with_what_its_rows_had_read(tmp_path: Path) -> None:
    dataset, plan = stretches(), Plan(epochs=3, batch=4)
    made = Characters(Characters.plan(dataset, OPTIONS))
    fit(made, dataset, RunFolder(tmp_path / "whole"), plan)
    fit(made, dataset, RunFolder(tmp_path / "part"), replace(plan, epochs=1.5))
    assert RunFolder(tmp_path / "part").read_checkpoint()["carried"]["state"].any()
    outcome = fit(made, dataset, RunFolder(tmp_path / "part"), plan, resume=True)
    assert outcome.notes == ["resumed at step 40"]
    whole, part = (RunFolder(tmp_path / name).read_checkpoint() for name in ("whole", "part"))
    assert whole["done"] == part["done"] == 81
    assert all(torch.equal(value, part["net"][name]) for name, value in whole["net"].items())
    assert torch.equal(whole["carried"]["state"], part["carried"]["state"])


def test_writing_hangs_on_the_generator_alone() -> None:
    made = task()
    net = made.net().eval()
    texts = [
        "".join(islice(made.write(net, "the ", torch.Generator().manual_seed(seed), top_k=3), 30)) for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_one_character_is_enough_of_a_prompt() -> None:
    made = task()
    assert len("".join(islice(made.write(made.net().eval(), "t", torch.Generator()), 5))) == 5


def test_bytes_write_text() -> None:
    text = "é ü " * 50
    raw = text.encode().decode("latin-1")
    samples = [Sample(text=raw[n : n + 9], name=str(n)) for n in range(0, len(raw) - 1, 8)]
    dataset = Dataset((), samples, samples[:4], [], "bytes", "bytes")
    made = Characters(Characters.plan(dataset, {**OPTIONS, "bytes": True}))
    assert len(made.symbols) == 256
    net = made.net().eval()
    assert isinstance(made.shown(net, Shelf(samples, made.load)), str)
    assert "".join(islice(made.write(net, "€", torch.Generator()), 20))


def test_what_is_refused() -> None:
    with pytest.raises(BadData, match="one symbol alone, 'a'"):
        Characters.plan(stretches("a" * 500), {})
    with pytest.raises(UnknownName, match="hiden"):
        Characters.plan(stretches(), {"hiden": 3})
    with pytest.raises(BadOption, match="hidden=0"):
        Characters.plan(stretches(), {"hidden": 0})
    with pytest.raises(BadOption, match="bytes=1"):
        Characters.plan(stretches(), {"bytes": 1})
    made = task()
    with pytest.raises(BadOption, match=r"'€'.*--bytes"):
        next(made.write(made.net(), "the €", torch.Generator()))
