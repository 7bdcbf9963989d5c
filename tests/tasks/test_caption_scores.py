"""Scores of captions: by hand, against slow and plain programs, and what must hold of any."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from isotrain.errors import BadData
from isotrain.tasks.scores.captions import bleu, caption_scores, cider, rouge, words_of

words = st.lists(st.sampled_from("a the dog cat red runs on mat".split()), max_size=9)
some = words.filter(bool)
sets = st.lists(st.tuples(words, st.lists(some, min_size=1, max_size=4)), min_size=1, max_size=5)


def apart(pairs):
    return [own for own, _ in pairs], [others for _, others in pairs]


# --- by hand -------------------------------------------------------------------------------------------------------


def test_words():
    assert (
        words_of("Two dogs, (one BLACK) aren't on the T-shirt.") == "two dogs one black aren t on the t-shirt".split()
    )
    assert words_of("a ⁇ dog") == ["a", "⁇", "dog"]  # else a caption with an unknown word could be exactly right
    assert words_of("cafe\u0301") == words_of("Café") and words_of(" -- !") == []


def test_bleu_clips():
    # "the" is at most twice in a reference: 2 of 7. Seven words, and a reference of seven.
    said, known = ["the"] * 7, ["the cat is on the mat".split(), "there is a cat on the mat".split()]
    assert bleu([said], [known]) == [pytest.approx(2 / 7), 0, 0, 0]


def test_bleu_is_of_the_set():
    # Words: (2 + 3) / (2 + 4), pairs: (1 + 2) / (1 + 3), three: (0 + 1) / (0 + 2), four: 0 / 1; 6 words, 7 wanted.
    short = math.exp(1 - 7 / 6)
    scores = bleu([list("ab"), list("cdex")], [[list("abc")], [list("cdef")]])
    by_hand = [5 / 6, (5 / 6 * 3 / 4) ** (1 / 2), (5 / 6 * 3 / 4 * 1 / 2) ** (1 / 3), 0]
    assert scores == pytest.approx([short * value for value in by_hand])


def test_bleu_takes_the_shorter_of_two_references_as_near():
    assert bleu([list("abc")], [[list("abcd"), list("ab")]])[0] == 1  # 2 are wanted and 3 are there
    assert bleu([list("abc")], [[list("abcd"), list("a")]])[0] == pytest.approx(math.exp(1 - 4 / 3))


def test_rouge_by_hand():
    # With "axb" 2 are shared: of 4 said, of 3 known; with "d" 1: of 4, of 1. P = 2/4 and R = 1 are from different ones.
    assert rouge("abcd", ["axb", "d"]) == pytest.approx(2.44 * 0.5 * 1 / (1 + 1.44 * 0.5))
    assert rouge("ab", ["ba"]) == pytest.approx(0.5)  # order counts
    assert rouge("", ["a"]) == rouge("x", ["a"]) == rouge("x", [""]) == 0


def test_cider_by_hand():
    # Two pictures: what is in one's references weighs L = log 2, once. "dog dog" weighs (2 L), "dog runs" (L, L):
    # clipped L L / (2 L sqrt(2) L) for one word; no pair is shared. A quarter of it, times 10.
    scores = cider(["dog dog".split(), ["cat"]], [["dog runs".split()], [["cat"] * 4]])
    assert scores[0] == pytest.approx(10 / 4 / (2 * math.sqrt(2)))
    # "cat" points where "cat cat cat cat" does, three words shorter: exp(-9/72).
    assert scores[1] == pytest.approx(10 / 4 * math.exp(-9 / 72))


def test_cider_is_the_mean_over_references():
    rest = [["hen".split()]]
    one = cider(["a red dog".split(), []], [["a red dog".split()], *rest])[0]
    assert one == pytest.approx(10 * 3 / 4)  # three words have no run of four
    assert cider(["a red dog".split(), []], [["a red dog".split(), ["x"]], *rest])[0] == pytest.approx(one / 2)


def test_what_is_said_of_every_picture_counts_nothing():
    said = ["a photo".split(), "a photo".split()]
    assert cider(said, [["a photo".split()], ["a photo of a cat".split()]]) == [0, 0]
    assert caption_scores(["a dog"], [["a dog"]])["CIDEr-D"] == 0


def test_as_cocos_program_has_it():
    # Computed by Bleu, Rouge and Cider of COCO's program (the package pycocoevalcap 1.2) on the words that `words_of`
    # finds; it adds 1e-9 here and there in BLEU.
    scores = caption_scores(
        ["A dog runs.", "two red birds sit on the tree"],
        [
            ["a dog runs fast", "the dog is running"],
            ["two birds are on a tree", "two red birds sit on a branch", "Birds!"],
        ],
    )
    assert scores == pytest.approx(
        {
            "BLEU-1": 0.814353676069493,
            "BLEU-2": 0.7433997969415681,
            "BLEU-3": 0.6933854480637207,
            "BLEU-4": 0.6231838374993617,
            "ROUGE-L": 0.8473856839668146,
            "CIDEr-D": 3.0912409590646686,
            "exact": 0,
        },
        rel=1e-8,
    )


def test_exact_is_after_tokenisation():
    said = ["A dog, running.", "a dog", "a ⁇ dog"]
    assert caption_scores(said, [["x", "a DOG running"], ["a dogs"], ["a dog"]])["exact"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("said", "references", "message"),
    [([], [], "no sentence"), (["a"], [[]], "sentence 1 of 1 has no reference: 'a'"), (["a"], [], "references for 0")],
)
def test_captions_without_references(said, references, message):
    with pytest.raises(BadData, match=message):
        caption_scores(said, references)


# --- against slow programs -----------------------------------------------------------------------------------------


@given(pairs=sets)
def test_bleu_is_sacrebleus(pairs):
    said, known = apart(pairs)
    most = max(map(len, known))
    rows = [[" ".join(own[place]) if place < len(own) else None for own in known] for place in range(most)]
    for n, score in enumerate(bleu(said, known), 1):
        theirs = BLEU(max_ngram_order=n, smooth_method="none", tokenize="none", force=True)
        assert score == pytest.approx(theirs.corpus_score([" ".join(own) for own in said], rows).score / 100, abs=1e-12)


def longest_common(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            table[i, j] = table[i - 1, j - 1] + 1 if a == b else max(table[i - 1, j], table[i, j - 1])
    return table[-1, -1]


@given(own=st.lists(st.sampled_from("abcd"), max_size=90), other=st.lists(st.sampled_from("abcde"), max_size=90))
def test_rouge_by_a_table(own, other):
    shared = longest_common(own, other)
    p, r = shared / max(1, len(own)), shared / max(1, len(other))
    assert rouge(own, [other]) == pytest.approx((2.44 * p * r) / (r + 1.44 * p) if shared else 0)


def slow_cider(said, known):
    """Every run of the set has a place in a vector."""

    def runs(sentence, n):
        return [tuple(sentence[start : start + n]) for start in range(len(sentence) - n + 1)]

    scores = np.zeros(len(said))
    for n in (1, 2, 3, 4):
        sentences = [*said, *(other for others in known for other in others)]
        axes = sorted({run for sentence in sentences for run in runs(sentence, n)})
        seen = [sum(any(run in runs(other, n) for other in others) for others in known) for run in axes]
        rarity = np.array([math.log(len(known) / max(1, times)) for times in seen])

        def vector(sentence, n=n, axes=axes, rarity=rarity):
            return rarity * [runs(sentence, n).count(run) for run in axes]

        for place, (own, others) in enumerate(zip(said, known, strict=True)):
            for other in others:
                a, b = vector(own), vector(other)
                norms = np.linalg.norm(a) * np.linalg.norm(b)
                cosine = np.minimum(a, b) @ b / norms if norms else 0
                scores[place] += cosine * math.exp(-((len(own) - len(other)) ** 2) / 72) / len(others) / 4 * 10
    return scores


@given(pairs=sets)
def test_cider_by_vectors(pairs):
    said, known = apart(pairs)
    assert cider(said, known) == pytest.approx(slow_cider(said, known), abs=1e-9)


# --- what must hold ------------------------------------------------------------------------------------------------


@given(pairs=sets, order=st.randoms(use_true_random=False))
def test_order_does_not_matter_and_scores_are_in_range(pairs, order):
    said = [" ".join(own) for own, _ in pairs]
    known = [[" ".join(other) for other in others] for _, others in pairs]
    scores = caption_scores(said, known)
    assert all(0 <= value <= (10 if name == "CIDEr-D" else 1) + 1e-9 for name, value in scores.items())
    places = list(range(len(said)))
    order.shuffle(places)
    turned = caption_scores([said[n] for n in places], [order.sample(known[n], len(known[n])) for n in places])
    assert turned == pytest.approx(scores)


@given(known=st.lists(st.lists(some, min_size=1, max_size=3), min_size=1, max_size=5))
def test_a_perfect_caption(known):
    references = [[" ".join([*other, f"only{place}", "x", "y", "z"]) for other in o] for place, o in enumerate(known)]
    scores = caption_scores([own[0] for own in references], references)
    assert all(scores[name] == pytest.approx(1) for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "exact"))
    single = caption_scores([own[0] for own in references], [own[:1] for own in references])
    # Each has runs of every length that only it has, unless there is one picture.
    assert single["CIDEr-D"] == pytest.approx(10 if len(known) > 1 else 0)


def test_five_thousand_pictures_are_quick():
    rng = np.random.default_rng(0)
    vocabulary = [f"w{n}" for n in range(500)]
    sentences = [" ".join(rng.choice(vocabulary, 10)) for _ in range(600)]
    start = time.process_time()
    caption_scores(sentences[:100] * 5, [sentences[n : n + 5] for n in range(0, 500, 5)] * 5)
    assert time.process_time() - start < 2  # a tenth of it, 2.3 s in all on the machine it was written on
