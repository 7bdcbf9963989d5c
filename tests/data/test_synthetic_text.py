"""The text twins: the same from the same seed, true to their rules, and read back as they are written."""

import re
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from isotrain.data.captionfiles import open_captions
from isotrain.data.parallel import open_parallel
from isotrain.data.pictures import read_picture
from isotrain.data.synthetic import (
    captioned_dataset,
    grammar_dataset,
    grammar_text,
    language_dataset,
    write_captions,
    write_parallel,
    write_text,
)
from isotrain.data.synthetic import grammar as g
from isotrain.data.synthetic import language as lang
from isotrain.data.synthetic.caption import COLOURS
from isotrain.data.synthetic.captioned import PLAIN, RELATIONS
from isotrain.data.synthetic.draws import Part
from isotrain.data.synthetic.shape import SHAPES, coverage
from isotrain.data.textfiles import open_text
from isotrain.errors import BadData, BadOption

seeds = st.integers(0, 2**31)


def same(a, b):
    assert (a.text, a.said) == (b.text, b.said)
    assert not isinstance(a.picture, torch.Tensor) or torch.equal(a.picture, b.picture)


@pytest.mark.parametrize("make", [captioned_dataset, grammar_dataset, language_dataset])
def test_a_sample_hangs_on_seed_part_and_place_alone(make):
    few, many = make(train=3, held_out=2, test=1, seed=7), make(train=6, held_out=4, test=3, seed=7)
    other = make(train=3, held_out=2, test=1, seed=8)
    for part in ("train", "held_out", "test"):
        for a, b, c in zip(getattr(few, part), getattr(many, part), getattr(other, part), strict=False):
            same(a, b)
            assert (a.text, a.said) != (c.text, c.said)
    assert [len(part) for part in (many.train, many.held_out, many.test)] == [6, 4, 3]
    assert len({(s.text, s.said) for s in few.train + few.held_out + few.test}) == 6
    ticks = []
    make(train=3, held_out=2, test=1, tick=ticks.append)
    assert sum(ticks) == 6


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (captioned_dataset, {"size": 47}),
        (captioned_dataset, {"train": -1}),
        (grammar_dataset, {"length": 0}),
        (grammar_dataset, {"test": -1}),
        (language_dataset, {"held_out": -1}),
        (captioned_dataset, {"seed": -1}),
        (language_dataset, {"seed": -1}),
        (grammar_text, {"characters": -1}),
        (grammar_text, {"characters": 1, "seed": -1}),
    ],
)
def test_options_outside_their_range(make, options):
    with pytest.raises(BadOption, match="or more"):
        make(**options)


# --- captions: read off the picture by someone who knows nothing of how it was made ------------------------------


def seen(picture):
    """What a picture shows: for each shape its word for the size, colour, box and pixels."""
    pixels = ndimage.uniform_filter(picture.permute(1, 2, 0).numpy() / 255, (3, 3, 1))
    ground = np.median(pixels, (0, 1))
    palette = np.array([COLOURS[name] for name in PLAIN])
    apart = np.linalg.norm(pixels[:, :, None] - palette, axis=3)
    drawn = np.linalg.norm(pixels - ground, axis=2) > 0.2
    labelled, number = ndimage.label(drawn, np.ones((3, 3)))
    found = []
    for one in range(1, number + 1):
        mask = labelled == one
        if mask.sum() < 12:
            continue
        core = apart[mask]
        colour = PLAIN[np.bincount(core.argmin(1), weights=1 / (0.05 + core.min(1)), minlength=len(PLAIN)).argmax()]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        side = max(box[2] - box[0], box[3] - box[1]) / picture.shape[1]
        found.append(("small " if side < 0.25 else "large " if side > 0.395 else "", colour, box, mask))
    return sorted(found, key=lambda shape: -(shape[2][2] - shape[2][0]))


def told(picture):
    """The sentence without the shapes' names."""
    shapes = seen(picture)
    words = [f"a {size}{colour} *" for size, colour, _, _ in shapes]
    if len(words) != 2:
        return " and ".join(words)
    (a, b) = (shape[2] for shape in shapes)
    right, down = b[0] + b[2] - a[0] - a[2], b[1] + b[3] - a[1] - a[3]
    relation = (RELATIONS[0] if right > 0 else RELATIONS[1]) if abs(right) > abs(down) else RELATIONS[2 + (down < 0)]
    return f"{words[0]} {relation} {words[1]}"


def test_sizes_colours_and_directions_can_be_told_from_the_picture():
    samples = captioned_dataset(train=150, held_out=0, test=0, seed=11).train
    wanted = [re.sub("|".join(SHAPES), "*", sample.said[0]) for sample in samples]
    wrong = [(a, b) for a, b in zip(map(lambda s: told(s.picture), samples), wanted, strict=True) if a != b]
    assert len(wrong) <= 1, wrong[:5]


def test_shapes_can_be_told_from_the_picture():
    templates = {
        shape: [coverage(shape, 12, turn, 16, 16, 32, 32) for turn in np.linspace(-0.3, 0.3, 7)] for shape in SHAPES
    }
    right = number = 0
    for sample in captioned_dataset(train=100, held_out=0, test=0, seed=12).train:
        words = [word for word in sample.said[0].split() if word in SHAPES]
        shapes = seen(sample.picture)
        if len(shapes) != len(words):
            continue
        for word, (_, _, (left, top, right_, bottom), mask) in zip(words, shapes, strict=True):
            scores = {shape: max(alike(mask[top:bottom, left:right_], t) for t in templates[shape]) for shape in SHAPES}
            right += max(scores, key=scores.get) == word
            number += 1
    assert number > 140 and right / number > 0.9


def alike(mask, template):
    """Intersection over union of a mask and a template cut to its ink and brought to the mask's size."""
    solid = template >= 0.5
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    solid = solid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    y = (np.arange(mask.shape[0]) * solid.shape[0]) // mask.shape[0]
    x = (np.arange(mask.shape[1]) * solid.shape[1]) // mask.shape[1]
    there = solid[np.ix_(y, x)]
    return (mask & there).sum() / (mask | there).sum()


@given(seed=seeds, size=st.integers(48, 100))
def test_captioned_pictures_of_every_size(seed, size):
    for sample in captioned_dataset(train=2, held_out=0, test=0, seed=seed, size=size).train:
        assert sample.picture.shape == (3, size, size) and sample.picture.dtype == torch.uint8
        one = rf"an? (small |large )?({'|'.join(PLAIN)}) ({'|'.join(SHAPES)})"
        assert len(sample.said) == 1 and re.fullmatch(rf"{one}( ({'|'.join(RELATIONS)}) {one})?", sample.said[0])


def test_the_larger_is_named_first_and_everything_occurs():
    said = [sample.said[0] for sample in captioned_dataset(train=500, held_out=0, test=0).train]
    rank = {"small": 0, "large": 2}
    for sentence in said:
        sizes = [rank.get(part.split()[1], 1) for part in re.split("|".join(RELATIONS), sentence)]
        assert sizes == sorted(set(sizes), reverse=True)
    for word in (*PLAIN, *SHAPES, *RELATIONS, "small", "large"):
        assert sum(word in sentence for sentence in said) > 25
    assert 0.25 < np.mean([not any(r in s for r in RELATIONS) for s in said]) < 0.42


def test_captioned_pictures_are_quick():
    captioned_dataset(train=20, held_out=0, test=0)
    start = time.process_time()
    captioned_dataset(train=300, held_out=0, test=0)
    assert time.process_time() - start < 2


# --- the grammar ------------------------------------------------------------------------------------------------


class Parser:
    """Reads stories by the grammar's rules and stops at the first word that does not agree with one before it."""

    def __init__(self, words):
        self.words = [word.lower() for word in words]
        self.deepest = self.open = self.across = 0

    def take(self, *allowed):
        word = self.words.pop(0)
        assert not allowed or word in allowed, (word, allowed)
        return word

    def story(self):
        names = [name.lower() for name in g.NAMES]
        name = self.take(*names)
        self.take("says"), self.take(":")
        while self.words[:1] != ["so"]:
            self.clause()
            self.take(".")
        self.take("so"), self.take("says"), self.take(name), self.take(".")
        assert not self.words

    def clause(self):
        before = len(self.words)
        many = self.noun()
        closing = dict(g.BRACKETS).get(self.words[0])
        if closing:
            self.take()
            self.open += 1
            self.deepest = max(self.deepest, self.open)
            self.clause()
            self.take(closing)
            self.open -= 1
        self.across += before - len(self.words) > 3  # more than article, adjective and noun part the verb from its own
        if self.words[0] in [pair[many] for pair in g.VERBS_ALONE]:
            self.take()
            return
        self.take(*(pair[many] for pair in g.VERBS_WITH))
        if self.words[0] in [name.lower() for name in g.NAMES]:
            self.take()
        else:
            self.noun()

    def noun(self):
        articles = {word for pair in g.ARTICLES for word in pair}
        article = self.take(*articles)
        if self.words[0] in g.ADJECTIVES:
            self.take()
        noun = self.take(*(word for pair in g.NOUNS for word in pair))
        many = next(pair.index(noun) for pair in g.NOUNS if noun in pair)
        assert any(pair[many] == article for pair in g.ARTICLES), (article, noun)
        if self.words[0] in g.PLACES:
            self.take()
            self.noun()
        elif self.words[0] == "that":
            self.take()
            doing = [pair[many] for pair in g.VERBS_WITH]
            if self.words[0] in articles:
                others = self.noun()
                self.take(*(pair[others] for pair in g.VERBS_WITH))
            else:
                self.take(*doing)
                self.noun()
        return many


def test_stories_keep_agreements_brackets_and_names():
    stories = grammar_text(200_000).split("\n")[:-1]
    deepest = across = 0
    for story in stories:
        parser = Parser(re.findall(r"\w+|[^\w\s]", story))
        parser.story()
        deepest, across = max(deepest, parser.deepest), across + parser.across
    assert deepest == g.DEEPEST and across > len(stories) / 2


@given(seed=seeds, short=st.integers(0, 500), more=st.integers(0, 500))
def test_a_shorter_text_begins_a_longer(seed, short, more):
    text = grammar_text(short, seed)
    assert len(text) == short and grammar_text(short + more, seed).startswith(text)


def test_stretches_of_the_grammar_follow_one_another():
    data = grammar_dataset(train=20, held_out=3, test=2, seed=5, length=16)
    for part, samples, start in ((Part.TRAIN, data.train, 0), (Part.HELD_OUT, data.held_out, 321)):
        text = grammar_text(len(samples) * 16 + 1, 5, part)
        assert [s.text for s in samples] == [text[at : at + 17] for at in range(0, len(samples) * 16, 16)]
        assert [int(s.name) for s in samples] == [start + 16 * k for k in range(len(samples))]


# --- the language -----------------------------------------------------------------------------------------------


def word(nouns, one):
    return next(noun for noun in nouns if noun.one == one)


def test_hand_made_sentences():
    dog, cat = (lang.Phrase(word(lang.LIVING, name), False, lang.THE) for name in ("dog", "cat"))
    house = word(lang.THINGS, "house")
    sees, follows = word(lang.WITH, "sees"), word(lang.WITH, "follows")
    wakes = word(lang.ALONE, "wakes up")
    cases = [
        (dog, lang.Clause(sees, object=cat), "the dog sees the cat", "ro hundar vidu ra mirak"),
        # Torn apart, the place before the object, the time first.
        (
            dog,
            lang.Clause(follows, True, False, cat, ("under", lang.Phrase(house, True, lang.THIS, "red")), "yesterday"),
            "the dog followed the cat under these red houses yesterday",
            "yeri sekir ro hundar sub dos domuret rubos ra mirak pos",
        ),
        # Denied; a plural has no "a" in English.
        (
            lang.Phrase(word(lang.LIVING, "child"), True, lang.A, "old"),
            lang.Clause(wakes, denied=True),
            "old children do not wake up",
            "unis lutinet sentis veklun ne us",
        ),
        # A word of two nouns has the gender of the second; whole verbs at the end of a clause with "that".
        (
            lang.Phrase(cat.noun, False, lang.A, "old", house, lang.Clause(follows, False, False, dog)),
            lang.Clause(wakes, True),
            "an old house cat that follows the dog woke up",
            "una domuremirak senta, ka ro hundar posseku, veklir us",
        ),
    ]
    for subject, clause, english, other in cases:
        assert f"{subject.english()} {clause.english(subject.many)}" == english
        assert clause.main(subject) == other


def test_articles_agree_with_the_gender_of_their_nouns():
    nouns = {noun.other: noun for noun in lang.LIVING + lang.THINGS}
    ending_in_noun = re.compile(rf"(?:\w+e)?({'|'.join(nouns)})(et)?")
    number = 0
    for sample in language_dataset(train=500, held_out=0, test=0).train:
        words = re.findall(r"\w+", sample.said[0].lower())
        for before, word in pairwise(words):
            found = ending_in_noun.fullmatch(word)
            article = re.fullmatch("(?:r|un|d)([oai]s?)", before)
            assert bool(found) == bool(article)
            if found:
                assert article[1] == nouns[found[1]].gender + ("s" if found[2] else "")
                number += 1
    assert number > 900


def test_a_sentence_has_one_translation_and_words_change_places():
    data = language_dataset(train=4000, held_out=500, test=0)
    translations = {}
    for sample in data.train + data.held_out:
        assert translations.setdefault(sample.text, sample.said) == sample.said
        assert re.fullmatch(r"[A-Z][A-Za-z ]+\.", sample.text) and re.fullmatch(r"[A-Z][a-z, ]+\.", sample.said[0])
    known = {sample.text for sample in data.train}
    assert np.mean([sample.text in known for sample in data.held_out]) < 0.03
    times = [sample for sample in data.train if any(sample.text.endswith(f"{time}.") for time in lang.TIMES)]
    assert len(times) > 1500
    for sample in times:
        time_words = next(other for time, (other, _) in lang.TIMES.items() if sample.text.endswith(f"{time}."))
        assert sample.said[0].lower().startswith(time_words)


# --- written and read back --------------------------------------------------------------------------------------


def test_text_comes_back(tmp_path):
    data = grammar_dataset(train=180, held_out=10, test=10, length=20)
    (path,) = write_text(data, tmp_path)
    back = open_text(path, length=20)
    assert [len(part) for part in (back.train, back.held_out, back.test)] == [180, 9, 10]  # one misses a symbol
    assert [s.text for s in back.train] == [s.text for s in data.train]
    assert open_text(tmp_path, length=20).train[7].text == data.train[7].text


def test_parallel_sentences_come_back(tmp_path):
    data = language_dataset(train=12, held_out=3, test=0)
    written = write_parallel(data, tmp_path)
    assert [path.name for path in written] == ["train.source", "train.target", "val.source", "val.target"]
    back = open_parallel(*written[:2], val=(written[2], written[3]))
    for part in ("train", "held_out"):
        assert [(s.text, s.said) for s in getattr(back, part)] == [(s.text, s.said) for s in getattr(data, part)]
    with pytest.raises(BadData, match=r"sentence 'train-0' has 0 translations"):
        write_parallel(type(data)((), [type(data.train[0])(text="x", name="train-0")]), tmp_path)


def test_captions_come_back(tmp_path):
    data = captioned_dataset(train=6, held_out=2, test=1)
    ticks = []
    written = write_captions(data, tmp_path, ticks.append)
    assert [path.name for path in written] == [f"captions_{part}.json" for part in ("train", "val", "test")]
    back = open_captions(tmp_path)
    assert sum(ticks) == 9 and not back.notes and back.format == "COCO captions"
    for part in ("train", "held_out", "test"):
        for a, b in zip(getattr(data, part), getattr(back, part), strict=True):
            assert a.said == b.said and torch.equal(a.picture, read_picture(b.picture))
