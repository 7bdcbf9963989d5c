"""The protocols: thresholds never see the fold they answer, names say what was used, people are on one side only."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrain.data.pairs import Pairs, read_pairs
from isotrain.data.people import people_pictures
from isotrain.data.synthetic import write_people
from isotrain.errors import BadData, BadOption
from isotrain.faces.identification import identify
from isotrain.faces.protocol import Learned, Training, blocks, verify, verify_by
from isotrain.faces.similarity import Cosine, Discriminant
from isotrain.faces.splits import make_pairs, split_people
from isotrain.tasks.scores.verification import best_threshold

PEOPLE = {f"Person_{n:02d}": [Path(f"Person_{n:02d}/{k}.jpg") for k in range(1 + n % 5)] for n in range(40)}
UNRESTRICTED = Training("unrestricted")


def vectors_of(pictures, noise=0.5, dims=12, seed=0):
    """A direction for each person, and noise for each picture."""
    names = sorted({path.parent.name for path in pictures})
    rng = np.random.default_rng(seed)
    centres = dict(zip(names, rng.normal(size=(len(names), dims)), strict=True))
    return np.stack([centres[path.parent.name] for path in pictures]) + noise * rng.normal(size=(len(pictures), dims))


def test_view_2_by_hand():
    pairs = make_pairs(PEOPLE, 12, seed=1, folds=4)
    vectors = vectors_of(pairs.pictures, noise=0.9)
    found = verify(pairs, vectors, UNRESTRICTED, data="LFW")
    similarities = Cosine().pairs(vectors[pairs.first], vectors[pairs.second])
    rates = []
    for fold in range(4):
        here = pairs.fold == fold
        threshold, _ = best_threshold(similarities[~here], pairs.same[~here])
        rates.append(((similarities[here] >= threshold) == pairs.same[here]).mean())
    assert [one.accuracy for one in found.folds] == pytest.approx(rates)
    assert found.accuracy == pytest.approx(np.mean(rates))
    assert found.error == pytest.approx(np.std(rates, ddof=1) / 2)
    assert np.allclose(found.similarities, similarities)
    assert found.protocol.startswith(
        "LFW View 2 (4 folds of made pairs, threshold from the other 3), unrestricted, no out"
    )
    assert 0.8 < found.accuracy < 1 and found.auc.low < found.auc.value < found.auc.high


@dataclass(frozen=True)
class Spy(Cosine):
    """Notes what it is told to learn from."""

    seen: list

    def fitted(self, first_pd, second_pd, same_p):
        self.seen.append(np.asarray(first_pd)[:, 0].tolist())
        return self


def test_nothing_is_learned_from_the_fold_that_is_answered():
    pairs = make_pairs(PEOPLE, 12, seed=1, folds=4)
    # The first number of each vector tells the pair's fold; it is small beside the others.
    vectors = vectors_of(pairs.pictures)
    vectors[pairs.first, 0] = pairs.fold * 1e-6
    spy = Spy([])
    verify(pairs, vectors, UNRESTRICTED, spy)
    for fold, learned in enumerate(spy.seen):
        assert {round(value * 1e6) for value in learned} == {0, 1, 2, 3} - {fold}


def test_a_threshold_cannot_cheat():
    """Similarities without any information: the threshold of the others is no better than chance on the fold."""
    pairs = make_pairs(PEOPLE, 40, seed=1)
    rates = []
    for seed in range(20):
        similarities = np.random.default_rng(seed).normal(size=len(pairs)) + 0.05 * pairs.same
        rates.append(verify_by(lambda on, s=similarities: s, pairs, UNRESTRICTED, "noise").accuracy)
    assert abs(np.mean(rates) - 0.5) < 0.04


def test_a_model_that_tells_nobody_apart_has_figures_and_no_calibration():
    pairs = make_pairs(PEOPLE, 40, seed=1)
    found = verify_by(lambda on: -1.0 * pairs.same, pairs, UNRESTRICTED, "the wrong way round")
    assert found.auc.value == 0.0 and found.calibration is None and "no more alike" in found.uncalibrated
    assert "no more alike" in found.to_dict()["calibration"]


def test_view_1_chooses_on_one_set_and_reports_on_the_other():
    chosen, reported = make_pairs(PEOPLE, 15, seed=1), make_pairs(PEOPLE, 15, seed=2)
    one, other = vectors_of(chosen.pictures), vectors_of(reported.pictures, seed=1)
    train, test = replace(chosen, source="pairsDevTrain.txt"), replace(reported, source="pairsDevTest.txt")
    found = verify(test, other, UNRESTRICTED, chosen_on=(train, one), data="LFW")
    threshold, _ = best_threshold(Cosine().pairs(one[train.first], one[train.second]), train.same)
    assert found.folds[0].threshold == threshold and len(found.folds) == 1
    right = (Cosine().pairs(other[test.first], other[test.second]) >= threshold) == test.same
    assert found.accuracy == pytest.approx(right.mean())
    assert found.error == pytest.approx(right.std() / np.sqrt(30))
    assert "View 1 (threshold from pairsDevTrain.txt, reported on pairsDevTest.txt)" in found.protocol


def test_view_1_without_test_pairs_says_so():
    pairs = make_pairs(PEOPLE, 20, seed=1)
    found = verify(pairs, vectors_of(pairs.pictures), UNRESTRICTED, folds=5)
    assert "alone, cross-validated in 5 blocks: no separate test pairs" in found.protocol and len(found.folds) == 5
    assert str(found).startswith("LFW protocol View 1")


def test_left_out_pairs_are_in_the_name(tmp_path):
    path = write_people(tmp_path, people=4, each=3, pairs=6, size=16)
    victim = people_pictures(tmp_path)["Ada_Alder"][0]
    victim.unlink()
    pairs = read_pairs(path, leave_out_missing=True)
    found = verify(pairs, vectors_of(pairs.pictures), UNRESTRICTED, folds=2)
    assert pairs.left_out > 0
    assert f"INCOMPLETE: {pairs.left_out} pairs left out, not comparable" in found.protocol


@pytest.mark.parametrize(
    ("labels", "outside", "name"),
    [
        ("unsupervised", ["no"], "unsupervised"),
        ("image-restricted", ["no", "no"], "image-restricted, no outside data"),
        ("image-restricted", ["no", "label-free"], "image-restricted, label-free outside data"),
        ("unrestricted", ["label-free"], "unrestricted, label-free outside data"),
        ("unrestricted", ["labeled", "no"], "unrestricted, labeled outside data"),
        ("unsupervised", ["labeled"], "unrestricted, labeled outside data"),
    ],
)
def test_names_of_the_protocols(labels, outside, name):
    training = Training(labels, tuple(Learned(f"part {n}", "data", kind) for n, kind in enumerate(outside)))
    assert training.name == name


def test_the_parts_and_what_they_learned_from_are_told():
    pairs = make_pairs(PEOPLE, 20, seed=1)
    training = Training("unrestricted", (Learned("detector", "pasted faces", "label-free"),))
    found = verify(pairs, vectors_of(pairs.pictures), training)
    assert found.training == ("detector: pasted faces (label-free outside data)",)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["accuracy"] == found.accuracy and told["tar at far"]["0.001"] is None and len(told["folds"]) == 10


def test_what_does_not_fit():
    pairs = make_pairs(PEOPLE, 20, seed=1)
    with pytest.raises(BadData, match="3 vectors for the"):
        verify(pairs, np.zeros((3, 4)), UNRESTRICTED)
    with pytest.raises(BadOption, match="21 folds of 20 pairs of one person and 20 of two"):
        verify(pairs, vectors_of(pairs.pictures), UNRESTRICTED, folds=21)
    with pytest.raises(BadOption, match="has 1 fold"):
        verify(replace(pairs, folds=1), vectors_of(pairs.pictures), UNRESTRICTED)


def test_blocks_are_neighbours_and_alike():
    same = np.arange(50) < 20
    fold = blocks(same, 4)
    assert (np.diff(fold[same]) >= 0).all() and (np.diff(fold[~same]) >= 0).all()
    assert np.bincount(fold[same]).tolist() == [5, 5, 5, 5] and set(np.bincount(fold[~same])) <= {7, 8}


@given(seed=st.integers(0, 1000), count=st.integers(4, 60))
def test_nobody_is_in_two_parts(seed, count):
    names = [f"p{n}" for n in range(count)]
    parts = split_people(names, (0.5, 0.25, 0.25), seed)
    assert sorted(name for part in parts for name in part) == sorted(names)
    again = split_people(reversed(names * 2), (0.5, 0.25, 0.25), seed)
    assert parts == again
    assert abs(len(parts[0]) - count / 2) <= 1


def test_parts_that_cannot_be():
    with pytest.raises(BadData, match="2 people are too few"):
        split_people("ab", (0.4, 0.3, 0.3))
    for shares in ((), (0.7, 0.7), (0.5, 0)):
        with pytest.raises(BadOption, match="shares"):
            split_people("abc", shares)


def checked_pairs(pairs: Pairs):
    for a, b, same in zip(pairs.first, pairs.second, pairs.same, strict=True):
        assert (pairs.pictures[a].parent == pairs.pictures[b].parent) == same and a != b
    met = {frozenset((a, b)) for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    assert len(met) == len(pairs)


@given(seed=st.integers(0, 1000), number=st.integers(1, 60), folds=st.sampled_from([0, 2]))
def test_made_pairs_are_true_different_and_balanced(seed, number, folds):
    number = number // max(1, folds) + 1
    pairs = make_pairs(PEOPLE, number, seed, folds)
    checked_pairs(pairs)
    assert pairs.same.sum() == (~pairs.same).sum() == number * max(1, folds)
    people = [
        {pairs.pictures[at].parent for at in np.append(pairs.first[pairs.fold == f], pairs.second[pairs.fold == f])}
        for f in range(max(1, folds))
    ]
    assert len(people) == 1 or not people[0] & people[1]
    assert np.array_equal(pairs.first, make_pairs(PEOPLE, number, seed, folds).first)


def test_every_pair_there_is():
    few = {"a": [Path("a/1"), Path("a/2"), Path("a/3")], "b": [Path("b/1")]}
    checked_pairs(make_pairs(few, 3))
    with pytest.raises(BadData, match="4 pairs of one person are wanted, 2 people have 3"):
        make_pairs(few, 4)
    with pytest.raises(BadData, match="3 pairs of two people are wanted, 3 pictures give 0"):
        make_pairs({"a": few["a"]}, 3)
    with pytest.raises(BadOption, match="1 folds"):
        make_pairs(few, 1, folds=1)


def people_vectors(noise, number=40, each=4):
    names = np.repeat([f"p{n:02d}" for n in range(number)], each)
    return vectors_of([Path(name) / "x" for name in names], noise), names


def test_identification_of_the_well_known_and_of_noise():
    vectors, names = people_vectors(0.1)
    found = identify(vectors, names, enrolled=0.5)
    assert (found.people, found.pictures, found.known, found.strangers) == (20, 20, 60, 80)
    assert found.rank[1].value == 1.0 and found.dir[0.1].rate.value == 1.0 and found.dir[1e-2] is None
    lost = identify(np.random.default_rng(0).normal(size=vectors.shape), names)
    assert lost.rank[1].value < 0.2 and lost.dir[0.1].rate.value < 0.2
    assert json.loads(json.dumps(found.to_dict()))["dir at far"]["0.01"] is None


def test_enrolled_pictures_are_no_probes():
    vectors, names = people_vectors(0.5)
    found = identify(vectors, names, enrolled=1.0, each=3)
    assert (found.people, found.pictures, found.known, found.strangers) == (40, 120, 40, 0)
    assert found.dir[0.1] is None
    assert identify(vectors, names, Discriminant.of_people(vectors, names, 5), seed=3).people == 20


def test_nobody_to_know_again():
    with pytest.raises(BadData, match="none of 3 people has more than 1 picture:"):
        identify(np.eye(3), [0, 1, 2])
    with pytest.raises(BadData, match="3 vectors of 2"):
        identify(np.eye(3), [0, 1])
    with pytest.raises(BadOption, match="enrolled 0"):
        identify(np.eye(3), [0, 0, 1], enrolled=0)


@pytest.mark.data
def test_grey_pixels_on_the_real_pairs(data_dir):
    """Trivial vectors land where they are known to: a little above 60 %."""
    import torch

    from isotrain.data.pictures import read_picture

    pairs = read_pairs(data_dir / "lfw" / "pairsDevTrain.txt")
    few = np.arange(0, 2200, 4)
    pairs = replace(pairs, first=pairs.first[few], second=pairs.second[few], same=pairs.same[few], fold=pairs.fold[few])
    used = set(pairs.first) | set(pairs.second)
    vectors = np.zeros((len(pairs.pictures), 24 * 24))
    for place in used:
        grey = read_picture(pairs.pictures[place]).float().mean(0)[None, None, 68:182, 68:182]
        pixels = torch.nn.functional.interpolate(grey, (24, 24), mode="bilinear", antialias=True).flatten()
        vectors[place] = ((pixels - pixels.mean()) / pixels.std()).numpy()
    assert 0.55 < verify(pairs, vectors, Training("unsupervised"), data="LFW").accuracy < 0.68
