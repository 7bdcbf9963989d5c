"""The field's scores of translations, by sacrebleu: how much a set of translations shares with its references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isotrain.errors import BadData, MissingExtra


def require() -> None:
    """Ask before a long run what a score at its end will need.

    Raises:
        MissingExtra: sacrebleu is not installed.
    """
    _package()


def translation_scores(translations: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """BLEU and chrF of a whole set, from 0 to 100 as is customary, and how they were computed (sacrebleu's signatures).

    Both are of ordinary, untokenised text: sacrebleu tokenises it ("13a") for BLEU, and case counts. BLEU: shared runs
    of 1 to 4 words, times a penalty for a set that is shorter than its references. chrF2: shared runs of 1 to 6
    characters, recall weighed twice. Figures with different signatures cannot be compared.

    Args:
        translations: what the net says, a sentence each.
        references: for each of them, one correct translation or several.

    Raises:
        BadData: there are none, they are not as many as the references, or a sentence has no reference.
        MissingExtra: sacrebleu is not installed.

    Source: Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation"; Popović 2015,
    "chrF: character n-gram F-score for automatic MT evaluation"; Post 2018, "A call for clarity in reporting BLEU
    scores".

    >>> scores = translation_scores(["the dog runs over a hill"], [["a dog runs", "the dog runs over a hill"]])
    >>> round(scores["bleu"], 6), round(scores["chrf"], 6)
    (100.0, 100.0)
    """
    package = _package()
    paired(translations, references)
    most = max(map(len, references))
    # sacrebleu takes the first references of all sentences, then the second ones, ...; None where there is none.
    rows = [[own[place] if place < len(own) else None for own in references] for place in range(most)]
    bleu, chrf = package.BLEU(), package.CHRF()
    return {
        "bleu": float(bleu.corpus_score(translations, rows).score),
        "chrf": float(chrf.corpus_score(translations, rows).score),
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }


def paired(said: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse sentences that are none, or lack a reference.

    Raises:
        BadData: there are none, they are not as many as the references, or a sentence has no reference.
    """
    if len(said) != len(references):
        raise BadData(f"{len(said)} sentences are to be scored and there are references for {len(references)}.")
    if not said:
        raise BadData("no sentence is to be scored: the set is empty.")
    for place, own in enumerate(references):
        if not own:
            raise BadData(f"sentence {place + 1} of {len(said)} has no reference: {said[place]!r}.")
        if isinstance(own, str):
            raise BadData(f"the references of sentence {place + 1} are one text: give a list of them, [{own!r}].")


def _package() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise MissingExtra("BLEU and chrF need the optional sacrebleu: pip install 'isotrain[text]'.") from error
    return metrics
