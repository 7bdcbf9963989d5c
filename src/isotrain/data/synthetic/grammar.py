"""Text from a small grammar: twin of learning a book by its characters.

What comes next hangs on what stood far back: a verb agrees with a noun that clauses part it from, a bracket closes the
one that was opened last, a story ends with the name that it began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from isotrain.data.samples import Dataset, Sample
from isotrain.data.synthetic.draws import Part, Twin, generator
from isotrain.errors import BadOption
from isotrain.progress import Tick

NOUNS = (
    ("bird", "birds"),
    ("boat", "boats"),
    ("cat", "cats"),
    ("child", "children"),
    ("dog", "dogs"),
    ("farmer", "farmers"),
    ("king", "kings"),
    ("mouse", "mice"),
    ("queen", "queens"),
    ("wolf", "wolves"),
)
"""One, several."""
VERBS_ALONE = (("laughs", "laugh"), ("runs", "run"), ("sings", "sing"), ("sleeps", "sleep"), ("waits", "wait"))
VERBS_WITH = (("finds", "find"), ("follows", "follow"), ("hears", "hear"), ("likes", "like"), ("sees", "see"))
"""What one does, what several do; without an object and with one."""
ARTICLES = (("the", "the"), ("a", "two"), ("this", "these"))
ADJECTIVES = ("brave", "grey", "happy", "quiet", "small", "young")
PLACES = ("behind", "beside", "near")
NAMES = ("Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irina", "Jonas")
BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))
T = TypeVar("T")
DEEPEST = 3
"""Brackets open at once, at most."""


def grammar_text(characters: int, seed: int = 0, part: Part = Part.TRAIN) -> str:
    """Stories, a line each, cut after so many characters: of two numbers the shorter text begins the longer.

    Args:
        characters: how many.
        seed: of everything; 0 or more.
        part: of a dataset; parts are drawn apart.

    Raises:
        BadOption: an option is outside its range.

    >>> grammar_text(81)
    'Felix says: A king laughs. The queens behind two boats find Irina. So says Felix.'
    """
    if characters < 0:
        raise BadOption(f"{characters} characters: the number is 0 or more.")
    stories: list[str] = []
    length = 0
    while length < characters:
        stories.append(_Story(generator(Twin.GRAMMAR, seed, part, len(stories))).told())
        length += len(stories[-1])
    return "".join(stories)[:characters]


def grammar_dataset(
    train: int = 1800,
    held_out: int = 100,
    test: int = 100,
    seed: int = 0,
    length: int = 64,
    tick: Tick | None = None,
) -> Dataset:
    """Stretches of text that follow one another, each part a text of its own; see `isotrain.data.textfiles.open_text`.

    Args:
        train: number of stretches to learn from.
        held_out: number to choose by.
        test: number to test on.
        seed: of everything; 0 or more.
        length: characters of a stretch that are predicted; it has one more, the first of the next.
        tick: called after every stretch.

    Raises:
        BadOption: an option is outside its range.

    >>> first, second = grammar_dataset(train=2, held_out=0, test=0).train
    >>> len(first.text), first.text[-1] == second.text[0]
    (65, True)
    """
    if length < 1 or min(train, held_out, test) < 0:
        raise BadOption(f"{train} stretches of {length}: the number is 0 or more, the length 1 or more.")
    starts = (0, train * length + 1, (train + held_out) * length + 2)
    parts: list[list[Sample]] = []
    for part, number, start in zip(Part, (train, held_out, test), starts, strict=True):
        text = grammar_text(number * length + 1, seed, part)
        parts.append([])
        for at in range(0, number * length, length):
            name = str(start + at)
            where = f"generated text, character {name}"
            parts[-1].append(Sample(name=name, where=where, text=text[at : at + length + 1]))
            if tick is not None:
                tick(1)
    learned, held, tested = parts
    return Dataset((), learned, held, tested, source="grammar", format="generated: text from a grammar")


class _Story:
    """Writes one story; every choice is a draw of its generator. `many` is 0 for one and 1 for several."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._open = 0

    def told(self) -> str:
        name = self._one_of(NAMES)
        sentences = [self._sentence() for _ in range(1 + self._below(3))]
        return f"{name} says: {' '.join(sentences)} So says {name}.\n"

    def _sentence(self) -> str:
        clause = self._clause()
        return f"{clause[0].upper()}{clause[1:]}."

    def _clause(self) -> str:
        many = self._below(2)
        return f"{self._noun(many, 0.3)}{self._aside()} {self._verb(many)}"

    def _noun(self, many: int, relative: float) -> str:
        words = [self._one_of(ARTICLES)[many]]
        if self._happens(0.3):
            words.append(self._one_of(ADJECTIVES))
        words.append(self._one_of(NOUNS)[many])
        if self._happens(relative):
            words.append(self._relative(many))
        elif self._happens(relative):
            words += [self._one_of(PLACES), self._noun(self._below(2), 0)]
        return " ".join(words)

    def _relative(self, many: int) -> str:
        """Of the noun before it, which either does something or has something done to it."""
        if self._happens(0.5):
            return f"that {self._one_of(VERBS_WITH)[many]} {self._noun(self._below(2), 0)}"
        others = self._below(2)
        return f"that {self._noun(others, 0)} {self._one_of(VERBS_WITH)[others]}"

    def _aside(self) -> str:
        if self._open == DEEPEST or not self._happens(0.25 if self._open == 0 else 0.35):
            return ""
        opening, closing = self._one_of(BRACKETS)
        self._open += 1
        clause = self._clause()
        self._open -= 1
        return f" {opening}{clause}{closing}"

    def _verb(self, many: int) -> str:
        if self._happens(0.4):
            return self._one_of(VERBS_ALONE)[many]
        whom = self._one_of(NAMES) if self._happens(0.2) else self._noun(self._below(2), 0.1)
        return f"{self._one_of(VERBS_WITH)[many]} {whom}"

    def _below(self, number: int) -> int:
        return int(self._rng.random() * number)  # several times quicker than the generator's own whole numbers

    def _happens(self, share: float) -> bool:
        return self._rng.random() < share

    def _one_of(self, things: Sequence[T]) -> T:
        return things[self._below(len(things))]
