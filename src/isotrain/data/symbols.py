"""Text as numbers and back: the characters of a text, the words of captions, the pieces of words of a translation.

A vocabulary says how many symbols it has (`len`), numbers a text (`encode`), reads numbers (`decode`), and is kept in a
task's card as plain JSON (`to_card`, `symbols_of`). `Words` and `Pieces` number four symbols before all others:
padding, begin, end and unknown (`isotrain.data.text`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isotrain.data.letters import Letters, utf8
from isotrain.data.text import BEGIN, END, PAD, UNKNOWN, vocabulary, words
from isotrain.errors import BadData, BadOption, MissingExtra, UnknownName

__all__ = ["SPECIAL", "UNREADABLE", "Letters", "Pieces", "Vocabulary", "Words", "symbols_of"]

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
"""The first four symbols of words and pieces, by number."""
UNREADABLE = "⁇"
"""What an unknown word or piece is read as: SentencePiece's sign, without the spaces that it sets around it."""


class Words:
    """Lower-case words and punctuation marks, composed (NFC); all that are not among them are one: unknown.

    A word is what `isotrain.data.text.words` finds. Where vowels are combining marks (Hindi, Thai) that tears words
    apart; pieces do not.

    Args:
        known: the words, numbered from 4 on.

    >>> words = Words.of(["A dog runs.", "A dog, a cat."])
    >>> words.known
    ('a', '.', 'dog')
    >>> words.encode("A cat."), words.decode([1, 4, 6, 5, 2, 0])
    ([4, 3, 5], 'a dog.')
    """

    def __init__(self, known: Iterable[str]) -> None:
        self.known = tuple(known)
        self._numbers = {word: number for number, word in enumerate(self.known, len(SPECIAL))}
        self._read = (*SPECIAL[:UNKNOWN], UNREADABLE, *self.known)

    @classmethod
    def of(cls, sentences: Iterable[str], most: int = 10_000, least: int = 2) -> Words:
        """The most frequent words of sentences.

        Args:
            sentences: where they are counted.
            most: symbols in all, the four special ones included.
            least: how often a word must be seen.

        Raises:
            BadOption: `most` has no room for a word.
            BadData: no word is seen `least` times.
        """
        _room(most)
        known = vocabulary((words(unicodedata.normalize("NFC", sentence)) for sentence in sentences), most, least)
        if not known:
            raise BadData(f"no word is seen {least} times in the sentences: there is nothing to learn words from.")
        return cls(known)

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.known)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's words, without begin and end."""
        return [self._numbers.get(word, UNKNOWN) for word in words(unicodedata.normalize("NFC", text))]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Several texts, as `encode`."""
        return [self.encode(text) for text in texts]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text up to the first end, spaced as is usual; unknown words are read as "⁇"."""
        return _spaced([self._read[number] for number in _content(numbers)])

    def to_card(self) -> dict[str, Any]:
        """Plain JSON that `symbols_of` makes the same words of."""
        return {"kind": "words", "words": list(self.known)}


class Pieces:
    """Pieces of words by byte-pair encoding: what is seen often is one piece, what is rare is made of several.

    Text is composed (NFC), runs of spaces become one, and the sign "▁" stands for a space, as in SentencePiece: a "▁"
    in the text is read as a space. Case is kept, a punctuation mark is a piece of its own, and up to composing and
    spaces `decode(encode(text))` is the text, where all its characters are known. A run of characters that are not is
    one unknown piece.

    Args:
        saved: the encoding as the `tokenizers` package writes it, JSON.

    Raises:
        BadData: `saved` cannot be read.
        MissingExtra: tokenizers is not installed.

    Source: Sennrich, Haddow and Birch 2016, "Neural machine translation of rare words with subword units".

    >>> pieces = Pieces.of(["the hat, the cat", "the cat"], most=100)
    >>> pieces.decode(pieces.encode(" that  cat"))
    'that cat'
    >>> len(pieces), [pieces.pieces[number] for number in pieces.encode("the cat")]
    (17, ['▁the', '▁cat'])
    """

    def __init__(self, saved: str) -> None:
        package = _package()
        self._saved = saved
        try:
            self._encoder = package.Tokenizer.from_str(saved)
        except Exception as error:
            raise BadData(f"the pieces of words cannot be read: {error}.") from error
        numbers = self._encoder.get_vocab()
        self.pieces: tuple[str, ...] = tuple(sorted(numbers, key=numbers.__getitem__))
        if self.pieces[: len(SPECIAL)] != SPECIAL:
            raise BadData(f"the pieces of words begin with {self.pieces[:4]}: they must begin with {SPECIAL}.")

    @classmethod
    def of(cls, sentences: Sequence[str], most: int) -> Pieces:
        """Learned from sentences; the same for the same sentences.

        Where they have more characters than there is room for, the most frequent are kept. Pieces are joined only
        where they are seen together twice: there may be fewer than `most` in the end.

        Args:
            sentences: what is counted.
            most: symbols in all, the four special ones included.

        Raises:
            BadOption: `most` has no room for a piece.
            BadData: the sentences are empty.
            MissingExtra: tokenizers is not installed.
        """
        _room(most)
        package = _package()
        encoder = _untrained(package)
        normal = [encoder.normalizer.normalize_str(sentence) for sentence in sentences]
        counts: Counter[str] = Counter()
        for sentence in normal:
            counts.update(sentence)
        spaces = sum(map(bool, normal))  # one is set before the first word
        if not spaces:
            raise BadData(f"the {len(normal)} sentences are empty: there is nothing to learn pieces from.")
        counts["▁"] = counts.pop(" ", 0) + spaces
        alphabet = sorted(counts, key=lambda character: (-counts[character], character))[: most - len(SPECIAL)]
        trainer = package.trainers.BpeTrainer(
            vocab_size=most,
            min_frequency=2,
            show_progress=False,
            special_tokens=list(SPECIAL),
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
        )
        encoder.train_from_iterator(normal, trainer)
        learned = json.loads(encoder.to_str())
        # Else "</s>" in the user's text would be read as the end itself.
        learned["added_tokens"] = []
        return cls(json.dumps(learned, ensure_ascii=False))

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces, without begin and end.

        Raises:
            BadOption: the text holds halves of characters, which no UTF-8 text does.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Several texts, as `encode`, and quicker.

        Raises:
            BadOption: a text holds halves of characters, which no UTF-8 text does.
        """
        texts = list(texts)
        for text in texts:
            utf8(text)
        return [found.ids for found in self._encoder.encode_batch(texts, add_special_tokens=False)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text up to the first end; unknown pieces are read as "⁇"."""
        read = (UNREADABLE if number == UNKNOWN else self.pieces[number] for number in _content(numbers))
        return "".join(read).replace("▁", " ").strip(" ")

    def to_card(self) -> dict[str, Any]:
        """Plain JSON that `symbols_of` makes the same pieces of."""
        return {"kind": "pieces", "tokenizer": self._saved}


Vocabulary = Letters | Words | Pieces


def symbols_of(card: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that a card was written by.

    Raises:
        UnknownName: it is of no known kind.
        BadData: an entry is missing.

    >>> symbols_of(Letters("ab").to_card()).encode("ba")
    [1, 0]
    """
    kinds = ("letters", "words", "pieces")
    kind = card.get("kind")
    try:
        if kind == "letters":
            return Letters(card["alphabet"], card["bytes"])
        if kind == "words":
            return Words(card["words"])
        if kind == "pieces":
            return Pieces(card["tokenizer"])
    except KeyError as error:
        raise BadData(f"the card of the {kind} has no entry {error}: it holds {', '.join(card)}.") from error
    raise UnknownName("vocabulary", kind, kinds)


def _room(most: int) -> None:
    if most <= len(SPECIAL):
        raise BadOption(f"a vocabulary of {most} symbols has no room: {len(SPECIAL)} are special, choose 5 or more.")


def _content(numbers: Iterable[int]) -> Iterable[int]:
    """What is to be read: up to the first end, without begin and padding."""
    for number in numbers:
        if number == END:
            return
        if number not in (PAD, BEGIN):
            yield number


def _spaced(symbols: Sequence[str]) -> str:
    """Words joined by spaces: none before a closing mark, none after an opening one, none around - and '."""
    text = re.sub(r'" ([^"]*) "', r'"\1"', " ".join(symbols))
    text = re.sub(r" ([.,;:!?%)\]}…»])", r"\1", text)
    text = re.sub(r"([(\[{«$£€#@]) ", r"\1", text)
    return re.sub(r"(?<=\w) ([-'’/]) (?=\w)", r"\1", text)


def _untrained(package: Any) -> Any:
    encoder = package.Tokenizer(package.models.BPE(unk_token=SPECIAL[UNKNOWN], fuse_unk=True))
    spaces = package.normalizers.Replace(package.Regex(r"[\s▁]+"), " ")
    encoder.normalizer = package.normalizers.Sequence([package.normalizers.NFC(), spaces, package.normalizers.Strip()])
    encoder.pre_tokenizer = package.pre_tokenizers.Sequence(
        [package.pre_tokenizers.Metaspace(), package.pre_tokenizers.Punctuation()]
    )
    return encoder


def _package() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtra("pieces of words need the optional tokenizers: pip install 'isotrain[text]'.") from error
    return tokenizers
