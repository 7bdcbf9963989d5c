"""The report: whole in one file, nothing in it executed, and its words are those of the figures."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isotrain.errors import BadData, BadOption
from isotrain.faces.calibration import Calibration, Level, calibrate
from isotrain.faces.identification import identify
from isotrain.faces.protocol import Learned, Training, verify_by
from isotrain.faces.splits import make_pairs
from isotrain.faces.verification_report import ShownPair, advice, hardest, save_verification, verification_page

PEOPLE = {f"Person_{n:02d}": [Path(f"Person_{n:02d}/{k}.jpg") for k in range(1 + n % 5)] for n in range(40)}
EVIL = '<script>alert("x")</script>&\'"'


@pytest.fixture(scope="module")
def found():
    pairs = make_pairs(PEOPLE, 30, seed=1, folds=2)
    similarities = np.random.default_rng(0).normal(size=len(pairs)) + 1.5 * pairs.same
    training = Training("unrestricted", (Learned("detector", EVIL, "label-free"),))
    return verify_by(lambda on: similarities, pairs, training, EVIL, data=EVIL)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}>"

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_nothing_in_it_is_executed(found):
    picture = np.zeros((8, 6), np.uint8)
    shown = [ShownPair(picture, np.zeros((4, 4, 3), np.uint8), 0.1234, same, (EVIL, "b")) for same in (True, False)]
    text = verification_page(found, shown=shown, title=EVIL)
    page = Tags(text)
    assert not page.open
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("src", "href"):
                assert value.startswith(("data:image/png;base64,", "#")), value
    assert page.text.count('alert("x")') >= 5, "shown as it was written"
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert sum(tag == "img" for tag, _ in page.tags) == 4 and sum(tag == "svg" for tag, _ in page.tags) == 3


def test_the_page_says_what_was_measured(found):
    words = Tags(verification_page(found)).text
    assert f"{100 * found.accuracy:.2f} ± {100 * found.error:.2f} %" in words
    assert "View 2 (2 folds of made pairs, threshold from the other 1), unrestricted, label-free outside data" in words
    assert "too few pairs to say" in words, "one in a thousand of 60"
    assert "fold 2" in words and "The hardest pairs" not in words
    for line in advice(found.calibration):
        assert line in words


def test_identification_is_told_too(found):
    names = np.repeat(np.arange(40), 4)
    vectors = np.random.default_rng(0).normal(size=(40, 12))[names]
    words = Tags(verification_page(found, identify(vectors, names))).text
    assert "the most similar of 20 people" in words and "known and named, one stranger in 10 taken" in words


def test_a_model_that_tells_nobody_apart_is_said_to_be_one():
    pairs = make_pairs(PEOPLE, 20, seed=1)
    wrong = verify_by(lambda on: -1.0 * pairs.same, pairs, Training("unsupervised"), "reversed")
    words = Tags(verification_page(wrong)).text
    assert "No threshold: pairs of one person are no more alike" in words


def test_advice_in_words():
    calibration = Calibration(
        0.3, 0.912, {0.1: Level(0.2, 0.1, 0.996), 0.01: Level(0.43, 0.01, 0.5)}, 1.0, 0.0, 300, 300
    )
    assert advice(calibration)[:4] == [
        "At 0.43 one stranger in 100 is let in and 50 % of true pairs are refused.",
        "At 0.2 one stranger in 10 is let in and 0.4 % of true pairs are refused.",
        "At 0.3 most pairs are answered right, 91.2 %: for sorting an album, not for opening a door.",
        "300 pairs of two people are too few to tell what lets in one stranger in 1,000: about 10,000 are needed.",
    ]
    assert len(advice(calibrate(np.arange(4000) / 4000, np.arange(4000) >= 2000))) == 5, "nothing is missing"


def test_the_hardest_come_first(found):
    alike, unlike = hardest(found, 3)
    assert not found.same[alike].any() and found.same[unlike].all()
    assert found.similarities[alike[0]] == found.similarities[~found.same].max()
    assert found.similarities[unlike[0]] == found.similarities[found.same].min()
    assert (np.diff(found.similarities[alike]) <= 0).all() and (np.diff(found.similarities[unlike]) >= 0).all()


def test_the_ending_says_what_is_written(found, tmp_path):
    for ending in (".html", ".png", ".json"):
        save_verification(found, tmp_path / "new" / f"report{ending}")
    assert json.loads((tmp_path / "new" / "report.json").read_text())["accuracy"] == found.accuracy
    picture = Image.open(io.BytesIO((tmp_path / "new" / "report.png").read_bytes()))
    assert picture.width > 1000 and len(picture.convert("RGB").resize((64, 32)).getcolors(4096)) > 20
    with pytest.raises(BadOption, match=r"report.pdf should end in .html, .png, .json"):
        save_verification(found, tmp_path / "report.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOption, match="cannot be written"):
        save_verification(found, tmp_path / "file" / "report.json")


@pytest.mark.parametrize("picture", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)])
def test_what_is_no_picture(found, picture):
    with pytest.raises(BadData, match="a picture to show is uint8"):
        verification_page(found, shown=[ShownPair(picture, picture, 0.0, True)])
