"""The characters of a text, or its bytes, as numbers and back."""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

from isotrain.errors import BadOption


class Letters:
    """Every character of a text, or every byte, is a symbol; there is none beside them.

    Args:
        alphabet: the characters, in the order of their numbers; not used for bytes.
        bytes_: the symbols are the 256 bytes of UTF-8 text instead.

    Raises:
        BadOption: the alphabet is empty, or a character is in it twice.

    >>> letters = Letters.of("abba")
    >>> letters.encode("bab"), letters.decode([0, 1]), len(letters)
    ([1, 0, 1], 'ab', 2)
    >>> Letters("", bytes_=True).encode("é")
    [195, 169]
    """

    def __init__(self, alphabet: str, bytes_: bool = False) -> None:
        self.alphabet = "" if bytes_ else alphabet
        self.bytes_ = bytes_
        self._numbers = {character: number for number, character in enumerate(self.alphabet)}
        if not bytes_ and not alphabet:
            raise BadOption("an alphabet needs at least one character: the text is empty.")
        if len(self._numbers) != len(self.alphabet):
            twice = next(character for character, times in Counter(alphabet).items() if times > 1)
            raise BadOption(f"the alphabet holds {_named(twice)} more than once: each character has one number.")

    @classmethod
    def of(cls, text: str, bytes_: bool = False) -> Letters:
        """The characters of a text in the order of their code points (or all bytes).

        Raises:
            BadOption: the text is empty.
        """
        return cls("" if bytes_ else "".join(sorted(set(text))), bytes_)

    def __len__(self) -> int:
        return 256 if self.bytes_ else len(self.alphabet)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's characters, or of its UTF-8 bytes.

        Raises:
            BadOption: a character is not known; the message says which, where, and what is.
        """
        if self.bytes_:
            return list(utf8(text))
        try:
            return [self._numbers[character] for character in text]
        except KeyError:
            raise BadOption(self._refusal(text)) from None

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Several texts, as `encode`."""
        return [self.encode(text) for text in texts]

    def stretch(self, text: str) -> list[int]:
        """The numbers of a sample's text, in which one character is one symbol: bytes are there as latin-1.

        >>> Letters("", bytes_=True).stretch("é")
        [233]

        Raises:
            BadOption: a character is not known, or is no byte.
        """
        if not self.bytes_:
            return self.encode(text)
        try:
            return list(text.encode("latin-1"))
        except UnicodeEncodeError as error:
            raise BadOption(f"character {_named(text[error.start])} of a sample is no byte.") from error

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers; bytes that are no UTF-8 are read as U+FFFD.

        >>> Letters("", bytes_=True).decode([195, 169, 255])
        'é�'
        """
        decoder = self.decoder()
        return decoder.feed(numbers) + decoder.end()

    def decoder(self) -> LetterDecoder:
        """A reader of numbers that come one after another."""
        return LetterDecoder(self)

    def to_card(self) -> dict[str, Any]:
        """Plain JSON that `symbols_of` makes the same letters of."""
        return {"kind": "letters", "alphabet": self.alphabet, "bytes": self.bytes_}

    def _refusal(self, text: str) -> str:
        place, strange = next((n, c) for n, c in enumerate(text) if c not in self._numbers)
        around = text[max(0, place - 10) : place + 10]
        near = _near(strange, self.alphabet)
        hint = f" Near: {', '.join(map(repr, near))}." if near else ""
        if all(character in self._numbers for character in unicodedata.normalize("NFC", text)):
            hint = " Composed (NFC), the text is known."
        known = self.alphabet if len(self.alphabet) <= 100 else self.alphabet[:100] + "…"
        return (
            f"character {_named(strange)}, number {place + 1} of the text (around it: {around!r}), is not one of the "
            f"{len(self.alphabet)} that were learned from: {known!r}.{hint} --bytes trains on bytes, which know every "
            "character."
        )


class LetterDecoder:
    """Reads numbers as they come: the bytes of a character may be fed one by one.

    >>> decoder = Letters("", bytes_=True).decoder()
    >>> decoder.feed([195]), decoder.feed([169]), decoder.feed([195]), decoder.end()
    ('', 'é', '', '�')
    """

    def __init__(self, letters: Letters) -> None:
        self._letters = letters
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, numbers: Iterable[int]) -> str:
        """What has become readable with these numbers."""
        if self._letters.bytes_:
            return self._bytes.decode(bytes(numbers))
        return "".join(self._letters.alphabet[number] for number in numbers)

    def end(self) -> str:
        """What is left: U+FFFD if the numbers ended within a character, else nothing."""
        return self._bytes.decode(b"", final=True)


def utf8(text: str) -> bytes:
    """The bytes of a text.

    Raises:
        BadOption: it holds half a character (a lone surrogate), as text does that was read as UTF-8 and is none.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadOption(
            f"character {_named(text[error.start])}, number {error.start + 1} of the text, is half a character: "
            "the text was not UTF-8 where it came from. Write it as UTF-8."
        ) from error


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"{character!r} (U+{ord(character):04X}{', ' if name else ''}{name})"


def _near(character: str, alphabet: str) -> list[str]:
    """At most three known characters that share most of their name in Unicode: E and e for É."""
    own = _traits(character)
    shared = {known: len(own & _traits(known)) for known in alphabet}
    return sorted((known for known in alphabet if shared[known]), key=lambda known: -shared[known])[:3]


def _traits(character: str) -> set[str]:
    """The words of a character's name that tell it from others of its kind; of a letter, those after "letter"."""
    words = unicodedata.name(character, "").rpartition("LETTER ")[2].split()
    return set(words) - {"WITH", "SIGN", "MARK", "CJK", "UNIFIED", "HANGUL", "SYLLABLE"}
