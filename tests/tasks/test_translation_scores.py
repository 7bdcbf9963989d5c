"""BLEU and chrF of translations, by hand and against sacrebleu's own functions."""

from __future__ import annotations

import json
import math
import re
import sys

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from isotrain.errors import BadData, MissingExtra
from isotrain.tasks.scores.translation import require, translation_scores

sentences = st.lists(st.sampled_from("the a cat dog sits runs on mat .".split()), min_size=1, max_size=8).map(" ".join)


def test_bleu_by_hand():
    # Words: 5 of 6 are right ("the" once only), pairs: "on the", "the mat", 2 of 5, three: "on the mat", 1 of 4,
    # four: 0 of 3, smoothed to 1/2 of 3. Six words where seven are wanted: exp(1 - 7/6).
    scores = translation_scores(["the cat is on the mat"], [["there is a cat on the mat"]])
    by_hand = math.exp(1 - 7 / 6) * (5 / 6 * 2 / 5 * 1 / 4 * 1 / 6) ** (1 / 4)
    assert scores["bleu"] == pytest.approx(100 * by_hand)


def test_chrf_by_hand():
    # One character: all of 2 are right, of 3 wanted; two: all of 1, of 2 wanted; more than two: none is there.
    # P = 1, R = (2/3 + 1/2) / 2 = 7/12, F2 = 5 P R / (4 P + R).
    scores = translation_scores(["ab"], [["abc"]])
    assert scores["chrf"] == pytest.approx(100 * 5 * 7 / 12 / (4 + 7 / 12))


def test_the_same_is_100_and_nothing_0():
    said = ["Ein Hund läuft über die Wiese.", "Zwei Hunde sitzen auf der Bank."]
    scores = translation_scores(said, [[sentence] for sentence in said])
    assert scores["bleu"] == pytest.approx(100) and scores["chrf"] == pytest.approx(100)
    nothing = translation_scores(["", ""], [[sentence] for sentence in said])
    assert nothing["bleu"] == nothing["chrf"] == 0


@given(pairs=st.lists(st.tuples(sentences, sentences, sentences), min_size=1, max_size=5))
def test_scores_are_sacrebleus(pairs):
    said = [a for a, _, _ in pairs]
    scores = translation_scores(said, [own for _, *own in pairs])
    columns = [[b for _, b, _ in pairs], [c for _, _, c in pairs]]
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, columns).score)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, columns).score)
    turned = translation_scores(said, [own[::-1] for _, *own in pairs])
    assert turned["bleu"] == pytest.approx(scores["bleu"]) and turned["chrf"] == pytest.approx(scores["chrf"])


def test_some_have_more_references():
    said = ["a dog runs over the hill", "two cats sit on a mat"]
    one = translation_scores(said, [["a dog runs over the hill"], ["cats"]])
    more = translation_scores(said, [["a dog runs over the hill"], ["cats", "two cats sit on a mat"]])
    assert one["bleu"] < more["bleu"] == pytest.approx(100)
    assert "nrefs:1|" in one["bleu_signature"] and "nrefs:var|" in more["chrf_signature"]


def test_signatures_are_kept_as_json():
    scores = json.loads(json.dumps(translation_scores(["a b c d"], [["a b c d"]])))
    version = f"version:{sacrebleu.__version__}"
    assert scores["bleu_signature"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|{version}"
    assert scores["chrf_signature"] == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|{version}"


@pytest.mark.parametrize(
    ("said", "references", "message"),
    [
        ([], [], "no sentence"),
        (["a"], [["a"], ["b"]], "1 sentences are to be scored and there are references for 2"),
        (["a", "b"], [["a"], []], "sentence 2 of 2 has no reference: 'b'"),
        (["a"], ["a b"], re.escape("give a list of them, ['a b']")),
    ],
)
def test_sentences_without_references(said, references, message):
    with pytest.raises(BadData, match=message):
        translation_scores(said, references)


def test_without_sacrebleu(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    for call in (require, lambda: translation_scores(["a"], [["a"]])):
        with pytest.raises(MissingExtra, match=re.escape("pip install 'isotrain[text]'")):
            call()
