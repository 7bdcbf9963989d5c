"""Vocabularies: what is encoded is read again, and what cannot be is said."""

from __future__ import annotations

import gzip
import json
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrain.data.symbols import UNREADABLE, Letters, Pieces, Words, symbols_of
from isotrain.data.text import BEGIN, END, PAD, UNKNOWN
from isotrain.errors import BadData, BadOption, MissingExtra, UnknownName

SENTENCES = [
    "Ein Hund läuft über die Wiese.",
    "Zwei Hunde laufen (schnell) über 12 Wiesen!",
    "„Die Hündin“, sagt er, „läuft.“",
    "Ein kleiner Hund; eine kleine Hündin: drei Hunde-Leinen.",
] * 3

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
learned = st.lists(st.text("abcdeäß .,(-)'", min_size=1, max_size=30), min_size=1, max_size=8)


def kept(vocabulary):
    """As it is after it has been written and read as JSON."""
    return symbols_of(json.loads(json.dumps(vocabulary.to_card())))


# --- letters -----------------------------------------------------------------------------------------------------


@given(text=texts.filter(bool))
def test_letters_are_read_again(text):
    letters = kept(Letters.of(text))
    numbers = letters.encode(text)
    assert letters.decode(numbers) == text and len(numbers) == len(text)
    assert set(numbers) == set(range(len(letters)))
    assert letters.stretch(text) == numbers and letters.encode_batch([text, text]) == [numbers, numbers]
    assert list(letters.alphabet) == sorted(letters.alphabet)


@given(text=texts, other=texts)
def test_bytes_know_every_character(text, other):
    letters = kept(Letters.of(text, bytes_=True))
    assert len(letters) == 256 and letters.encode(other) == list(other.encode())
    assert letters.decode(letters.encode(other)) == other
    assert letters.stretch(other.encode().decode("latin-1")) == letters.encode(other)


@given(numbers=st.lists(st.integers(0, 255), max_size=40))
def test_bytes_one_by_one_are_read_as_all_at_once(numbers):
    letters = Letters("", bytes_=True)
    decoder = letters.decoder()
    streamed = "".join(decoder.feed([number]) for number in numbers) + decoder.end()
    assert streamed == letters.decode(numbers) == bytes(numbers).decode(errors="replace")


def test_a_character_is_written_when_it_is_whole():
    decoder = Letters("", bytes_=True).decoder()
    assert [decoder.feed([number]) for number in "a€b".encode()] == ["a", "", "", "€", "b"]
    assert decoder.feed([0xC3]) == "" and decoder.end() == "�"
    letters = Letters("ab").decoder()
    assert letters.feed([0, 1]) == "ab" and letters.end() == ""


@pytest.mark.parametrize(
    ("alphabet", "text", "said"),
    [
        (
            "ROME be:",
            "ROMÉO",
            r"'É' \(U\+00C9, LATIN .* ACUTE\), number 4 of the text .*Near: 'E', 'e'\.",
        ),
        ("acfé", "cafe\u0301", r"'e' \(U\+0065.*Composed \(NFC\), the text is known"),
        ('a"ß', "“a", "Near: '\"'\\. "),
        ("Жё", "Ё", "Near: 'ё'\\. "),
        ("ab\n", "a\tb", r"'\\t' \(U\+0009\), number 2 .*one of the 3 .*'ab\\n'\. --bytes trains on bytes"),
    ],
)
def test_an_unknown_character(alphabet, text, said):
    with pytest.raises(BadOption, match=said):
        Letters(alphabet).encode(text)


def test_half_a_character_is_no_text():
    half = b"a\xff".decode(errors="surrogateescape")  # as a shell hands it over
    with pytest.raises(BadOption, match=r"U\+DCFF\), number 2 of the text, is half a character"):
        Letters("", bytes_=True).encode(half)
    with pytest.raises(BadOption, match="half a character"):
        Pieces.of(SENTENCES, 60).encode(half)


def test_no_alphabet():
    with pytest.raises(BadOption, match="empty"):
        Letters.of("")
    with pytest.raises(BadOption, match=r"'a' \(U\+0061, LATIN SMALL LETTER A\) more than once"):
        Letters("aba")
    with pytest.raises(BadOption, match=r"'€' .* is no byte"):
        Letters("", bytes_=True).stretch("€")


# --- words -------------------------------------------------------------------------------------------------------


def test_words():
    words = kept(Words.of(["Ein Hund.", "ein Hund, eine Katze"], most=7))
    assert words.known == ("ein", "hund") and len(words) == 6
    assert words.encode("Hund, ein") == [5, UNKNOWN, 4] and words.encode("") == []
    assert words.encode_batch(["Hund", "ein"]) == [[5], [4]]
    assert words.decode([BEGIN, 4, UNKNOWN, 5, END, 4, PAD]) == f"ein {UNREADABLE} hund"
    assert Words.of(["a a a b b c c"], most=5).known == ("a",)  # most counts the four special ones
    composed = Words.of(["caf\u00e9 cafe\u0301"])
    assert composed.known == ("caf\u00e9",) and composed.encode("cafe\u0301") == [4]


@pytest.mark.parametrize(
    "text",
    [
        "a man's dog runs.",
        "two dogs (one black-and-white), a cat; and/or: more!",
        'he says "stop", then "go" again?',
        "50% of $5",
    ],
)
def test_words_are_spaced_as_is_usual(text):
    words = Words.of([text], least=1)
    assert words.decode(words.encode(text)) == text


def test_no_words():
    with pytest.raises(BadData, match="no word is seen 2 times"):
        Words.of(["each once"])
    with pytest.raises(BadOption, match="4 symbols has no room"):
        Words.of(["a a"], most=4)


# --- pieces ------------------------------------------------------------------------------------------------------


@given(sentences=learned, data=st.data(), most=st.integers(20, 60))
def test_pieces_are_read_again(sentences, data, most):
    if not "".join(sentences).strip():
        return
    pieces = kept(Pieces.of(sentences, most))
    assert len(pieces) <= most
    seen = "".join(sorted({*"".join(sentences), " "}))
    for text in [*sentences, data.draw(st.text(seen, max_size=30))]:
        numbers = pieces.encode(text)
        assert UNKNOWN not in numbers and all(UNKNOWN < number < len(pieces) for number in numbers)
        assert pieces.decode([BEGIN, *numbers, END, PAD]) == " ".join(text.split())


def test_spaces_composing_and_case():
    pieces = Pieces.of(["Café ÉCOLE a▁b"] * 2, 100)
    assert pieces.decode(pieces.encode("\t Cafe\u0301 \u00a0 \u2003 ÉCOLE\n")) == "Café ÉCOLE"
    assert pieces.decode(pieces.encode("a▁b")) == "a b"
    assert pieces.encode("") == pieces.encode(" \n ") == []
    assert pieces.decode([]) == pieces.decode([END, 5]) == ""


def test_punctuation_is_apart():
    pieces = Pieces.of(SENTENCES, 500)
    spelt = [pieces.pieces[number] for number in pieces.encode("Hunde-Leinen.")]
    assert spelt == ["▁Hunde", "-", "Leinen", "."]
    assert not [p for p in pieces.pieces[4:] if len(p) > 1 and any(unicodedata.category(c)[0] == "P" for c in p)]


def test_unknown_characters():
    pieces = Pieces.of(SENTENCES, 200)
    numbers = pieces.encode("Ein 漢字 Hund, 漢läuft")
    assert numbers.count(UNKNOWN) == 2  # a run of them is one
    assert pieces.decode(numbers) == f"Ein {UNREADABLE} Hund, {UNREADABLE}läuft"


def test_special_symbols_in_the_text_are_text():
    pieces = Pieces.of(["a </s> <pad> <s> <unk> b"] * 9, 200)
    assert pieces.pieces[:4] == ("<pad>", "<s>", "</s>", "<unk>")
    numbers = pieces.encode("a</s><pad> <s><unk>")
    assert min(numbers) > UNKNOWN and pieces.decode(numbers) == "a</s><pad> <s><unk>"


def test_the_same_text_gives_the_same_pieces():
    first, second = Pieces.of(SENTENCES, 80), Pieces.of(list(SENTENCES), 80)
    assert first.to_card() == second.to_card() and len(first) == 80
    batch = kept(first).encode_batch(SENTENCES)
    assert batch == [first.encode(sentence) for sentence in SENTENCES]


def test_a_vocabulary_larger_than_the_data():
    small = Pieces.of(["ab ab"], 100_000)
    # a, b and the space, then "ab" and " ab".
    assert len(small) == 9 and small.pieces[4:] == ("a", "b", "▁", "ab", "▁ab")


def test_more_characters_than_room():
    text = "".join(chr(0x4E00 + n) * (50 - n) for n in range(40))
    pieces = Pieces.of([text], 20)
    # The space is seen once, the 16 most frequent characters fill what the special ones leave.
    assert len(pieces) == 20 and set(pieces.pieces[4:]) == {chr(0x4E00 + n) for n in range(16)}


def test_a_long_line():
    pieces = Pieces.of(SENTENCES, 100)
    line = "Hundewiese" * 10_000
    assert pieces.decode(pieces.encode(line)) == line


def test_no_pieces():
    with pytest.raises(BadData, match="the 2 sentences are empty"):
        Pieces.of(["", " \n"], 50)
    with pytest.raises(BadOption, match="no room"):
        Pieces.of(["a"], 4)


def test_without_tokenizers(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'isotrain[text]'")):
        Pieces.of(["a"], 50)


@pytest.mark.data
def test_multi30k_is_read_again(data_dir):
    lines = gzip.decompress((data_dir / "multi30k" / "val.de.gz").read_bytes()).decode().splitlines()
    pieces = Pieces.of(lines, 2000)
    assert len(pieces) == 2000
    for line, numbers in zip(lines, pieces.encode_batch(lines), strict=True):
        assert pieces.decode(numbers) == " ".join(unicodedata.normalize("NFC", line).split())


# --- cards -------------------------------------------------------------------------------------------------------


def test_cards_that_are_none():
    with pytest.raises(UnknownName, match=r"vocabulary 'letter' is not known\. Did you mean 'letters'"):
        symbols_of({"kind": "letter"})
    with pytest.raises(BadData, match="the card of the words has no entry 'words': it holds kind"):
        symbols_of({"kind": "words"})
    with pytest.raises(BadData, match="cannot be read"):
        symbols_of({"kind": "pieces", "tokenizer": "{}"})
    other = json.loads(Pieces.of(SENTENCES, 50).to_card()["tokenizer"])
    other["model"]["vocab"] |= {"<pad>": 1, "<s>": 0}
    with pytest.raises(BadData, match="must begin with"):
        symbols_of({"kind": "pieces", "tokenizer": json.dumps(other)})
