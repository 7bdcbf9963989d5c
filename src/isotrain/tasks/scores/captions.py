"""The field's scores of captions: what the sentences said of pictures share with those that people wrote.

As COCO's evaluation program computes them, but for the words, which are found by `words_of` here and by Stanford's Penn
Treebank tokenizer there: that one keeps "u.s." and "3.5" whole and parts "don't" into "do" and "n't"; here they are
"u", "s", "3", "5", "don", "t". METEOR and SPICE are not among the scores: they need Java programs.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from isotrain.data.symbols import UNREADABLE
from isotrain.tasks.scores.translation import paired

LONGEST = 4
"""Words in the longest runs that are compared (n-grams)."""
BETA = 1.2
"""How much more recall counts than precision in ROUGE-L."""
SIGMA = 6.0
"""Words by which a caption may differ in length before CIDEr-D takes much away."""

Run = tuple[str, ...]


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-1 to BLEU-4, ROUGE-L, CIDEr-D, and the share of captions that are exactly right, of a whole set.

    All but CIDEr-D are between 0 and 1. CIDEr-D is between 0 and 10: what is said of every picture counts nothing in
    it, so that it is 0 for a set of a single picture, and a caption of fewer than four words cannot reach 10.

    Args:
        captions: what the net says of each picture.
        references: what people said of it, one caption or several.

    Raises:
        BadData: there are none, they are not as many as the references, or a picture has no reference.

    Source: Chen et al. 2015, "Microsoft COCO captions: data collection and evaluation server".

    >>> scores = caption_scores(["A red dog.", "a cat"], [["a red dog"], ["a cat sleeps", "the cat"]])
    >>> scores["BLEU-1"], scores["exact"]
    (1.0, 0.5)
    """
    paired(captions, references)
    said = [words_of(caption) for caption in captions]
    known = [[words_of(reference) for reference in own] for own in references]
    scores = {f"BLEU-{n}": score for n, score in enumerate(bleu(said, known), 1)}
    scores["ROUGE-L"] = sum(map(rouge, said, known)) / len(said)
    scores["CIDEr-D"] = sum(cider(said, known)) / len(said)
    scores["exact"] = sum(own in others for own, others in zip(said, known, strict=True)) / len(said)
    return scores


def words_of(caption: str) -> list[str]:
    """Lower-case words without punctuation; words joined by hyphens are one. An unknown word's sign is a word.

    >>> words_of("A black-and-white dog, running!")
    ['a', 'black-and-white', 'dog', 'running']
    """
    return re.findall(rf"{UNREADABLE}|\w+(?:-\w+)*", unicodedata.normalize("NFC", caption).lower())


def bleu(said: Sequence[list[str]], known: Sequence[Sequence[list[str]]]) -> list[float]:
    """BLEU-1 to BLEU-4 of a whole set of captions, in words, none smoothed: 0 where no run of so many words is right.

    BLEU-N = min(1, exp(1 - r/c)) (p_1 ... p_N)^(1/N); p_n: share of the captions' runs of n words that are in a
    reference (at most as often as in one of them); c: words of all captions; r: of the references nearest in length,
    the shorter one where two are as near.

    Source: Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation".

    >>> bleu([["a", "a", "dog"]], [[["a", "dog"]]])[0] == 2 / 3
    True
    """
    right, made = [0] * LONGEST, [0] * LONGEST
    length = wanted = 0
    for own, others in zip(said, known, strict=True):
        counts = _runs(own)
        allowed: Counter[Run] = Counter()
        for other in others:
            allowed |= _runs(other)
        for run, times in counts.items():
            made[len(run) - 1] += times
            right[len(run) - 1] += min(times, allowed[run])
        length += len(own)
        wanted += min((abs(len(other) - len(own)), len(other)) for other in others)[1]
    if not length:
        return [0.0] * LONGEST
    shortness = min(1.0, math.exp(1 - wanted / length))
    scores, product = [], 1.0
    for n in range(1, LONGEST + 1):
        product *= right[n - 1] / max(1, made[n - 1])
        scores.append(shortness * product ** (1 / n))
    return scores


def rouge(own: Sequence[str], others: Sequence[Sequence[str]]) -> float:
    """ROUGE-L of one caption: how long a sequence of words (not a run) it shares with its references.

    F = (1 + b²) P R / (R + b² P) with b = 1.2; the precision P is the longest shared sequence over the caption's
    words, the recall R over the reference's; as in COCO's program each is the best over the references for itself.

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries".

    >>> rouge(["a", "dog"], [["a", "big", "dog"], ["a", "dog"]])
    1.0
    """
    places: dict[str, int] = {}
    for place, word in enumerate(own):
        places[word] = places.get(word, 0) | 1 << place
    shared = [_shared(places, len(own), other) for other in others]
    precision = max(shared) / max(1, len(own))
    recall = max(length / max(1, len(other)) for length, other in zip(shared, others, strict=True))
    if not precision:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def cider(said: Sequence[list[str]], known: Sequence[Sequence[list[str]]]) -> list[float]:
    """CIDEr-D of each caption: how much it shares with its references of what is not said of every picture.

    Each run of n words weighs its count times the logarithm of (pictures / pictures in whose references it is). For
    each n, the cosine between a caption's weights (clipped at the reference's) and a reference's, times
    exp(-(difference in length)² / 2 sigma²); 10 times the mean over n = 1 ... 4 and the references.

    Source: Vedantam, Zitnick and Parikh 2015, "CIDEr: consensus-based image description evaluation".

    >>> cider([["a", "dog"], ["the", "cat"]], [[["a", "dog"]], [["a", "cat"]]])[0]  # of two words: n = 3, 4 give 0
    5.0
    """
    pictures: Counter[Run] = Counter()
    for others in known:
        pictures.update({run for other in others for run in _runs(other)})
    rarity = {run: math.log(len(known) / times) for run, times in pictures.items()}
    unseen = math.log(max(1, len(known)))
    scores = []
    for own, others in zip(said, known, strict=True):
        weights = {run: times * rarity.get(run, unseen) for run, times in _runs(own).items()}
        norms = _norms(weights)
        total = 0.0
        for other in others:
            theirs = {run: times * rarity[run] for run, times in _runs(other).items()}
            products = [0.0] * LONGEST
            for run, weight in theirs.items():
                if run in weights:
                    products[len(run) - 1] += min(weight, weights[run]) * weight
            cosines = (p / (a * b) for p, a, b in zip(products, norms, _norms(theirs), strict=True) if p)
            total += sum(cosines) * math.exp(-((len(own) - len(other)) ** 2) / (2 * SIGMA**2))
        scores.append(10 * total / LONGEST / len(others))
    return scores


def _runs(words: Sequence[str]) -> Counter[Run]:
    """How often each run of 1 to 4 words is in a sentence."""
    counts: Counter[Run] = Counter()
    for n in range(1, LONGEST + 1):
        counts.update(zip(*(words[start:] for start in range(n)), strict=False))
    return counts


def _norms(weights: Mapping[Run, float]) -> list[float]:
    squares = [0.0] * LONGEST
    for run, weight in weights.items():
        squares[len(run) - 1] += weight * weight
    return [math.sqrt(square) for square in squares]


def _shared(places: Mapping[str, int], length: int, other: Iterable[str]) -> int:
    """Length of the longest common subsequence of `other` and a sentence whose words are at `places`, as bits.

    Bit i of `free` is 0 where the i+1 first words share one word more with what has been read of `other` than the i
    first do: one addition a word instead of a table.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    full = (1 << length) - 1
    free = full
    for word in other:
        met = free & places.get(word, 0)
        free = ((free + met) | (free - met)) & full
    return length - free.bit_count()
