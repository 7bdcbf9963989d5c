"""Pictures of attention and of gates: the right places are dark, lit or red, and no text breaks them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image
from torch import Tensor

from isotrain.data.letters import Letters
from isotrain.errors import BadOption
from isotrain.nets.recurrent import CELLS, CharacterNet
from isotrain.tasks.attention_plot import attention_picture, caption_picture
from isotrain.tasks.gates_plot import gates_picture, telling
from isotrain.tasks.lettering import MISSING, MONO, SANS, lettered, letters_of, visible

STRANGE = [
    "中文",
    "हिन्दी",
    "עברית",
    "a\nb",
    "😀",
    "$x_1^2$",
    "\ud800",
    "\x00",
    "e\u0301",
    "",
    "\u202e",
    "👨\u200d👩",
    "x" * 200,
]


def pixels(picture: Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


# --- letters ------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_whatever_is_drawn_has_a_font(texts: list[str]) -> None:
    drawn, families = lettered(texts)
    assert len(drawn) == len(texts)
    known = frozenset().union(*(letters_of(family) for family in families))
    assert all(ord(letter) in known for text in drawn for letter in text)


def test_another_font_is_taken_for_what_one_lacks_and_a_sign_for_what_all_lack() -> None:
    assert ord("ש") not in letters_of(MONO) and ord("ש") in letters_of(SANS)
    assert lettered(["aש"], MONO) == (["aש"], [MONO, SANS])
    assert lettered(["a\U0010fffd"]) == (["a" + MISSING], [SANS])


def test_a_family_that_is_not_there_has_no_letters() -> None:
    assert letters_of("No Such Font") == frozenset()


def test_what_is_read_but_not_seen_becomes_visible() -> None:
    assert [visible(c) for c in " \n\t\r\x07"] == ["␣", "↵", "⇥", "␍", "␇"]
    assert visible("é") == "é" and visible("\u202e") == visible("\ud800") == MISSING


# --- attention ----------------------------------------------------------------------------------------------------


def test_a_row_is_written_and_a_column_is_read() -> None:
    """All of one share: of the lower of two written, at the first of three read."""
    share_ts = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    seen = pixels(attention_picture(["a", "b", "c"], ["d", "e"], share_ts))
    dark = (seen[..., 2] > seen[..., 0] + 60) & (seen[..., 2] > 90)
    down, across = np.nonzero(dark)
    assert dark.sum() > 500
    assert down.min() > seen.shape[0] / 2 and across.max() < seen.shape[1] * 0.65


def test_a_long_sentence_stays_a_picture_that_can_be_read() -> None:
    words = [f"word{number}" for number in range(90)]
    picture = attention_picture(words, words[:60], torch.full((60, 90), 1 / 90))
    assert 1700 < picture.width < 2400 and 1200 < picture.height < 1700, "20 pixels or so for each word"


def test_no_sentence_breaks_it() -> None:
    share_ts = torch.full((len(STRANGE), len(STRANGE)), 0.1)
    picture = attention_picture(STRANGE, STRANGE[::-1], share_ts)
    assert max(picture.size) < 1500, "a word of 200 letters is cut"


@settings(max_examples=3)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=8))
def test_no_text_breaks_it(words: list[str]) -> None:
    attention_picture(words, ["a"], torch.ones(1, len(words)))


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (0, 3)])
def test_attention_of_another_sentence_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(BadOption, match="attention of shape"):
        attention_picture(["a", "b", "c"], ["d", "e"][: shape[0]], torch.zeros(shape))


def test_a_caption_is_lit_where_the_net_looked() -> None:
    picture = torch.full((3, 20, 20), 200, dtype=torch.uint8)
    share_thw = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]]])
    seen = pixels(caption_picture(picture, ["corner", "everywhere"], share_thw))
    assert seen.shape == (12 + 176 + 26 + 12, 12 + 3 * (176 + 12), 3)
    whole, corner, everywhere = (seen[12:188, x : x + 176] for x in (12, 200, 388))
    assert (whole == 200).all() and (everywhere == 200).all()
    assert (corner[:40, :40] == 200).all()
    for dark in (corner[-40:, :40], corner[:40, -40:], corner[-40:, -40:]):
        assert (dark == 44).all()
    beneath = seen[190:214]
    assert (beneath[:, 12:188] == 255).all(), "the picture itself has no word"
    assert (beneath[:, 200:376] < 100).any() and (beneath[:, 388:564] < 100).any()


@pytest.mark.parametrize("words", [["a"], ["word"] * 13, STRANGE])
def test_no_caption_breaks_it(words: list[str]) -> None:
    picture = torch.randint(0, 255, (1, 30, 50), dtype=torch.uint8)
    seen = caption_picture(picture, words, torch.rand(len(words), 3, 4))
    columns, rows = min(6, len(words) + 1), -(-(len(words) + 1) // 6)
    assert seen.size == (12 + columns * (176 + 12), 12 + rows * (106 + 26 + 12))


def test_maps_of_other_words_are_refused() -> None:
    with pytest.raises(BadOption, match="3 maps of attention are not those of 2 words"):
        caption_picture(torch.zeros(3, 8, 8, dtype=torch.uint8), ["a", "b"], torch.zeros(3, 2, 2))


# --- gates --------------------------------------------------------------------------------------------------------


def marks(memory_th: Tensor) -> tuple[list[float], np.ndarray]:
    """The mark of each unit from its definition: every split in two, and the correlation with the step before."""
    found, rests = [], []
    for unit in memory_th.T.tolist():
        times = len(unit)
        line = np.polyfit(range(times), unit, 1)
        unit = [value - float(np.polyval(line, t)) for t, value in enumerate(unit)]
        rests.append(unit)
        values, mean = sorted(unit), sum(unit) / times
        between = 0.0
        for k in range(1, times):
            low, high = values[:k], values[k:]
            means = sum(low) / k, sum(high) / (times - k)
            between = max(between, k * (times - k) / times**2 * (means[1] - means[0]) ** 2)
        variance = max(1e-12, sum((value - mean) ** 2 for value in unit) / times)
        moved = sum((b - a) ** 2 for a, b in pairwise(unit)) / (times - 1)
        found.append(between**0.5 * max(0.0, 1 - moved / (2 * variance)))
    return found, np.array(rests)


@given(st.integers(0, 1000), st.integers(4, 30))
def test_the_telling_units_are_those_of_the_definition(seed: int, times: int) -> None:
    memory_th = torch.randn(times, 12, generator=torch.Generator().manual_seed(seed)).cumsum(0).tanh().double()
    (expected, rests), chosen = marks(memory_th), telling(memory_th, 12)
    correlation = np.corrcoef(rests)
    kept: list[int] = []
    for unit in sorted(range(12), key=lambda unit: -expected[unit]):
        alike = any(abs(correlation[unit, other]) > 0.9 for other in kept)
        if not alike and expected[unit] >= 0.1 * max(expected):
            kept.append(unit)
    assert chosen == kept
    assert telling(memory_th, 2) == kept[:2]


def test_a_switch_tells_more_than_a_flicker_and_a_copy_tells_nothing() -> None:
    switch = torch.tensor([-1.0] * 6 + [1.0] * 8 + [-1.0] * 6)
    later = torch.tensor([-1.0] * 10 + [1.0] * 8 + [-1.0] * 2)
    flicker = torch.tensor([-1.0, 1.0] * 10)
    memory_th = torch.stack([flicker, 0.1 * switch, switch, -0.99 * switch, 0.5 * later, torch.linspace(0, 9, 20)], 1)
    assert telling(memory_th, 6) == [2, 4], "the copies, the flicker and the drift say nothing"
    assert telling(memory_th, 1) == [2]


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize(("cell", "layers"), [*((cell, 1) for cell in CELLS), ("lstm", 2)])
def test_every_kind_of_net_is_drawn(cell: str, layers: int, gates: bool) -> None:
    text = 'A "word"\n(and more), '
    letters = Letters.of(text)
    net = CharacterNet(len(letters), cell, 4, 6, layers, dropout=0.5).train()
    one, two = (gates_picture(net, letters, text, units=4, gates=gates) for _ in range(2))
    assert (pixels(one) == pixels(two)).all(), "dropout left its mark"
    assert net.training
    blocks = {"lstm": 4, "gru": 3, "rnn": 1}[cell] if gates else 1
    low, high = (110 * 0.165 * (1.5 + blocks * (units + 0.4) + 2.7) for units in (1, 4))
    assert low - 45 < one.height < high + 45


def test_a_long_text_is_broken_into_lines() -> None:
    text = "abcdefgh " * 20
    letters = Letters.of(text)
    net = CharacterNet(len(letters), "gru", 4, 6)
    one, three = (gates_picture(net, letters, text[:length], units=3) for length in (60, 180))
    assert three.height > 2 * one.height and three.width < 1.1 * one.width


def red(picture: Image) -> int:
    seen = pixels(picture)
    return int(((seen[..., 0] > seen[..., 1] + 20) & (abs(seen[..., 1] - seen[..., 2]) < 12)).sum())


def test_a_surprise_is_red() -> None:
    """A net that is sure of "a": the same text with and without a "b"."""
    net = CharacterNet(2, "gru", 4, 6)
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([9.0, 0.0]))
    letters = Letters("ab")
    none, some, more = (red(gates_picture(net, letters, text, units=2)) for text in ("aaaa", "aaba", "abba"))
    assert none < some - 100 and some < more - 100


def test_bytes_are_drawn_as_their_characters() -> None:
    text = "é→a\xff".encode("utf-8", "surrogateescape").decode("latin-1")
    net = CharacterNet(256, "lstm", 4, 6)
    gates_picture(net, Letters("", bytes_=True), text, units=2)
    from isotrain.tasks.gates_plot import _characters

    assert _characters("é→ a".encode().decode("latin-1"), True) == ["·", "é", "·", "·", "→", "␣", "a"]
    assert _characters("\xffa", True) == ["\ufffd", "a"]


@pytest.mark.parametrize(("text", "units"), [("a", 3), ("", 3), ("ab", 0)])
def test_too_little_to_draw_is_refused(text: str, units: int) -> None:
    with pytest.raises(BadOption, match="give one or more"):
        gates_picture(CharacterNet(2, "rnn", 2, 3), Letters("ab"), text, units)


def test_more_units_than_there_are_are_all() -> None:
    letters = Letters("ab")
    three, all_ = (gates_picture(CharacterNet(2, "rnn", 2, 3), letters, "abba", units) for units in (3, 99))
    assert three.size == all_.size
