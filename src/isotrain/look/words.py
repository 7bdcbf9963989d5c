"""A photo in words, by a run of `caption`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from isotrain.look.parts import UNSURE, Told
from isotrain.look.runs import RunPart
from isotrain.nets.caption import Captioner, open_places
from isotrain.tasks.caption import Caption
from isotrain.tasks.classify_card import fitted
from isotrain.tasks.sentences import Search, searched

TOGETHER = 32


class RunWords(RunPart):
    """A caption, the likeliest of a beam search."""

    name = "caption"

    def look(self, pictures: Sequence[Tensor]) -> list[Told]:
        """The caption of each photo, or why there is none."""
        whys = self.knowing.why_not(pictures)
        known = [place for place, why in enumerate(whys) if why is None]
        told = [untold_words(why) for why in whys]
        for start in range(0, len(known), TOGETHER):
            places = known[start : start + TOGETHER]
            for place, (text, sure) in zip(places, self._said([pictures[p] for p in places]), strict=True):
                told[place] = told_words(text, sure, self.knowing.untold)
        return told

    def _said(self, pictures: Sequence[Tensor]) -> list[tuple[str, float]]:
        task, net = cast(Caption, self.task), cast(Captioner, self.net)
        card = task.card
        shown_bchw = torch.stack([fitted(one, card["channels"], card["size"], card["size"]) for one in pictures])
        values_bsf = net.encoder(shown_bchw.float() / 255)
        found = searched(net.decoder, values_bsf, open_places(values_bsf), card["longest"] + 1, Search())
        return [(task.symbols.decode(best[0].symbols), math.exp(best[0].mean)) for best in found]


def told_words(text: str, sure: float, untold: str | None) -> Told:
    """A caption as a sight has it; `sure` is the mean probability of a word.

    >>> told_words("a cat", 0.9, None).says["text"]
    'a cat'
    """
    if sure < UNSURE:
        return untold_words(f"not sure of the words (mean probability of a word {sure:.0%})")
    says: dict[str, Any] = {"text": text, "known": True, "why": None}
    return Told(says, [] if untold is None else [f"caption: {untold}"])


def untold_words(why: str | None) -> Told:
    """No caption, and why."""
    return Told({"text": None, "known": False, "why": why}, [f"caption: {why}"])
