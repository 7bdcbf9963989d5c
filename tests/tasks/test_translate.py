"""The task of translation: batches of like length, scores, search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from text_tasks import pairs

from isotrain.data.samples import Dataset, Sample
from isotrain.data.shelf import Shelf
from isotrain.data.text import BEGIN, END, PAD
from isotrain.errors import BadData, BadOption, UnknownName
from isotrain.tasks.sentences import Search
from isotrain.tasks.translate import Translate
from isotrain.train.loop import fit
from isotrain.train.recipes import Plan
from isotrain.train.rundir import RunFolder, load_run

OPTIONS = {"hidden": 16, "embedded": 12, "vocabulary": 60, "dropout": 0.1}


@pytest.fixture(scope="module")
def task() -> Translate:
    return Translate(Translate.plan(pairs(), OPTIONS))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, task: Translate) -> Path:
    folder = tmp_path_factory.mktemp("translate")
    outcome = fit(task, pairs(), RunFolder(folder), Plan(epochs=25, batch=8))
    assert outcome.scores["test"]["bleu"] > 95, outcome.scores
    assert outcome.scores["test"]["bleu_signature"].startswith("nrefs:1|case:mixed")
    return folder


def test_a_batch_is_what_is_known_and_what_comes_next(task: Translate) -> None:
    loaded = [task.load(sample) for sample in pairs().train[:16]]
    batch = task.batch(loaded, None)
    source, known = batch.inputs
    following = batch.targets["next"]
    assert (known[:, 0] == BEGIN).all()
    assert torch.equal(known[:, 1:], following[:, :-1])
    assert ((following == END).sum(1) == 1).all() and ((source == END).sum(1) == 1).all()
    for row, pair in zip(following, loaded, strict=True):
        assert torch.equal(row[row != PAD], pair.target)


def test_an_epoch_has_every_sentence_once_and_like_lengths_together(task: Translate) -> None:
    samples = [Sample(text="x" * (n % 37), said=("y" * (n % 23),), name=str(n)) for n in range(1000)]
    order = task.order(samples, torch.Generator().manual_seed(0), 8)
    assert sorted(order) == list(range(1000))
    assert order != task.order(samples, torch.Generator().manual_seed(1), 8)
    spread = [
        max(len(samples[place].text) for place in order[first : first + 8])
        - min(len(samples[place].text) for place in order[first : first + 8])
        for first in range(0, 992, 8)
    ]
    assert sum(spread) / len(spread) < 3  # of lengths 0 to 36


def test_it_translates_sentences_it_has_not_seen_so(trained: Path) -> None:
    task, net, _ = load_run(trained)
    assert isinstance(task, Translate)
    ((best,),) = task.translate(net, ["a red dog sleeps"])
    assert best.text == "ein roter hund schläft"
    assert best.attention is not None
    assert best.attention.shape == (len(best.pieces), len(task.source.encode("a red dog sleeps")) + 1)
    assert torch.allclose(best.attention.sum(1), torch.ones(len(best.pieces)), atol=1e-5)


def test_several_are_given_the_likeliest_first_and_each_once(trained: Path) -> None:
    task, net, _ = load_run(trained)
    assert isinstance(task, Translate)
    (found,) = task.translate(net, ["a cat runs"], Search(beams=6, n_best=4))
    assert len({one.text for one in found}) == 4
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_what_is_beside_a_sentence_does_not_change_it(trained: Path) -> None:
    task, net, _ = load_run(trained)
    assert isinstance(task, Translate)
    sentences = ["a dog runs", "a red old cat sleeps", "a cat sleeps"]
    together = task.translate(net, sentences)
    for sentence, (best, *_) in zip(sentences, together, strict=True):
        ((alone, *_),) = task.translate(net, [sentence])
        assert alone.text == best.text and alone.score == pytest.approx(best.score, abs=1e-4)


def test_a_translation_without_end_is_as_long_as_its_own_sentence_allows(task: Translate) -> None:
    torch.manual_seed(0)
    net = task.net().eval()
    with torch.no_grad():
        net.get_submodule("decoder.head").bias[END] = -99.0
    short, long = "a dog", "a red old cat sleeps and a dog runs " * 5
    pieces = [len(task.source.encode(text)) + 1 for text in (short, long)]
    found = [best[0] for best in task.translate(net, [short, long], Search(beams=2))]
    assert [len(one.pieces) for one in found] == [2 * length + 10 for length in pieces]
    assert task.translate(net, [short], Search(beams=2))[0][0].pieces == found[0].pieces


def test_an_empty_sentence_and_strange_letters_are_answered(trained: Path) -> None:
    task, net, _ = load_run(trained)
    assert isinstance(task, Translate)
    found = task.translate(net, ["", "Жук", "a dog " * 300])
    assert all(isinstance(best.text, str) for best, *_ in found)


def test_a_shelf_is_weighed_by_its_pieces(task: Translate) -> None:
    torch.manual_seed(0)
    net = task.net().eval()
    shelf = Shelf(pairs().held_out, task.load)
    total, count = 0.0, 0
    with torch.no_grad():
        for place in range(len(shelf)):
            batch = task.batch(shelf.take([place]), None)
            number = int((batch.targets["next"] != PAD).sum())
            total += float(task.loss(net(*batch.inputs), batch.targets)) * number
            count += number
    assert task.weigh(net, shelf, 3) == pytest.approx(total / count, rel=1e-5)


def test_what_is_refused() -> None:
    with pytest.raises(BadData, match="no sentences"):
        Translate.plan(Dataset((), []), {})
    with pytest.raises(UnknownName, match="beams"):
        Translate.plan(pairs(), {"beams": 3})
    with pytest.raises(BadOption, match="dropout=1"):
        Translate.plan(pairs(), {"dropout": 1.0})
    with pytest.raises(BadOption, match="attention='both' is none of additive, dot"):
        Translate.plan(pairs(), {"attention": "both"})
    for wrong, words in ((({"beams": 0}), "--beam 0"), ({"n_best": 9}, "--n-best 9"), ({"penalty": -1.0}, "-1")):
        with pytest.raises(BadOption, match=words):
            replace(Search(), **wrong)  # type: ignore[arg-type]


def test_a_vocabulary_larger_than_the_data_is_what_the_data_gives() -> None:
    card = Translate.plan(pairs(), {**OPTIONS, "vocabulary": 50_000})
    assert len(Translate(card).target) < 200
