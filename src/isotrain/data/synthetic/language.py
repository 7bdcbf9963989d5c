"""Sentences in English and in a made-up language: twin of translation.

A sentence has one translation, which follows from rules. Word by word it cannot be had: when something happens stands
first there and the verb second, the place before the object, adjectives behind their nouns; an adjective, an article
and "that" agree with a gender that a noun does not show; verbs of two parts are torn apart in a main clause, their
first part at its end, and whole at the end of a relative clause; a noun before a noun becomes one word with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from isotrain.data.samples import Dataset, Sample
from isotrain.data.synthetic.draws import Part, Twin, drawn, generator
from isotrain.errors import BadOption
from isotrain.progress import Tick

T = TypeVar("T")


class Noun(NamedTuple):
    """One thing and several in English; the word in the other language and its gender, "o", "a" or "i"."""

    one: str
    several: str
    other: str
    gender: str


class Verb(NamedTuple):
    """What one does, several do and anyone did; the stem in the other language, and the part that is torn off it."""

    one: str
    several: str
    past: str
    stem: str
    first: str = ""


LIVING = (
    Noun("bird", "birds", "pirul", "a"),
    Noun("brother", "brothers", "brasin", "o"),
    Noun("cat", "cats", "mirak", "a"),
    Noun("child", "children", "lutin", "i"),
    Noun("dog", "dogs", "hundar", "o"),
    Noun("farmer", "farmers", "garel", "o"),
    Noun("friend", "friends", "komal", "a"),
    Noun("horse", "horses", "kavun", "i"),
    Noun("king", "kings", "regan", "o"),
    Noun("sister", "sisters", "soral", "a"),
    Noun("teacher", "teachers", "magun", "o"),
)
"""Those who do something."""
THINGS = (
    Noun("boat", "boats", "navem", "i"),
    Noun("book", "books", "kodar", "o"),
    Noun("city", "cities", "urbel", "a"),
    Noun("door", "doors", "janur", "a"),
    Noun("field", "fields", "agrum", "i"),
    Noun("flower", "flowers", "florin", "a"),
    Noun("forest", "forests", "selvar", "o"),
    Noun("garden", "gardens", "hortel", "i"),
    Noun("house", "houses", "domur", "o"),
    Noun("letter", "letters", "brivel", "i"),
    Noun("river", "rivers", "fluman", "a"),
    Noun("stone", "stones", "petrin", "i"),
    Noun("tree", "trees", "arbal", "a"),
)
ALONE = (
    Verb("arrives", "arrive", "arrived", "ven", "tor"),
    Verb("falls", "fall", "fell", "kad"),
    Verb("sings", "sing", "sang", "kant"),
    Verb("sleeps", "sleep", "slept", "dorm", "en"),
    Verb("wakes up", "wake up", "woke up", "vekl", "us"),
    Verb("waits", "wait", "waited", "sper"),
)
WITH = (
    Verb("brings", "bring", "brought", "port", "tor"),
    Verb("buys", "buy", "bought", "komp", "en"),
    Verb("finds", "find", "found", "trov"),
    Verb("follows", "follow", "followed", "sek", "pos"),
    Verb("hears", "hear", "heard", "aud"),
    Verb("likes", "like", "liked", "gust"),
    Verb("loses", "lose", "lost", "perd", "us"),
    Verb("paints", "paint", "painted", "pikt", "pos"),
    Verb("sees", "see", "saw", "vid"),
    Verb("sells", "sell", "sold", "vend", "us"),
)
ADJECTIVES = {
    "beautiful": "bell",
    "big": "gram",
    "brown": "brun",
    "green": "vird",
    "new": "novr",
    "old": "sent",
    "quiet": "tak",
    "red": "rub",
    "small": "pik",
    "white": "blank",
}
PLACES = {"behind": "dor", "beside": "lat", "in front of": "fron", "near": "prok", "under": "sub"}
TIMES = {
    "today": ("odi", False),
    "every evening": ("tutan noket", False),
    "on Sunday": ("ledim", False),
    "yesterday": ("yeri", True),
    "last year": ("anel pasit", True),
    "a week ago": ("setan retro", True),
}
"""When: in the other language, and whether it is past."""
THE, A, THIS = "r", "un", "d"
"""Stems of the articles; of several things English has none instead of "a"."""


@dataclass(frozen=True)
class Phrase:
    """A noun with what belongs to it.

    Attributes:
        noun: its word.
        many: several of them.
        article: THE, A or THIS.
        adjective: in English, or "".
        before: a noun that is put before it (a garden door).
        clause: what it does, as in "that sees the cat", or None.
    """

    noun: Noun
    many: bool
    article: str
    adjective: str = ""
    before: Noun | None = None
    clause: Clause | None = None

    def english(self) -> str:
        """As it is said in English."""
        words = [self.adjective, self.before.one if self.before else "", self.noun[self.many]]
        words = [word for word in words if word]
        one = "an" if words[0][0] in "aeiou" else "a"
        article = {THE: ("the", "the"), A: (one, ""), THIS: ("this", "these")}[self.article][self.many]
        clause = f"that {self.clause.english(self.many)}" if self.clause else ""
        return _joined(article, *words, clause)

    def other(self) -> str:
        """As it is said in the other language."""
        ending = f"{self.noun.gender}s" if self.many else self.noun.gender
        noun = f"{self.before.other}e{self.noun.other}" if self.before else self.noun.other
        adjective = f"{ADJECTIVES[self.adjective]}{ending}" if self.adjective else ""
        clause = f", k{ending} {self.clause.behind(self.many)}," if self.clause else ""
        return f"{_joined(f'{self.article}{ending}', f'{noun}et' if self.many else noun, adjective)}{clause}"


@dataclass(frozen=True)
class Clause:
    """What someone does: the verb, its object, where and when.

    Attributes:
        verb: its word.
        past: it is over.
        denied: it is not so.
        object: what it is done to, or None.
        place: a word of `PLACES` and what it is near to, or None.
        time: one of `TIMES`, or "".
    """

    verb: Verb
    past: bool = False
    denied: bool = False
    object: Phrase | None = None
    place: tuple[str, Phrase] | None = None
    time: str = ""

    def english(self, many: bool) -> str:
        """Behind its subject, which is one or several, in English."""
        if self.denied:
            verb = f"{'did' if self.past else 'do' if many else 'does'} not {self.verb.several}"
        else:
            verb = self.verb.past if self.past else self.verb[many]
        place = f"{self.place[0]} {self.place[1].english()}" if self.place else ""
        return _joined(verb, self.object.english() if self.object else "", place, self.time)

    def behind(self, many: bool) -> str:
        """Behind "that" in the other language: the whole verb at the end."""
        return _joined(*self._middle(), "ne" if self.denied else "", f"{self.verb.first}{self._finite(many)}")

    def main(self, subject: Phrase) -> str:
        """As a main clause in the other language: the verb second, its first part at the end."""
        finite, who = self._finite(subject.many), subject.other()
        head = (TIMES[self.time][0], finite, who) if self.time else (who, finite)
        return _joined(*head, *self._middle(), "ne" if self.denied else "", self.verb.first)

    def _middle(self) -> tuple[str, str]:
        place = f"{PLACES[self.place[0]]} {self.place[1].other()}" if self.place else ""
        return place, self.object.other() if self.object else ""

    def _finite(self, many: bool) -> str:
        return f"{self.verb.stem}{'ir' if self.past else 'u'}{'n' if many else ''}"


def language_dataset(
    train: int = 4000, held_out: int = 200, test: int = 200, seed: int = 0, tick: Tick | None = None
) -> Dataset:
    """Sentences with their translations.

    Args:
        train: number of sentences to learn from.
        held_out: number to choose by.
        test: number to test on.
        seed: of everything; 0 or more.
        tick: called after every sentence.

    Raises:
        BadOption: an option is outside its range.

    >>> sample = language_dataset(train=1, held_out=0, test=0).train[0]
    >>> sample.text, sample.said
    ('This friend found a cat last year.', ('Anel pasit trovir da komal una mirak.',))
    """
    if min(train, held_out, test) < 0:
        raise BadOption(f"{train}, {held_out} and {test} sentences: numbers are 0 or more.")
    learned, held, tested = (
        drawn(lambda place, part=part: _sentence(place, seed, part), number, tick)  # type: ignore[misc]
        for part, number in zip(Part, (train, held_out, test), strict=True)
    )
    form = "generated: sentences in English and in a made-up language"
    return Dataset((), learned, held, tested, source="language", format=form)


def _sentence(place: int, seed: int, part: Part) -> Sample:
    subject, clause = _Speaker(generator(Twin.LANGUAGE, seed, part, place)).sentence()
    english = _joined(subject.english(), clause.english(subject.many))
    return Sample(name=f"{part.name.lower()}-{place}", text=_written(english), said=(_written(clause.main(subject)),))


class _Speaker:
    """Says one sentence; every choice is a draw of its generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def sentence(self) -> tuple[Phrase, Clause]:
        subject = self._phrase(LIVING, 0.3, 0.25)
        time = self._one_of(tuple(TIMES)) if self._happens(0.5) else ""
        past = TIMES[time][1] if time else self._happens(0.4)
        place = (self._one_of(tuple(PLACES)), self._phrase(THINGS, 0.3, 0)) if self._happens(0.4) else None
        verb, whom = self._doing(0.15)
        return subject, Clause(verb, past, self._happens(0.15), whom, place, time)

    def _doing(self, clause: float) -> tuple[Verb, Phrase | None]:
        if self._happens(0.3):
            return self._one_of(ALONE), None
        nouns, of_it = (LIVING, clause) if self._happens(0.4) else (THINGS, 0)
        return self._one_of(WITH), self._phrase(nouns, 0.4, of_it)

    def _phrase(self, nouns: Sequence[Noun], adjective: float, clause: float) -> Phrase:
        noun, many, article = self._one_of(nouns), self._happens(0.4), self._one_of((THE, THE, A, THIS))
        before = self._one_of([other for other in THINGS if other != noun]) if self._happens(0.15) else None
        described = self._one_of(tuple(ADJECTIVES)) if self._happens(adjective) else ""
        doing = None
        if self._happens(clause):
            verb, whom = self._doing(0)
            doing = Clause(verb, self._happens(0.3), False, whom)
        return Phrase(noun, many, article, described, before, doing)

    def _happens(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _one_of(self, things: Sequence[T]) -> T:
        return things[int(self._rng.random() * len(things))]


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)


def _written(words: str) -> str:
    """With a capital and a full stop; a comma before the stop is left out."""
    return f"{words[0].upper()}{words[1:].rstrip(',')}."
